"""Rows of one table put into the live one, which gets those that it lacks: `extract --table --into-live`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import sql

from safeharbor_backup.errors import CannotRestore
from safeharbor_backup.postgres.behind_sequences import catch_up
from safeharbor_backup.postgres.one_table import copy_in, definitions_of, names_of, read_table
from safeharbor_backup.postgres.query import one_row
from safeharbor_backup.postgres.rows import readable
from safeharbor_backup.text import ascii_safe

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import psycopg

    from safeharbor_backup.postgres.one_table import Column, TableName

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
    incoming = sql.Identifier("safeharbor_incoming")
    session.execute(sql.SQL("CREATE TEMP TABLE {} ({})").format(incoming, definitions_of(columns)))
    with session.transaction():
        copy_in(session, _INCOMING, columns, rows)
    live = {column.name: column for column in read_table(session, table)}
    keys = [column for column in live.values() if column.is_key]
    others = [column for column in columns if column.name in live and not live[column.name].is_key]
    # by their text: not every type can be compared
    differs = sql.SQL(" OR ").join(
        [
            sql.SQL("false"),
            *(sql.SQL("l.{0}::text IS DISTINCT FROM i.{0}::text").format(each.identifier) for each in others),
        ]
    )
    query = sql.SQL(
        "SELECT count(*) FILTER (WHERE l.{key} IS NULL), count(*) FILTER (WHERE l.{key} IS NOT NULL AND ({differs})), "
        "count(*) FROM {incoming} i LEFT JOIN {table} l ON {same}"
    ).format(key=keys[0].identifier, differs=differs, incoming=_INCOMING, table=table.identifier, same=_same(keys))
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
        names=names_of(plain),
        incoming=_INCOMING,
        same=_same([column for column in live if column.is_key]),
    )
    with session.transaction():
        rows = session.execute(query).rowcount
        moved, refused = catch_up(session, table.schema, table.name)
        return Inserted(rows, tuple(moved), tuple(refused))


def _same(keys: Sequence[Column]) -> sql.Composable:
    return sql.SQL(" AND ").join(sql.SQL("l.{0} = i.{0}").format(key.identifier) for key in keys)
