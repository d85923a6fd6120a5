"""`scheduler`: backups, checks and drills by their schedules, without any other scheduler."""

from __future__ import annotations

import os
import time
import traceback
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click
from msgspec import to_builtins

from safeharbor_backup.actions.backup.run import plan_output, take_backup
from safeharbor_backup.actions.catalog.last_runs import SCHEDULER
from safeharbor_backup.actions.catalog.latest import choose_to_prove
from safeharbor_backup.actions.catalog.retention import tiers_of
from safeharbor_backup.actions.doctor.settings_checks import describe_ignored_zone
from safeharbor_backup.actions.drill.run import drill_archive
from safeharbor_backup.actions.idle import end_other_processes, why_not_ours
from safeharbor_backup.actions.scheduler.jobs import JobName
from safeharbor_backup.actions.scheduler.run import require_schedulable, run_scheduler
from safeharbor_backup.actions.verify import verify_archive
from safeharbor_backup.cli.attempt import RecordedRun, renew_files
from safeharbor_backup.cli.command import safeharbor_command
from safeharbor_backup.cli.commands.backup import describe_backup
from safeharbor_backup.cli.commands.drill import describe_drill, tell_drill
from safeharbor_backup.cli.commands.verify import describe_verifications
from safeharbor_backup.cli.ending import Ending, ending_of
from safeharbor_backup.cli.json_output import log_format_option
from safeharbor_backup.cli.metrics_server import Address, AddressType, metrics_served
from safeharbor_backup.cli.output import ERROR, WARNING
from safeharbor_backup.errors import ArchiveRejected, ExitStatus, Interrupted, SafeHarborError, TookTooLong
from safeharbor_backup.state.history import Outcome, remember_outcome
from safeharbor_backup.state.scheduler_at_work import scheduler_mark
from safeharbor_backup.text import iso_time, plural, show_bytes, show_slot, show_time

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safeharbor_backup.actions.scheduler.jobs import Job
    from safeharbor_backup.cli.output import Output
    from safeharbor_backup.cli.run import Run
    from safeharbor_backup.settings.model import Settings


@safeharbor_command(
    "Run `backup` on BACKUP_SCHEDULE, `verify --latest` on BACKUP_VERIFY_SCHEDULE and `drill` on "
    "BACKUP_DRILL_SCHEDULE, one at a time, until stopped. A backup that was missed while this did not run is taken at "
    "the start. A run that fails is reported in the log, and the next one runs as planned.",
    ExitStatus.DONE,
    ExitStatus.USAGE,
    meanings={ExitStatus.DONE: "done: stopped by HUP, INT or TERM"},
    is_service=True,
)
@click.option(
    "--listen",
    type=AddressType(),
    metavar="ADDRESS",
    help="Serve /metrics and /healthz over HTTP at this address, such as 127.0.0.1:9187. A port alone means "
    "127.0.0.1. Anyone who reaches the address can read them.",
)
@log_format_option
def command(run: Run, listen: Address | None) -> None:
    """Report the plan, then run jobs until stopped."""
    settings = run.read_settings()
    require_schedulable(settings)
    front = Front(settings, run.output)
    front.say(plan_output(settings))
    front.say(f"archives in {settings.backup_dir}: {tiers_of(settings)}")
    if settings.ignored_zone:
        front.say(
            describe_ignored_zone(settings.ignored_zone, settings.timezone) + "; BACKUP_TIMEZONE sets it",
            "warning",
            level=WARNING,
        )
    is_own_container = not why_not_ours()
    try:
        with ExitStack() as until_stopped:
            if listen is not None:
                host, port = until_stopped.enter_context(metrics_served(settings, listen))
                front.say(f"metrics on {host}:{port}, at /metrics and /healthz")
            unmarked = until_stopped.enter_context(scheduler_mark(settings.backup_dir))
            if unmarked:
                front.say(unmarked, "warning", level=WARNING)
            run_scheduler(settings, front)
    except Interrupted as interruption:
        if is_own_container:  # when this ends, the kernel kills what `docker exec` has started beside it
            end_other_processes(front.say)
        front.say(f"stopped: {interruption}")


