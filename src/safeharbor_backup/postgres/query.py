"""A query that gives one row whatever the data: an aggregate, a function, or what the caller has just found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import LiteralString

    import psycopg
    from psycopg import sql


def one_row(
    session: psycopg.Connection,
    query: LiteralString | bytes | sql.SQL | sql.Composed,
    arguments: Sequence[object] | None = None,
) -> tuple[Any, ...]:
    """That row. Raises psycopg.Error."""
    [row] = session.execute(query, arguments).fetchall()
    return row
