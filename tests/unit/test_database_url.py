from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict

from safeharbor_backup.settings.address_parsing import UnusableDatabaseUrl, merge_connect_args, parse_database_url
from safeharbor_backup.settings.database_url import DatabaseUrl

FULL = {"user": "app", "host": "db", "port": "5432", "dbname": "reef"}
PLAIN = {"user": "app", "host": "db", "dbname": "reef"}

FORMS: list[tuple[str, dict[str, str], str | None]] = [
    # schemes
    ("postgresql://app:s3cr3t@db:5432/reef", FULL, "s3cr3t"),
    ("postgres://app:s3cr3t@db:5432/reef", FULL, "s3cr3t"),
    ("POSTGRESQL://app:s3cr3t@db:5432/reef", FULL, "s3cr3t"),
    ("postgresql+psycopg2://app:s3cr3t@db:5432/reef", FULL, "s3cr3t"),
    ("postgresql+psycopg://app:s3cr3t@db:5432/reef", FULL, "s3cr3t"),
    ("postgresql+asyncpg://app:s3cr3t@db:5432/reef", FULL, "s3cr3t"),
    ("postgresql+pg8000://app:s3cr3t@db:5432/reef", FULL, "s3cr3t"),
    ("postgresql_psycopg2://app:s3cr3t@db:5432/reef", FULL, "s3cr3t"),
    ("  postgresql://app:s3cr3t@db:5432/reef \n", FULL, "s3cr3t"),
    # parts left out
    ("postgresql://app@db/reef", PLAIN, None),
    ("postgresql://app:@db/reef", PLAIN, None),
    ("postgresql://db/reef", {"host": "db", "dbname": "reef"}, None),
    ("postgresql://db", {"host": "db"}, None),
    ("postgresql:///reef", {"dbname": "reef"}, None),
    ("postgresql://", {}, None),
    ("postgresql://app:s3cr3t@/reef", {"user": "app", "dbname": "reef"}, "s3cr3t"),
    ("postgresql://db:6543/", {"host": "db", "port": "6543"}, None),
    # nasty passwords
    ("postgresql://app:p%40ss%2Fw%3Ard@db/reef", PLAIN, "p@ss/w:rd"),
    ("postgresql://app:p@ss@db/reef", PLAIN, "p@ss"),
    ("postgresql://app:pa:ss@db/reef", PLAIN, "pa:ss"),
    ("postgresql://app:pa/ss@db/reef", PLAIN, "pa/ss"),
    ("postgresql://app:pa?ss@db/reef", PLAIN, "pa?ss"),
    ("postgresql://app:pa#ss@db/reef", PLAIN, "pa#ss"),
    ("postgresql://app:pa%25ss@db/reef", PLAIN, "pa%ss"),
    ("postgresql://app:pa+ss@db/reef", PLAIN, "pa+ss"),
    ("postgresql://app:pa%20ss@db/reef", PLAIN, "pa ss"),
    ("postgresql://app:gr%C3%BC%C3%9Fe@db/reef", PLAIN, "grüße"),
    ("postgresql://app:'quoted\"\\@db/reef", PLAIN, "'quoted\"\\"),
    ("postgresql://app:$ecret{}[]@db/reef", PLAIN, "$ecret{}[]"),
    # names that need escaping
    ("postgresql://my%40app:x1y2@db/re%2Fef", {"user": "my@app", "host": "db", "dbname": "re/ef"}, "x1y2"),
    ("postgresql://app:x1y2@db/it's%20a%20%22db%22", {"user": "app", "host": "db", "dbname": "it's a \"db\""}, "x1y2"),
    ("postgresql://app:x1y2@db/a=b", {"user": "app", "host": "db", "dbname": "a=b"}, "x1y2"),
    # hosts
    ("postgresql://app:x1y2@[::1]:5433/reef", {"user": "app", "host": "::1", "port": "5433", "dbname": "reef"}, "x1y2"),
    ("postgresql://[fe80::1]/reef", {"host": "fe80::1", "dbname": "reef"}, None),
    (
        "postgresql://app:x1y2@a:1,b:2/reef",
        {"user": "app", "host": "a,b", "port": "1,2", "dbname": "reef"},
        "x1y2",
    ),
    ("postgresql://%2Fvar%2Frun%2Fpostgresql/reef", {"host": "/var/run/postgresql", "dbname": "reef"}, None),
    ("postgresql:///reef?host=/tmp", {"dbname": "reef", "host": "/tmp"}, None),
    ("postgresql://app@/reef?host=a:1&host=b:2", {"user": "app", "dbname": "reef", "host": "a,b", "port": "1,2"}, None),
    ("postgresql:///reef?host=db&port=5433", {"dbname": "reef", "host": "db", "port": "5433"}, None),
    # queries
    ("postgresql://app:x1y2@db/reef?sslmode=require", {**PLAIN, "sslmode": "require"}, "x1y2"),
    ("postgresql://app@db/reef?ssl=true", {**PLAIN, "sslmode": "require"}, None),
    ("postgresql://db/reef?user=app&password=s3%2Bcr3t", {**PLAIN}, "s3+cr3t"),
    ("postgresql://db/reef?password=s3+cr3t&user=app", {**PLAIN}, "s3+cr3t"),
    (
        "postgresql://app@db/reef?options=-c%20search_path%3Dx",
        {**PLAIN, "options": "-c search_path=x"},
        None,
    ),
    ("postgresql://app@db/reef?options=-c+search_path%3Dx", {**PLAIN, "options": "-c search_path=x"}, None),
    ("postgresql://app@db/reef?prepared_statement_cache_size=0", PLAIN, None),
    ("postgresql://app@db/reef?sslmode=", PLAIN, None),
    ("postgresql://db:5432/reef?application_name=a@b", {"host": "db", "port": "5432", "dbname": "reef",
                                                       "application_name": "a@b"}, None),
    # libpq's own form
    ("host=db dbname=reef user=app password=s3cr3t", PLAIN, "s3cr3t"),
    ("host=db dbname=reef user=app password='it''s'" .replace("''", "\\'"), PLAIN, "it's"),
    ("host = db dbname = 're ef' user=app", {"host": "db", "dbname": "re ef", "user": "app"}, None),
    ("service=reef", {"service": "reef"}, None),
]  # fmt: skip


