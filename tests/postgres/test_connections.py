"""Addresses in every form that users of SQLAlchemy and libpq write, each against a real server."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from support.postgres import PASSWORD, Database, Servers, drop_database, make_database
from support.runs import Site

P = quote(PASSWORD, safe="")

# {user} {port} {name} {socket} and {esocket} (percent-encoded) are filled in; the password is `P` or in the environment
FORMS = {
    "plain": "postgresql://{user}:{p}@127.0.0.1:{port}/{name}",
    "the short scheme": "postgres://{user}:{p}@127.0.0.1:{port}/{name}",
    "upper case": "POSTGRESQL://{user}:{p}@127.0.0.1:{port}/{name}",
    "psycopg 3": "postgresql+psycopg://{user}:{p}@127.0.0.1:{port}/{name}",
    "psycopg 2": "postgresql+psycopg2://{user}:{p}@127.0.0.1:{port}/{name}",
    "asyncpg without TLS": "postgresql+asyncpg://{user}:{p}@127.0.0.1:{port}/{name}?ssl=disable",
    "pg8000": "postgresql+pg8000://{user}:{p}@127.0.0.1:{port}/{name}",
    "a name to resolve": "postgresql://{user}:{p}@localhost:{port}/{name}",
    "a dead host first": "postgresql://{user}:{p}@127.0.0.1:1,127.0.0.1:{port}/{name}",
    "several hosts as SQLAlchemy has it": "postgresql+psycopg://{user}:{p}@/{name}?host=127.0.0.1:1&host=127.0.0.1:{port}",
    "several hosts in one value": "postgresql://{user}:{p}@/{name}?host=127.0.0.1,127.0.0.1&port=1,{port}",
    "the host in the query": "postgresql://{user}:{p}@/{name}?host=127.0.0.1&port={port}",
    "everything in the query": "postgresql:///?host=127.0.0.1&port={port}&user={user}&password={p}&dbname={name}",
    "TLS if there is any": "postgresql://{user}:{p}@127.0.0.1:{port}/{name}?sslmode=prefer",
    "no TLS": "postgresql://{user}:{p}@127.0.0.1:{port}/{name}?sslmode=disable",
    "options": "postgresql://{user}:{p}@127.0.0.1:{port}/{name}?options=-c%20search_path%3Dpublic%20-c%20work_mem%3D5MB",
    "options as SQLAlchemy writes them": "postgresql://{user}:{p}@127.0.0.1:{port}/{name}?options=-c+search_path%3Dpublic",
    "an application's name": "postgresql://{user}:{p}@127.0.0.1:{port}/{name}?application_name=the+reef",
    "unknown keys": "postgresql+psycopg://{user}:{p}@127.0.0.1:{port}/{name}?x=y&pool_size=5&prepare_threshold=0",
    "a timeout of its own": "postgresql://{user}:{p}@127.0.0.1:{port}/{name}?connect_timeout=3",
    "session attributes": "postgresql://{user}:{p}@127.0.0.1:{port}/{name}?target_session_attrs=read-write",
    "keywords": "host=127.0.0.1 port={port} user={user} dbname={name} password={quoted}",
    "keywords and an address": "host=x hostaddr=127.0.0.1 port={port} user={user} dbname={name} password={quoted}",
    "a password in the environment": "postgresql://{user}@127.0.0.1:{port}/{name}",
    "keywords without a password": "host=127.0.0.1 port={port} user={user} dbname={name}",
    "the socket in the query": "postgresql://{user}:{p}@/{name}?host={socket}&port={port}",
    "the socket, encoded": "postgresql://{user}:{p}@{esocket}:{port}/{name}",
    "the socket by keywords": "host={socket} port={port} user={user} dbname={name} password={quoted}",
    "spaces around it": "  postgresql://{user}:{p}@127.0.0.1:{port}/{name}  ",
}


@pytest.fixture(scope="module")
def shared(servers: Servers) -> Iterator[Database]:
    """One database for all forms."""
    made = make_database(servers[18])
    made.execute("CREATE TABLE t AS SELECT 1 AS one")
    yield made
    drop_database(made)


def fill(form: str, database: Database) -> str:
    socket = str(database.server.socket_dir)
    escaped = PASSWORD.replace("\\", "\\\\").replace("'", "\\'")
    return form.format(
        user=database.owner,
        p=P,
        port=database.server.port,
        name=quote(database.name, safe=""),
        socket=socket,
        esocket=quote(socket, safe=""),
        quoted=f"'{escaped}'",
    )


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_an_address_in_this_form_is_backed_up(shared: Database, tmp_path: Path, form: str) -> None:
    site = Site(tmp_path, fill(form, shared))

    done = site.run("backup", "--json", PGPASSWORD=PASSWORD)

    assert done.status == 0, done.output
    assert done.document["rows"] == 1


def test_a_password_file_is_used(shared: Database, tmp_path: Path) -> None:
    file = tmp_path / "pgpass"
    escaped = PASSWORD.replace("\\", "\\\\").replace(":", "\\:")
    file.write_text(f"127.0.0.1:{shared.server.port}:*:{shared.owner}:{escaped}\n")
    file.chmod(0o600)
    site = Site(tmp_path, f"postgresql://{shared.owner}@127.0.0.1:{shared.server.port}/{shared.name}")

    assert site.run("backup", PGPASSFILE=str(file)).status == 0


def test_a_service_file_is_used(shared: Database, tmp_path: Path) -> None:
    file = tmp_path / "services"
    file.write_text(f"[reef]\nhost=127.0.0.1\nport={shared.server.port}\nuser={shared.owner}\ndbname={shared.name}\n")
    site = Site(tmp_path, "service=reef")

    assert site.run("backup", PGSERVICEFILE=str(file), PGPASSWORD=PASSWORD).status == 0


SPELLINGS: dict[str, Callable[[str], str]] = {
    "all escaped": lambda password: quote(password, safe=""),
    "escaped as a form would": lambda password: quote(password, safe="~()*!.'-_"),
    "slashes as they are": lambda password: quote(password, safe="/"),
    "signs as they are": lambda password: password.replace("%", "%25"),
}
PASSWORDS = [
    "plain",
    "p@ss",
    "p:a:s",
    "a/b/c",
    "a?b#c",
    "100%",
    "sp ace",
    "quo'te\"",
    "back\\slash",
    "ümläut€",
    "a=b&c;d",
]


@pytest.mark.parametrize("spell", SPELLINGS.values(), ids=SPELLINGS.keys())
def test_nasty_passwords_are_read_as_they_are_written(
    shared: Database, tmp_path: Path, spell: Callable[[str], str]
) -> None:
    site = Site(tmp_path, "")
    for number, password in enumerate(PASSWORDS):
        role = f"nasty_{number}_{time.monotonic_ns()}"
        literal = password.replace("'", "''")
        shared.server.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{literal}' IN ROLE pg_read_all_data")
        address = f"postgresql://{role}:{spell(password)}@127.0.0.1:{shared.server.port}/{shared.name}"

        done = site.run("backup", "--no-prune", BACKUP_DATABASE_URL=address)

        shared.server.execute(f"DROP ROLE {role}")
        assert done.status == 0, (password, done.output)
        assert password == "plain" or password not in done.output


@pytest.mark.parametrize("name", ["with space", "quo'te", 'dou"ble', "a=b", "100%", "n" * 60, "Ümläut", "back\\slash"])
def test_a_database_of_any_name_is_backed_up(servers: Servers, tmp_path: Path, name: str) -> None:
    made = make_database(servers[18], name)
    try:
        made.execute("CREATE TABLE t AS SELECT 1")
        done = Site(tmp_path, made.url).run("backup", "--json")
    finally:
        drop_database(made)

    assert done.status == 0, done.output
    assert done.document["tables"] == 1


def test_the_password_is_on_no_command_line(shared: Database, tmp_path: Path) -> None:
    shared.execute("CREATE TABLE large AS SELECT g, repeat(md5(g::text), 50) FROM generate_series(1, 50000) g")
    site = Site(tmp_path, shared.url)
    spellings = {PASSWORD.encode(), P.encode(), quote_plus(PASSWORD).encode()}
    run = site.start("backup")
    lines: set[bytes] = set()
    while run.poll() is None:
        lines |= command_lines(run.pid)
    run.communicate()

    shared.execute("DROP TABLE large")
    assert run.returncode == 0
    assert any(b"pg_dump" in line for line in lines)
    assert not any(spelling in line for spelling in spellings for line in lines)


def command_lines(pid: int) -> set[bytes]:
    """What a process and those below it were started with, as everybody on the host may see."""
    found = set()
    try:
        found.add(Path(f"/proc/{pid}/cmdline").read_bytes())
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            for child in children.read_text().split():
                found |= command_lines(int(child))
    except OSError:
        pass  # it has ended
    return found
