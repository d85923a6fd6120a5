"""Runs backups, checks and drills by their schedules, one at a time, until it is stopped.

It waits in short steps of a clock that nobody can set, and looks at the time of day after each. What is due is decided
in `actions/scheduler/jobs.py`; how a job is run and reported is up to the front end.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NoReturn, Protocol

from safeharbor_backup.actions.catalog.entries import is_from_future, read_catalog
from safeharbor_backup.actions.scheduler.catch_up import why_not_to_catch_up
from safeharbor_backup.actions.scheduler.jobs import Job, JobName, follow_clock, judge_jobs, plan_job, settle_job
from safeharbor_backup.errors import SafeHarborError
from safeharbor_backup.settings.model import Concern
from safeharbor_backup.settings.schedule import find_zone, next_slot
from safeharbor_backup.system.lock import LOCK_NAME

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from safeharbor_backup.actions.catalog.entries import CatalogEntry
    from safeharbor_backup.settings.model import Settings

_STEP_SECONDS = 1.0
_SMALLEST_STEP_SECONDS = 0.001


class Clock(Protocol):
    """The clock that a scheduler reads and waits by."""

    def now(self) -> datetime:
        """The time of day, aware, in UTC; it may jump."""

    def sleep(self, seconds: float) -> None:
        """Wait, however the time of day is set meanwhile."""


class SystemClock:
    """The clocks of this machine."""

    def now(self) -> datetime:
        """The system's time of day, aware, in UTC."""
        return datetime.now(UTC)

    def sleep(self, seconds: float) -> None:
        """Wait by the monotonic clock."""
        time.sleep(seconds)


class SchedulerFront(Protocol):
    """What a front end supplies: it runs the jobs and reports what happens."""

    def run(self, job: Job) -> None:
        """Run it to its end. Raises nothing but Interrupted: a failed run is reported, and the next one comes."""

    def planned(self, jobs: Sequence[Job]) -> None:
        """Report the next runs."""

    def missed(self, job: Job, newest: datetime | None) -> None:
        """A slot of this job was missed before the start; `newest` is the moment of the newest archive."""

    def waived(self, job: Job, why: str) -> None:
        """A slot of this job was missed before the start, and is not caught up; the job's slot is the next one."""

    def passed_over(self, job: Job, slot: datetime) -> None:
        """A slot, and maybe more, came while the job itself was running."""

    def set_back(self, job: Job, now: datetime) -> None:
        """The clock went back by hours; the job uses what it shows now."""


@dataclass(frozen=True, slots=True)
class _LastBackup:
    """What the backup directory shows at the start: up to when slots count as run, and the newest archive."""

    settled: datetime
    newest: CatalogEntry | None


def run_scheduler(settings: Settings, front: SchedulerFront, clock: Clock | None = None) -> NoReturn:
    """Run the jobs for ever. Raises SettingsInvalid at the start, and Interrupted when stopped."""
    require_schedulable(settings)
    clock = clock or SystemClock()
    started = clock.now()
    jobs = _first_jobs(settings, front, started)
    front.planned([job for job in jobs if job.slot > started])
    while True:
        now = clock.now()
        jobs = [_by_the_clock(job, front, now) for job in jobs]
        due = judge_jobs(jobs, now)
        if due is None:
            until_next = (min(job.slot for job in jobs) - now).total_seconds()
            clock.sleep(min(max(until_next, _SMALLEST_STEP_SECONDS), _STEP_SECONDS))
            continue
        front.run(due)
        settled = settle_job(due, clock.now())
        passed = next_slot(due.schedule, due.zone, max(now, due.slot))
        if passed <= settled.settled:
            front.passed_over(due, passed)
        jobs = [settled if job is due else job for job in jobs]
        front.planned([settled])


def require_schedulable(settings: Settings) -> None:
    """Raises SettingsInvalid with everything that would make each night fail."""
    drilling = () if settings.drill_schedule is None else (Concern.DRILL, Concern.RESTORE)
    backing_up = (Concern.DATABASE, Concern.UPLOADS, Concern.DIRECTORY, Concern.DUMP, Concern.RETENTION)
    settings.require(*backing_up, Concern.SCHEDULE, *drilling)


def _first_jobs(settings: Settings, front: SchedulerFront, now: datetime) -> list[Job]:
    zone = find_zone(settings.timezone)
    last = _read_last_backup(settings.backup_dir, now)
    backup = plan_job(JobName.BACKUP, settings.schedule, zone, last.settled)
    if backup.slot <= now:
        why = why_not_to_catch_up(settings, last.newest) if last.newest is not None else ""
        if why:
            backup = plan_job(JobName.BACKUP, settings.schedule, zone, now)
            front.waived(backup, why)
        else:
            front.missed(backup, last.newest.taken_at if last.newest is not None else None)
    others = {JobName.VERIFY: settings.verify_schedule, JobName.DRILL: settings.drill_schedule}
    return [backup, *(plan_job(name, schedule, zone, now) for name, schedule in others.items() if schedule is not None)]


def _read_last_backup(directory: Path, now: datetime) -> _LastBackup:
    """Where nothing was ever tried, nothing was missed. A directory that cannot be read gets a run, which says why."""
    long_ago = now - timedelta(days=366 * 10)
    try:
        archives = read_catalog(directory).archives
        is_new = not (directory / LOCK_NAME).exists()
    except (SafeHarborError, OSError):
        return _LastBackup(long_ago, None)
    taken = [entry for entry in archives if entry.is_complete and not is_from_future(entry, now)]
    newest = max(taken, key=lambda entry: entry.taken_at, default=None)
    if newest is not None:
        return _LastBackup(min(newest.taken_at, now), newest)
    return _LastBackup(now if is_new else long_ago, None)


def _by_the_clock(job: Job, front: SchedulerFront, now: datetime) -> Job:
    followed = follow_clock(job, now)
    if followed is not job:
        front.set_back(followed, now)
    return followed