@pytest.mark.parametrize(("text", "parameters", "password"), FORMS, ids=[form[0].strip() for form in FORMS])
def test_every_form_that_people_write_is_taken_apart(
    text: str, parameters: dict[str, str], password: str | None
) -> None:
    url = parse_database_url(text)

    assert (dict(url.parameters), url.password) == (parameters, password)


def test_there_are_forms_enough() -> None:
    assert len(FORMS) >= 50


@pytest.mark.parametrize(("text", "parameters", "password"), FORMS, ids=[form[0].strip() for form in FORMS])
def test_the_password_is_shown_nowhere_and_the_rest_survives_libpq(
    text: str, parameters: dict[str, str], password: str | None
) -> None:
    url = parse_database_url(text)

    shown = [repr(url), str(url), url.conninfo(), url.describe(), repr(url.with_database("x"))]

    assert conninfo_to_dict(url.conninfo()) == parameters
    if password is not None:
        assert not [each for each in shown if password in each]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sqlite:///app.db", "this is a sqlite address"),
        ("sqlite+pysqlite:///app.db", "this is a sqlite address"),
        ("mysql+pymysql://app:s3cr3t@db/reef", "this is a mysql address"),
        ("mariadb://app:s3cr3t@db/reef", "this is a mariadb address"),
        ("https://app:s3cr3t@db/reef", "this is a https address"),
        ("reef", "a URL such as"),
        ("app:s3cr3t@db/reef", "a URL such as"),
        ("postgresql:app:s3cr3t@db", "a URL such as"),
        ("/var/lib/s3cr3t", "a URL such as"),
        ("", "a URL such as"),
        ("postgresql://app:s3cr3t@db:port/reef", "port is a number"),
        ("postgresql://app:s3cr3t@db:54 32/reef", "port is a number"),
        ("host=db password=s3cr3t nonsense", "libpq connection string"),
        ("host=db password='s3cr3t", "libpq connection string"),
        ("host=db no_such_key=1 password=s3cr3t", "libpq connection string"),
        ("postgresql://app@db/reef?sslpassword=s3cr3t", "sslpassword"),
        ("host=db sslpassword=s3cr3t", "sslpassword"),
    ],
)
def test_what_cannot_be_used_is_refused_without_telling_the_password(text: str, expected: str) -> None:
    with pytest.raises(UnusableDatabaseUrl) as caught:
        parse_database_url(text)

    assert expected in str(caught.value)
    assert "s3cr3t" not in str(caught.value)
    assert "s3cr3t" not in repr(caught.value)


