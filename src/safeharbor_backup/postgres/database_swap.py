"""Closing a database to everybody, and the one transaction that puts another in its place."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import psycopg
from psycopg import sql

from safeharbor_backup.errors import CannotRestore, one_line
from safeharbor_backup.postgres.sessions import end_sessions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safeharbor_backup.postgres.target import Target

_TRIES = 40
_PAUSE_SECONDS = 0.25
_LOCK_TIMEOUT = "5s"

# A server, role or database may have switched it off: a crash would then take the commit back, and not the uploads.
# "local" waits for our own disk, and for no standby; every other value does at least that.
COMMIT_ON_DISK = (
    "SELECT pg_catalog.set_config('synchronous_commit', 'local', true) WHERE "
    "pg_catalog.current_setting('synchronous_commit') = 'off'"
)


def bring_to_disk(session: psycopg.Connection) -> None:
    """See that a crash takes back nothing that the server has answered by now, whatever it was told to wait for.

    Neither what tools have loaded, nor the ids of transactions: it goes on behind the last one on its disk, and an id
    that is given twice would have two fates. Raises psycopg.Error.
    """
    with session.transaction():
        session.execute(COMMIT_ON_DISK)
        session.execute("SELECT pg_catalog.pg_logical_emit_message(true, 'safeharbor', '')")


def close_database(target: Target, name: str) -> None:
    """Let nobody in any more, and end the sessions that are there, in bounded time.

    Raises CannotRestore, after opening it again, if a session or a prepared transaction stays.
    """
    session = target.session
    for is_last in (False, True):
        try:
            with target.answering(), session.transaction():
                session.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(sql.Literal(_LOCK_TIMEOUT)))
                session.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(sql.Identifier(name)))
            break
        except psycopg.Error as error:
            if session.broken:
                raise
            if isinstance(error, psycopg.errors.LockNotAvailable) and not is_last:
                end_sessions(session, name)  # a GRANT ON DATABASE in an open transaction is enough to hold it
                continue
            raise CannotRestore(f'The database "{name}" cannot be closed: {one_line(error)}.') from error
    try:
        _empty(target, name)
    except CannotRestore:
        open_database(target, name)
        raise


def open_database(target: Target, name: str) -> None:
    """Let sessions in again; nothing if there is no such database, or it is open. Raises psycopg.Error."""
    found = target.find(name)
    if found is not None and not found.is_open:
        with target.answering():
            target.session.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(sql.Identifier(name)))


class Exchange(NamedTuple):
    """What becomes of the database named `live`: it is named `outgoing`, and the one named `incoming` takes its name.

    `outgoing` "": there is none of that name. `incoming` "": none takes it.
    """

    live: str
    outgoing: str
    incoming: str


def exchange_databases(target: Target, exchanges: Sequence[Exchange]) -> None:
    """Do all of them in one transaction: its commit is the restore.

    Raises CannotRestore if it was rolled back, psycopg.Error if the server was lost.
    """
    session = target.session
    deadline = time.monotonic() + _TRIES * _PAUSE_SECONDS
    while True:
        try:
            with target.answering(), session.transaction():
                session.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(sql.Literal(_LOCK_TIMEOUT)))
                session.execute(COMMIT_ON_DISK)  # decision 73
                for live, outgoing, incoming in exchanges:
                    if outgoing:
                        session.execute(_rename(live, outgoing))
                    if incoming:
                        session.execute(_rename(incoming, live))
                        allow = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true")
                        session.execute(allow.format(sql.Identifier(live)))
        except psycopg.Error as error:
            if session.broken:
                raise
            if isinstance(error, psycopg.errors.ObjectInUse) and time.monotonic() < deadline:
                for name in [name for each in exchanges for name in (each.live, each.incoming) if name]:
                    end_sessions(session, name)
                time.sleep(_PAUSE_SECONDS)
                continue
            raise CannotRestore(f"The databases cannot be exchanged: {one_line(error)}.") from error
        return


def _empty(target: Target, name: str) -> None:
    for _ in range(_TRIES):
        with target.answering():
            left = end_sessions(target.session, name)
        if not left:
            break
        time.sleep(_PAUSE_SECONDS)
    else:
        raise CannotRestore(
            f'The database "{name}" is in use by {", ".join(left)}, whose sessions this role may not end.',
            hint="End them (a superuser's sessions only a superuser can), then run this again.",
        )
    prepared = target.prepared_transactions(name)
    if prepared:
        raise CannotRestore(
            f'The database "{name}" has prepared transactions: {", ".join(prepared)}.',
            hint="Finish each there: COMMIT PREPARED 'name'; or ROLLBACK PREPARED 'name';",
        )


def _rename(name: str, to: str) -> sql.Composed:
    return sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(name), sql.Identifier(to))
