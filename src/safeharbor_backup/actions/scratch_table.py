"""A table of an archive, found by its name and loaded into a scratch database, as a drill has it.

So types, functions and defaults are those of the archive.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import TYPE_CHECKING

from safeharbor_backup.actions.drill.place import create_copy, dropped_at_the_end, find_server
from safeharbor_backup.actions.drill.report import Report
from safeharbor_backup.actions.restore.request import opened_for_restore
from safeharbor_backup.archive.layout import dump_name
from safeharbor_backup.errors import ArchiveNotFound, ArchiveRejected
from safeharbor_backup.postgres.contents import number_of
from safeharbor_backup.postgres.one_table import TableName, read_table
from safeharbor_backup.postgres.rows import names_as_bytes, readable, sendable
from safeharbor_backup.postgres.scratch_database import mark_scratch, scratch_name
from safeharbor_backup.postgres.side_names import new_id
from safeharbor_backup.postgres.toc_entries import PRE_DATA
from safeharbor_backup.text import ascii_safe

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import psycopg

    from safeharbor_backup.actions.restore.request import OpenArchive
    from safeharbor_backup.postgres.one_table import Column
    from safeharbor_backup.postgres.toc_entries import TocEntry
    from safeharbor_backup.progress import Progress
    from safeharbor_backup.settings.model import Settings

_CHUNK = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ScratchTable:
    """A table of an archive, and a session in the scratch database that has it.

    Names are as they come within `names_as_bytes`. `database`: its name in the archive, "" of the main one.
    """

    database: str
    table: TableName
    columns: tuple[Column, ...]
    session: psycopg.Connection
    taken_at: datetime | None
    warnings: list[str]

    @property
    def encoding(self) -> str:
        """What a script for psql is written in."""
        return "SQL_ASCII" if self.session.info.parameter_status("server_encoding") == "SQL_ASCII" else "UTF8"

    def shown(self, name: object) -> str:
        """A name as people and files write it."""
        return readable(self.session, str(name))

    def named(self, table: TableName) -> str:
        """A table of this database, as the command takes it."""
        return f"{self.database}:{self.shown(table)}" if self.database else self.shown(table)


@contextmanager
def opened_table(archive: Path, name: str, settings: Settings, progress: Progress) -> Iterator[ScratchTable]:
    """A session in a scratch database that has this table with its rows. Raises SafeHarborError."""
    # decision 96
    with opened_for_restore(archive) as whole, ExitStack() as stack:
        opened, name = _choose_database(whole, name)
        _prove_dump(opened)
        report = Report(archive, datetime.now(UTC))
        [main] = find_server(stack, settings, [opened], report, progress)
        server, plan = main.server, main.plan
        toc = plan.contents.toc
        wanted = find_rows_of(toc, name, opened.path.name)
        entries = tuple(
            entry
            for entry in plan.entries
            if (found := toc[number_of(entry)]).section == PRE_DATA or found.number == wanted.number
        )
        scratch = scratch_name(server.target.name, new_id())
        stack.enter_context(dropped_at_the_end(server.target, scratch, progress.warn))
        copy = create_copy(server, opened, replace(plan, entries=entries), scratch, progress.note)
        mark_scratch(server.target, scratch, archive.name)
        copy.loader.load(entries, 1)
        session = stack.enter_context(copy.session())
        stack.enter_context(names_as_bytes(session))
        table = TableName(sendable(session, wanted.schema), sendable(session, wanted.name))
        warnings = [] if opened.front is not None else ["it was written by another program and has no checksums"]
        yield ScratchTable(opened.name, table, read_table(session, table), session, opened.taken_at, warnings)


def _choose_database(archive: OpenArchive, name: str) -> tuple[OpenArchive, str]:
    """The database that `stats:public.visit` names, seen as an archive of that alone, and the table there."""
    label, is_named, table = name.partition(":")
    main, *others = archive.databases()
    found = next((each for each in others if is_named and each.name == label), None)
    return (found, table) if found is not None else (main, name)


def _prove_dump(opened: OpenArchive) -> None:
    """Raises ArchiveRejected if the dump does not have its SHA-256."""
    member = dump_name(opened.name)
    stated = next((digest for name, digest in opened.listed_files() if name == member), None)
    if opened.front is None:
        return
    digest, at, end = hashlib.sha256(), opened.dump.offset, opened.dump.offset + opened.dump.size
    while at < end:
        chunk = opened.source.read_at(at, min(_CHUNK, end - at))
        digest.update(chunk)
        at += len(chunk)
    if digest.hexdigest() != stated:
        reason = f"{os.fsdecode(member)} does not have the SHA-256 that SHA256SUMS states"
        raise ArchiveRejected(f"{opened.path}: {reason}.", reason=reason)


def find_rows_of(toc: Mapping[int, TocEntry], name: str, archive: str) -> TocEntry:
    """The entry with the rows of this table. Raises ArchiveNotFound, with the nearest names."""
    with_rows = [entry for entry in toc.values() if entry.kind == "TABLE DATA"]
    names = {
        entry.number: {f"{schema}.{table}" for schema in _spellings(entry.schema) for table in _spellings(entry.name)}
        for entry in with_rows
    }
    found = [entry for entry in with_rows if name in names[entry.number]]
    found = found or [entry for entry in with_rows if name in _spellings(entry.name)]
    if len(found) == 1:
        return found[0]
    shown = ascii_safe(name)
    if found:
        which = ", ".join(ascii_safe(f"{entry.schema}.{entry.name}") for entry in found)
        raise ArchiveNotFound(f"{shown} may mean {which}.", hint="Give its schema too.")
    known = {f"{entry.schema}.{entry.name}".lower(): f"{entry.schema}.{entry.name}" for entry in with_rows}
    near = [known[each] for each in get_close_matches(name.lower(), known, 3, 0.4)]
    said = f"The nearest: {', '.join(map(ascii_safe, near))}. " if near else ""
    raise ArchiveNotFound(
        f"{archive} has no rows of a table {shown}.",
        hint=f"{said}Of a partitioned table, name a partition. Rows that BACKUP_EXCLUDE_TABLE_DATA left out are in "
        "no archive.",
    )


def _spellings(name: str) -> tuple[str, str]:
    return name, quoted(name)


def quoted(name: str) -> str:
    """A name as SQL has it, in quotation marks."""
    return '"' + name.replace('"', '""') + '"'
