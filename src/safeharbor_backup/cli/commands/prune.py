"""`prune`: apply retention now."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from safeharbor_backup.actions.prune import prune_archives
from safeharbor_backup.cli.command import exit_with, safeharbor_command
from safeharbor_backup.cli.documents import PrunedArchive, PruneDocument
from safeharbor_backup.cli.json_output import log_format_option
from safeharbor_backup.cli.options import json_option
from safeharbor_backup.errors import ExitStatus
from safeharbor_backup.text import plural, show_bytes

if TYPE_CHECKING:
    from safeharbor_backup.actions.prune import PruneResult
    from safeharbor_backup.cli.output import Output
    from safeharbor_backup.cli.run import Run


@safeharbor_command(
    "Delete the archives in BACKUP_DIR that retention no longer keeps: all but the BACKUP_RETENTION_DAILY newest and "
    "the newest of each of BACKUP_RETENTION_WEEKLY weeks. `backup` does this itself after each success.",
    ExitStatus.DONE,
    ExitStatus.USAGE,
    ExitStatus.WARNINGS,
    ExitStatus.LOCKED,
    ExitStatus.STORAGE,
)
@click.option("--dry-run", is_flag=True, help="Only show what would be deleted.")
@click.option(
    "--adopt",
    is_flag=True,
    help="Accept the newest archive although it is of another database or much smaller.",
)
@json_option
@log_format_option
def command(run: Run, *, dry_run: bool, adopt: bool, as_json: bool) -> None:
    """Deletes what retention does not keep, or shows what that would be."""
    settings = run.read_settings(quiet=True) if dry_run else run.start(quiet=True)
    result = prune_archives(settings, dry_run=dry_run, adopt=adopt)
    details = {"deleted": list(result.deleted), "freed_bytes": result.freed_bytes}
    run.describe(archive=None, warnings=result.warnings, details=details)
    if as_json:
        run.output.document(_document(result, dry_run=dry_run))
    else:
        _print(run.output, result, dry_run=dry_run)
    if result.warnings:
        exit_with(ExitStatus.WARNINGS)


def _print(output: Output, result: PruneResult, *, dry_run: bool) -> None:
    deleted = set(result.deleted)
    word = "would delete" if dry_run else "deleted"
    for verdict in result.verdicts:
        decided = word if verdict.name in deleted else "keep"
        output.result(f"{decided}  {verdict.name}  {', '.join(verdict.reasons)}")
    for warning in result.warnings:
        output.warning(warning)
    done = "would prune" if dry_run else "pruned"
    output.result(f"{done} {plural(len(result.deleted), 'archive')} ({show_bytes(result.freed_bytes)})")


def _document(result: PruneResult, *, dry_run: bool) -> PruneDocument:
    return PruneDocument(
        dry_run=dry_run,
        deleted=tuple(result.deleted),
        freed_bytes=result.freed_bytes,
        archives=tuple(
            PrunedArchive(
                name=verdict.name,
                keep=verdict.keep,
                reasons=tuple(verdict.reasons),
                codes=tuple(reason.code.value for reason in verdict.because),
            )
            for verdict in result.verdicts
        ),
        warnings=tuple(result.warnings),
    )
