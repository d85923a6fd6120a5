"""What may be wrong inside a database although it can be dumped: its collations, its pages, what was never finished."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, LiteralString

import psycopg

from safeharbor_backup.errors import one_line
from safeharbor_backup.postgres.rows import names_as_bytes, readable
from safeharbor_backup.text import ascii_safe, plural

if TYPE_CHECKING:
    from collections.abc import Callable

_SHOWN = 5

# a version that was recorded and that the library does not report any more is another library's
_DATABASE_COLLATION = """
    SELECT datcollversion, pg_catalog.pg_database_collation_actual_version(oid) FROM pg_catalog.pg_database
    WHERE datname = current_database() AND datcollversion IS NOT NULL
      AND datcollversion IS DISTINCT FROM pg_catalog.pg_database_collation_actual_version(oid)
"""
# an update of the library changes hundreds of them: those that something uses
_COLLATIONS = """
    SELECT pg_catalog.format('%I.%I', n.nspname, c.collname), c.collversion,
           pg_catalog.pg_collation_actual_version(c.oid)
    FROM pg_catalog.pg_collation c JOIN pg_catalog.pg_namespace n ON n.oid = c.collnamespace
    WHERE c.collversion IS NOT NULL
      AND (c.oid >= 16384 OR EXISTS (SELECT FROM pg_catalog.pg_depend d
           WHERE d.refclassid = 'pg_catalog.pg_collation'::regclass AND d.refobjid = c.oid))
      AND c.collversion IS DISTINCT FROM pg_catalog.pg_collation_actual_version(c.oid)
    ORDER BY 1
"""
_CHECKSUMS = """
    SELECT coalesce(sum(checksum_failures), 0)::bigint, max(checksum_last_failure)::text
    FROM pg_catalog.pg_stat_database WHERE datname = current_database() OR datid = 0
"""
_INVALID_INDEXES = """
    SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) FROM pg_catalog.pg_index i
    JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'i' AND NOT (i.indisvalid AND i.indisready) AND n.nspname !~ '^pg_' ORDER BY 1
"""
_NOT_VALID = """
    SELECT pg_catalog.format('%I on %I.%I', c.conname, n.nspname, coalesce(r.relname, t.typname))
    FROM pg_catalog.pg_constraint c LEFT JOIN pg_catalog.pg_class r ON r.oid = c.conrelid
    LEFT JOIN pg_catalog.pg_type t ON t.oid = c.contypid
    JOIN pg_catalog.pg_namespace n ON n.oid = coalesce(r.relnamespace, t.typnamespace)
    WHERE NOT c.convalidated AND c.conparentid = 0 {enforced} ORDER BY 1
"""


@dataclass(frozen=True, slots=True)
class Damage:
    """A sentence about what is wrong, and what to do."""

    text: str
    remedy: str


def find_damage(session: psycopg.Connection, note: Callable[[str], None]) -> list[Damage]:
    """What the server says of damage in the session's database, within its open transaction.

    A question that the server refuses is a note. Raises psycopg.Error only if the session is lost.
    """
    found = []
    for look in (_look_at_collations, _look_at_checksums):
        try:
            with session.transaction():
                found += look(session)
        except psycopg.Error as error:
            if session.broken or session.closed:
                raise
            note(f"whether the database is damaged could not be seen: {one_line(error)}")
    return found


def _look_at_collations(session: psycopg.Connection) -> list[Damage]:
    changed = [("the database", *row) for row in session.execute(_DATABASE_COLLATION).fetchall()]
    with names_as_bytes(session):
        named = session.execute(_COLLATIONS).fetchall()
    changed += [(f"the collation {_shown(session, name)}", *versions) for name, *versions in named]
    if not changed:
        return []
    versions = [
        f"{name} was made with version {ascii_safe(recorded)} of its collation, the server's library has "
        f"{ascii_safe(actual or 'none')}"
        for name, recorded, actual in changed
    ]
    return [
        Damage(
            f"{_shortened(versions, '; ')}: indexes on text may miss rows, and unique ones may have let duplicates in",
            "To repair that, take a backup now and restore it: the restore rebuilds every index and names the rows "
            "that break a unique one. By hand: REINDEX DATABASE, then ALTER DATABASE (or COLLATION) … REFRESH VERSION.",
        )
    ]


def _look_at_checksums(session: psycopg.Connection) -> list[Damage]:
    row = session.execute(_CHECKSUMS).fetchone()
    if row is None or not row[0]:
        return []
    return [
        Damage(
            f"the server has found {plural(row[0], 'damaged page')} in this database (checksum failures), the last "
            f"at {row[1]}",
            "Keep the older archives, and look at the disk and the server's log. After a restore onto a good disk the "
            "count starts again; SELECT pg_stat_reset() resets it by hand.",
        )
    ]


def find_unfinished(session: psycopg.Connection) -> list[str]:
    """Sentences about indexes that are invalid and constraints that are NOT VALID. Raises psycopg.Error."""
    enforced: LiteralString = "AND c.conenforced" if session.info.server_version >= 180000 else ""
    indexes = _names(session, _INVALID_INDEXES)
    constraints = _names(session, _NOT_VALID.format(enforced=enforced))
    found = []
    if indexes:
        found.append(f"invalid indexes, which are in no dump: {_shortened(indexes, ', ')}")
    if constraints:
        found.append(f"constraints that are NOT VALID, which a restore brings back as they are: "
                     f"{_shortened(constraints, ', ')}")  # fmt: skip
    return found


def _names(session: psycopg.Connection, query: LiteralString) -> list[str]:
    with names_as_bytes(session):
        return [_shown(session, row[0]) for row in session.execute(query).fetchall()]


def _shown(session: psycopg.Connection, name: str) -> str:
    return ascii_safe(readable(session, name))


def _shortened(texts: list[str], separator: str) -> str:
    more = f"{separator}and {len(texts) - _SHOWN:,} more" if len(texts) > _SHOWN else ""
    return separator.join(texts[:_SHOWN]) + more
