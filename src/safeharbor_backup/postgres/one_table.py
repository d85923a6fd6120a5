"""One table taken out of one database, and put into another or a file: beside the live one, or rows that it lacks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, LiteralString

from psycopg import sql

from safeharbor_backup.errors import CannotRestore
from safeharbor_backup.postgres.behind_sequences import catch_up
from safeharbor_backup.postgres.query import one_row
from safeharbor_backup.postgres.rows import readable, sendable
from safeharbor_backup.text import ascii_safe

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
# of a table that is not there, the database's owner alone
_OWNERS = """
    SELECT o.rolname::text FROM pg_catalog.pg_roles o
    WHERE NOT o.rolsuper AND (SELECT r.rolsuper FROM pg_catalog.pg_roles r WHERE r.rolname = current_user)
      AND (o.oid = (SELECT d.datdba FROM pg_catalog.pg_database d WHERE d.datname = current_database())
           OR o.oid IN (SELECT c.relowner FROM pg_catalog.pg_class c
                        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                        WHERE n.nspname = %s AND c.relname = %s))
"""
_INCOMING = sql.Identifier("pg_temp", "safeharbor_incoming")


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its type as SQL spells it, and what its values depend on."""

    name: str
    type: str
    is_not_null: bool
    is_generated: bool
    collation: str | None
    is_key: bool


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


@dataclass(frozen=True, slots=True)
class Missing:
    """How many rows of the archive the live table lacks, has as they were, and has with another content."""

    missing: int
    same: int
    different: int


@dataclass(frozen=True, slots=True)
class Inserted:
    """How many rows, which sequences were set, and which could not be, in words."""

    rows: int = 0
    sequences: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def read_table(session: psycopg.Connection, table: TableName) -> tuple[Column, ...]:
    """Its columns in order; none if there is no such table. Raises psycopg.Error."""
    with session.transaction():
        session.execute("SET LOCAL search_path = ''")  # types with their schema, whoever asks
        return tuple(Column(*row) for row in session.execute(_COLUMNS, (table.schema, table.name)).fetchall())


def require_no_more_than_owner(session: psycopg.Connection, table: TableName) -> None:
    """Raises CannotRestore if a superuser would run the triggers, operators and types of an owner that is not one."""
    found = session.execute(_OWNERS, (table.schema, table.name)).fetchone()
    if found is not None:
        owner = _shown(session, found[0])
        raise CannotRestore(
            f'This connects as a superuser, and {_shown(session, table)} belongs to "{owner}", whose functions would '
            "run as a superuser.",
            hint="Let BACKUP_DATABASE_URL name the app's own role, or take the rows into a file with --csv or --sql.",
            intact="Nothing was changed.",
        )


def _shown(session: psycopg.Connection, name: object) -> str:
    """A name of the server's in a message."""
    return ascii_safe(readable(session, str(name)))


