"""A query that gives one row whatever the data: an aggregate, a function, or what the caller has just found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.errors import FeatureNotSupported, InsufficientPrivilege, UndefinedFunction

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import LiteralString

    from psycopg import sql


def one_row(
    session: psycopg.Connection,
    query: LiteralString | bytes | sql.SQL | sql.Composed,
    arguments: Sequence[object] | None = None,
) -> tuple[Any, ...]:
    """That row. Raises psycopg.Error."""
    [row] = session.execute(query, arguments).fetchall()
    return row


def rows_if_told(session: psycopg.Connection, query: LiteralString) -> list[tuple[Any, ...]]:
    """What a query gives that nothing depends on; none if the server refuses it. Raises if the session is lost."""
    try:
        with session.transaction():
            return session.execute(query).fetchall()
    except psycopg.Error:
        if session.broken:
            raise
        return []


def system_identifier(session: psycopg.Connection) -> str:
    """The cluster's own number, which its replicas have too; "" where we may not ask, as with some managed servers.

    Raises psycopg.Error: an error while looking is not the answer that it is hidden.
    """
    try:
        with session.transaction():
            (number,) = one_row(session, "SELECT system_identifier::text FROM pg_catalog.pg_control_system()")
            return str(number)
    except (InsufficientPrivilege, UndefinedFunction, FeatureNotSupported):
        return ""
