"""`diff`: what came, went and changed between two archives, or an archive and what is live."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from msgspec import UNSET

from safeharbor_backup.actions.catalog.choose import LATEST, local_zone
from safeharbor_backup.actions.diff import compare_archives, compare_with_live
from safeharbor_backup.archive.listing import Change
from safeharbor_backup.cli.archive_path import ArchivePath, chosen_archive
from safeharbor_backup.cli.command import WHILE_READING, always, exit_with, safeharbor_command
from safeharbor_backup.cli.diff_documents import (
    ChangeCounts,
    ChangedNames,
    ColumnChanges,
    DiffDocument,
    DiffSide,
    UploadsDiff,
)
from safeharbor_backup.cli.options import json_option
from safeharbor_backup.cli.table import Column, table_lines
from safeharbor_backup.errors import ExitStatus
from safeharbor_backup.text import ascii_safe, iso_time, plural, show_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import tzinfo
    from pathlib import Path

    from safeharbor_backup.actions.diff import Diff, UploadChanges
    from safeharbor_backup.actions.diff_side import Side
    from safeharbor_backup.cli.output import Output
    from safeharbor_backup.cli.run import Run

_SIGNS = {Change.ADDED: "+", Change.GONE: "-", Change.CHANGED: "*"}
_MOST_FOLDERS = 20


@safeharbor_command(
    "Show what is different in the second archive: rows of tables, tables and columns that were added or removed, the "
    "migration revision, uploads that were added, removed or changed. Nothing is unpacked; two archives of a million "
    "files take seconds.",
    *WHILE_READING,
    meanings={ExitStatus.WARNINGS: "compared as far as possible: an archive is by another program"},
    only_prints=always,
)
@click.argument("before", type=ArchivePath(takes_short=True), metavar="ARCHIVE")
@click.argument("after", type=ArchivePath(takes_short=True), metavar="[ARCHIVE]", default=LATEST)
@click.option("--live", is_flag=True, help="Compare with the live database and uploads instead of a second archive.")
@click.option("--names", is_flag=True, help="List every upload that is different.")
@json_option
def command(run: Run, before: Path | str, after: Path | str, *, live: bool, names: bool, as_json: bool) -> None:
    """Shows what is different; ends with 3 if only a part could be compared."""
    if live and after != LATEST:
        raise click.UsageError("Give a second archive or --live, not both.")
    settings = run.read_settings(quiet=True)
    old = chosen_archive(before, settings, run.output, takes_short=True)
    if live:
        diff = compare_with_live(old, settings, names=names)
    else:
        diff = compare_archives(old, chosen_archive(after, settings, run.output, takes_short=True), names=names)
    if as_json:
        run.output.document(_document(diff, names=names))
    else:
        _print(run.output, diff, local_zone(settings))
    for text in diff.unknown:
        run.output.warning(text)
    if not diff.is_whole:
        exit_with(ExitStatus.WARNINGS)


def _print(output: Output, diff: Diff, zone: tzinfo | None) -> None:
    for side in (diff.before, diff.after):
        when = f"  {side.taken_at.astimezone(zone):%Y-%m-%d %H:%M:%S}" if side.taken_at is not None else ""
        output.result(f"{'from' if side is diff.before else 'to':<4}  {ascii_safe(side.name)}{when}")
    if diff.before.revision != diff.after.revision and diff.is_whole:
        output.result(f"migrations: {_shown(diff.before.revision)} -> {_shown(diff.after.revision)}")
    if diff.is_whole:
        _print_tables(output, diff)
    _print_uploads(output, diff)


def _shown(revision: str | None) -> str:
    return ascii_safe(revision) if revision else "none"


def _print_tables(output: Output, diff: Diff) -> None:
    total = sum((diff.after.tables or {}).values()) - sum((diff.before.tables or {}).values())
    names = sorted(diff.rows.keys() | diff.columns.keys())
    if not names:
        output.result("tables: no difference")
    else:
        rows = "row" if abs(total) == 1 else "rows"
        output.result(f"tables: {len(names):,} with differences, {total:+,} {rows} in all")
    for name in names:
        shown = ascii_safe(name)
        before, after = diff.rows.get(name, (0, 0))
        if before is None:
            output.result(f"  + {shown} ({plural(after or 0, 'row')})")
        elif after is None:
            output.result(f"  - {shown} ({plural(before, 'row')})")
        else:
            rows = f"  {before:,} -> {after:,} rows ({after - before:+,})" if before != after else ""
            output.result(f"  * {shown}{rows}")
            came, went = diff.columns.get(name, ((), ()))
            for sign, columns in (("+", came), ("-", went)):
                for column in columns:
                    output.result(f"      {sign} column {ascii_safe(column)}")


def _print_uploads(output: Output, diff: Diff) -> None:
    uploads = diff.uploads
    if not any(uploads.counts.values()):
        output.result("uploads: no difference")
        return
    counts = ", ".join(f"{uploads.counts[change]:,} {change.value}" for change in Change)
    output.result(f"uploads: {counts}{_totals(diff.before, diff.after)}")
    if uploads.names:
        for change, path in uploads.names:
            output.result(f"  {_SIGNS[change]} {ascii_safe(path.decode('utf-8', 'surrogateescape'))}")
        return
    for line in table_lines(_folder_columns(diff), None):
        output.result(f"  {line}")
    if len(uploads.folders) > _MOST_FOLDERS:
        output.result(f"  and {plural(len(uploads.folders) - _MOST_FOLDERS, 'more folder')}")


def _totals(before: Side, after: Side) -> str:
    if before.upload_files is None or after.upload_files is None:
        return ""
    files = f"; {before.upload_files:,} -> {after.upload_files:,} files"
    if before.upload_bytes is None or after.upload_bytes is None:
        return files
    return f"{files}, {show_bytes(before.upload_bytes)} -> {show_bytes(after.upload_bytes)}"


def _folder_columns(diff: Diff) -> list[Column]:
    """The folders in which most is different."""
    folders = sorted(diff.uploads.folders.items(), key=lambda each: (-sum(each[1].values()), each[0]))[:_MOST_FOLDERS]
    names = [name.decode("utf-8", "surrogateescape") for name, _ in folders]
    columns = [Column("folder", [ascii_safe(name) for name in names])]
    columns += [Column(each.value, [f"{counts[each]:,}" for _, counts in folders], is_number=True) for each in Change]
    old, new = diff.before.folders, diff.after.folders
    if old is not None and new is not None:
        sizes = [new.get(name, (0, 0))[1] - old.get(name, (0, 0))[1] for name in names]
        signs = [("+" if size > 0 else "-" if size < 0 else "") + show_bytes(abs(size)) for size in sizes]
        columns.append(Column("size", signs, is_number=True))
    return columns


def _document(diff: Diff, *, names: bool) -> DiffDocument:
    rows = tuple((name, before, after) for name, (before, after) in diff.rows.items())
    columns = tuple(
        ColumnChanges(table=name, added=tuple(came), gone=tuple(went)) for name, (came, went) in diff.columns.items()
    )
    return DiffDocument(
        before=_side(diff.before),
        after=_side(diff.after),
        rows=rows,
        columns=columns,
        uploads=_uploads(diff.uploads, names=names),
        unknown=tuple(diff.unknown),
    )


def _side(side: Side) -> DiffSide:
    return DiffSide(
        name=side.name,
        taken_at=iso_time(side.taken_at) if side.taken_at is not None else None,
        tables=len(side.tables) if side.tables is not None else None,
        revision=side.revision,
        upload_files=side.upload_files,
        upload_bytes=side.upload_bytes,
    )


def _uploads(uploads: UploadChanges, *, names: bool) -> UploadsDiff:
    found = {change.value: tuple(_text(path) for kind, path in uploads.names if kind is change) for change in Change}
    return UploadsDiff(
        **_counts(uploads.counts),
        folders={_text(name): ChangeCounts(**_counts(counts)) for name, counts in sorted(uploads.folders.items())},
        names=ChangedNames(**found) if names else UNSET,
    )


def _counts(counts: Mapping[Change, int]) -> dict[str, int]:
    return {change.value: counts[change] for change in Change}


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")