def copy_out(
    session: psycopg.Connection, table: TableName, columns: Sequence[Column], where: str, options: LiteralString = ""
) -> Iterator[bytes]:
    """The rows for which `where` holds, as COPY writes them, in a transaction that can change nothing.

    Raises psycopg.Error.
    """
    condition = sql.SQL("WHERE ({}\n)").format(sql.SQL(sendable(session, where))) if where else sql.SQL("")
    query = sql.SQL("COPY (SELECT {} FROM ONLY {} {}) TO STDOUT {}").format(
        _names(columns), table.identifier, condition, sql.SQL(options)
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
    definitions = sql.SQL(", ").join(_definition(column) for column in columns)
    with session.transaction():
        session.execute(sql.SQL("CREATE TABLE {} ({})").format(table.identifier, definitions))
        session.execute(sql.SQL("REVOKE ALL ON {} FROM PUBLIC").format(table.identifier))
        return _copy_in(session, table.identifier, columns, rows)


def require_fitting(
    session: psycopg.Connection, archived: Sequence[Column], live: Sequence[Column], table: TableName
) -> None:
    """Raises CannotRestore if rows with these columns cannot go into the live table, of which `session` is."""
    there = {column.name: column for column in live}
    named = _shown(session, table)
    if not live:
        raise CannotRestore(
            f"The live database has no table {named}.", hint="Leave out --into-live: the rows then go into a new table."
        )
    if not any(column.is_key for column in live):
        raise CannotRestore(
            f"The live table {named} has no primary key, so its rows cannot be matched with those of the archive.",
            hint="Leave out --into-live: the rows then go into a table beside it, to compare by hand.",
        )
    wrong = [f"{each.name} is not there" for each in archived if each.name not in there and not each.is_generated]
    wrong += [
        f"{each.name} is {there[each.name].type} there and {each.type} in the archive"
        for each in archived
        if each.name in there and there[each.name].type != each.type
    ]
    known = {each.name for each in archived}
    wrong += [f"the key's {each.name} is not in the archive" for each in live if each.is_key and each.name not in known]
    if wrong:
        raise CannotRestore(
            f"The live table {named} has other columns: {_shown(session, '; '.join(wrong))}.",
            hint="Leave out --into-live: the rows then go into a table beside it, to insert by hand.",
        )


def take_in(session: psycopg.Connection, table: TableName, columns: Sequence[Column], rows: Iterator[bytes]) -> Missing:
    """Put the rows into a table of this session alone, and compare it with the live one. Raises psycopg.Error."""
    definitions = sql.SQL(", ").join(_definition(column) for column in columns)
    session.execute(sql.SQL("CREATE TEMP TABLE {} ({})").format(sql.Identifier("safeharbor_incoming"), definitions))
    with session.transaction():
        _copy_in(session, _INCOMING, columns, rows)
    live = {column.name: column for column in read_table(session, table)}
    keys = [column for column in live.values() if column.is_key]
    others = [column for column in columns if column.name in live and not live[column.name].is_key]
    # by their text: not every type can be compared
    differs = sql.SQL(" OR ").join(
        [
            sql.SQL("false"),
            *(sql.SQL("l.{0}::text IS DISTINCT FROM i.{0}::text").format(_name(each)) for each in others),
        ]
    )
    query = sql.SQL(
        "SELECT count(*) FILTER (WHERE l.{key} IS NULL), count(*) FILTER (WHERE l.{key} IS NOT NULL AND ({differs})), "
        "count(*) FROM {incoming} i LEFT JOIN {table} l ON {same}"
    ).format(key=_name(keys[0]), differs=differs, incoming=_INCOMING, table=table.identifier, same=_same(keys))
    missing, different, rows = one_row(session, query)
    return Missing(missing, rows - missing - different, different)


def insert_missing(session: psycopg.Connection, table: TableName, columns: Sequence[Column]) -> Inserted:
    """Insert what `take_in` found missing, in one transaction, with triggers and constraints at work, and let sequences
    go on behind it.

    Raises psycopg.Error; then nothing was inserted.
    """
    live = read_table(session, table)
    computed = {column.name for column in live if column.is_generated}
    plain = [column for column in columns if column.name not in computed and not column.is_generated]
    query = sql.SQL(
        "INSERT INTO {table} ({names}) OVERRIDING SYSTEM VALUE SELECT {names} FROM {incoming} i "
        "WHERE NOT EXISTS (SELECT FROM {table} l WHERE {same})"
    ).format(
        table=table.identifier,
        names=_names(plain),
        incoming=_INCOMING,
        same=_same([column for column in live if column.is_key]),
    )
    with session.transaction():
        rows = session.execute(query).rowcount
        moved, refused = catch_up(session, table.schema, table.name)
        return Inserted(rows, tuple(moved), tuple(refused))


def _copy_in(
    session: psycopg.Connection, table: sql.Identifier, columns: Sequence[Column], rows: Iterator[bytes]
) -> int:
    with session.cursor() as cursor:
        with cursor.copy(sql.SQL("COPY {} ({}) FROM STDIN").format(table, _names(columns))) as copy:
            for block in rows:
                copy.write(block)
        return cursor.rowcount


def _definition(column: Column) -> sql.Composable:
    parts: list[sql.Composable] = [_name(column), sql.SQL(column.type)]
    if column.collation:
        parts.append(sql.SQL(f"COLLATE {column.collation}"))
    if column.is_not_null:
        parts.append(sql.SQL("NOT NULL"))
    return sql.SQL(" ").join(parts)


def _name(column: Column) -> sql.Identifier:
    return sql.Identifier(column.name)


def _names(columns: Sequence[Column]) -> sql.Composable:
    return sql.SQL(", ").join(map(_name, columns))


def _same(keys: Sequence[Column]) -> sql.Composable:
    return sql.SQL(" AND ").join(sql.SQL("l.{0} = i.{0}").format(_name(key)) for key in keys)
