"""Sequences that are below what is in their column: the next row would get a number that is taken."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from safeharbor_backup.postgres.rows import names_as_bytes, readable

if TYPE_CHECKING:
    from collections.abc import Sequence

_MOST_SECONDS = 60
_OWNED = """
    SELECT n.nspname, s.relname, tn.nspname, t.relname, a.attname, q.seqincrement > 0
    FROM pg_catalog.pg_sequence q JOIN pg_catalog.pg_class s ON s.oid = q.seqrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = s.relnamespace
    JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = s.oid
         AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.deptype IN ('a', 'i') AND d.refobjsubid > 0
    JOIN pg_catalog.pg_class t ON t.oid = d.refobjid AND t.relkind IN ('r', 'p')
    JOIN pg_catalog.pg_namespace tn ON tn.oid = t.relnamespace
    JOIN pg_catalog.pg_attribute a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid
    WHERE NOT q.seqcycle AND a.atttypid = ANY ('{smallint,integer,bigint}'::regtype[])
    ORDER BY 1, 2
"""
_BEHIND = """
    SELECT s.last_value, s.is_called, c.most FROM {sequence} s, (SELECT {pick}({column}) AS most FROM {table}) c
    WHERE CASE WHEN {ascends} THEN c.most > s.last_value OR (c.most = s.last_value AND NOT s.is_called)
               ELSE c.most < s.last_value OR (c.most = s.last_value AND NOT s.is_called) END
"""


def find_behind(session: psycopg.Connection) -> tuple[list[str], int]:
    """Those, in words, and how many were not looked at for lack of time or of a privilege. Raises psycopg.Error."""
    until = time.monotonic() + _MOST_SECONDS
    behind: list[str] = []
    unseen = 0
    with names_as_bytes(session):
        for *names, ascends in session.execute(_OWNED).fetchall():
            left = until - time.monotonic()
            if left < 1:
                unseen += 1
                continue
            try:
                with session.transaction(force_rollback=True):
                    session.execute(f"SET LOCAL statement_timeout = {int(left * 1000)}".encode())
                    found = session.execute(_query(names, ascends=ascends)).fetchone()
            except (psycopg.errors.InsufficientPrivilege, psycopg.errors.QueryCanceled):
                unseen += 1
                continue
            if found is not None:
                schema, sequence, *column = (readable(session, each) for each in names)
                where = f"the sequence {schema}.{sequence} is at {found[0]}, and {'.'.join(column)} has {found[2]}"
                behind.append(f"{where}: the next row gets a number that is taken")
    return behind, unseen


def catch_up(session: psycopg.Connection, schema: str, table: str) -> tuple[list[str], list[str]]:
    """Set each sequence of a table's columns that is below what is in its column to that, in an open transaction.

    Which ones, and which ones this role may not see or set, in words. Names of the table are as they come within
    `names_as_bytes`. Raises psycopg.Error.
    """
    moved, refused = [], []
    for *names, ascends in session.execute(_OWNED).fetchall():
        if names[2:4] != [schema, table]:
            continue
        shown = f"the sequence {readable(session, '.'.join(names[:2]))}"
        try:
            with session.transaction():
                found = session.execute(_query(names, ascends=ascends)).fetchone()
                if found is not None:
                    place = sql.Identifier(*names[:2]).as_string(session)
                    session.execute("SELECT pg_catalog.setval(%s::pg_catalog.regclass, %s)", (place, found[2]))
                    moved.append(f"{shown} from {found[0]} to {found[2]}")
        except psycopg.errors.InsufficientPrivilege as error:
            refused.append(f"{shown} may give numbers that are taken, and was not set: {error.diag.message_primary}")
    return moved, refused


def _query(names: Sequence[str], *, ascends: bool) -> sql.Composed:
    """`names` as they came within `names_as_bytes`."""
    sequence_schema, sequence, table_schema, table, column = names
    return sql.SQL(_BEHIND).format(
        sequence=sql.Identifier(sequence_schema, sequence),
        pick=sql.SQL("max" if ascends else "min"),
        column=sql.Identifier(column),
        table=sql.Identifier(table_schema, table),
        ascends=sql.Literal(ascends),
    )
