"""`backup`: take one now."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from msgspec import to_builtins

from safeharbor_backup.actions.backup.run import plan_output, take_backup
from safeharbor_backup.cli.command import exit_with, safeharbor_command
from safeharbor_backup.cli.databases_beside import database_lines, describe_databases
from safeharbor_backup.cli.documents import BackupDocument
from safeharbor_backup.cli.json_output import log_format_option
from safeharbor_backup.cli.options import json_option, quiet_option, warnings_ok_option
from safeharbor_backup.errors import ExitStatus
from safeharbor_backup.text import iso_time, plural, show_bytes

if TYPE_CHECKING:
    from safeharbor_backup.actions.backup.run import BackupResult
    from safeharbor_backup.cli.output import Output
    from safeharbor_backup.cli.run import Run
    from safeharbor_backup.settings.model import Settings


@safeharbor_command(
    "Back up the database and the uploads into one archive, read it back, compare every checksum, give it its name, "
    "then apply retention.\n\nA run that fails leaves no archive and does not touch the older ones.",
    ExitStatus.DONE,
    ExitStatus.FAILED,
    ExitStatus.USAGE,
    ExitStatus.WARNINGS,
    ExitStatus.LOCKED,
    ExitStatus.DATABASE,
    ExitStatus.STORAGE,
    ExitStatus.RESTORE_PENDING,
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write to this file, replacing it, instead of into BACKUP_DIR.",
)
@click.option("--full", is_flag=True, help="Read and write everything again; share no blocks with earlier archives.")
@click.option("--no-prune", is_flag=True, help="Delete nothing afterwards.")
@warnings_ok_option("would retry")
@quiet_option("warnings and errors")
@json_option
@log_format_option
def command(
    run: Run, output: Path | None, *, full: bool, no_prune: bool, warnings_ok: bool, quiet: bool, as_json: bool
) -> None:
    """Take a backup, and drill it if the settings ask for that."""
    settings = run.start(quiet=quiet or as_json, notices_restore=False)
    plan = plan_output(settings)
    if not (quiet or as_json):
        run.output.result(plan)
    with run.output.watching(quiet=quiet or as_json) as progress:
        result = take_backup(settings, output=output, prune=not no_prune, full=full, progress=progress)
    described = describe_backup(result)
    run.describe(archive=result.path.name, warnings=result.warnings, details=to_builtins(described))
    if as_json:
        run.output.document(described)
    elif not quiet:
        _print(run.output, result)
    drill_warns = settings.drill_after_backup and output is None and _drill(run, result.path, settings, quiet=quiet)
    if (result.warnings or drill_warns) and not warnings_ok:
        exit_with(ExitStatus.WARNINGS)


def _drill(run: Run, archive: Path, settings: Settings, *, quiet: bool) -> bool:
    """Whether the drill of what was just taken leaves a warning."""
    from safeharbor_backup.cli.commands.drill import drill_after_backup  # a backup needs no restore

    run.over()  # what the backup may take is not the drill's
    with run.output.watching(quiet=True) as progress:
        said, warning = drill_after_backup(archive, settings, run.output, progress)
    if said and not quiet:
        run.output.aside(said)
    if warning:
        run.output.warning(warning)
    return bool(warning)


def _print(output: Output, result: BackupResult) -> None:
    output.result(f"{result.path} ({show_bytes(result.size)}, {result.size:,} bytes)")
    contents = [
        plural(result.tables, "table"),
        plural(result.rows, "row"),
        f"{plural(result.upload_files, 'upload')} ({show_bytes(result.upload_bytes)})",
    ]
    output.result(f"{', '.join(contents)}; verified; took {result.elapsed_seconds:.1f} s")
    for line in database_lines(result.databases):
        output.result(line)
    shared = result.shared
    if shared is not None:
        written = show_bytes(result.size - shared.size)
        output.result(f"{show_bytes(shared.size)} shared with {shared.archive}; {written} written")
    pruned = result.pruned
    if pruned is not None and pruned.deleted:
        output.result(f"pruned {plural(len(pruned.deleted), 'archive')} ({show_bytes(pruned.freed_bytes)})")


def describe_backup(result: BackupResult) -> BackupDocument:
    """The document that `--json` prints."""
    pruned = result.pruned
    return BackupDocument(
        path=str(result.path),
        size_bytes=result.size,
        taken_at=iso_time(result.taken_at),
        tables=result.tables,
        rows=result.rows,
        upload_files=result.upload_files,
        upload_bytes=result.upload_bytes,
        seconds=result.seconds,
        elapsed_seconds=result.elapsed_seconds,
        shared_with=result.shared.archive if result.shared is not None else None,
        shared_members=result.shared.members if result.shared is not None else 0,
        shared_bytes=result.shared.size if result.shared is not None else 0,
        warnings=tuple(result.warnings),
        notes=tuple(result.notes),
        pruned=tuple(pruned.deleted) if pruned is not None else (),
        freed_bytes=pruned.freed_bytes if pruned is not None else 0,
        databases=describe_databases(result.databases),
    )
