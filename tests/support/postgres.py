"""Real servers of every supported major, and a fresh database with an ordinary owner for each test."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import psycopg
import pytest

from safeharbor_backup.postgres.private_cluster import PrivateServer, find_server_bins, private_server
from support.needs import memory_filesystem, missing

MAJORS = (15, 16, 17, 18)
_OPTIONS = {"max_locks_per_transaction": "128", "max_connections": "60"}
_QUICK_SCRAM = {"scram_iterations": "1"}  # passwords are proven all the same, in a tenth of the time
PASSWORD = "pa:ss/w@rd? #%41'\\"


@dataclass(frozen=True)
class Database:
    """A database of its own, owned by a role that is no superuser and may create databases."""

    server: PrivateServer
    name: str
    owner: str

    @property
    def url(self) -> str:
        """Its address for the owner, over TCP with a password that is hard to spell."""
        password, name = quote(PASSWORD, safe=""), quote(self.name, safe="")
        return f"postgresql://{self.owner}:{password}@127.0.0.1:{self.server.port}/{name}"

    @property
    def superuser_url(self) -> str:
        """Its address for the superuser."""
        return self.server.url(quote(self.name, safe=""))

    def execute(self, query: str, *, superuser: bool = False) -> list[tuple[Any, ...]]:
        """Rows of a query (or several without rows) in this database."""
        return execute(self.superuser_url if superuser else self.url, query)


def execute(url: str, query: str) -> list[tuple[Any, ...]]:
    """Rows of a query."""
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(query)
        return cursor.fetchall() if cursor.description is not None else []


class Servers:
    """Servers started when they are first asked for."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._running: dict[int, PrivateServer] = {}

    def __getitem__(self, major: int) -> PrivateServer:
        if major not in self._running:
            bins = find_server_bins()
            if major not in bins:
                missing(f"there are no server programs of PostgreSQL {major} here")
            server = self._stack.enter_context(
                private_server(
                    bins[major],
                    parent=memory_filesystem(),
                    tcp=True,
                    options=_OPTIONS | (_QUICK_SCRAM if major >= 16 else {}),
                )
            )
            # the superuser by the socket needs no password, everybody else does
            hba = "local all postgres trust\nlocal all all scram-sha-256\nhost all all 127.0.0.1/32 scram-sha-256\n"
            (server.data_dir / "pg_hba.conf").write_text(hba)
            execute(server.url(), "SELECT pg_reload_conf()")
            self._running[major] = server
        return self._running[major]

    def close(self) -> None:
        self._stack.close()


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """Servers by major."""
    running = Servers()
    yield running
    running.close()


@pytest.fixture(params=MAJORS)
def each_server(request: pytest.FixtureRequest, servers: Servers) -> PrivateServer:
    """One server after the other."""
    return servers[request.param]


@pytest.fixture
def server(request: pytest.FixtureRequest, servers: Servers) -> PrivateServer:
    """A server of the newest major, or of the one that `--pg` names."""
    return servers[request.config.getoption("--pg") or MAJORS[-1]]


def make_database(server: PrivateServer, name: str | None = None) -> Database:
    """A fresh database and its owner."""
    mark = secrets.token_hex(4)
    database = Database(server, name or f"app_{mark}", f"owner_{mark}")
    literal = PASSWORD.replace("'", "''")
    with psycopg.connect(server.url(), autocommit=True) as session:
        session.execute(f"CREATE ROLE {database.owner} LOGIN CREATEDB PASSWORD '{literal}'")
        session.execute(f"CREATE DATABASE {_quoted(database.name)} OWNER {database.owner}")
    return database


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def make_beside(database: Database, name: str | None = None) -> Database:
    """Another database of the same owner, which goes when that one is removed: a table of two rows."""
    made = Database(database.server, name or f"stats_{secrets.token_hex(4)}", database.owner)
    execute(database.server.url(), f'CREATE DATABASE "{made.name}" OWNER {made.owner}')
    made.execute("CREATE TABLE visit (id int PRIMARY KEY, page text); INSERT INTO visit VALUES (1, 'a'), (2, 'b')")
    return made


def drop_database(database: Database) -> None:
    """Remove both, sessions and all, and what restores have kept beside it."""
    owned = f"pg_get_userbyid(datdba) = '{database.owner}'"
    with psycopg.connect(database.server.url(), autocommit=True) as session:
        names = {row[0] for row in session.execute(f"SELECT datname FROM pg_database WHERE {owned}")}
        for name in {database.name, *names}:
            drop_subscriptions(database.server, session, name)
            session.execute(f"DROP DATABASE IF EXISTS {_quoted(name)} WITH (FORCE)")
        session.execute(f"DROP ROLE IF EXISTS {database.owner}")


def drop_subscriptions(server: PrivateServer, session: psycopg.Connection, database: str) -> None:
    """A database with subscriptions cannot be dropped; they have no slot to take along."""
    joined = "pg_subscription JOIN pg_database d ON d.oid = subdbid"
    query = f"SELECT quote_ident(subname) FROM {joined} WHERE datname = %s"
    for (name,) in session.execute(query.encode(), (database,)).fetchall():
        session.execute(f"ALTER DATABASE {_quoted(database)} ALLOW_CONNECTIONS true")  # a kept one is closed
        change = f"ALTER SUBSCRIPTION {name}"
        execute(server.url(quote(database, safe="")), f"{change} DISABLE; {change} SET (slot_name = NONE)")
        execute(server.url(quote(database, safe="")), f"DROP SUBSCRIPTION {name}")


@pytest.fixture
def database(server: PrivateServer) -> Iterator[Database]:
    """A fresh database on the newest major."""
    made = make_database(server)
    yield made
    drop_database(made)


@pytest.fixture
def each_database(each_server: PrivateServer) -> Iterator[Database]:
    """A fresh database on one major after the other."""
    made = make_database(each_server)
    yield made
    drop_database(made)
