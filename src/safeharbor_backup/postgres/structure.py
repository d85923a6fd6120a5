"""What a database holds besides tables' rows, so that a copy of it can be compared: sequences, views, constraints.

What belongs to an extension is left out, as it is from a dump. The counts include only what a dump of any major version
brings back in the same number. They exclude constraints that a partition has from its parent, those for NOT NULL, which
became constraints in 18, and indexes that were never finished.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, LiteralString

from psycopg import sql

from safeharbor_backup.postgres.query import one_row
from safeharbor_backup.postgres.rows import names_as_bytes, readable
from safeharbor_backup.postgres.views import count_views

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import psycopg

_SEQUENCES_PER_QUERY = 50

_OWN = sql.SQL("""
    {schema} !~ '^pg_' AND {schema} <> 'information_schema'
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                    WHERE d.classid = {kind}::regclass AND d.objid = {id} AND d.deptype = 'e')
""")
_SEQUENCES = sql.SQL("""
    SELECT c.oid, pg_catalog.format('%I.%I', n.nspname, c.relname), s.seqincrement > 0, s.seqcycle
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_catalog.pg_sequence s ON s.seqrelid = c.oid
    WHERE c.relpersistence <> 't' AND {own_class} ORDER BY n.nspname, c.relname
""")
_LAST_VALUES = "SELECT oid, pg_catalog.pg_sequence_last_value(oid) FROM pg_catalog.unnest(%s::pg_catalog.oid[]) oid"
_CONSTRAINTS = sql.SQL("""
    SELECT count(*) FROM pg_catalog.pg_constraint c JOIN pg_catalog.pg_namespace n ON n.oid = c.connamespace
    WHERE c.conparentid = 0 AND c.contype <> 'n' AND {own_table} AND {own_type}
""")
_INDEXES = sql.SQL("""
    SELECT count(*) FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relpersistence <> 't' AND (i.indisvalid OR c.relkind = 'p') AND i.indisready AND {own_class}
""")

_COLUMNS = sql.SQL("""
    SELECT pg_catalog.format('%I.%I', n.nspname, c.relname),
           string_agg(pg_catalog.replace(pg_catalog.quote_ident(a.attname), chr(10), '\\n') || ' '
                      || pg_catalog.format_type(a.atttypid, a.atttypmod), chr(10) ORDER BY a.attnum)
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND {own_class} GROUP BY n.nspname, c.relname
""")


def _own(kind: str, number: LiteralString) -> sql.Composed:
    return _OWN.format(schema=sql.SQL("n.nspname"), kind=sql.Literal(f"pg_catalog.{kind}"), id=sql.SQL(number))


_WHAT_IS_OWN = {
    "own_class": _own("pg_class", "c.oid"),
    "own_table": _own("pg_class", "c.conrelid"),
    "own_type": _own("pg_type", "c.contypid"),
}


@dataclass(frozen=True, slots=True)
class Structure:
    """`sequences` maps `schema.sequence`, quoted as SQL spells it, to its last value; null if it gave none yet.

    `descending` and `cycling` are the names of those that count so. `views` are the materialized ones with their rows.
    `view_hashes` are of their rows, as far as asked for. `columns` has of each table a line for each column.
    """

    sequences: Mapping[str, int | None]
    constraints: int
    indexes: int
    descending: frozenset[str] = frozenset()
    cycling: frozenset[str] = frozenset()
    views: Mapping[str, int | None] = field(default_factory=dict)
    view_hashes: Mapping[str, str] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)


def read_structure(session: psycopg.Connection) -> Structure:
    """The structure of the session's database, within its open transaction. Raises psycopg.Error."""
    with names_as_bytes(session):
        found = session.execute(_SEQUENCES.format(**_WHAT_IS_OWN)).fetchall()
        values = _last_values(session, [oid for oid, *_ in found])
    return Structure(
        sequences={readable(session, quoted): values[oid] for oid, quoted, _, _ in found},
        constraints=_count(session, _CONSTRAINTS),
        indexes=_count(session, _INDEXES),
        descending=frozenset(readable(session, quoted) for _, quoted, ascends, _ in found if not ascends),
        cycling=frozenset(readable(session, quoted) for _, quoted, _, cycles in found if cycles),
        views=count_views(session),
        columns=read_columns(session),
    )


def read_columns(session: psycopg.Connection) -> dict[str, str]:
    """By quoted `schema.table` a line for each of its columns, in order: name and type. Raises psycopg.Error."""
    with names_as_bytes(session):
        found = session.execute(_COLUMNS.format(**_WHAT_IS_OWN)).fetchall()
        return {readable(session, table): readable(session, columns) for table, columns in found}


def _last_values(session: psycopg.Connection, oids: Sequence[int]) -> dict[int, int | None]:
    """Asked as the view pg_sequences does, which would keep one lock for each: in savepoints that give them back."""
    values: dict[int, int | None] = {}
    for start in range(0, len(oids), _SEQUENCES_PER_QUERY):
        session.execute("SAVEPOINT batch")
        values.update(session.execute(_LAST_VALUES, [oids[start : start + _SEQUENCES_PER_QUERY]]).fetchall())
        session.execute("ROLLBACK TO SAVEPOINT batch")  # decision 15
    return values


def _count(session: psycopg.Connection, query: sql.SQL) -> int:
    return int(one_row(session, query.format(**_WHAT_IS_OWN))[0])
