"""Columns that hold paths of uploads: `[schema.]table.column`, spelled as SQL spells names, and their values."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg
from psycopg import sql

from safeharbor_backup.errors import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_PART = r'"(?:[^"]|"")+"|[^\W\d][\w$]*'
_REFERENCE = re.compile(rf"(?:(?P<schema>{_PART})\.)?(?P<table>{_PART})\.(?P<column>{_PART})")
_ROWS_AT_ONCE = 5000
_FIND = """
    SELECT n.nspname, c.relname, t.typcategory::text
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_catalog.pg_attribute a
        ON a.attrelid = c.oid AND a.attname = %s AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
    WHERE c.oid = pg_catalog.to_regclass(%s) AND c.relkind = ANY ('{r,p,v,m,f}')
"""
_ARRAY = "A"


class UnknownReference(Exception):
    """Why a column cannot be read, in words that name it."""


class _Column(NamedTuple):
    schema: str
    table: str
    name: str
    is_array: bool


def read_values(session: psycopg.Connection[Any], reference: str) -> Iterator[str]:
    """The values of the column that are not null, of an array each element, within the session's open transaction.

    They are streamed: memory does not grow with the rows. Raises UnknownReference if it is not there or cannot be read,
    psycopg.Error if the server is lost.
    """
    session.execute("SAVEPOINT reference")
    try:
        column = _find(session, reference)
        with session.cursor(name="references") as cursor:
            cursor.itersize = _ROWS_AT_ONCE
            cursor.execute(_query(column))
            for (value,) in cursor:
                yield value
    except psycopg.Error as error:
        if session.broken:
            raise
        session.execute("ROLLBACK TO SAVEPOINT reference")
        raise UnknownReference(f"{reference}: {one_line(error)}") from error
    session.execute("ROLLBACK TO SAVEPOINT reference")  # which gives the table's lock back


def find_unknown_references(session: psycopg.Connection[Any], references: Sequence[str]) -> list[str]:
    """Those that are not there, each with the reason. Raises psycopg.Error."""
    unknown = []
    for reference in references:
        try:
            _find(session, reference)
        except UnknownReference as error:
            unknown.append(str(error))
    return unknown


def _find(session: psycopg.Connection[Any], reference: str) -> _Column:
    parts = _REFERENCE.fullmatch(reference)
    if parts is None:
        raise UnknownReference(f"{reference}: expected table.column or schema.table.column")
    schema, table, name = (_folded(parts[each]) for each in ("schema", "table", "column"))
    quoted = ".".join('"' + part.replace('"', '""') + '"' for part in (schema, table) if part)
    row = session.execute(_FIND, (name, quoted)).fetchone()
    if row is None:
        raise UnknownReference(f"{reference}: there is no table {'.'.join(filter(None, (schema, table)))}")
    if row[2] is None:
        raise UnknownReference(f"{reference}: the table {row[0]}.{row[1]} has no column {name}")
    return _Column(row[0], row[1], name, row[2] == _ARRAY)


def _query(column: _Column) -> sql.Composed:
    table, name = sql.Identifier(column.schema, column.table), sql.Identifier(column.name)
    if column.is_array:
        query = sql.SQL("SELECT e::text FROM {} t, unnest(t.{}) e WHERE e IS NOT NULL")
    else:
        query = sql.SQL("SELECT t.{1}::text FROM {0} t WHERE t.{1} IS NOT NULL")
    return query.format(table, name)


def _folded(part: str | None) -> str:
    """A name as the catalog has it; SQL makes small letters of what is not quoted."""
    if part is None:
        return ""
    return part[1:-1].replace('""', '"') if part.startswith('"') else part.lower()
