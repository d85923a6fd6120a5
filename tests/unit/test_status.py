from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from safeharbor_backup.actions.catalog.entries import State
from safeharbor_backup.actions.prune import prune_archives
from safeharbor_backup.actions.status.health import Health
from safeharbor_backup.actions.status.result import Status
from safeharbor_backup.actions.status.run import read_status
from safeharbor_backup.archive.layout import archive_name
from safeharbor_backup.cli.main import cli
from safeharbor_backup.cli.status_lines import tell_status
from safeharbor_backup.settings.model import Concern, Problem
from safeharbor_backup.state.adopted import Adopted, write_adopted
from safeharbor_backup.state.history import Outcome, append_outcome
from safeharbor_backup.text import show_bytes
from support.archives import Facts, put_archive
from support.commands import cli_runner

if TYPE_CHECKING:
    from click.testing import Result

    from safeharbor_backup.settings.model import Settings

NOW = datetime.now(UTC).replace(microsecond=0)
NIGHT = NOW - timedelta(hours=3)


def remember(settings: Settings, command: str, hours: float, status: int, reason: str = "", **rest: object) -> None:
    """A run that began so many hours before now."""
    archive = rest.pop("archive", None)
    assert isinstance(archive, str | None)
    began = NOW - timedelta(hours=hours)
    append_outcome(settings.backup_dir, Outcome(command, began, 12, status, reason, archive, (), rest))


def soon() -> datetime:
    """A moment after the test's archives were made; a verify before that says nothing about them."""
    return datetime.now(UTC) + timedelta(seconds=2)


def look(settings: Settings) -> Status:
    return read_status(settings, now=NOW)


def lines(settings: Settings) -> list[str]:
    return tell_status(look(settings), settings, NOW)


def line(settings: Settings, name: str) -> str:
    """What stands in the block under this name."""
    (found,) = [each for each in lines(settings) if each.startswith(f"  {name} ")]
    return found.removeprefix(f"  {name}").strip()


