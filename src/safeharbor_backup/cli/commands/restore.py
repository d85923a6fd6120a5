"""`restore`: put an archive's state in the place of the live one, or go back."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from safeharbor_backup.actions.restore.kept import discard_previous as discard_kept_states
from safeharbor_backup.actions.restore.kept import discard_unrecorded, list_kept, list_unrecorded
from safeharbor_backup.actions.restore.lost_stage import Abandoned
from safeharbor_backup.actions.restore.plan import plan_restore
from safeharbor_backup.actions.restore.recovery import resume_restore, undo_restore
from safeharbor_backup.actions.restore.recovery import retargeted as retargeted_to
from safeharbor_backup.actions.restore.request import RestoreRequest, choose_archive
from safeharbor_backup.actions.restore.run import restore_archive
from safeharbor_backup.cli.archive_path import ArchivePath
from safeharbor_backup.cli.command import exit_with, safeharbor_command
from safeharbor_backup.cli.json_output import log_format_option
from safeharbor_backup.cli.restore_target import TargetOptions, require_whole_target, retargeted, target_options
from safeharbor_backup.cli.streams import lost_output
from safeharbor_backup.errors import ExitStatus, SafeHarborError
from safeharbor_backup.text import ascii_safe, plural, show_bytes

if TYPE_CHECKING:
    from safeharbor_backup.actions.restore.plan import RestorePlan
    from safeharbor_backup.actions.restore.recovered import Recovery
    from safeharbor_backup.actions.restore.result import RestoreResult
    from safeharbor_backup.actions.restore.unrecorded import Unrecorded
    from safeharbor_backup.cli.output import Output
    from safeharbor_backup.cli.run import Run
    from safeharbor_backup.settings.model import Settings

_PROMPT = "Type 'restore' to confirm — this WILL OVERWRITE the database and uploads:"


@safeharbor_command(
    "Put the state that an archive holds in the place of the live database and uploads: all of it, or nothing. "
    "The new state is built and checked beside the live one, then both are exchanged in moments; the previous state is "
    "kept until `--discard-previous`, and `--undo` brings it back.",
    ExitStatus.DONE,
    ExitStatus.FAILED,
    ExitStatus.USAGE,
    ExitStatus.WARNINGS,
    ExitStatus.LOCKED,
    ExitStatus.REJECTED,
    ExitStatus.DATABASE,
    ExitStatus.STORAGE,
    ExitStatus.CANNOT_RESTORE,
    ExitStatus.RESTORE_PENDING,
)
@click.option(
    "--from",
    "archive",
    type=ArchivePath(),
    metavar="ARCHIVE",
    help="The archive: a path, its name, the beginning of its time, `latest`, `latest~1` or `before TIME`.",
)
@click.option("--dry-run", is_flag=True, help="Prove the archive, tell what a restore would do, change nothing.")
@click.option("--quick", is_flag=True, help="With --dry-run: look at the archive's manifest only.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--only", type=click.Choice(["database", "uploads"]), help="Restore only this part.")
@click.option("--database-url", help="Restore to this database instead of the configured one.")
@click.option("--upload-dir", type=click.Path(path_type=Path), help="Restore to this directory instead.")
@target_options
@click.option("--jobs", type=click.IntRange(1, 64), help="Parallel jobs for the load.  [default: the cores]")
@click.option(
    "--in-place",
    is_flag=True,
    help="Wipe the database and load into it in one transaction, for roles that may not create databases. "
    "Its database cannot be undone.",
)
@click.option(
    "--accept-broken",
    is_flag=True,
    help="Restore everything else if rows break a constraint, a unique index or a view; the SQL to mend it is written "
    "into a file in BACKUP_DIR. Not with --in-place.",
)
@click.option(
    "--accept-open",
    is_flag=True,
    help="Restore all the same if only a superuser may close again what was closed to all roles.",
)
@click.option("--no-keep-previous", is_flag=True, help="Delete the previous state as soon as the new one is live.")
@click.option("--undo", is_flag=True, help="Bring the previous state back, or take an interrupted restore back.")
@click.option("--resume", is_flag=True, help="Finish an interrupted restore.")
@click.option("--discard-previous", is_flag=True, help="Delete the states that restores have kept.")
@click.option(
    "--abandon-uploads",
    is_flag=True,
    help="With --undo, --resume or --discard-previous: what a restore kept in the uploads was deleted or replaced; go "
    "on with the database alone, and leave the uploads as they are.",
)
@click.option(
    "--abandon-database",
    is_flag=True,
    help="The same for a database that was dropped, or a server that was made anew: go on with the uploads alone, and "
    "leave the databases as they are.",
)
@click.option("--id", "restore_id", default="", help="With --undo, --resume or --discard-previous: this restore's.")
@click.option("--quiet", is_flag=True, help="Print only the result, warnings and errors.")
@log_format_option
def command(
    run: Run,
    archive: Path | str | None,
    *,
    dry_run: bool,
    quick: bool,
    yes: bool,
    jobs: int | None,
    in_place: bool,
    accept_broken: bool,
    accept_open: bool,
    no_keep_previous: bool,
    undo: bool,
    resume: bool,
    discard_previous: bool,
    abandon_uploads: bool,
    abandon_database: bool,
    restore_id: str,
    quiet: bool,
    **target: Any,
) -> None:
    """Parse, do one of the five, render."""
    where = TargetOptions(**target)
    if [archive is not None, undo, resume, discard_previous].count(True) != 1:
        raise click.UsageError("Give one of --from PATH, --undo, --resume and --discard-previous.")
    if quick and not dry_run:
        raise click.UsageError("--quick goes with --dry-run; a restore proves every byte.")
    if accept_broken and in_place:
        raise click.UsageError(
            "--accept-broken does not go with --in-place, whose one transaction takes all or nothing. Restore without "
            "--in-place, as a role with CREATEDB (RESTORE_DATABASE_URL), or into another database (--database-url)."
        )
    if (accept_broken or accept_open) and (where.only == "uploads" or archive is None):
        raise click.UsageError("--accept-broken and --accept-open go with --from, and are about the database.")
    if in_place and where.only == "uploads":
        raise click.UsageError("--in-place is about the database.")
    if archive is None and (dry_run or where.only or jobs or in_place or no_keep_previous):
        raise click.UsageError("--dry-run, --only, --jobs, --in-place and --no-keep-previous go with --from.")
    if (restore_id or abandon_uploads or abandon_database) and archive is not None:
        raise click.UsageError(
            "--id, --abandon-uploads and --abandon-database go with --undo, --resume or --discard-previous."
        )
    load = run.read_settings if dry_run else run.start
    settings = load(quiet=quiet, notices_restore=False)
    if archive is not None:
        require_whole_target(settings, where, irrevocably=yes and no_keep_previous)
    settings = retargeted(settings, where)
    abandoned = Abandoned(uploads=abandon_uploads, database=abandon_database)
    if undo or resume:
        confirm = partial(_confirm_by_names, output=run.output, yes=yes)
        with run.output.watching(quiet=quiet) as progress:
            if undo:
                done = undo_restore(settings, restore_id, progress, confirm, abandoned)
            else:
                done = resume_restore(settings, progress, restore_id, confirm, abandoned)
        _print_recovery(run.output, done)
        if resume and done.again is not None:
            _restore(run, retargeted_to(settings, done.again), done.again, yes=True, quiet=quiet)
        if done.warnings:
            exit_with(ExitStatus.WARNINGS)
        return
    if discard_previous:
        _discard(run, settings, restore_id, abandoned, yes=yes)
        return
    assert archive is not None  # noqa: S101 - checked above
    request = RestoreRequest(
        archive=choose_archive(str(archive), settings),
        with_database=where.only != "uploads",
        with_uploads=where.only != "database",
        in_place=in_place,
        keep_previous=not no_keep_previous,
        jobs=jobs or os.cpu_count() or 1,
        from_another=where.accepts_another,
        accepts_broken=accept_broken,
        accepts_open=accept_open,
    )
    if dry_run:
        with run.output.watching(quiet=quiet) as progress:
            plan = plan_restore(settings, request, progress, quick=quick)
        _print_plan(run.output, plan)
        exit_with(plan.exit_status)
        return
    _restore(run, settings, request, yes=yes, quiet=quiet)


def _restore(run: Run, settings: Settings, request: RestoreRequest, *, yes: bool, quiet: bool) -> None:
    told: set[str] = set()

    def confirm(plan: RestorePlan) -> bool:
        if not quiet:
            run.output.result(_first_line(plan))
        if not (quiet and yes):
            _print_what_happens(run.output, plan)
        for warning in plan.warnings:
            run.output.warning(warning)
            told.add(warning)
        return yes or _ask(run.output, _PROMPT, "restore")

    with run.output.watching(quiet=quiet) as progress:
        result = restore_archive(settings, request, confirm, progress)
    for warning in result.warnings:
        if warning not in told:
            run.output.warning(warning)
    details = {"id": result.id, "tables": result.tables, "upload_files": result.upload_files}
    run.describe(archive=result.archive.name, warnings=result.warnings, details=details)
    _print_result(run.output, result, quiet=quiet)
    if result.warnings:
        exit_with(ExitStatus.WARNINGS)


def _ask(output: Output, prompt: str, expected: str) -> bool:
    """Whether the operator typed exactly that; nobody at a terminal is a no."""
    if sys.stdin is None or not sys.stdin.isatty():  # it may be closed; decision 31
        output.line("There is no terminal to confirm at; --yes confirms.")
        return False
    output.ask(prompt)
    if lost_output():
        output.line("What to confirm could not be shown; --yes confirms.")
        return False
    return sys.stdin.readline().rstrip("\n") == expected


def _first_line(plan: RestorePlan) -> str:
    to = [f"database {plan.database}"] if plan.database else []
    if plan.uploads:
        to.append(f"uploads {plan.uploads if plan.uploads != 'None' else 'none'}")
    return f"Restoring {' and '.join(to)} from {plan.archive}"


def _print_what_happens(output: Output, plan: RestorePlan) -> None:
    """What a dry run, the question and `--yes` all show: facts, losses, and how to go back."""
    for fact in plan.facts:
        output.result(f"  {fact}")
    for loss in plan.losses:
        output.result(f"  You would lose {loss}")
    for way in plan.ways_back:
        output.result(f"  {way}")
    for after in plan.afterwards:
        output.result(f"  Afterwards: {after}")


def _print_plan(output: Output, plan: RestorePlan) -> None:
    size = show_bytes(plan.upload_bytes)
    output.result(
        f"would restore {plan.tables} tables, {plan.upload_files} upload files (total {size}) from {plan.archive}"
    )
    if plan.database:
        output.result(f"  database: {plan.database}")
    if plan.uploads:
        output.result(f"  uploads: {plan.uploads if plan.uploads != 'None' else 'none'}")
    _print_what_happens(output, plan)
    for warning in plan.warnings:
        output.warning(warning)
    for problem in plan.problems:
        output.problem(problem.message, problem.hint)
    output.result("Nothing was changed.")


def _print_result(output: Output, result: RestoreResult, *, quiet: bool) -> None:
    output.result(f"restored {result.tables} tables and {result.upload_files} upload files from {result.archive}")
    for after in result.afterwards:
        output.line(f"Afterwards: {after}")
    if quiet:
        return
    if not result.keeps_previous:
        output.result("Nothing of the previous state is kept.")
        return
    if result.can_be_undone:
        output.result(f"To go back: safeharbor restore --undo --id {result.id}")
    output.result(
        f"The previous {'state is' if result.can_be_undone else 'uploads are'} kept ({show_bytes(result.kept_bytes)}). "
        f"To free that: safeharbor restore --discard-previous --id {result.id}"
    )


def _print_recovery(output: Output, done: Recovery) -> None:
    output.result(f"Restore {done.id}: {done.done.rstrip('.')}.")
    for warning in done.warnings:
        output.warning(warning)
    if done.can_be_undone:
        output.result(f"To take this back: safeharbor restore --undo --id {done.id}")
    if done.again is not None:
        output.result(f"Its archive was {done.again.archive}.")


def _confirm_by_names(plan: str, *, output: Output, yes: bool) -> bool:
    """Show what would be done with a restore that only names speak of, and ask."""
    output.result(plan)
    return yes or _ask(output, "Type 'yes' to do that:", "yes")


def _discard_unrecorded(run: Run, settings: Settings, found: Unrecorded, *, yes: bool) -> None:
    if found.uploads:
        stage = f"{found.uploads}/.safeharbor-restore-{found.id}"
        run.output.result(
            f"{ascii_safe(stage)} is left as it is, since anybody could have made it. Look at it, then delete it."
        )
    if not found.databases:
        return
    names = ", ".join(f'"{name}"' for name in found.databases)
    if not yes and not _ask(run.output, f"Type 'discard' to drop {names} for ever:", "discard"):
        run.output.line("Not confirmed. Nothing was changed.")
        exit_with(ExitStatus.FAILED)
        return
    done = discard_unrecorded(settings, found)
    run.output.result(f"dropped {plural(len(done), 'database')}")


def _discard(run: Run, settings: Settings, restore_id: str, abandoned: Abandoned, *, yes: bool) -> None:
    kept = [record for record in list_kept(settings) if restore_id in ("", record.id)]
    try:
        unrecorded = list_unrecorded(settings)
    except SafeHarborError as error:
        unrecorded = []
        run.output.result(f"Whether states are kept that the journal does not know was not looked at: {error.message}")
    for found in unrecorded:
        run.output.result(f"The journal does not know restore {found.id}, of which names speak: {found.describe()}")
    chosen = next((found for found in unrecorded if found.id == restore_id), None)
    if chosen is not None:
        _discard_unrecorded(run, settings, chosen, yes=yes)
        return
    if not kept:
        run.output.result("No restore in the journal keeps a previous state.")
        if unrecorded:
            run.output.result("`--id ID` deletes the databases of one of them, after asking.")
        return
    for record in kept:
        size = show_bytes(record.kept_database_bytes + record.kept_uploads_bytes)
        run.output.result(f"{record.id}: restore of {record.archive} at {record.started_at}, keeps {size}")
    if not yes and not _ask(run.output, "Type 'discard' to delete what they keep for ever:", "discard"):
        run.output.line("Not confirmed. Nothing was changed.")
        exit_with(ExitStatus.FAILED)
        return
    # by their ids: one that came in while the operator was asked was not agreed to
    done = [gone for record in kept for gone in discard_kept_states(settings, record.id, abandoned)]
    run.output.result(f"discarded {plural(len(done), 'kept state')}")
