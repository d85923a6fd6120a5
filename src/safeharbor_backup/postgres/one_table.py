"""One table taken out of one database, and put into another or a file: as a table beside the live one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, LiteralString

from psycopg import sql

from safeharbor_backup.postgres.rows import sendable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import psycopg

_COLUMNS = """
    SELECT a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attgenerated <> '',
           CASE WHEN a.attcollation <> t.typcollation
                THEN (SELECT pg_catalog.format('%%I.%%I', n.nspname, c.collname) FROM pg_catalog.pg_collation c
                      JOIN pg_catalog.pg_namespace n ON n.oid = c.collnamespace WHERE c.oid = a.attcollation) END,
           coalesce(a.attnum = ANY (i.indkey[0:i.indnkeyatts - 1]), false)
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
    LEFT JOIN pg_catalog.pg_index i ON i.indrelid = c.oid AND i.indisprimary
    WHERE n.nspname = %s AND c.relname = %s AND c.relkind IN ('r', 'p') ORDER BY a.attnum
"""


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its type as SQL spells it, and what its values depend on."""

    name: str
    type: str
    is_not_null: bool
    is_generated: bool
    collation: str | None
    is_key: bool

    @property
    def identifier(self) -> sql.Identifier:
        """The name as a statement writes it."""
        return sql.Identifier(self.name)

    @property
    def definition(self) -> sql.Composable:
        """What a new table has for it: a plain value, whatever computed it."""
        parts: list[sql.Composable] = [self.identifier, sql.SQL(self.type)]
        if self.collation:
            parts.append(sql.SQL(f"COLLATE {self.collation}"))
        if self.is_not_null:
            parts.append(sql.SQL("NOT NULL"))
        return sql.SQL(" ").join(parts)


@dataclass(frozen=True, slots=True)
class TableName:
    """The name of a table, with its schema."""

    schema: str
    name: str

    @property
    def identifier(self) -> sql.Identifier:
        """The name as a statement writes it."""
        return sql.Identifier(self.schema, self.name)

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


def read_table(session: psycopg.Connection, table: TableName) -> tuple[Column, ...]:
    """Its columns in order; none if there is no such table. Raises psycopg.Error."""
    with session.transaction():
        session.execute("SET LOCAL search_path = ''")  # types with their schema, whoever asks
        return tuple(Column(*row) for row in session.execute(_COLUMNS, (table.schema, table.name)).fetchall())


def copy_out(
    session: psycopg.Connection, table: TableName, columns: Sequence[Column], where: str, options: LiteralString = ""
) -> Iterator[bytes]:
    """The rows for which `where` holds, as COPY writes them, in a transaction that can change nothing.

    Raises psycopg.Error.
    """
    condition = sql.SQL("WHERE ({}\n)").format(sql.SQL(sendable(session, where))) if where else sql.SQL("")
    query = sql.SQL("COPY (SELECT {} FROM ONLY {} {}) TO STDOUT {}").format(
        names_of(columns), table.identifier, condition, sql.SQL(options)
    )
    with session.transaction():
        session.execute("SET TRANSACTION READ ONLY")
        with session.cursor().copy(query) as copy:
            for block in copy:
                yield bytes(block)


def put_beside(session: psycopg.Connection, table: TableName, columns: Sequence[Column], rows: Iterator[bytes]) -> int:
    """A new table of these columns with these rows, which nobody but its owner may read; how many there are.

    What a generated or identity column had is there as a plain value. Raises psycopg.Error.
    """
    with session.transaction():
        session.execute(sql.SQL("CREATE TABLE {} ({})").format(table.identifier, definitions_of(columns)))
        session.execute(sql.SQL("REVOKE ALL ON {} FROM PUBLIC").format(table.identifier))
        return copy_in(session, table.identifier, columns, rows)


def copy_in(
    session: psycopg.Connection, table: sql.Identifier, columns: Sequence[Column], rows: Iterator[bytes]
) -> int:
    """Put the rows into that table, as COPY reads them; how many there were. Raises psycopg.Error."""
    with session.cursor() as cursor:
        with cursor.copy(sql.SQL("COPY {} ({}) FROM STDIN").format(table, names_of(columns))) as copy:
            for block in rows:
                copy.write(block)
        return cursor.rowcount


def definitions_of(columns: Sequence[Column]) -> sql.Composable:
    """What stands between the parentheses of CREATE TABLE."""
    return sql.SQL(", ").join(column.definition for column in columns)


def names_of(columns: Sequence[Column]) -> sql.Composable:
    """The names of the columns, as a statement lists them."""
    return sql.SQL(", ").join(column.identifier for column in columns)
