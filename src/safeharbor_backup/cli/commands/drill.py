"""`drill`: restore an archive into a scratch copy, to know that it restores."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click
from msgspec import UNSET, structs

from safeharbor_backup.actions.catalog.choose import LATEST
from safeharbor_backup.actions.catalog.latest import choose_to_prove
from safeharbor_backup.actions.drill.run import drill_archive
from safeharbor_backup.actions.drill.words import as_recorded
from safeharbor_backup.actions.offsite import require_name
from safeharbor_backup.cli.archive_path import ArchivePath, chosen_archive
from safeharbor_backup.cli.attempt import RecordedRun
from safeharbor_backup.cli.command import WHILE_RESTORING, exit_with, safeharbor_command
from safeharbor_backup.cli.documents import DrillDocument
from safeharbor_backup.cli.ending import Ending, ending_of
from safeharbor_backup.cli.json_output import log_format_option
from safeharbor_backup.cli.options import jobs_option, quiet_option, warnings_ok_option
from safeharbor_backup.errors import ExitStatus, Interrupted, SafeHarborError, SettingsInvalid
from safeharbor_backup.text import plural, show_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from safeharbor_backup.actions.drill.result import DrillResult
    from safeharbor_backup.cli.output import Output
    from safeharbor_backup.cli.run import Run
    from safeharbor_backup.progress import Progress
    from safeharbor_backup.settings.model import Settings


def _copy_name(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    if value is not None:
        try:
            require_name(value)
        except SettingsInvalid as error:
            raise click.BadParameter(error.problems[0]) from None
    return value


@safeharbor_command(
    "Restore an archive, by default the newest, into a scratch database and a scratch directory, as a restore "
    "would. Compare the rows of every table, sequences, migrations, constraints, indexes and the SHA-256 of every "
    "upload with what the archive records. Then remove both, and write the evidence beside the archives. The live "
    "database and uploads are not touched, and a backup can run meanwhile.",
    *WHILE_RESTORING,
    meanings={
        ExitStatus.LOCKED: "another drill is at work, or the archive is being deleted",
        ExitStatus.REJECTED: "the archive does not restore or differs, the app check failed, or there is no archive",
        ExitStatus.CANNOT_RESTORE: "this server cannot take the dump, which says nothing about the archive",
    },
)
@click.argument("archive", required=False, type=ArchivePath())
@click.option(
    "--offsite",
    metavar="NAME",
    callback=_copy_name,
    help="The archive was fetched from the off-site copy NAME: the result counts for that copy.",
)
@jobs_option
@warnings_ok_option("treat 3 as a failure")
@quiet_option("what is wrong")
@click.option("--json", "as_json", is_flag=True, help="Print the evidence instead of text.")
@log_format_option
def command(
    run: Run,
    archive: Path | str | None,
    *,
    offsite: str | None,
    jobs: int | None,
    warnings_ok: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Restores into a scratch copy, and shows what was proven."""
    if offsite is not None and archive is None:
        raise click.UsageError("--offsite needs the path of the archive that was fetched")
    settings = run.start(quiet=quiet or as_json)
    if archive is None or archive == LATEST:
        path, notices = _newest(settings.backup_dir, settings.database_name)
    else:
        path, notices = chosen_archive(archive, settings, run.output), ()
    if not (quiet or as_json):
        run.output.result(f"Drilling {path}")
    with run.output.watching(quiet=quiet or as_json) as progress:
        jobs = jobs or os.cpu_count() or 1
        result = drill_archive(path, settings, jobs=jobs, progress=progress, notices=notices, offsite=offsite)
    describe_drill(run, result)
    if as_json:
        signature = str(result.signature) if result.signature is not None else None
        run.output.document(
            DrillDocument(**structs.asdict(result.document), evidence=_evidence(result), signature=signature)
        )
    else:
        _print(run.output, result, quiet=quiet)
    if not (warnings_ok and result.exit_status is ExitStatus.WARNINGS):
        exit_with(result.exit_status)


def _newest(directory: Path, database: str) -> tuple[Path, tuple[str, ...]]:
    newest, notices = choose_to_prove(directory, database)
    return newest.path, notices


def describe_drill(run: Run | RecordedRun, result: DrillResult) -> None:
    """What the history keeps of it: the numbers. What was compared in detail is in the evidence."""
    offsite = result.document.archive.offsite
    of = {} if offsite is UNSET else {"offsite": offsite}
    kept = ("result", "tables", "rows", "upload_files", "upload_bytes", "restore_seconds")
    run.describe(
        archive=result.archive.name,
        warnings=result.warnings,
        problem="; ".join(result.problems[:3]),
        details={**{key: getattr(result.document, key) for key in kept}, "evidence": _evidence(result), **of},
    )


def tell_drill(result: DrillResult) -> str:
    """The verdict in a sentence."""
    if result.problems:
        return f"{result.archive} FAILED the drill"
    rows = f" with {plural(result.rows, 'row')}" if result.rows is not None else ""
    contents = f"{plural(result.tables, 'table')}{rows}, {plural(result.upload_files, 'upload')}"
    seconds = f"a restore takes about {result.restore_seconds:.1f} s"
    return f"{result.archive} restores: {contents} ({show_bytes(result.upload_bytes)}); {seconds}"


def _print(output: Output, result: DrillResult, *, quiet: bool) -> None:
    for warning in result.warnings:
        output.warning(warning)
    for problem in result.problems:
        output.problem(problem)
    if quiet and not result.problems:
        return
    output.result(tell_drill(result))
    if quiet:
        return
    output.result(f"  on {result.server}")
    for name, database in result.databases.items():
        rows = f" with {plural(database.rows, 'row')}" if database.rows is not None else ""
        found = ", ".join(as_recorded(database.compared))
        output.result(f"  {name}: {plural(database.tables, 'table')}{rows}{f'; as recorded: {found}' if found else ''}")
    if equal := as_recorded(result.compared):
        output.result(f"  as recorded: {', '.join(equal)}")
    if result.not_recorded:
        output.result(f"  not recorded by this archive: {', '.join(result.not_recorded)}")
    check = result.app_check
    if check is not None:
        output.result(f"  app check: {check.program} ended with {check.exit_status} in {check.seconds:.1f} s")
    if result.evidence is not None:
        output.result(f"evidence: {result.evidence}")
    if result.signature is not None:
        output.result(f"signature: {result.signature}")


def _evidence(result: DrillResult) -> str | None:
    return str(result.evidence) if result.evidence is not None else None


def drill_after_backup(archive: Path, settings: Settings, output: Output, progress: Progress) -> tuple[str, str]:
    """What the drill said, and the warning that a backup ends with if it failed: the archive is there anyway."""
    attempt = RecordedRun("drill", settings, output)
    attempt.begin()
    try:
        result = drill_archive(archive, settings, jobs=os.cpu_count() or 1, progress=progress)
    except SafeHarborError as error:
        attempt.end(ending_of(error, "drill"))
        return "", f"the drill after the backup could not be done: {error.message}"
    except (Exception, Interrupted) as error:
        attempt.end(ending_of(error, "drill"))
        raise
    describe_drill(attempt, result)
    attempt.end(Ending(result.exit_status, "; ".join(result.problems[:3])))
    found = (*result.problems, *result.warnings)
    return tell_drill(result), f"the drill after the backup: {found[0]}" if found else ""
