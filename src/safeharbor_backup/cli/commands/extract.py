"""`extract`: some uploads, or a table, out of an archive."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from safeharbor_backup.actions.extract import extract_files, put_back_files
from safeharbor_backup.cli.archive_path import ArchivePath, chosen_archive
from safeharbor_backup.cli.command import exit_with, safeharbor_command
from safeharbor_backup.errors import ExitStatus
from safeharbor_backup.text import ascii_safe, plural, show_bytes

if TYPE_CHECKING:
    from safeharbor_backup.actions.extract import Extracted
    from safeharbor_backup.cli.output import Output
    from safeharbor_backup.cli.run import Run

_MOST_KEPT = 20


@safeharbor_command(
    "Take files or folders out of an archive: into a directory, or back among the live uploads, where what they "
    "replace is kept. PATHS are as in the archive; `uploads/` may be left away. Each file is checked against its "
    "checksum, and gets its owner and mode. All of them come, or none.",
    ExitStatus.DONE,
    ExitStatus.FAILED,
    ExitStatus.USAGE,
    ExitStatus.WARNINGS,
    ExitStatus.LOCKED,
    ExitStatus.REJECTED,
    ExitStatus.STORAGE,
    ExitStatus.CANNOT_RESTORE,
    ExitStatus.RESTORE_PENDING,
    meanings={ExitStatus.CANNOT_RESTORE: "something is in the way; nothing was changed"},
)
@click.argument("archive", type=ArchivePath())
@click.argument("paths", nargs=-1, required=True)
@click.option(
    "--to", "target", type=click.Path(path_type=Path, file_okay=False), help="The directory to put them into."
)
@click.option("--in-place", is_flag=True, help="Put them back among the live uploads, and keep what they replace.")
@click.option("--overwrite", is_flag=True, help="With --to: replace files that are there.")
@click.option("--quiet", is_flag=True, help="Print only warnings and errors.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of text.")
def command(
    run: Run,
    archive: Path | str,
    paths: tuple[str, ...],
    *,
    target: Path | None,
    in_place: bool,
    overwrite: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Parse, extract, render."""
    if (target is None) is not in_place:
        raise click.UsageError("Give one of --to DIRECTORY and --in-place.")
    if overwrite and in_place:
        raise click.UsageError("--overwrite goes with --to; --in-place keeps what it replaces.")
    settings = run.read_settings(quiet=True, notices_restore=not in_place)
    path = chosen_archive(archive, settings, run.output)
    if target is None:
        done = put_back_files(path, paths, settings)
    else:
        done = extract_files(path, paths, target, overwrite=overwrite)
    if as_json:
        run.output.document(_document(done))
    elif not quiet:
        _print(run.output, done)
    for warning in done.warnings:
        run.output.warning(warning)
    if done.warnings:
        exit_with(ExitStatus.WARNINGS)


def _print(output: Output, done: Extracted) -> None:
    output.result(f"extracted {plural(done.files, 'file')} ({show_bytes(done.size_bytes)}) into {done.target}")
    for path in done.kept[:_MOST_KEPT]:
        output.result(f"  replaced, and kept as {ascii_safe(path)}")
    if len(done.kept) > _MOST_KEPT:
        output.result(f"  and {len(done.kept) - _MOST_KEPT:,} more")


def _document(done: Extracted) -> dict[str, object]:
    return {
        "schema": 1,
        "archive": str(done.archive),
        "target": str(done.target),
        "files": done.files,
        "size_bytes": done.size_bytes,
        "kept": list(done.kept),
        "warnings": list(done.warnings),
    }
