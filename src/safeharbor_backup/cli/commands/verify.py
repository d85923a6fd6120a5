"""`verify`: prove archives, here or anywhere a copy is."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from safeharbor_backup.actions.catalog.choose import LATEST
from safeharbor_backup.actions.catalog.entries import read_catalog
from safeharbor_backup.actions.catalog.latest import choose_to_prove
from safeharbor_backup.actions.verify import verify_archive
from safeharbor_backup.cli.archive_path import ArchivePath, chosen_archive
from safeharbor_backup.cli.command import exit_with, safeharbor_command
from safeharbor_backup.cli.databases_beside import database_lines, describe_databases
from safeharbor_backup.cli.documents import Verified, VerifyDocument
from safeharbor_backup.cli.evidence_check import are_evidence, require_signers, verify_evidence
from safeharbor_backup.cli.json_output import log_format_option
from safeharbor_backup.cli.options import json_option, quiet_option, signed_by_option
from safeharbor_backup.errors import ArchiveNotFound, ArchiveRejected, ExitStatus, SafeHarborError
from safeharbor_backup.text import iso_time, plural, show_bytes, typed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from safeharbor_backup.actions.verification import Verification
    from safeharbor_backup.cli.attempt import RecordedRun
    from safeharbor_backup.cli.output import Output
    from safeharbor_backup.cli.run import Run
    from safeharbor_backup.progress import Progress
    from safeharbor_backup.settings.model import Settings


@safeharbor_command(
    "Prove that archives are complete: every byte is read once, every checksum compared, the dump decoded to its end. "
    "All problems are reported. Needs no database, and works on a copy anywhere. For evidence of drills, it checks the "
    "signature.",
    ExitStatus.DONE,
    ExitStatus.FAILED,
    ExitStatus.USAGE,
    ExitStatus.WARNINGS,
    ExitStatus.LOCKED,
    ExitStatus.REJECTED,
    ExitStatus.STORAGE,
)
@click.argument("archives", nargs=-1, type=ArchivePath())
@click.option("--latest", is_flag=True, help="The newest archive in BACKUP_DIR that can be relied on.")
@click.option("--all", "every", is_flag=True, help="All archives in BACKUP_DIR.")
@click.option(
    "--quick",
    is_flag=True,
    help="Only the first header, the manifest and the end: well under a second at any size.",
)
@signed_by_option("Check the evidence of drills: who must have signed it")
@quiet_option("what is wrong")
@json_option
@log_format_option
def command(
    run: Run,
    archives: tuple[Path | str, ...],
    *,
    latest: bool,
    every: bool,
    quick: bool,
    signed_by: Path | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Verifies each archive, or checks who signed evidence, and shows the result."""
    if (latest, every, bool(archives)).count(True) != 1:
        raise click.UsageError("Name archives, or give one of --latest and --all.")
    if signed_by is not None and not (archives and all(map(_may_be_evidence, archives))):
        raise click.UsageError("--signed-by is about the evidence of drills, safeharbor-drill-….json: name its files.")
    settings = run.read_settings(quiet=True) if archives else run.start(quiet=True)
    if are_evidence(archives, signed_by):
        signers = require_signers(signed_by, settings.evidence_key)
        exit_with(verify_evidence(tuple(map(Path, archives)), signers, run.output, quiet=quiet, as_json=as_json))
        return
    notices: tuple[str, ...] = ()
    if latest or LATEST in archives:
        newest, notices = choose_to_prove(settings.backup_dir, settings.database_name)
        archives = (newest.path,) if latest else tuple(newest.path if each == LATEST else each for each in archives)
    paths = [chosen_archive(each, settings, run.output) for each in archives] or _all_in_directory(settings.backup_dir)
    show = None if as_json else partial(_print, run.output, quiet=quiet)
    with run.output.watching(quiet=quiet or as_json) as progress:
        results, unread = _verify_each(paths, settings, progress, show, may_be_gone=every, quick=quick)
    if results:
        describe_verifications(run, results, notices)
    if as_json:
        run.output.document(VerifyDocument(archives=tuple(_document(result) for result in results)))
    for notice in notices:
        run.output.warning(notice)
    status = _status(results, notices)
    is_rejected = status is ExitStatus.REJECTED
    for failure in unread if is_rejected else unread[1:]:
        run.output.problem(failure.message, failure.hint)
    if unread and not is_rejected:
        raise unread[0]
    exit_with(status)