def run(settings: Settings, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Result:
    for name in [name for name in os.environ if name.startswith("BACKUP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("BACKUP_DIR", str(settings.backup_dir))
    return cli_runner().invoke(cli, ["status", *arguments], prog_name="safeharbor")


class TestFailures:
    """What a failed run makes of the state."""

    def test_a_backup_that_failed_since_is_a_failure_that_wakes_nobody_yet(
        self, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        put_archive(settings.backup_dir, NIGHT)
        remember(settings, "backup", 1, 6, "the server does not answer")

        status = look(settings)

        assert (status.health, status.is_healthy) == (Health.FAILED, True)
        assert run(settings, monkeypatch).exit_code == 1
        assert run(settings, monkeypatch, "--healthcheck").exit_code == 0

    def test_its_reason_is_the_first_thing_told_and_the_newest_archive_comes_below(self, settings: Settings) -> None:
        name = put_archive(settings.backup_dir, NIGHT).name
        remember(settings, "backup", 1, 6, "the server does not answer")

        first, *rest = lines(settings)

        assert first.startswith("FAILED: the last backup failed on 20")
        assert first.endswith(" UTC, status 6: the server does not answer")
        assert rest[0].startswith(f"  newest good  {name}, 3 h old ")
        assert line(settings, "last backup") == "60 min ago: failed with status 6"

    def test_one_before_the_newest_archive_is_forgotten(self, settings: Settings) -> None:
        put_archive(settings.backup_dir, NIGHT)
        remember(settings, "backup", 4, 6)

        assert look(settings).health is Health.GOOD

    def test_while_the_first_archive_is_not_due_yet_it_is_told(
        self, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        remember(settings, "backup", 1, 7, "no room")

        first, second, *_ = lines(settings)

        assert first.startswith("FAILED: the last backup failed on ")
        assert second == "  no backup yet; the first one is not due yet"
        assert run(settings, monkeypatch, "--healthcheck").exit_code == 0

    def test_an_archive_that_is_too_old_is_worse(self, settings: Settings) -> None:
        put_archive(settings.backup_dir, NOW - timedelta(hours=50))
        remember(settings, "backup", 1, 6, "no answer")

        status = look(settings)

        assert (status.health, status.is_healthy) == (Health.STALE, False)
        assert any("no answer" in reason for reason in status.reasons)

    @pytest.mark.parametrize(
        ("command", "status", "health"),
        [
            ("drill", 5, Health.FAILED),
            ("drill", 8, Health.FAILED),
            ("drill", 6, Health.WARNING),
            ("drill", 143, Health.WARNING),
            ("verify", 1, Health.FAILED),
            ("verify", 4, Health.WARNING),
        ],
    )
    def test_a_check_that_found_something_is_a_failure_and_one_that_could_not_be_done_a_warning(
        self, settings: Settings, command: str, status: int, health: Health
    ) -> None:
        put_archive(settings.backup_dir, NIGHT)
        remember(settings, command, 1, status, "why")

        assert look(settings).health is health

    def test_a_failed_drill_stays_one_until_a_drill_goes_well_and_a_verify_until_a_newer_archive(
        self, settings: Settings
    ) -> None:
        put_archive(settings.backup_dir, NIGHT)
        remember(settings, "verify", 4, 1)
        assert look(settings).health is Health.WARNING
        remember(settings, "drill", 4, 8)
        assert look(settings).health is Health.FAILED
        remember(settings, "drill", 2, 0)
        assert look(settings).health is Health.WARNING
        remember(settings, "verify", 1, 0)
        assert look(settings).health is Health.GOOD

    def test_a_verify_of_an_empty_directory_is_none(self, settings: Settings) -> None:
        remember(settings, "verify", 1, 5, "There is no archive")

        assert look(settings).health is Health.WAITING


class TestRejected:
    """An archive that a verify has rejected is not taken for a good one."""

    def test_it_is_damaged_and_the_one_before_is_the_newest(self, settings: Settings) -> None:
        before = put_archive(settings.backup_dir, NIGHT - timedelta(hours=1))
        bad = put_archive(settings.backup_dir, NIGHT).name
        found = Outcome("verify", soon(), 1, 5, f"{bad}: no", bad, (), {"archives": 1, "rejected": [bad]})
        append_outcome(settings.backup_dir, found)

        status = look(settings)

        assert status.newest is not None
        assert (status.newest.name, status.damaged, status.health) == (before.name, 1, Health.FAILED)
        assert status.archives[0].state is State.DAMAGED
        assert "verify rejected it on " in status.archives[0].problem

    def test_if_it_is_the_only_one_there_is_none(self, settings: Settings) -> None:
        bad = put_archive(settings.backup_dir, NIGHT).name
        found = Outcome("verify", soon(), 1, 5, "no", bad, (), {"archives": 1, "rejected": [bad]})
        append_outcome(settings.backup_dir, found)

        status = look(settings)

        assert (status.newest, status.health, status.is_healthy) == (None, Health.STALE, False)


class TestComing:
    """What comes next."""

    def test_the_next_backup_goes_by_the_schedule_and_the_time_zone(self, settings: Settings) -> None:
        at = datetime(2026, 11, 24, 1, 30, tzinfo=UTC)

        berlin = replace(settings, timezone="Europe/Berlin")

        assert read_status(settings, now=at).next_backup == datetime(2026, 11, 24, 3, tzinfo=UTC)
        assert read_status(berlin, now=at).next_backup == datetime(2026, 11, 24, 2, tzinfo=UTC)

    def test_a_schedule_that_cannot_be_used_has_none_and_is_no_error(self, settings: Settings) -> None:
        problem = Problem(Concern.SCHEDULE, "BACKUP_SCHEDULE", "x", "six fields")
        settings = replace(settings, problems=(problem,))
        put_archive(settings.backup_dir, NIGHT)

        status = look(settings)

        assert (status.next_backup, status.health) == (None, Health.WARNING)
        assert line(settings, "next backup") == "not known: the schedule cannot be used"

    def test_what_the_next_backup_will_delete_is_what_is_deleted_when_it_is_there(self, settings: Settings) -> None:
        settings = replace(settings, retention_daily=3, retention_weekly=1, schedule="0 0 * * * *")
        put = [put_archive(settings.backup_dir, NOW - timedelta(hours=hours)).name for hours in (4, 3, 2)]

        status = look(settings)
        told = line(settings, "retention")
        assert status.next_backup is not None
        put_archive(settings.backup_dir, status.next_backup)

        assert status.outlook.next_deleted == (put[0],)
        assert status.outlook.verdicts[put[0]].keep
        assert told.startswith("3 daily, 1 weekly; the next backup deletes the one of 20")
        assert prune_archives(settings).deleted == (put[0],)

    def test_nothing_goes_while_a_guard_holds_it(self, settings: Settings) -> None:
        settings = replace(settings, retention_daily=1, retention_weekly=0)
        put_archive(settings.backup_dir, NIGHT - timedelta(days=1))
        put_archive(settings.backup_dir, NIGHT, facts=Facts(tables={}))

        status = look(settings)

        assert status.outlook.next_deleted == ()
        assert line(settings, "retention") == "1 daily, 0 weekly; the next backup deletes none"


class TestUnusual:
    """Half of what there was is told, until it is adopted."""

    def test_the_table_that_lost_its_rows_is_named(self, settings: Settings) -> None:
        put_archive(settings.backup_dir, NIGHT - timedelta(days=1), facts=Facts(tables={"public.users": 90}))
        newest = put_archive(settings.backup_dir, NIGHT, facts=Facts(tables={"public.users": 4}))

        status = look(settings)

        assert status.health is Health.WARNING
        told = [each for each in status.reasons if "the archive has 4 rows, an earlier one had 90" in each]
        assert len(told) == 1
        assert "; public.users has 4 of 90; " in told[0]
        write_adopted(settings.backup_dir, Adopted(archives=frozenset({newest.name})))
        assert look(settings).health is Health.GOOD


class TestRoom:
    """How much room there is."""

    def test_no_room_for_another_archive_is_a_warning(
        self, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        size = show_bytes(put_archive(settings.backup_dir, NIGHT).stat().st_size)
        nearly_full = os.statvfs_result((4096, 4096, 1000, 2, 2, 1000, 1000, 1000, 0, 255))
        monkeypatch.setattr("safeharbor_backup.actions.status.free_space.os.statvfs", lambda _: nearly_full)

        status = look(settings)

        assert (status.health, status.room.fits) == (Health.WARNING, 0)
        assert line(settings, "space") == f"0 B free; the next archive takes {size}, 0 more fit"


class TestLines:
    """The block below the verdict."""

    def test_it_is_as_the_operator_reads_it(self, settings: Settings) -> None:
        settings = replace(settings, schedule=f"0 {NIGHT.minute} {NIGHT.hour} * * *")  # none was due since
        archive = put_archive(settings.backup_dir, NIGHT)
        name, size = archive.name, show_bytes(archive.stat().st_size)
        append_outcome(
            settings.backup_dir, Outcome("backup", NIGHT, 200, 3, "", name, ("2 uploads vanished",), {"rows": 5})
        )
        remember(settings, "verify", 2, 0, archive=name, archives=14, rejected=[])
        remember(settings, "drill", 1, 0, archive=archive_name(datetime(2026, 5, 7, 3, tzinfo=UTC)))

        told = lines(settings)

        assert told[0].startswith(f"GOOD: {name}, 3 h old (20")
        assert told[1:4] == [
            "  last backup  3 h ago: done, in 3 min, with 1 warning",
            "  last verify  2 h ago, 14 archives: OK, in 12 s",
            "  last drill   60 min ago, archive of 2026-05-07 03:00:00 UTC: restored, in 12 s",
        ]
        assert told[4].startswith("  next backup  in ")
        assert told[4].endswith(", no run seen yet")
        assert told[5] == "  off-site     none known; `safeharbor offsite-done -h`, or BACKUP_OFFSITE=none"
        assert told[6].endswith(f"; the next archive takes {size}, 1,000 or more fit")
        assert told[7] == "  retention    7 daily, 4 weekly; the next backup deletes none"
        assert [each for each in told[1:] if len(each) > 80] == []

    def test_a_new_directory_has_nothing_to_tell_yet(self, settings: Settings) -> None:
        told = lines(settings)

        assert told[0] == "no backup yet; the first one is not due yet"
        assert told[1:4] == [
            "  last backup  none recorded",
            "  last verify  none recorded",
            "  last drill   none recorded",
        ]
        assert told[6].endswith(" free")
        assert len(told) == 7

    def test_a_healthcheck_has_one_line(self, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
        put_archive(settings.backup_dir, NIGHT)

        assert run(settings, monkeypatch, "--healthcheck").stdout.count("\n") == 1
