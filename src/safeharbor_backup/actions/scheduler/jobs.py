"""Which scheduled job is due, as data: nothing here waits, runs, or asks for the time.

A job remembers up to when its slots are settled, and which one comes next. A slot that has come is run once, however
late; those that pass meanwhile are not run after it. So a clock that jumps ahead causes one run, and one that goes back
causes none, until it is past what was settled before. Only if it went back by more than three hours, the clock was
wrong before: then the job starts again from what it shows now.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from enum import StrEnum
from typing import TYPE_CHECKING

from safeharbor_backup.settings.schedule import next_slot

if TYPE_CHECKING:
    from collections.abc import Sequence

CORRECTION = timedelta(hours=3)  # as cron has it: an hour can be a person or a mistake, three hours are a repair


class JobName(StrEnum):
    """The commands that the scheduler runs."""

    BACKUP = "backup"
    VERIFY = "verify"
    DRILL = "drill"


@dataclass(frozen=True, slots=True)
class Job:
    """One job. All slots up to `settled` were run or skipped; `slot` is the next one, and may be due already."""

    name: JobName
    schedule: str
    zone: tzinfo
    settled: datetime
    slot: datetime


def plan_job(name: JobName, schedule: str, zone: tzinfo, settled: datetime) -> Job:
    """The job, due at its first slot after `settled`."""
    return Job(name, schedule, zone, settled, next_slot(schedule, zone, settled))


def judge_jobs(jobs: Sequence[Job], now: datetime) -> Job | None:
    """The one to run now: of those that are due, the one that has waited longest. None if no job is due."""
    return min((job for job in jobs if job.slot <= now), key=lambda job: job.slot, default=None)


def settle_job(job: Job, ended: datetime) -> Job:
    """The job after a run: what passed while it ran is settled too."""
    return plan_job(job.name, job.schedule, job.zone, max(job.slot, ended))


def follow_clock(job: Job, now: datetime) -> Job:
    """The job by a clock that shows `now`: the same one, unless the clock went back so far that it was wrong before."""
    if job.settled - now > CORRECTION:
        return plan_job(job.name, job.schedule, job.zone, now)
    return job
