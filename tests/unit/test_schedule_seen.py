"""What can be seen of a schedule: a scheduler that is at work, or backups that began when they were due."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec import to_builtins

from safeharbor_backup.actions.doctor.alert_checks import check_alerts
from safeharbor_backup.actions.doctor.settings_checks import check_schedule
from safeharbor_backup.actions.status.document import describe_status
from safeharbor_backup.actions.status.run import read_status
from safeharbor_backup.actions.status.schedule_seen import (
    STOP_ONE,
    TWICE,
    Seen,
    has_second_scheduler,
    look_for_schedule,
)
from safeharbor_backup.cli.status_lines import tell_status
from safeharbor_backup.settings.load import load_settings
from safeharbor_backup.settings.model import Settings
from safeharbor_backup.state.history import Outcome, append_outcome
from safeharbor_backup.state.scheduler_at_work import is_scheduler_at_work, scheduler_mark

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
FIRST = NOW - timedelta(days=10)


def settings_at(directory: Path, schedule: str = "0 0 3 * * *", **more: str) -> Settings:
    return load_settings(
        {"BACKUP_DIR": str(directory), "BACKUP_SCHEDULE": schedule, "BACKUP_TIMEZONE": "Europe/Berlin", **more}
    )


def ran(*at: str) -> list[Outcome]:
    first = Outcome("backup", FIRST, 5, 0)
    return [first, *(Outcome("backup", datetime.fromisoformat(f"2026-11-{each}Z"), 5, 0) for each in at)]


@pytest.mark.parametrize(
    ("at", "seen"),
    [
        (["28T02:00:04"], Seen.RUNS),  # 3:00 in Berlin
        (["28T02:59"], Seen.RUNS),
        (["27T02:00"], Seen.RUNS),
        (["28T03:00"], Seen.NOTHING),
        (["28T01:59"], Seen.NOTHING),
        (["26T02:00"], Seen.NOTHING),
        ([], Seen.NOTHING),
    ],
)
def test_a_backup_within_the_hour_after_one_of_the_last_two_times_is_the_schedules(
    tmp_path: Path, at: list[str], seen: Seen
) -> None:
    assert look_for_schedule(settings_at(tmp_path), ran(*at), [], NOW) is seen


@pytest.mark.parametrize(
    ("schedule", "taken", "seen"),
    [
        ("0 */5 * * * *", "28T11:54:59", Seen.NOTHING),
        ("0 */5 * * * *", "28T11:56", Seen.RUNS),
        ("0 0 3 * * 1", "23T02:10", Seen.RUNS),
        ("0 0 3 1 * *", "01T02:10", Seen.RUNS),
    ],
)
def test_frequent_and_rare_schedules_are_seen_by_their_archives(
    tmp_path: Path, schedule: str, taken: str, seen: Seen
) -> None:
    archives = [NOW - timedelta(days=60), datetime.fromisoformat(f"2026-11-{taken}Z")]

    assert look_for_schedule(settings_at(tmp_path, schedule), [], archives, NOW) is seen


def test_before_a_time_was_due_it_is_too_early_to_tell(tmp_path: Path) -> None:
    settings = settings_at(tmp_path)

    assert look_for_schedule(settings, [], [], NOW) is Seen.NOT_YET
    assert look_for_schedule(settings, [Outcome("verify", FIRST, 5, 0)], [], NOW) is Seen.NOT_YET
    assert look_for_schedule(settings, [Outcome("backup", NOW - timedelta(hours=1), 5, 0)], [], NOW) is Seen.NOT_YET
    assert look_for_schedule(settings_at(tmp_path, "every night"), [], [], NOW) is None


def test_a_scheduler_is_seen_as_long_as_it_is_at_work_and_a_second_one_is_told_so(tmp_path: Path) -> None:
    settings = settings_at(tmp_path)

    with scheduler_mark(tmp_path) as why:
        assert (why, is_scheduler_at_work(tmp_path)) == ("", True)
        assert look_for_schedule(settings, ran(), [], NOW) is Seen.SCHEDULER
        with scheduler_mark(tmp_path) as why_not:
            assert "another scheduler is at work" in why_not
        assert is_scheduler_at_work(tmp_path)

    assert not is_scheduler_at_work(tmp_path)
    with scheduler_mark(tmp_path / "missing") as why_missing:
        assert "cannot see" in why_missing


@pytest.mark.parametrize(
    ("at", "twice"),
    [
        (["28T02:00:01", "28T02:00:02"], True),
        (["28T02:00:01", "28T02:01:00"], False),  # the second one by hand
        (["27T02:00:01", "27T02:00:02", "28T02:00:01"], False),  # put right since
        (["27T02:00:01", "27T02:07", "28T02:00:01", "28T02:04"], True),  # a timer that starts at random
        (["26T02:00:01", "27T02:00:01", "28T02:00:01"], False),
        ([], False),
    ],
)
def test_two_backups_at_one_time_of_the_schedule_are_two_schedulers(tmp_path: Path, at: list[str], twice: bool) -> None:
    for each in ran(*at):
        append_outcome(tmp_path, each)
    settings = settings_at(tmp_path)

    assert has_second_scheduler(settings, ran(*at), NOW) is twice
    assert (TWICE in read_status(settings, now=NOW).reasons) is twice
    [finding] = check_schedule(settings, NOW)
    assert (finding.remedy == STOP_ONE) is twice


@pytest.mark.slow
def test_frequent_backups_of_one_scheduler_are_not_two(tmp_path: Path) -> None:
    every_20_seconds = ran("28T11:59:20", "28T11:59:40", "28T12:00:00")
    settings = settings_at(tmp_path, "*/20 * * * * *")

    assert not has_second_scheduler(settings, every_20_seconds, NOW)
    assert has_second_scheduler(settings, [*every_20_seconds, every_20_seconds[-1]], NOW)


def test_a_schedule_that_was_not_due_for_years_has_no_second_scheduler(tmp_path: Path) -> None:
    assert not has_second_scheduler(settings_at(tmp_path, "0 0 3 29 2 *"), ran("28T02:00"), NOW.replace(year=2031))
    assert not has_second_scheduler(settings_at(tmp_path, "0 0 3 1 1 *"), ran("28T02:00"), NOW)


def test_status_and_doctor_tell_what_was_seen(tmp_path: Path) -> None:
    settings = settings_at(tmp_path)

    def told() -> tuple[str, object, str]:
        status = read_status(settings, now=NOW)
        [line] = [line for line in tell_status(status, settings, NOW) if "next backup" in line]
        [finding] = check_schedule(settings, NOW)
        due = to_builtins(describe_status(status, settings))["next_backup"]
        return line.partition("next backup")[2].strip(), due, finding.level

    early = told()
    append_outcome(tmp_path, Outcome("backup", FIRST, 5, 0))
    nothing = told()
    append_outcome(tmp_path, Outcome("backup", datetime(2026, 11, 28, 2, 3, tzinfo=UTC), 5, 0))
    seen = told()

    assert early == (
        "in 14 h: 2026-11-29 02:00:00 UTC (2026-11-29 03:00:00 CET), no run seen yet",
        "2026-11-29T02:00:00Z",
        "note",
    )
    assert nothing == (
        "not known: nothing has run at the last times of BACKUP_SCHEDULE",
        None,
        "warning",
    )
    assert seen == (
        "in 14 h: 2026-11-29 02:00:00 UTC (2026-11-29 03:00:00 CET), at the same times as before",
        "2026-11-29T02:00:00Z",
        "ok",
    )


@pytest.mark.parametrize(
    ("more", "level"),
    [
        ({}, "warning"),
        ({"BACKUP_IGNORE": "alerts"}, "note"),
        ({"BACKUP_STATUS_FILE": "/run/status.json"}, "note"),
        ({"BACKUP_PING_URL": "https://ping.example/x"}, "ok"),
    ],
)
def test_that_nobody_would_be_told_is_a_warning_from_the_second_day_on(
    tmp_path: Path, more: dict[str, str], level: str
) -> None:
    settings = settings_at(tmp_path, **more)
    append_outcome(tmp_path, Outcome("backup", NOW - timedelta(hours=25), 5, 0))

    [finding] = check_alerts(settings, NOW)
    [early] = check_alerts(settings, NOW - timedelta(hours=2))

    assert finding.level == level
    assert early.level == ("ok" if level == "ok" else "note")
