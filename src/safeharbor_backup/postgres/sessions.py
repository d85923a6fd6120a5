"""Who is connected to a database, and how they are made to leave; and how long our own session waits for an answer."""

from __future__ import annotations

import os
import socket
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg

from safeharbor_backup.postgres.query import one_row
from safeharbor_backup.system.threads import Watchdog

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg import Connection

_LEAVING_SECONDS = 10.0
_CLIENTS = """
    SELECT count(*) FROM pg_catalog.pg_stat_activity
    WHERE datname = %s AND pid <> pg_catalog.pg_backend_pid() AND backend_type = 'client backend'
"""
_OTHERS = """
    SELECT pid, usename::text FROM pg_catalog.pg_stat_activity
    WHERE datname = %s AND pid <> pg_catalog.pg_backend_pid()
"""


def count_clients(session: Connection, database: str) -> int:
    """How many clients are connected to that database, without this session. Raises psycopg.Error."""
    return int(one_row(session, _CLIENTS, (database,))[0])


def end_sessions(session: Connection, database: str) -> list[str]:
    """End what we may end there; the roles that were connected just before, each once. Raises psycopg.Error.

    Only a session with a role is somebody's: autovacuum has none, and gives way by itself to whoever wants the
    database; what it is, only a superuser may see.
    """
    found = session.execute(_OTHERS, (database,)).fetchall()
    for pid, _ in found:
        try:
            session.execute("SELECT pg_catalog.pg_terminate_backend(%s)", (pid,))
        except psycopg.errors.InsufficientPrivilege:
            pass  # a superuser's, or another role's: it stays in the list
    return sorted({str(role) for _, role in found if role is not None})


def end_backend(session: Connection, pid: int) -> None:
    """End a session of ours by its process id, and wait until whatever it was doing has ended. Raises psycopg.Error."""
    session.execute("SELECT pg_catalog.pg_terminate_backend(%s)", (pid,))
    deadline = time.monotonic() + _LEAVING_SECONDS
    while session.execute("SELECT FROM pg_catalog.pg_stat_activity WHERE pid = %s", (pid,)).rowcount:
        if time.monotonic() > deadline:
            return
        time.sleep(0.02)


@contextmanager
def answered_within(session: Connection, seconds: float) -> Iterator[None]:
    """Give up the session if the block takes longer: a server that hangs keeps its connections open for ever.

    Then the block raises psycopg.OperationalError, and the session is broken.
    """
    descriptor = session.fileno()

    def give_up() -> None:
        with socket.socket(fileno=os.dup(descriptor)) as connection:
            connection.shutdown(socket.SHUT_RDWR)

    timer = Watchdog(seconds, give_up)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