passwords = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=30)


@pytest.mark.slow
@given(password=passwords, name=passwords)
def test_an_escaped_password_of_any_characters_comes_out_as_it_went_in(password: str, name: str) -> None:
    from urllib.parse import quote

    url = parse_database_url(f"postgresql://app:{quote(password, safe='')}@db:5432/{quote(name, safe='')}")

    assert url.password == password
    assert url.get("dbname") == name
    assert conninfo_to_dict(url.conninfo())["dbname"] == name


@pytest.mark.parametrize(
    ("text", "described"),
    [
        ("postgresql://app:x1y2@db/reef", '"reef" on db:5432'),
        ("postgresql://app@db:6543/reef", '"reef" on db:6543'),
        ("postgresql://a:1,b:2/reef", '"reef" on a:1, b:2'),
        ("postgresql://a,b/reef", '"reef" on a:5432, b:5432'),
        ("postgresql://app@db", '"app" on db:5432'),
        ("postgresql:///reef?host=/tmp", '"reef" on the local socket in /tmp (port 5432)'),
        ("postgresql:///reef", '"reef" on the local socket (port 5432)'),
        ("service=reef", "service reef"),
    ],
)
def test_a_database_is_described_as_an_operator_would(text: str, described: str) -> None:
    assert parse_database_url(text).describe() == described


def test_defaults_fill_only_what_is_open() -> None:
    url = parse_database_url("postgresql://app@db/reef?connect_timeout=3")

    filled = url.with_defaults({"connect_timeout": "10", "keepalives": "1"})

    assert (filled.get("connect_timeout"), filled.get("keepalives")) == ("3", "1")


def test_another_database_on_the_same_server_keeps_role_and_password() -> None:
    other = parse_database_url("postgresql://app:s3cr3t@db/reef").with_database("postgres")

    assert (other.get("dbname"), other.get("user"), other.password) == ("postgres", "app", "s3cr3t")


def test_what_sqlalchemy_passes_to_the_driver_is_taken_over_where_libpq_knows_it() -> None:
    url = parse_database_url("postgresql://app:s3cr3t@db/reef")

    merged = merge_connect_args(url, {"sslmode": "verify-full", "connect_timeout": 5, "cursor_factory": object})

    assert merged == DatabaseUrl((*url.parameters, ("sslmode", "verify-full"), ("connect_timeout", "5")), "s3cr3t")
    assert merge_connect_args(url, {"password": "0ther"}).password == "0ther"


@pytest.mark.parametrize(
    "text",
    [
        "host=db password=s3cr3t user=\udcff",
        "postgresql://app:s3cr3t@db/reef\udcff",
        "postgresql://app:s3cr3t@db/reef%00",
        "postgresql://app:s3cr3t%00@db/reef",
    ],
)
def test_an_address_that_is_no_text_is_refused_without_its_password(text: str) -> None:
    with pytest.raises(UnusableDatabaseUrl) as refused:
        parse_database_url(text)
    assert "UTF-8" in str(refused.value)
    assert "s3cr3t" not in str(refused.value)
