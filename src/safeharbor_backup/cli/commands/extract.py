"""`extract`: some uploads, or a table, out of an archive."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from safeharbor_backup.actions.extract import extract_files, put_back_files
from safeharbor_backup.actions.extract_table import rows_into_live, table_beside, table_to_file
from safeharbor_backup.cli.archive_path import ArchivePath, chosen_archive
from safeharbor_backup.cli.command import WHILE_RESTORING, exit_with, safeharbor_command
from safeharbor_backup.cli.extract_documents import ExtractDocument, ExtractTableDocument
from safeharbor_backup.cli.options import json_option, quiet_option
from safeharbor_backup.errors import ExitStatus
from safeharbor_backup.text import ascii_safe, plural, show_bytes

if TYPE_CHECKING:
    from safeharbor_backup.actions.extract import Extracted
    from safeharbor_backup.actions.extract_table import TableExtracted
    from safeharbor_backup.cli.output import Output
    from safeharbor_backup.cli.run import Run

_MOST_KEPT = 20
_FILE = click.Path(path_type=Path, dir_okay=False)


@dataclass(frozen=True, slots=True)
class TableOptions:
    """What the command line says of a table."""

    table: str | None = None
    where: str | None = None
    csv_file: Path | None = None
    sql_file: Path | None = None
    into_live: bool = False
    yes: bool = False

    def require_one_way(self) -> None:
        """Refuse options that do not go together, or that would mean something else. Raises UsageError."""
        if self.where is not None and not self.where.strip():  # a variable that is not set would mean all rows
            raise click.UsageError("--where: the condition is empty.")
        file = self.csv_file or self.sql_file
        if file is not None and str(file) in ("-", "."):  # the latter is what an empty name becomes
            raise click.UsageError("--csv and --sql need the name of a file.")
        if file is not None and not file.absolute().parent.is_dir():
            raise click.UsageError(f"There is no directory {file.absolute().parent}.")
        if [self.csv_file is not None, self.sql_file is not None, self.into_live].count(True) > 1:
            raise click.UsageError("Give one of --csv, --sql and --into-live at most.")
        if self.yes and not self.into_live:
            raise click.UsageError("--yes goes with --into-live.")


@safeharbor_command(
    "Take files or folders out of an archive: into a directory, or back among the live uploads, where what they "
    "replace is kept. PATHS are as in the archive; `uploads/` may be left out. Each file is checked against its "
    "checksum, and gets its owner and mode. All of them are extracted, or none.\n\nWith --table, take rows: into a "
    "table beside the "
    "live one, whose name ends with the archive's date; into a file; or, with --into-live, into the live table, "
    "which gets the rows whose primary key it lacks. No live row is changed or deleted.",
    *WHILE_RESTORING,
    ExitStatus.RESTORE_PENDING,
    meanings={ExitStatus.CANNOT_RESTORE: "something is in the way; nothing was changed"},
)
@click.argument("archive", type=ArchivePath())
@click.argument("paths", nargs=-1)
@click.option("--to", "target", type=click.Path(file_okay=False), help="Write them into this directory.")
@click.option("--in-place", is_flag=True, help="Put them back among the live uploads, and keep what they replace.")
@click.option("--overwrite", is_flag=True, help="With --to: replace files that are there.")
@click.option("--table", help="Take rows of this table instead of files.")
@click.option("--where", help="With --table: only rows for which this SQL condition holds.")
@click.option("--csv", "csv_file", type=_FILE, help="With --table: write the rows into this file, as CSV.")
@click.option("--sql", "sql_file", type=_FILE, help="With --table: write them as a script for psql.")
@click.option("--into-live", is_flag=True, help="With --table: show which rows the live table lacks.")
@click.option("--yes", is_flag=True, help="With --into-live: insert them.")
@quiet_option("warnings and errors")
@json_option
def command(
    run: Run,
    archive: Path | str,
    paths: tuple[str, ...],
    *,
    target: str | None,
    in_place: bool,
    overwrite: bool,
    quiet: bool,
    as_json: bool,
    **table: Any,
) -> None:
    """Puts files, or the rows of a table, where the options say."""
    options = TableOptions(**table)
    if options.table is not None:
        if paths or target is not None or in_place or overwrite:
            raise click.UsageError("--table is about rows: it goes with --where and one of --csv, --sql, --into-live.")
        _extract_table(run, archive, options.table, options, quiet=quiet, as_json=as_json)
        return
    if options != TableOptions():
        raise click.UsageError("--where, --csv, --sql, --into-live and --yes go with --table.")
    if not paths:
        raise click.UsageError("Name files or folders, or a table with --table.")
    if not all(paths):
        raise click.UsageError("A path is empty; `uploads` means all of them.")
    if (target is None) is not in_place or target == "":
        raise click.UsageError("Give one of --to DIRECTORY and --in-place.")
    if overwrite and in_place:
        raise click.UsageError("--overwrite goes with --to; --in-place keeps what it replaces.")
    settings = run.read_settings(quiet=True, notices_restore=not in_place)
    path = chosen_archive(archive, settings, run.output)
    if target is None:
        done = put_back_files(path, paths, settings)
    else:
        done = extract_files(path, paths, Path(target), settings.min_free, overwrite=overwrite)
    if as_json:
        run.output.document(_document(done))
    elif not quiet:
        _print(run.output, done)
    for warning in done.warnings:
        run.output.warning(warning)
    if done.warnings:
        exit_with(ExitStatus.WARNINGS)


def _extract_table(
    run: Run, archive: Path | str, table: str, options: TableOptions, *, quiet: bool, as_json: bool
) -> None:
    options.require_one_way()
    settings = run.read_settings(quiet=True)
    path = chosen_archive(archive, settings, run.output)
    file, where = options.csv_file or options.sql_file, options.where or ""
    with run.output.watching(quiet=quiet or as_json) as progress:
        if file is not None:
            as_sql = options.sql_file is not None
            done = table_to_file(path, table, settings, file, progress, where=where, as_sql=as_sql)
        elif options.into_live:
            done = rows_into_live(path, table, settings, progress, where=where, confirmed=options.yes)
        else:
            done = table_beside(path, table, settings, progress, where=where)
    if as_json:
        run.output.document(_table_document(done, path))
    elif not quiet:
        _print_table(run.output, done, is_confirmed=options.yes)
    for warning in done.warnings:
        run.output.warning(warning)
    if done.warnings:
        exit_with(ExitStatus.WARNINGS)


def _print_table(output: Output, done: TableExtracted, *, is_confirmed: bool) -> None:
    table, found = ascii_safe(done.table), done.found
    if found is None:
        output.result(f"{plural(done.rows, 'row')} of {table} into {ascii_safe(done.target)}")
        return
    output.result(f"the live {table} lacks {plural(found.missing, 'row')} of the archive")
    same = "is there as it was" if found.same == 1 else "are there as they were"
    output.result(f"  {plural(found.same, 'row')} {same}, {found.different:,} with other values: they stay")
    if is_confirmed:
        output.result(f"inserted {plural(done.rows, 'row')}")
        for sequence in done.sequences:
            output.result(f"  set {ascii_safe(sequence)}, so that the next row gets a free number")
    elif found.missing:
        output.result("Nothing was changed. `--yes` inserts them, in one transaction.")


def _table_document(done: TableExtracted, archive: Path) -> ExtractTableDocument:
    found = done.found
    return ExtractTableDocument(
        archive=str(archive),
        table=done.table,
        target=done.target,
        rows=done.rows,
        missing=found.missing if found is not None else None,
        same=found.same if found is not None else None,
        different=found.different if found is not None else None,
        sequences=done.sequences,
        warnings=tuple(done.warnings),
    )


def _print(output: Output, done: Extracted) -> None:
    output.result(f"extracted {plural(done.files, 'file')} ({show_bytes(done.size_bytes)}) into {done.target}")
    for path in done.kept[:_MOST_KEPT]:
        output.result(f"  replaced, and kept as {ascii_safe(path)}")
    if done.replaced > _MOST_KEPT:
        output.result(f"  and {done.replaced - _MOST_KEPT:,} more")


def _document(done: Extracted) -> ExtractDocument:
    return ExtractDocument(
        archive=str(done.archive),
        target=str(done.target),
        files=done.files,
        size_bytes=done.size_bytes,
        kept=tuple(done.kept),
        warnings=tuple(done.warnings),
    )
