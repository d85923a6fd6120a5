"""What of a dump is the work, or the property, of roles that have lost the right that it took.

A database keeps what was granted or made by such a role. Nobody can do it again for that role, not even a superuser.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from safeharbor_backup.postgres.grants import read_grants, tokens_of
from safeharbor_backup.postgres.query import one_row

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import psycopg

    from safeharbor_backup.postgres.grants import Grant
    from safeharbor_backup.postgres.toc_entries import TocEntry

_QUALIFIED = re.compile(r'("(?:[^"]|"")*"|[^\s"(),;.]+)(\.)?')
_OF_SUPERUSERS = ("EVENT TRIGGER", "FOREIGN DATA WRAPPER")  # no other role may own one
GRANTOR = (
    "`--accept-broken` leaves it out and writes it into a file. For the next backups, give that role back what it "
    "needs, or revoke what it granted."
)
OF_A_SUPERUSER = (
    "`--accept-broken` leaves it to the role that restores. For the next backups, give it to a superuser in the live "
    "database: ALTER … OWNER TO …;"
)
_ROLES = """
    SELECT r.rolname, r.rolsuper,
           ARRAY(SELECT m.rolname::text FROM pg_catalog.pg_roles m WHERE pg_catalog.pg_has_role(r.oid, m.oid, 'USAGE'))
    FROM pg_catalog.pg_roles r WHERE r.rolname = ANY(%s)
"""
WAY = "Set RESTORE_DATABASE_URL to a superuser on that server"
LABELS = (
    "The dump has security labels, and the database loads their provider by session_preload_libraries, which only a "
    "superuser may set for another one"
)
_LOADS_A_LIBRARY = """
    SELECT count(*) > 0 FROM pg_catalog.pg_db_role_setting s JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase,
      pg_catalog.unnest(s.setconfig) line
    WHERE d.datname = %s AND s.setrole = 0 AND line ~ '^session_preload_libraries=.*[^"]'
"""
_CLOSED = """
    SELECT spcname FROM pg_catalog.pg_tablespace
    WHERE spcname = ANY(%s) AND NOT pg_catalog.has_tablespace_privilege(%s::name, oid, 'CREATE') ORDER BY 1
"""


@dataclass(frozen=True, slots=True)
class Grantors:
    """Who granted something in the dump that is not the grantor's own: the schemas that each may use in a restore."""

    users: Mapping[str, frozenset[str]] = field(default_factory=dict)  # of each schema of the dump
    acts_as: Mapping[str, frozenset[str]] = field(default_factory=dict)  # each grantor that is not a superuser

    def refusal(self, grant: Grant) -> str:
        """Why its grantor cannot give it again; "" if that is not seen."""
        roles = self.acts_as.get(grant.grantor)
        if roles is None:
            return ""
        closed = [name for name in _schemas_in(grant.sql) if name in self.users and roles.isdisjoint(self.users[name])]
        return f'"{grant.grantor}", who granted this, may not use the schema {closed[0]} any more' if closed else ""


def read_grantors(session: psycopg.Connection, toc: Mapping[int, TocEntry], owner: str) -> Grantors:
    """The grantors in a dump of a database of this owner. Raises psycopg.Error."""
    acls = [entry for entry in toc.values() if entry.kind == "ACL"]
    names = {grant.grantor for entry in acls for grant in read_grants(entry.definition)} - {""}
    if not names:
        return Grantors()
    acts_as = {
        str(name): frozenset({"PUBLIC", *roles, *(("pg_database_owner",) if owner in roles else ())})
        for name, is_superuser, roles in session.execute(_ROLES, (sorted(names),)).fetchall()
        if not is_superuser
    }
    users = {"public": {"PUBLIC", "pg_database_owner"}}
    users |= {entry.name: {entry.owner} for entry in toc.values() if entry.kind == "SCHEMA"}
    for entry in acls:
        name = entry.name.removeprefix("SCHEMA ")
        if not entry.schema and name in users:
            for grant in read_grants(entry.definition):
                _change(users[name], grant.sql)
    return Grantors({name: frozenset(roles) for name, roles in users.items()}, acts_as)


def _change(users: set[str], statement: str) -> None:
    """What `GRANT ALL ON SCHEMA s TO r` or `REVOKE USAGE ON SCHEMA s FROM PUBLIC` changes."""
    verb, *rest = tokens_of(statement)
    words = [word.text for word in rest]
    where = next((number for number, word in enumerate(words) if word == "ON"), 0)
    if words[where + 1 : where + 2] != ["SCHEMA"] or not {"ALL", "USAGE"} & set(words[:where]):
        return
    roles = set(words[where + 4 : where + 5])
    if verb.text == "GRANT":
        users |= roles
    else:
        users -= roles


def _schemas_in(statement: str) -> list[str]:
    """The schemas in the names that a statement has, in order."""
    found = (each[1] for each in _QUALIFIED.finditer(statement) if each[2])
    return [name[1:-1].replace('""', '"') if name.startswith('"') else name for name in found]


def owned_by_others_than_superusers(
    session: psycopg.Connection, entries: Iterable[TocEntry]
) -> list[tuple[str, TocEntry]]:
    """Role and thing, where only a superuser may own that and the role is none any more. Raises psycopg.Error."""
    things = [entry for entry in entries if entry.kind in _OF_SUPERUSERS and entry.owner]
    if not things:
        return []
    found = session.execute(_ROLES, (sorted({entry.owner for entry in things}),)).fetchall()
    superusers = {str(name) for name, is_superuser, _ in found if is_superuser}
    return [(entry.owner, entry) for entry in things if entry.owner not in superusers]


def not_of_a_superuser(role: str, thing: TocEntry) -> str:
    """The sentence about an owner that is no longer a superuser."""
    return f'The {thing.what} belongs to "{role}", and only a superuser may own it'


def labels_need_a_library(session: psycopg.Connection, entries: Iterable[TocEntry], database: str) -> bool:
    """Whether there are labels that nobody but a superuser restores into another database. Raises psycopg.Error."""
    if not any(entry.kind == "SECURITY LABEL" for entry in entries):
        return False
    return bool(one_row(session, _LOADS_A_LIBRARY, (database,))[0])


def closed_tablespaces(session: psycopg.Connection, role: str, names: Iterable[str]) -> list[str]:
    """Those of these tablespaces in which the role may make nothing. Raises psycopg.Error."""
    return [str(row[0]) for row in session.execute(_CLOSED, (sorted(names), role)).fetchall()]
