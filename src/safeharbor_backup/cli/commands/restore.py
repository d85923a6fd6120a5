"""`restore`: replace the live database and uploads by those of an archive, or undo that."""

from __future__ import annotations

import os
from dataclasses import fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from safeharbor_backup.actions.restore.plan import plan_restore
from safeharbor_backup.actions.restore.recovery import resume_restore, undo_restore
from safeharbor_backup.actions.restore.recovery import retargeted as retargeted_to
from safeharbor_backup.actions.restore.request import RestoreRequest, choose_archive
from safeharbor_backup.actions.restore.run import restore_archive
from safeharbor_backup.cli.archive_path import ArchivePath
from safeharbor_backup.cli.command import WHILE_RESTORING, exit_with, safeharbor_command
from safeharbor_backup.cli.json_output import log_format_option
from safeharbor_backup.cli.options import jobs_option, json_option, quiet_option
from safeharbor_backup.cli.restore_discard import discard
from safeharbor_backup.cli.restore_documents import describe_plan, describe_recovery, describe_result
from safeharbor_backup.cli.restore_lines import (
    ask,
    first_line,
    print_plan,
    print_recovery,
    print_result,
    print_what_happens,
)
from safeharbor_backup.cli.restore_options import RestoreOptions, require_fitting_options
from safeharbor_backup.cli.restore_target import TargetOptions, require_whole_target, retargeted, target_options
from safeharbor_backup.errors import ExitStatus

if TYPE_CHECKING:
    from pathlib import Path

    from safeharbor_backup.actions.restore.plan import RestorePlan
    from safeharbor_backup.cli.output import Output
    from safeharbor_backup.cli.run import Run
    from safeharbor_backup.settings.model import Settings

_PROMPT = "Type 'restore' to confirm — this WILL OVERWRITE the database and uploads:"


@safeharbor_command(
    "Replace the live database and uploads with those of an archive: both, or neither. The new state is built and "
    "checked beside the live one, then both are exchanged in moments; the previous state is kept until "
    "`--discard-previous`, and `--undo` brings it back.",
    *WHILE_RESTORING,
    ExitStatus.RESTORE_PENDING,
)
@click.option(
    "--from",
    "archive",
    type=ArchivePath(),
    metavar="ARCHIVE",
    help="The archive: a path, its name, the beginning of its time, `latest`, `latest~1` or `before TIME`.",
)
@click.option("--dry-run", is_flag=True, help="Prove the archive, show what a restore would do, change nothing.")
@click.option("--quick", is_flag=True, help="With --dry-run: read only the archive's manifest.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--only", type=click.Choice(["database", "uploads"]), help="Restore only this part.")
@click.option("--database-url", help="Restore to this database instead of the configured one.")
@click.option("--upload-dir", help="Restore to this directory instead, or to several: NAME=DIR,NAME=DIR.")
@target_options
@jobs_option
@click.option(
    "--in-place",
    is_flag=True,
    help="Wipe the database and load into it in one transaction, for roles that may not create databases. "
    "--undo cannot bring the previous database back.",
)
@click.option(
    "--accept-broken",
    is_flag=True,
    help="Restore everything else if rows break a constraint, a unique index or a view; the SQL that repairs it is "
    "written into a file in BACKUP_DIR. Not with --in-place.",
)
@click.option(
    "--accept-open",
    is_flag=True,
    help="Restore without each REVOKE … FROM PUBLIC that needs a superuser; everybody then has those rights.",
)
@click.option("--no-keep-previous", is_flag=True, help="Delete the previous state as soon as the new one is live.")
@click.option("--undo", is_flag=True, help="Bring the previous state back, or take an interrupted restore back.")
@click.option("--resume", is_flag=True, help="Finish an interrupted restore.")
@click.option("--discard-previous", is_flag=True, help="Delete the states that restores have kept.")
@click.option(
    "--abandon-uploads",
    is_flag=True,
    help="With --undo, --resume or --discard-previous, if what a restore kept in the uploads was deleted or replaced: "
    "go on with the database alone, and leave the uploads as they are.",
)
@click.option(
    "--abandon-database",
    is_flag=True,
    help="The same for a database that was dropped, or a server that was set up again: go on with the uploads alone, "
    "and leave the databases as they are.",
)
@click.option(
    "--id", "restore_id", default="", help="With --undo, --resume or --discard-previous: the restore with this id."
)
@quiet_option("the result, warnings and errors")
@json_option
@log_format_option
def command(run: Run, archive: Path | str | None, **given: Any) -> None:
    """Do what one of the options asks for: restore, plan, undo, resume or discard."""
    where = TargetOptions(**{each.name: given.pop(each.name) for each in fields(TargetOptions)})
    options = RestoreOptions(**given)
    require_fitting_options(options, where, is_of_archive=archive is not None)
    load = run.read_settings if options.dry_run else run.start
    settings = load(quiet=options.is_silent, notices_restore=False)
    if archive is not None:
        is_final = options.yes and options.no_keep_previous
        require_whole_target(where, settings.database, settings.upload_dirs, irrevocably=is_final)
        _restore_from(run, retargeted(settings, where), str(archive), where, options)
    elif options.discard_previous:
        where_to = retargeted(settings, where)
        discard(run, where_to, options.restore_id, options.abandoned, yes=options.yes, as_json=options.as_json)
    else:
        _recover(run, retargeted(settings, where), options)


