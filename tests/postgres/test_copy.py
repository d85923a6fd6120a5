"""A copy for staging or a laptop: never into what is configured, changed before anybody can connect, or not there."""

from __future__ import annotations

import shutil
import tarfile
from typing import TYPE_CHECKING

import pytest

import support.archives
from support.hostile import CASES
from support.postgres import execute
from support.states import tree_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.postgres import Database
    from support.runs import Outcome, Site

MASK = """-- what must not leave production
SET statement_timeout = '1min';
UPDATE account SET mail = 'user' || id || '@example.org';
"""


@pytest.fixture
def shop(site: Site, database: Database) -> Site:
    database.execute(
        "CREATE TABLE account (id int PRIMARY KEY, mail text, entry int REFERENCES entry);"
        "INSERT INTO account SELECT g, 'real' || g || '@secret.example', g FROM generate_series(1, 50) g;"
        "CREATE MATERIALIZED VIEW mails AS SELECT mail FROM account; ANALYZE account"
    )
    assert site.run("backup").status == 0
    return site


@pytest.fixture
def staging(shop: Site, database: Database) -> Iterator[str]:
    """The name of a database that is not there yet."""
    name = f"{database.name}_staging"
    yield name
    execute(database.server.url(), f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def url_of(database: Database, name: str) -> str:
    return database.url.replace(f"/{database.name}", f"/{name}")


def copy(site: Site, url: str, *more: str, uploads: Path | None = None, **extra: str) -> Outcome:
    where = ["--to-uploads", str(uploads)] if uploads is not None else ["--no-uploads"]
    return site.run("copy", "--from", "latest", "--to-database", url, *where, *more, timeout=120, **extra)


def ask(database: Database, name: str, query: str) -> list[tuple[object, ...]]:
    return [tuple(row) for row in execute(database.server.url(name), query)]


def databases(database: Database) -> list[str]:
    query = f"SELECT datname FROM pg_database WHERE datname LIKE '{database.name}%' ORDER BY 1"
    return [str(row[0]) for row in execute(database.server.url(), query)]


def test_a_copy_has_everything_and_is_changed_before_anybody_can_connect(
    shop: Site, database: Database, staging: str, tmp_path: Path
) -> None:
    (tmp_path / "mask.sql").write_text(MASK)
    to = tmp_path / "staging" / "uploads"
    before = tree_of(shop.uploads)

    done = copy(shop, url_of(database, staging), "--run-sql", str(tmp_path / "mask.sql"), uploads=to)

    assert done.status == 0, done.output
    assert "3 tables, 560 rows" in done.stdout
    assert tree_of(to) == before == tree_of(shop.uploads)
    masked = ask(database, staging, "SELECT count(*) FROM account WHERE mail LIKE '%secret%'")
    assert masked == ask(database, staging, "SELECT count(*) FROM mails WHERE mail LIKE '%secret%'") == [(0,)]
    kept = "SELECT count(*) FROM pg_stats WHERE concat(most_common_vals, histogram_bounds) LIKE '%secret%'"
    assert ask(database, staging, kept) == [(0,)]
    assert ask(database, staging, "SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND convalidated") == [(2,)]
    assert database.execute("SELECT count(*) FROM account WHERE mail LIKE '%secret%'") == [(50,)]
    grants = "SELECT has_database_privilege('public', datname, 'CONNECT') FROM pg_database WHERE datname = "
    assert ask(database, staging, f"{grants}'{staging}'") == [(True,)]
    assert databases(database) == [database.name, staging]

    again = copy(shop, url_of(database, staging), uploads=to)
    assert (again.status, "is not empty" in again.stderr) == (8, True)
    again = copy(shop, url_of(database, staging))
    assert (again.status, "--replace" in again.stderr) == (8, True)
    (to / "old").write_text("of the last copy")
    execute(database.server.url(staging), "CREATE TABLE old_table (); GRANT SELECT ON account TO PUBLIC")
    execute(database.server.url(), f"REVOKE CONNECT ON DATABASE {staging} FROM PUBLIC")
    again = copy(shop, url_of(database, staging), "--replace", "--json", uploads=to)

    assert again.status == 0, again.output
    assert again.document["rows"] == 560
    assert tree_of(to) == before
    assert ask(database, staging, "SELECT to_regclass('old_table')") == [(None,)]
    assert ask(database, staging, f"{grants}'{staging}'") == [(False,)]  # the rights on the one that it replaces
    assert databases(database) == [database.name, staging]


def test_the_configured_database_is_never_the_target(shop: Site, database: Database) -> None:
    superuser = database.server.url(database.name)
    for url, extra in (
        (database.url, {}),
        (database.url.replace("127.0.0.1", "localhost"), {}),
        (superuser, {}),
        (superuser, {"RESTORE_DATABASE_URL": database.server.url()}),
    ):
        done = copy(shop, url, "--replace", "--tables", "account", uploads=None, **extra)

        assert (done.status, "a copy never goes there" in done.stderr) == (8, True), done.output
    assert database.execute("SELECT count(*) FROM entry") == [(500,)]
    assert databases(database) == [database.name]


def test_a_configured_database_that_cannot_be_asked_may_be_the_target(
    shop: Site, database: Database, staging: str
) -> None:
    gone = "postgresql://nobody@127.0.0.1:9/none"

    done = copy(shop, url_of(database, staging), BACKUP_DATABASE_URL=gone)

    assert done.status == 8, done.output
    assert "did not say whether it is the database to copy into" in done.stderr
    assert "without BACKUP_DATABASE_URL" in done.stderr
    assert copy(shop, url_of(database, staging), BACKUP_DATABASE_URL="").status == 0


def test_the_configured_directories_are_never_the_target(
    shop: Site, database: Database, staging: str, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(shop.uploads)
    before = tree_of(shop.uploads)
    for to in (
        shop.uploads,
        tmp_path / "link",
        tmp_path / "link" / ".." / "uploads",
        shop.uploads / "new" / "deeper",
        tmp_path,
        shop.backups / "x",
        shop.backups,
    ):
        done = copy(shop, url_of(database, staging), "--replace", uploads=to)

        assert (done.status, "a copy never goes there" in done.stderr) == (8, True), (to, done.output)
    assert tree_of(shop.uploads) == before
    assert shop.archives
    assert databases(database) == [database.name]


FAILING = (
    ("UPDATE account SET mail = '';\nUPDATE accunt SET x = 1;", 8, 'line 2, failed: relation "accunt" does not'),
    ("SELECT 1/0", 8, "division by zero"),
    ("BEGIN; UPDATE account SET mail = ''", 8, "leaves a transaction open"),
    ("\\set x 1\nSELECT 1;", 8, "psql's commands"),
    ("-- nothing\n\n", 2, "nothing to run"),
    ("COPY account TO STDOUT", 8, "failed"),
)


def test_sql_that_fails_leaves_no_copy(shop: Site, database: Database, staging: str, tmp_path: Path) -> None:
    for script, status, says in FAILING:
        (tmp_path / "a\nb.sql").write_text(script)

        done = copy(shop, url_of(database, staging), "--run-sql", str(tmp_path / "a\nb.sql"), uploads=tmp_path / "to")

        assert (done.status, says in done.stderr) == (status, True), done.output
        assert "No copy was made" in done.stderr or status == 2
        assert databases(database) == [database.name]
        assert not (tmp_path / "to").exists()


def test_the_rows_of_some_tables_have_the_structure_of_all(shop: Site, database: Database, staging: str) -> None:
    done = copy(shop, url_of(database, staging), "--tables", "public.account, photo")

    assert done.status == 0, done.output
    counts = "SELECT (SELECT count(*) FROM account), (SELECT count(*) FROM photo), (SELECT count(*) FROM entry)"
    assert ask(database, staging, counts) == [(50, 10, 0)]
    assert ask(database, staging, "SELECT count(*) FROM pg_constraint WHERE contype = 'f'") == [(2,)]
    missing = copy(shop, url_of(database, staging), "--replace", "--tables", "acount\x1b[2J")
    assert (missing.status, "The nearest: public.account" in missing.stderr) == (2, True), missing.output
    assert "\x1b" not in missing.stderr
    assert ask(database, staging, counts) == [(50, 10, 0)]


def test_a_laptop_needs_no_role_of_the_productions(shop: Site, database: Database, staging: str) -> None:
    archive = shop.archives[0]
    with_password = database.server.url(staging)
    execute(database.server.url(), f"ALTER ROLE {database.owner} RENAME TO {database.owner}_x")
    try:
        done = shop.run(
            "copy", "--from", str(archive), "--to-database", with_password, "--no-uploads", BACKUP_DATABASE_URL=""
        )
    finally:
        execute(database.server.url(), f"ALTER ROLE {database.owner}_x RENAME TO {database.owner}")

    assert done.status == 0, done.output
    assert ask(database, staging, "SELECT DISTINCT tableowner::text FROM pg_tables WHERE schemaname = 'public'") == [
        ("postgres",)
    ]


def test_a_hostile_archive_becomes_no_copy(
    shop: Site, database: Database, staging: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tarfile.open(shop.archives[0]) as tar:
        dump = tar.extractfile("db.dump")
        assert dump is not None
        monkeypatch.setattr(support.archives, "DUMP", dump.read())
    to, hostile = tmp_path / "to", tmp_path / "hostile.tar"
    tables = {"public.entry": 500, "public.photo": 10, "public.account": 50}
    facts = support.archives.Facts(tables=tables)
    hostile.write_bytes(support.archives.assemble([support.archives.uploads_root()], facts=facts))
    target = ["--to-database", url_of(database, staging), "--to-uploads", str(to)]
    assert shop.run("copy", "--from", str(hostile), *target).status in (0, 3)
    shutil.rmtree(to)
    before = tree_of(shop.backups)
    for case in [CASES[name] for name in sorted(CASES)][::16]:
        parts = [support.archives.uploads_root(), *case.parts]
        hostile.write_bytes(support.archives.assemble(parts, facts=facts))

        done = shop.run("copy", "--from", str(hostile), *target, "--replace")

        assert (done.status, case.says in done.stderr) == (5, True), done.output
        assert not to.exists()
    assert databases(database) == [database.name, staging]
    assert tree_of(shop.backups) == before


MISTAKES = (
    (["--to-database", "postgresql://h/x"], "one of --to-uploads DIRECTORY and --no-uploads"),
    (["--to-database", "postgresql://h/postgres", "--no-uploads"], "an application's database, not postgres"),
    (["--to-database", "postgresql://h", "--no-uploads"], "names the database to copy into"),
    (["--to-database", "mysql://h/x", "--no-uploads"], "--to-database: expected"),
    (["--to-database", "postgresql://h/x", "--no-uploads", "--tables", "a,,b"], "a name is empty"),
    (["--to-database", "postgresql://h/x", "--no-uploads", "--run-sql", "/nonexistent"], "cannot be read"),
)


def test_a_mistake_is_2(shop: Site) -> None:
    for arguments, says in MISTAKES:
        done = shop.run("copy", "--from", "latest", *arguments)

        assert (done.status, says in " ".join(done.stderr.split())) == (2, True), done.output
    failed = shop.run("copy", "--from", "latest", "--json", *MISTAKES[1][0])
    assert failed.document["exit_status"] == 2


@pytest.mark.parametrize(
    ("made", "says"),
    [
        ("CREATE TABLE t ()", "with 1 table."),
        ("CREATE MATERIALIZED VIEW v AS SELECT 1 AS one", "with 1 object."),
        ("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE SEQUENCE s", "with 2 objects."),
        ("SELECT lo_from_bytea(0, 'somebody''s')", "with 1 object."),
        ("CREATE SCHEMA nothing", ""),
    ],
)
def test_a_database_with_anything_in_it_is_not_replaced_unasked(
    shop: Site, database: Database, staging: str, made: str, says: str
) -> None:
    url = url_of(database, staging)
    execute(database.server.url(), f'CREATE DATABASE "{staging}" OWNER "{database.owner}"')
    execute(database.server.url(staging), made)

    done = copy(shop, url)

    assert done.status == (8 if says else 0), done.output
    assert says in done.stderr
    kept = ask(database, staging, "SELECT to_regclass('account') IS NULL")
    assert kept == [(bool(says),)]


@pytest.mark.parametrize(
    ("script", "status", "says"),
    [
        (b"\xef\xbb\xbfUPDATE account SET mail = ''", 0, ""),
        (b"UPDATE account SET mail = '';\n\0UPDATE entry SET remark = ''", 2, "there is a NUL in it"),
        ("UPDATE account SET mail = ''".encode("utf-16"), 2, "it is not UTF-8"),
    ],
)
def test_a_script_is_run_as_a_whole_or_not_at_all(
    shop: Site, database: Database, staging: str, tmp_path: Path, script: bytes, status: int, says: str
) -> None:
    path = tmp_path / "mask.sql"
    path.write_bytes(script)

    done = copy(shop, url_of(database, staging), "--run-sql", str(path))

    assert done.status == status, done.output
    assert says in done.stderr
    if status == 0:
        assert ask(database, staging, "SELECT DISTINCT mail FROM account") == [("",)]
    assert (staging in databases(database)) == (status == 0)
