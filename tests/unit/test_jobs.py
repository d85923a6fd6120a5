"""Years of scheduling in seconds: what runs when, beside a model that knows nothing of the code."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import pairwise

import pytest

from safeharbor_backup.actions.scheduler.jobs import (
    CORRECTION,
    Job,
    JobName,
    follow_clock,
    judge_jobs,
    plan_job,
    settle_job,
)
from support.almanac import PLANS, Plan, days_around_changes, due_moments, looks, zone_named

NIGHTLY, WEEKLY = "0 0 3 * * *", "0 0 5 * * 0"
START = datetime(2026, 5, 7, 12, tzinfo=UTC)
SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)


@dataclass
class Life:
    """A scheduler that lives through days in no time: each run lasts as long as `lasts` says."""

    jobs: list[Job]
    now: datetime
    lasts: dict[JobName, timedelta] = field(default_factory=dict)
    runs: list[tuple[JobName, datetime]] = field(default_factory=list)
    slots: list[datetime] = field(default_factory=list)  # of the runs since the clock was last found to have been wrong

    def until(self, end: datetime) -> list[tuple[JobName, datetime]]:
        """What has run, and when each run began, up to `end`."""
        while self.now < end:
            followed = [follow_clock(job, self.now) for job in self.jobs]
            if followed != self.jobs:
                self.slots.clear()
            self.jobs = followed
            due = judge_jobs(self.jobs, self.now)
            if due is None:
                self.now = min(min(job.slot for job in self.jobs), end)
                continue
            self.runs.append((due.name, self.now))
            self.slots.append(due.slot)
            self.now += self.lasts.get(due.name, SECOND)
            self.jobs = [settle_job(job, self.now) if job is due else job for job in self.jobs]
        return self.runs


def life(schedule: str = NIGHTLY, verify: str = "", *, zone: tzinfo = UTC, now: datetime = START) -> Life:
    jobs = [plan_job(JobName.BACKUP, schedule, zone, now)]
    if verify:
        jobs.append(plan_job(JobName.VERIFY, verify, zone, now))
    return Life(jobs, now)


@pytest.mark.parametrize("name", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe"])
def test_over_years_each_night_has_one_backup_and_each_sunday_one_check(name: str) -> None:
    zone = zone_named(name)
    start = datetime(2024, 1, 1, tzinfo=UTC)  # two leap days, and ten changes of clocks
    life_of_years = life("0 30 2 * * *", WEEKLY, zone=zone, now=start)

    runs = life_of_years.until(datetime(2029, 1, 1, tzinfo=UTC))

    nights = [began.astimezone(zone).date() for job, began in runs if job is JobName.BACKUP]
    sundays = [began.astimezone(zone) for job, began in runs if job is JobName.VERIFY]
    assert nights == [nights[0] + timedelta(days=day) for day in range(len(nights))]
    assert len(nights) == 5 * 365 + 2
    assert all(moment.weekday() == 6 and moment.hour == 5 for moment in sundays)
    assert all(timedelta(days=6) < b - a < timedelta(days=8) for a, b in pairwise(sundays))
    assert len(sundays) == 261


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.fields)
def test_around_changes_of_clocks_each_slot_has_one_run(plan: Plan) -> None:
    zone = zone_named("Europe/Berlin")
    for start, end in days_around_changes(zone, 2026, 2026):
        expected = due_moments(plan, list(looks(start, end, zone)))

        runs = life(plan.fields, zone=zone, now=start - SECOND).until(end)

        assert [began for _, began in runs] == expected


def test_what_passes_while_the_job_itself_runs_is_not_run_after_it() -> None:
    busy = life("*/2 * * * * *")
    busy.lasts[JobName.BACKUP] = 5 * SECOND

    runs = busy.until(START + MINUTE)

    assert [(began - START).total_seconds() for _, began in runs] == [2, 8, 14, 20, 26, 32, 38, 44, 50, 56]


def test_a_job_that_comes_due_while_the_other_runs_waits_and_runs_once() -> None:
    both = life("0 0 4 * * *", "0 0 5 * * 0")
    both.lasts[JobName.BACKUP] = 50 * HOUR  # from Saturday 4:00 until Monday 6:00, over Sunday 4:00 and 5:00
    both.now = datetime(2026, 5, 9, 3, tzinfo=UTC)
    both.jobs = [plan_job(job.name, job.schedule, UTC, both.now) for job in both.jobs]

    runs = both.until(datetime(2026, 5, 12, 3, tzinfo=UTC))

    assert runs == [
        (JobName.BACKUP, datetime(2026, 5, 9, 4, tzinfo=UTC)),
        (JobName.VERIFY, datetime(2026, 5, 11, 6, tzinfo=UTC)),
    ]


def test_a_backup_that_is_always_due_does_not_starve_the_check() -> None:
    both = life("* * * * * *", "0 * * * * *")
    both.lasts[JobName.BACKUP] = 10 * SECOND

    runs = both.until(START + 10 * MINUTE)

    assert 8 <= [job for job, _ in runs].count(JobName.VERIFY) <= 10


def test_if_both_are_due_at_once_the_backup_goes_first() -> None:
    assert [job for job, _ in life("0 0 3 * * *", "0 0 3 * * *").until(START + 16 * HOUR)] == ["backup", "verify"]


@pytest.mark.parametrize("jump", [timedelta(days=1), timedelta(days=400), timedelta(days=3653)], ids=str)
def test_a_clock_that_jumps_ahead_causes_one_run(jump: timedelta) -> None:
    ahead = life()
    ahead.now += jump

    runs = ahead.until(START + jump + 2 * MINUTE)

    assert runs == [(JobName.BACKUP, START + jump)]


def test_a_clock_that_goes_back_an_hour_repeats_nothing_and_loses_nothing_else() -> None:
    hourly = life("0 0 * * * *")
    hourly.until(START + 3 * HOUR + MINUTE)
    hourly.now -= HOUR

    runs = hourly.until(START + 6 * HOUR)

    assert [(began - START) / HOUR for _, began in runs] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("jump", [CORRECTION + HOUR, timedelta(days=2), timedelta(days=3653)], ids=str)
def test_a_clock_that_goes_back_for_long_causes_no_wait_for_long(jump: timedelta) -> None:
    hourly = life("0 0 * * * *")
    hourly.until(START + 3 * HOUR + MINUTE)
    now = hourly.now - jump
    hourly.now, hourly.runs = now, []

    runs = hourly.until(now + 3 * HOUR)

    assert [began.minute for _, began in runs] == [0, 0, 0]
    assert runs[0][1] - now <= HOUR


def test_a_clock_set_back_during_a_run_causes_no_second_run_of_its_slot() -> None:
    nightly = life()
    (job,) = nightly.jobs
    slot = job.slot

    settled = settle_job(job, slot - HOUR)

    assert settled.slot == slot + 24 * HOUR
    years_ago = slot - timedelta(days=3653)
    assert follow_clock(settle_job(job, years_ago), years_ago).slot <= years_ago + 24 * HOUR


def test_whatever_the_clock_does_no_slot_is_run_twice_and_no_wait_is_longer_than_the_schedule_and_three_hours() -> None:
    chance = random.Random(4)
    for schedule, interval in [("0 0 * * * *", HOUR), (NIGHTLY, 24 * HOUR), ("0 */30 * * * *", HOUR / 2)] * 30:
        restless = life(schedule)
        for _ in range(10):
            restless.lasts[JobName.BACKUP] = timedelta(seconds=chance.choice([1, 60, 7200]))
            restless.until(restless.now + chance.random() * 30 * HOUR)
            restless.now += chance.choice([-1, 1]) * chance.random() * chance.choice([MINUTE, 2 * HOUR, 9999 * HOUR])
            ran = len(restless.runs)

            restless.until(restless.now + SECOND)

            assert len(restless.runs) - ran <= 1
            assert all(earlier < later for earlier, later in pairwise(restless.slots))
            assert restless.jobs[0].slot - restless.now <= interval + CORRECTION