class Front:
    """Runs the jobs as the commands of the same names do, and writes the log of a service."""

    def __init__(self, settings: Settings, output: Output) -> None:
        self._settings = settings
        self._output = output
        self._log = output.as_service()

    def say(self, text: str, event: str = "line", **more: Any) -> None:
        """Write lines to the log, or one event."""
        try:
            self._log.event(event, text, **more)
        except OSError:
            pass  # a log that cannot be written must not cost the backups

    def run(self, job: Job) -> None:
        """Run a job and report how it ended, whatever happens."""
        name = job.name.value
        attempt = RecordedRun(name, self._settings, self._output)
        self.say(f"{name}: starts", "start", command=name)
        stopped: Interrupted | None = None
        ending = Ending(ExitStatus.DONE)
        try:
            try:
                self._do(job, attempt)
            finally:
                attempt.over()
        except TookTooLong as limit:
            ending = ending_of(limit, name)
        except Interrupted as interruption:
            stopped, ending = interruption, ending_of(interruption, name)
        except Exception as error:  # tomorrow's backup may still be good
            ending = ending_of(error, name)
            if ending.is_bug:
                self.say(f"{name}: FAILED with an unexpected error\n{traceback.format_exc()}", level=ERROR)
        try:
            self._log.end(ending, attempt.outcome(ending), name)
        except OSError:
            pass
        attempt.end(ending)
        if stopped is not None:
            raise stopped
        if job.name is JobName.BACKUP and self._settings.drill_after_backup and ending.status == ExitStatus.DONE:
            self.run(replace(job, name=JobName.DRILL))

    def planned(self, jobs: Sequence[Job]) -> None:
        """Report when the next runs come."""
        for job in jobs:
            name, slot = job.name.value, iso_time(job.slot)
            self.say(f"next {name}: {show_slot(job.slot, job.zone)}", "next", command=name, slot=slot)

    def missed(self, job: Job, newest: datetime | None) -> None:
        """Report why a missed run starts now."""
        if newest is None:
            self.say(f"missed {job.name.value}: there is no complete archive, so one is taken now")
            return
        due = show_slot(job.slot, job.zone)
        self.say(f"missed {job.name.value}: the newest is from {show_time(newest)}, one was due at {due}: it runs now")

    def waived(self, job: Job, why: str) -> None:
        """Report, and record for `status`, why a missed run is not caught up."""
        next_one = show_slot(job.slot, job.zone)
        text = f"a missed {job.name.value} is not taken: {why}. Restore first, or take one yourself; next: {next_one}"
        self.say(text, "warning", level=WARNING, command=job.name.value)
        outcome = Outcome(SCHEDULER, datetime.now(UTC), 0.0, int(ExitStatus.WARNINGS), text)
        try:
            remember_outcome(self._settings, outcome)
        except (SafeHarborError, OSError) as error:
            self.say(f"the run was not recorded in the history: {error}", "warning", level=WARNING)
        renew_files(self._settings, self._output)

    def passed_over(self, job: Job, slot: datetime) -> None:
        """Report that a slot was skipped."""
        self.say(f"{job.name.value}: skipped {show_slot(slot, job.zone)} and what came after it during this run")

    def set_back(self, job: Job, now: datetime) -> None:
        """Report that the clock was set back."""
        self.say(f"the clock was set back to {show_time(now)}; next {job.name.value}: {show_slot(job.slot, job.zone)}")

    def _do(self, job: Job, attempt: RecordedRun) -> None:
        name, started = job.name.value, time.monotonic()
        attempt.begin()
        do = {JobName.BACKUP: self._backup, JobName.VERIFY: self._verify, JobName.DRILL: self._drill}[job.name]
        told = do(name, attempt)
        self._log.aside(f"{name}: {told}, in {time.monotonic() - started:.1f} s")

    def _backup(self, name: str, attempt: RecordedRun) -> str:
        with self._log.watching(command=name) as progress:
            result = take_backup(self._settings, progress=progress)
        details = to_builtins(describe_backup(result))
        attempt.describe(archive=result.path.name, warnings=result.warnings, details=details)
        contents = [
            plural(result.tables, "table"),
            plural(result.rows, "row"),
            f"{plural(result.upload_files, 'upload')} ({show_bytes(result.upload_bytes)})",
        ]
        pruned = result.pruned.deleted if result.pruned is not None else ()
        if pruned:
            contents.append(f"pruned {plural(len(pruned), 'archive')}")
        done = "done, with warnings (status 3)" if result.warnings else "done"
        return f"{done}: {result.path} ({show_bytes(result.size)}), {', '.join(contents)}"

    def _verify(self, name: str, attempt: RecordedRun) -> str:
        newest, notices = choose_to_prove(self._settings.backup_dir, self._settings.database_name)
        path = newest.path
        with self._log.watching(command=name) as progress:
            result = verify_archive(path, self._settings, progress=progress)
        describe_verifications(attempt, [result], notices)
        result.require_sound()
        for warning in (*notices, *result.warnings):
            self._log.aside(f"{name}: warning: {warning}")
        done = "done, with warnings (status 3)" if notices or result.warnings else "done"
        return f"{done}: {path} is OK ({plural(result.members, 'member')}, {show_bytes(result.size)})"

    def _drill(self, name: str, attempt: RecordedRun) -> str:
        newest, notices = choose_to_prove(self._settings.backup_dir, self._settings.database_name)
        path, jobs = newest.path, os.cpu_count() or 1
        with self._log.watching(command=name) as progress:
            result = drill_archive(path, self._settings, jobs=jobs, progress=progress, notices=notices)
        describe_drill(attempt, result)
        if result.problems:
            raise ArchiveRejected(f"{path} failed the drill: {result.problems[0]}", problems=result.problems, hint="")
        for warning in result.warnings:
            self._log.aside(f"{name}: warning: {warning}")
        done = "done, with warnings (status 3)" if result.warnings else "done"
        return f"{done}: {tell_drill(result)}"
