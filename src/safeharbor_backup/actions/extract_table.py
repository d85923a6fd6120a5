"""One table out of an archive: into a file, into a table beside the live one, or the rows that the live one lacks.

It is loaded into a scratch database, as a drill has it, so that types, functions and defaults are those of the archive.
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
from safeharbor_backup.actions.drill.result import Report
from safeharbor_backup.actions.restore.request import opened_for_restore
from safeharbor_backup.archive.layout import dump_name
from safeharbor_backup.errors import ArchiveNotFound, ArchiveRejected, CannotRestore
from safeharbor_backup.postgres.connection import bounded, connected
from safeharbor_backup.postgres.contents import number_of
from safeharbor_backup.postgres.into_live import (
    Inserted,
    insert_missing,
    require_fitting,
    require_no_more_than_owner,
    take_in,
)
from safeharbor_backup.postgres.one_table import TableName, copy_out, put_beside, read_table
from safeharbor_backup.postgres.rows import names_as_bytes, readable, sendable
from safeharbor_backup.postgres.scratch_database import mark_scratch, scratch_name
from safeharbor_backup.postgres.side_names import new_id
from safeharbor_backup.postgres.toc_entries import PRE_DATA
from safeharbor_backup.settings.model import Concern
from safeharbor_backup.system.atomic_file import published_whole, write_all
from safeharbor_backup.text import ascii_safe

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import psycopg

    from safeharbor_backup.actions.restore.request import OpenArchive
    from safeharbor_backup.postgres.into_live import Missing
    from safeharbor_backup.postgres.one_table import Column
    from safeharbor_backup.postgres.toc_entries import TocEntry
    from safeharbor_backup.progress import Progress
    from safeharbor_backup.settings.model import Settings

_CHUNK = 1024 * 1024
_LONGEST_NAME = 63


@dataclass(frozen=True, slots=True)
class TableExtracted:
    """What was done with a table. `target` is where it went; `found` is what the live one lacks, if that was asked.

    `sequences` are those that were set, so that they go on behind the rows that were inserted, each in words.
    """

    table: str
    target: str
    rows: int
    warnings: tuple[str, ...] = ()
    found: Missing | None = None
    sequences: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Scratch:
    """Names are as they come within `names_as_bytes`. `database`: its name in the archive, "" of the main one."""

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


def table_to_file(
    archive: Path,
    name: str,
    settings: Settings,
    path: Path,
    progress: Progress,
    *,
    where: str = "",
    as_sql: bool = False,
) -> TableExtracted:
    """Its rows for which `where` holds, as CSV with a heading, or as a script for psql that inserts them.

    `name`: `photo`, `public.photo`, or `stats:public.visit` of a database beside the main one.
    A file that is there stays. Raises ArchiveNotFound, ArchiveRejected, CannotRestore, SafeHarborError.
    """
    if os.path.lexists(path):
        raise CannotRestore(f"{path} exists already.", hint="Name another file, or delete it first.")
    with _opened_table(archive, name, settings, progress) as scratch:
        columns = [column for column in scratch.columns if not (as_sql and column.is_generated)]
        options = "" if as_sql else "(FORMAT csv, HEADER)"
        rows = copy_out(scratch.session, scratch.table, columns, where, options)
        count = 0
        with published_whole(path) as draft:
            if as_sql:
                names = ", ".join(_quoted(column.name) for column in columns)
                table = f"{_quoted(scratch.table.schema)}.{_quoted(scratch.table.name)}"
                start = f"SET client_encoding = '{scratch.encoding}';\nCOPY {table} ({names}) FROM stdin;\n"
                write_all(draft.descriptor, scratch.shown(start).encode("utf-8", "surrogateescape"))
            for block in rows:
                count += 1
                write_all(draft.descriptor, block)
            if as_sql:
                write_all(draft.descriptor, b"\\.\n")
        counted = max(count - (not as_sql), 0)  # each row is a block of its own, as is the heading
        return TableExtracted(scratch.named(scratch.table), str(path), counted, tuple(scratch.warnings))


def table_beside(
    archive: Path, name: str, settings: Settings, progress: Progress, *, where: str = ""
) -> TableExtracted:
    """Put its rows into a new table beside the live one, whose name ends with the archive's date.

    Raises CannotRestore if there is one of that name, and as `table_to_file`.
    """
    with _opened_table(archive, name, settings, progress) as scratch, _live_session(settings, scratch) as live:
        taken_at = scratch.taken_at or datetime.now(UTC)
        suffix = f"_{taken_at:%Y_%m_%d}"
        room = _LONGEST_NAME - len(suffix)
        base = scratch.table.name.encode()[:room].decode("utf-8", "ignore")
        beside = TableName(scratch.table.schema, base + suffix)
        if read_table(live, beside):
            raise CannotRestore(
                f"The live database has a table {ascii_safe(scratch.shown(beside))} already.",
                hint="Drop it first, or rename it; nothing is written into an existing table.",
            )
        rows = copy_out(scratch.session, scratch.table, scratch.columns, where)
        count = put_beside(live, beside, scratch.columns, rows)
        return TableExtracted(scratch.named(scratch.table), scratch.named(beside), count, tuple(scratch.warnings))


def rows_into_live(
    archive: Path, name: str, settings: Settings, progress: Progress, *, where: str = "", confirmed: bool = False
) -> TableExtracted:
    """See which of its rows the live table lacks, by the primary key, and insert those if that is `confirmed`.

    One transaction; triggers fire and constraints are checked. Rows that are there stay as they are. Raises as above.
    """
    with _opened_table(archive, name, settings, progress) as scratch, _live_session(settings, scratch) as live:
        columns = read_table(live, scratch.table)
        require_fitting(live, scratch.columns, columns, scratch.table)
        known = {column.name for column in columns}
        shared = [column for column in scratch.columns if column.name in known]
        found = take_in(live, scratch.table, shared, copy_out(scratch.session, scratch.table, shared, where))
        wanted = confirmed and found.missing
        done = insert_missing(live, scratch.table, shared) if wanted else Inserted()
        name = scratch.named(scratch.table)
        return TableExtracted(name, name, done.rows, (*scratch.warnings, *done.warnings), found, done.sequences)


@contextmanager
def _live_session(settings: Settings, scratch: _Scratch) -> Iterator[psycopg.Connection]:
    """As the app's own role, whatever restores connect as: what the app has planted runs with no more than it has.

    Raises CannotRestore if it is a database beside the main one, and has no address.
    """
    if scratch.database:
        settings.require(Concern.EXTRA_DATABASES)
        extra = settings.extra_database(scratch.database)
        address = extra.address if extra is not None else None
    else:
        address = settings.database_address()
    if address is None:
        raise CannotRestore(
            f"BACKUP_EXTRA_DATABASES has no address of the live database {scratch.database}.",
            hint=f"Set BACKUP_EXTRA_DATABASES={scratch.database}=postgresql://…, or write the rows into a file: --csv.",
            intact="Nothing was changed.",
        )
    with connected(bounded(address, settings)) as session, names_as_bytes(session):
        require_no_more_than_owner(session, scratch.table)
        session.execute("SET row_security = off")  # rows that are hidden would be taken for missing
        yield session


@contextmanager
def _opened_table(archive: Path, name: str, settings: Settings, progress: Progress) -> Iterator[_Scratch]:
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
        yield _Scratch(opened.name, table, read_table(session, table), session, opened.taken_at, warnings)


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
    return name, _quoted(name)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