def _restore_from(run: Run, settings: Settings, archive: str, where: TargetOptions, options: RestoreOptions) -> None:
    request = RestoreRequest(
        archive=choose_archive(archive, settings),
        with_database=where.only != "uploads",
        with_uploads=where.only != "database",
        in_place=options.in_place,
        keep_previous=not options.no_keep_previous,
        jobs=options.jobs or os.cpu_count() or 1,
        from_another=where.accepts_another,
        accepts_broken=options.accept_broken,
        accepts_open=options.accept_open,
        without_others=where.database_url is not None,
    )
    if not options.dry_run:
        _restore(run, settings, request, options)
        return
    with run.output.watching(quiet=options.is_silent) as progress:
        plan = plan_restore(settings, request, progress, quick=options.quick)
    if options.as_json:
        run.output.document(describe_plan(plan))
    else:
        print_plan(run.output, plan)
    exit_with(plan.exit_status)


def _recover(run: Run, settings: Settings, options: RestoreOptions) -> None:
    """Undo or resume."""
    confirm = partial(_confirm_by_names, output=run.output, options=options)
    with run.output.watching(quiet=options.is_silent) as progress:
        if options.undo:
            done = undo_restore(settings, options.restore_id, progress, confirm, options.abandoned)
        else:
            done = resume_restore(settings, progress, options.restore_id, confirm, options.abandoned)
    is_restored_anew = options.resume and done.again is not None
    if not options.as_json:
        print_recovery(run.output, done)
    elif not is_restored_anew:  # else the document is that of the restore
        run.output.document(describe_recovery(done, is_undo=options.undo))
    if options.resume and done.again is not None:
        _restore(run, retargeted_to(settings, done.again), done.again, replace(options, yes=True))
    if done.warnings:
        exit_with(ExitStatus.WARNINGS)


def _restore(run: Run, settings: Settings, request: RestoreRequest, options: RestoreOptions) -> None:
    told: set[str] = set()
    quiet, yes = options.is_silent, options.yes

    def confirm(plan: RestorePlan) -> bool:
        if not quiet:
            run.output.result(first_line(plan))
        if not (quiet and yes):
            print_what_happens(run.output, plan)
        for warning in plan.warnings:
            run.output.warning(warning)
            told.add(warning)
        return yes or ask(run.output, _PROMPT, "restore")

    with run.output.watching(quiet=quiet) as progress:
        result = restore_archive(settings, request, confirm, progress)
    for warning in result.warnings:
        if warning not in told:
            run.output.warning(warning)
    details = {"id": result.id, "tables": result.tables, "upload_files": result.upload_files}
    run.describe(archive=result.archive.name, warnings=result.warnings, details=details)
    if options.as_json:
        run.output.document(describe_result(result))
    else:
        print_result(run.output, result, quiet=quiet)
    if result.warnings:
        exit_with(ExitStatus.WARNINGS)


def _confirm_by_names(plan: str, *, output: Output, options: RestoreOptions) -> bool:
    """Show what would be done with a restore that only names point to, and ask."""
    (output.line if options.as_json else output.result)(plan)
    return options.yes or ask(output, "Type 'yes' to do that:", "yes")
