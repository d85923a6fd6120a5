"""One table out of an archive: into a file, into a table beside the live one, or the rows that the live one lacks.

It is loaded into a scratch database, as a drill has it, so that types, functions and defaults are those of the archive.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from safeharbor_backup.actions.scratch_table import opened_table, quoted
from safeharbor_backup.errors import CannotRestore
from safeharbor_backup.postgres.connection import bounded, connected
from safeharbor_backup.postgres.into_live import (
    Inserted,
    insert_missing,
    require_fitting,
    require_no_more_than_owner,
    take_in,
)
from safeharbor_backup.postgres.one_table import TableName, copy_out, put_beside, read_table
from safeharbor_backup.postgres.rows import names_as_bytes
from safeharbor_backup.settings.model import Concern
from safeharbor_backup.system.atomic_file import published_whole, write_all
from safeharbor_backup.text import ascii_safe

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import psycopg

    from safeharbor_backup.actions.scratch_table import ScratchTable
    from safeharbor_backup.postgres.into_live import Missing
    from safeharbor_backup.progress import Progress
    from safeharbor_backup.settings.model import Settings

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
    with opened_table(archive, name, settings, progress) as scratch:
        columns = [column for column in scratch.columns if not (as_sql and column.is_generated)]
        options = "" if as_sql else "(FORMAT csv, HEADER)"
        rows = copy_out(scratch.session, scratch.table, columns, where, options)
        count = 0
        with published_whole(path) as draft:
            if as_sql:
                names = ", ".join(quoted(column.name) for column in columns)
                table = f"{quoted(scratch.table.schema)}.{quoted(scratch.table.name)}"
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
    with opened_table(archive, name, settings, progress) as scratch, _live_session(settings, scratch) as live:
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
    with opened_table(archive, name, settings, progress) as scratch, _live_session(settings, scratch) as live:
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
def _live_session(settings: Settings, scratch: ScratchTable) -> Iterator[psycopg.Connection]:
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