def _verify_each(
    paths: Sequence[Path],
    settings: Settings,
    progress: Progress,
    show: Callable[[Verification], None] | None,
    *,
    may_be_gone: bool,
    quick: bool,
) -> tuple[list[Verification], list[SafeHarborError]]:
    """What was found of each, and why some could not be read. Raises SafeHarborError for an only one."""
    results: list[Verification] = []
    unread: list[SafeHarborError] = []
    for path in paths:
        try:
            result = verify_archive(path, settings, quick=quick, progress=progress)
        except ArchiveNotFound:
            if not may_be_gone:
                raise
            progress.note(f"{path.name} was deleted meanwhile")
            continue
        except SafeHarborError as error:
            if len(paths) == 1:
                raise
            unread.append(error)  # which says nothing of the others
            continue
        results.append(result)
        if show is not None:
            show(result)
    return results, unread


def _may_be_evidence(named: Path | str) -> bool:
    """Whether it is a file, and none with the name of an archive: a sound one would be called rejected."""
    return isinstance(named, Path) and named.suffix != ".tar"


def _all_in_directory(directory: Path) -> list[Path]:
    """Every archive in the backup directory. Raises ArchiveRejected if there is none."""
    archives = read_catalog(directory).archives
    if not archives:
        raise ArchiveRejected(f"There is no archive in {directory}.", hint=f"`{typed('backup')}` takes one.")
    return [entry.path for entry in archives]


def describe_verifications(
    run: Run | RecordedRun, results: Sequence[Verification], notices: Sequence[str] = ()
) -> None:
    """What the history keeps of them: no list of members, and of each rejected archive the first problem. `notices` are
    of archives that were skipped.
    """
    rejected = [result for result in results if result.problems]
    run.describe(
        archive=results[0].path.name,
        warnings=[*notices, *(f"{result.path.name}: {warning}" for result in results for warning in result.warnings)],
        problem="; ".join(f"{result.path.name}: {result.problems[0]}" for result in rejected),
        details={
            "quick": results[0].quick,
            "archives": len(results),
            "rejected": [result.path.name for result in rejected[:50]],
            "size_bytes": sum(result.size for result in results),
            "members": sum(result.members for result in results),
        },
    )


def _status(results: list[Verification], notices: Sequence[str]) -> ExitStatus:
    if any(result.problems for result in results):
        return ExitStatus.REJECTED
    if notices or any(result.warnings for result in results):
        return ExitStatus.WARNINGS
    return ExitStatus.DONE


def _print(output: Output, result: Verification, *, quiet: bool) -> None:
    if result.problems:
        output.result(f"{result.path}: REJECTED")
        for problem in result.problems:
            output.result(f"  {problem}")
        return
    if result.warnings:
        output.result(f"{result.path}: OK as far as can be checked")
        for warning in result.warnings:
            output.result(f"  {warning}")
        return
    if quiet:
        return
    if result.quick:
        output.result(f"{result.path}: complete (quick look; {show_bytes(result.size)})")
    else:
        members = plural(result.members, "member")
        output.result(f"{result.path}: OK ({members}, {show_bytes(result.size)} in {result.seconds:.1f} s)")
    for line in database_lines(result.manifest.databases) if result.manifest is not None else ():
        output.result(line)


def _document(result: Verification) -> Verified:
    return Verified(
        path=str(result.path),
        sound=result.is_sound,
        kind=result.kind.value,
        quick=result.quick,
        problems=tuple(result.problems),
        warnings=tuple(result.warnings),
        size_bytes=result.size,
        members=result.members,
        seconds=round(result.seconds, 3),
        taken_at=iso_time(result.manifest.taken_at) if result.manifest is not None else None,
        databases=describe_databases(result.manifest.databases) if result.manifest is not None else (),
    )
