"""What a restore by the backup's own role would refuse, told the same night."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from safeharbor_backup.errors import one_line
from safeharbor_backup.postgres.contents import DumpContents, read_needs
from safeharbor_backup.postgres.dump_input import DumpInput
from safeharbor_backup.postgres.entry_selection import select_entries
from safeharbor_backup.postgres.lost_rights import (
    GRANTOR,
    LABELS,
    OF_A_SUPERUSER,
    WAY,
    Grantors,
    closed_tablespaces,
    labels_need_a_library,
    not_of_a_superuser,
    owned_by_others_than_superusers,
    read_grantors,
)
from safeharbor_backup.postgres.privilege_entries import choose_privileges
from safeharbor_backup.postgres.remaining import (
    creatable_extensions,
    tables_of_extensions,
    usable_extensions,
    what_remains,
)
from safeharbor_backup.postgres.toc import UnknownToc, read_toc

if TYPE_CHECKING:
    from collections.abc import Callable

    from safeharbor_backup.actions.backup.manifest_content import DumpRecord
    from safeharbor_backup.settings.model import Settings

_SHOWN = 3

# whoever may create databases and is, or is a member of, this one's owner restores beside it
_ROLE = """
    SELECT current_user::text, pg_catalog.pg_get_userbyid(d.datdba), r.rolsuper
    FROM pg_catalog.pg_roles r, pg_catalog.pg_database d
    WHERE r.rolname = current_user AND d.datname = current_database()
      AND (r.rolsuper OR r.rolcreatedb AND pg_catalog.pg_has_role(d.datdba, 'USAGE'))
"""


def find_refusals(
    descriptor: int,
    written: DumpRecord,
    session: psycopg.Connection,
    settings: Settings,
    note: Callable[[str], None],
) -> list[str]:
    """Sentences about what makes a restore by the session's role end with 8, by the very dump in this archive.

    If another role restores, only what no role can do. Nothing of a role that does not restore into a database of its
    own. What cannot be seen is a note.
    """
    try:
        with session.transaction(force_rollback=True):  # or the last query's portal holds its snapshot, and back vacuum
            return _refusals(descriptor, written, session, settings)
    except (UnknownToc, OSError, psycopg.Error) as error:
        why = one_line(error) if isinstance(error, psycopg.Error) else str(error)
        note(f"could not check whether the backup's own role can restore it: {why}")
        return []


def _refusals(descriptor: int, written: DumpRecord, session: psycopg.Connection, settings: Settings) -> list[str]:
    row = session.execute(_ROLE).fetchone()
    if row is None and settings.restore_database is None:
        return []
    with DumpInput(Path(f"/proc/self/fd/{descriptor}"), written.offset, written.size).opened() as dump:
        toc = read_toc(dump)
    contents = DumpContents(tuple(f"{number};" for number in toc), "", written.tools, toc)
    refusals = [
        f"a restore would end with 8: the extension {name} works in one database only, so a second one cannot be built "
        f"beside it. Restore with --in-place; BACKUP_IGNORE={name} silences this"
        for name in contents.bound_extensions
        if name not in settings.ignore
    ]
    if row is None or settings.restore_database is not None:
        return refusals
    role, owner, is_superuser = row
    found = _of_superuser(contents, session, owner) if is_superuser else _of_owner(contents, session, role, owner)
    return refusals + [f'a restore by "{role}" would end with 8: {each}' for each in found]


def _of_superuser(contents: DumpContents, session: psycopg.Connection, owner: str) -> list[str]:
    grantors = read_grantors(session, contents.toc, owner)
    vain = choose_privileges(contents.entries, contents.toc, None, set(), grantors=grantors).vain
    refusals = [f"{_some([what for what, _ in vain])}. {GRANTOR}"] if vain else []
    others = owned_by_others_than_superusers(session, contents.toc.values())
    return refusals + [f"{not_of_a_superuser(role, thing)}. {OF_A_SUPERUSER}" for role, thing in others[:_SHOWN]]


def _of_owner(contents: DumpContents, session: psycopg.Connection, role: str, owner: str) -> list[str]:
    entries, _ = select_entries(contents, creatable_extensions(session))
    found = what_remains(contents, entries, lambda names: tables_of_extensions(session, names))
    refusals = []
    if found.users:
        names = {entry.name for entry in found.missing}
        is_usable = usable_extensions(session, names) == names
        in_place = ", or restore with --in-place, which keeps what already exists of it" if is_usable else ""
        refusals.append(f"{found.sentence(role)} {WAY}{in_place}")
    opened = choose_privileges(found.entries, contents.toc, owner, set(), grantors=Grantors()).opened
    if opened:
        refusals.append(
            f"only a superuser may revoke again what was revoked from all roles: {_some(opened)}. {WAY}, or restore "
            "with --in-place, or --accept-open"
        )
    if labels_need_a_library(session, contents.toc.values(), session.info.dbname):
        refusals.append(f"{LABELS}. {WAY}, or restore with --in-place")
    closed = closed_tablespaces(session, owner, read_needs(contents.toc).tablespaces)
    if closed:
        refusals.append(
            f'"{owner}" may not create anything in the tablespace {", ".join(closed)}. '
            f'GRANT CREATE ON TABLESPACE … TO "{owner}"'
        )
    return refusals


def _some(items: list[str]) -> str:
    more = f" and {len(items) - _SHOWN:,} more" if len(items) > _SHOWN else ""
    return "; ".join(items[:_SHOWN]) + more
