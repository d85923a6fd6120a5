"""What a role may read in a database, and so what pg_dump could dump as that role; asked, never tried."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from safeharbor_backup.postgres.query import one_row

if TYPE_CHECKING:
    import psycopg

# What pg_dump locks and reads: tables, partitioned ones and sequences, but nothing of an extension apart from the rows
# that the extension itself declares as the user's (pg_extension.extconfig).
_DUMPED = """
    SELECT pg_catalog.format('%I.%I', n.nspname, c.relname), c.relkind = 'S',
           pg_catalog.has_schema_privilege(n.oid, 'USAGE')
           AND CASE WHEN c.relkind = 'S' THEN pg_catalog.has_sequence_privilege(c.oid, 'SELECT')
                    ELSE pg_catalog.has_table_privilege(c.oid, 'SELECT') END,
           c.relkind <> 'S' AND pg_catalog.row_security_active(c.oid)
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'S') AND c.relpersistence <> 't'
      AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
      AND (NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                       WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
           OR EXISTS (SELECT FROM pg_catalog.pg_extension e WHERE c.oid = ANY (e.extconfig)))
    ORDER BY 1
"""
# there is no has_largeobject_privilege before 18; a superuser is a member of every role
_UNREADABLE_LARGE_OBJECTS = """
    SELECT pg_catalog.count(*) FROM pg_catalog.pg_largeobject_metadata m
    WHERE NOT pg_catalog.pg_has_role(m.lomowner, 'USAGE')
      AND NOT EXISTS (SELECT FROM pg_catalog.aclexplode(m.lomacl) a WHERE a.privilege_type = 'SELECT'
                      AND CASE WHEN a.grantee = 0 THEN true ELSE pg_catalog.pg_has_role(a.grantee, 'USAGE') END)
"""


@dataclass(frozen=True, slots=True)
class ReadPrivileges:
    """What stands between a role and a whole dump; names as SQL spells them."""

    tables: int
    unreadable: tuple[str, ...]
    hidden: tuple[str, ...]
    unreadable_large_objects: int


def read_privileges(session: psycopg.Connection) -> ReadPrivileges:
    """What the session's role may read of what pg_dump reads.

    `unreadable` are tables and sequences without the right to read them or to use their schemas; `hidden` are tables
    whose policies would hide rows from the role, and which pg_dump therefore refuses. Raises psycopg.Error.
    """
    rows = session.execute(_DUMPED).fetchall()
    objects = one_row(session, _UNREADABLE_LARGE_OBJECTS)
    return ReadPrivileges(
        tables=sum(not is_sequence for _, is_sequence, _, _ in rows),
        unreadable=tuple(str(name) for name, _, may_read, _ in rows if not may_read),
        hidden=tuple(str(name) for name, _, _, is_hidden in rows if is_hidden),
        unreadable_large_objects=int(objects[0]),
    )


def installed_extensions(session: psycopg.Connection) -> tuple[str, ...]:
    """The extensions in the session's database, without the one that is in every new one. Raises psycopg.Error."""
    query = "SELECT extname FROM pg_catalog.pg_extension WHERE extname <> 'plpgsql' ORDER BY 1"
    return tuple(str(row[0]) for row in session.execute(query).fetchall())
