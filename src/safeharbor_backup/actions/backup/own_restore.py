"""What a restore by the backup's own role would refuse, told the same night."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from safeharbor_backup.archive.layout import DUMP_OFFSET
from safeharbor_backup.errors import one_line
from safeharbor_backup.postgres.contents import DumpContents, DumpInput, select_entries
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

_SHOWN = 3
_WAY = "Set RESTORE_DATABASE_URL to a superuser on that server"

# whoever may create databases and is, or is a member of, this one's owner restores beside it
_ROLE = """
    SELECT current_user::text, pg_catalog.pg_get_userbyid(d.datdba) FROM pg_catalog.pg_roles r, pg_catalog.pg_database d
    WHERE r.rolname = current_user AND d.datname = current_database()
      AND NOT r.rolsuper AND r.rolcreatedb AND pg_catalog.pg_has_role(d.datdba, 'USAGE')
"""


def find_refusals(
    descriptor: int,
    written: DumpRecord,
    session: psycopg.Connection,
    note: Callable[[str], None],
) -> list[str]:
    """Sentences about what makes a restore by the session's role end with 8, by the very dump in this archive.

    Nothing of a role that does not restore into a database of its own. What cannot be seen is a note.
    """
    try:
        row = session.execute(_ROLE).fetchone()
        if row is None:
            return []
        with DumpInput(Path(f"/proc/self/fd/{descriptor}"), DUMP_OFFSET, written.size).opened() as dump:
            toc = read_toc(dump)
        return _judge(DumpContents(tuple(f"{number};" for number in toc), "", written.tools, toc), session, *row)
    except (UnknownToc, OSError, psycopg.Error) as error:
        why = one_line(error) if isinstance(error, psycopg.Error) else str(error)
        note(f"whether its own role could restore it could not be seen: {why}")
        return []


def _judge(contents: DumpContents, session: psycopg.Connection, role: str, owner: str) -> list[str]:
    entries, _ = select_entries(contents, creatable_extensions(session))
    found = what_remains(contents, entries, lambda names: tables_of_extensions(session, names))
    refusals = []
    if found.users:
        names = {entry.name for entry in found.missing}
        is_usable = usable_extensions(session, names) == names
        in_place = ", or restore with --in-place, which keeps what is there of it" if is_usable else ""
        refusals.append(f"{found.sentence(role)} {_WAY}{in_place}")
    opened = choose_privileges(found.entries, contents.toc, owner, set()).opened
    if opened:
        more = f" and {len(opened) - _SHOWN:,} more" if len(opened) > _SHOWN else ""
        refusals.append(
            f"only a superuser may close again what is closed to all roles: {'; '.join(opened[:_SHOWN])}{more}. "
            f"{_WAY}, or restore with --in-place, or --accept-open"
        )
    return [f'a restore by "{role}" would end with 8: {each}' for each in refusals]
