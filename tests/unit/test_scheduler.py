"""The scheduler as a program: what it does at its start, how it waits, what its log says, how it stops."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from socket import create_connection
from typing import TYPE_CHECKING

import pytest

from safeharbor_backup.actions.scheduler import run as scheduler
from safeharbor_backup.actions.scheduler.jobs import Job, JobName
from safeharbor_backup.actions.scheduler.run import run_scheduler
from safeharbor_backup.cli.commands.scheduler import Front
from safeharbor_backup.cli.main import cli
from safeharbor_backup.cli.metrics_server import AddressType, metrics_served
from safeharbor_backup.cli.output import TextOutput
from safeharbor_backup.errors import Interrupted, LockHeld, SettingsInvalid
from safeharbor_backup.settings.address_parsing import parse_database_url
from safeharbor_backup.settings.load import load_settings
from safeharbor_backup.settings.model import Settings
from safeharbor_backup.settings.upload_dirs import UploadDir
from safeharbor_backup.system.lock import LOCK_NAME
from support.almanac import zone_named
from support.archives import Facts, put_archive
from support.commands import cli_runner

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

NOON = datetime(2026, 5, 7, 12, tzinfo=UTC)


class FakeClock:
    """A clock that goes as fast as it is asked to sleep, and stops the scheduler at `end`."""

    def __init__(self, now: datetime = NOON, *, hours: float = 24) -> None:
        self.time = now
        self.left = timedelta(hours=hours)
        self.jumps: dict[datetime, timedelta] = {}
        self.slept: list[float] = []

    def now(self) -> datetime:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += timedelta(seconds=seconds)
        self.left -= timedelta(seconds=seconds)
        for moment in [moment for moment in self.jumps if moment <= self.time]:
            self.time += self.jumps.pop(moment)
        if self.left <= timedelta():
            raise Interrupted(15)


class Recorder:
    """A front end that writes down what happens."""

    def __init__(self, clock: FakeClock, lasts: float = 1.0) -> None:
        self.clock = clock
        self.lasts = timedelta(seconds=lasts)
        self.runs: list[tuple[str, datetime]] = []
        self.told: list[str] = []

    def run(self, job: Job) -> None:
        self.runs.append((job.name.value, self.clock.time))
        self.clock.time += self.lasts

    def planned(self, jobs: Sequence[Job]) -> None:
        self.told += [f"next {job.name.value} {job.slot:%d %H:%M:%S}" for job in jobs]

    def missed(self, job: Job, newest: datetime | None) -> None:
        self.told.append(f"missed {job.name.value}")

    def waived(self, job: Job, why: str) -> None:
        self.told.append(f"waived {job.name.value}: {why}")

    def passed_over(self, job: Job, slot: datetime) -> None:
        self.told.append(f"passed over {slot:%H:%M:%S}")

    def set_back(self, job: Job, now: datetime) -> None:
        self.told.append("set back")


@pytest.fixture
def complete(settings: Settings, tmp_path: Path) -> Settings:
    """Settings with nothing missing; there is no such server."""
    (tmp_path / "uploads").mkdir()
    url = parse_database_url("postgresql://app:s3cr3t@127.0.0.1:1/reef")
    return replace(
        settings,
        database=url,
        upload_dirs=(UploadDir(tmp_path / "uploads"),),
        verify_schedule=None,
        drill_schedule=None,
    )


def lived(settings: Settings, clock: FakeClock | None = None, *, lasts: float = 1.0) -> Recorder:
    clock = clock or FakeClock(hours=0.01)
    recorder = Recorder(clock, lasts)
    with pytest.raises(Interrupted):
        run_scheduler(settings, recorder, clock)
    return recorder


def test_a_new_directory_waits_for_its_first_slot(complete: Settings) -> None:
    recorder = lived(complete, FakeClock(hours=16))

    assert recorder.runs == [("backup", datetime(2026, 5, 8, 3, tzinfo=UTC))]
    assert recorder.told == ["next backup 08 03:00:00", "next backup 09 03:00:00"]


def test_a_directory_in_which_a_run_was_tried_but_none_succeeded_gets_one_at_once(complete: Settings) -> None:
    (complete.backup_dir / LOCK_NAME).touch()

    recorder = lived(complete)

    assert recorder.runs == [("backup", NOON)]
    assert recorder.told[0] == "missed backup"
    assert recorder.told[-1] == "next backup 08 03:00:00"


@pytest.mark.parametrize(
    ("taken_at", "is_missed"),
    [
        (datetime(2026, 5, 7, 3, tzinfo=UTC), False),  # the last slot itself
        (datetime(2026, 5, 7, 9, tzinfo=UTC), False),  # later, by hand
        (datetime(2026, 5, 7, 2, 59, 59, tzinfo=UTC), True),
        (datetime(2026, 4, 1, 3, tzinfo=UTC), True),
        (datetime(2036, 5, 7, 3, tzinfo=UTC), False),  # from the future: says nothing
    ],
    ids=str,
)
def test_a_backup_is_caught_up_with_once_if_the_last_slot_has_no_archive(
    complete: Settings, taken_at: datetime, is_missed: bool
) -> None:
    put_archive(complete.backup_dir, taken_at)

    recorder = lived(complete)

    assert recorder.runs == ([("backup", NOON)] if is_missed else [])


def test_a_damaged_archive_is_none(complete: Settings) -> None:
    put_archive(complete.backup_dir, datetime(2026, 5, 6, 3, tzinfo=UTC))
    put_archive(complete.backup_dir, datetime(2026, 5, 7, 3, tzinfo=UTC)).write_bytes(b"")

    assert lived(complete).runs == [("backup", NOON)]


def test_a_directory_that_cannot_be_read_gets_a_run_which_says_why(complete: Settings) -> None:
    assert lived(replace(complete, backup_dir=complete.backup_dir / "missing")).runs == [("backup", NOON)]


def test_a_check_is_not_caught_up_with(complete: Settings) -> None:
    put_archive(complete.backup_dir, datetime(2026, 5, 7, 3, tzinfo=UTC))
    settings = replace(complete, schedule="0 0 3 1 1 *", verify_schedule="0 0 11,13 * * *")

    recorder = lived(settings, FakeClock(hours=2))

    assert recorder.runs == [("verify", datetime(2026, 5, 7, 13, tzinfo=UTC))]


def test_a_drill_is_the_third_job_and_waits_for_its_turn(complete: Settings) -> None:
    put_archive(complete.backup_dir, datetime(2026, 5, 7, 3, tzinfo=UTC))
    hourly = "0 0 * * * *"
    settings = replace(complete, schedule="0 0 3 1 1 *", verify_schedule=hourly, drill_schedule="0 0 13 * * *")

    recorder = lived(settings, FakeClock(hours=1.5), lasts=2)

    assert [name for name, _ in recorder.runs] == ["verify", "drill"]


def test_slots_are_read_in_the_time_zone_of_the_settings(complete: Settings) -> None:
    zone_named("America/New_York")

    recorder = lived(replace(complete, timezone="America/New_York"), FakeClock(hours=20))

    assert recorder.runs == [("backup", datetime(2026, 5, 8, 7, tzinfo=UTC))]


def test_it_waits_in_short_steps_and_never_in_a_busy_loop(complete: Settings) -> None:
    clock = FakeClock(hours=16)

    lived(complete, clock)

    assert max(clock.slept) <= 30
    assert len(clock.slept) < 16 * 3600 + 10


def test_clocks_that_jump_while_it_waits_cause_no_second_run_and_no_long_wait(complete: Settings) -> None:
    settings = replace(complete, schedule="0 0 * * * *")
    clock = FakeClock(hours=10)
    clock.jumps = {
        datetime(2026, 5, 7, 13, 10, tzinfo=UTC): timedelta(hours=-1),
        datetime(2026, 5, 7, 14, 10, tzinfo=UTC): timedelta(days=3650),
        datetime(2036, 5, 4, 16, 10, tzinfo=UTC): timedelta(days=-3650),
    }

    recorder = lived(settings, clock)

    began = [moment.strftime("%Y %H:%M") for _, moment in recorder.runs]
    assert began == [
        "2026 13:00", "2026 14:00", "2036 14:10", "2036 15:00", "2036 16:00",
        "2026 17:00", "2026 18:00", "2026 19:00", "2026 20:00", "2026 21:00",
    ][: len(began)]  # fmt: skip
    assert len(began) >= 8
    assert recorder.told.count("set back") == 1
    assert len(clock.slept) < 10 * 3600 + 60


def test_what_passed_during_a_run_is_told(complete: Settings) -> None:
    settings = replace(complete, schedule="*/2 * * * * *")

    recorder = lived(settings, FakeClock(hours=8 / 3600), lasts=5)

    assert recorder.told[:4] == [
        "next backup 07 12:00:02",
        "passed over 12:00:04",
        "next backup 07 12:00:08",
        "passed over 12:00:10",
    ]


@pytest.mark.parametrize(
    "environ",
    [
        {"BACKUP_SCHEDULE": "0 3 * * *"},
        {"BACKUP_VERIFY_SCHEDULE": "weekly"},
        {"BACKUP_DRILL_SCHEDULE": "weekly"},
        {"BACKUP_DRILL_DATABASE_URL": "sqlite:///app.db"},
        {"BACKUP_TIMEZONE": "Mars/Phobos"},
        {"BACKUP_RETENTION_DAILY": "0", "BACKUP_RETENTION_WEEKLY": "0"},
        {"BACKUP_DUMP_COMPRESSION": "brotli"},
        {"BACKUP_DATABASE_URL": "sqlite:///app.db"},
    ],
    ids=" ".join,
)
def test_a_setting_that_would_make_each_night_fail_is_told_at_the_start(environ: dict[str, str]) -> None:
    settings = load_settings({"BACKUP_DATABASE_URL": "postgresql://app@db/reef", **environ})

    with pytest.raises(SettingsInvalid) as caught:
        run_scheduler(settings, Recorder(FakeClock()), FakeClock())

    assert next(reversed(environ)) in caught.value.message or next(iter(environ)) in caught.value.message


def test_the_command_ends_with_2_and_names_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("BACKUP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("BACKUP_DATABASE_URL", "postgresql://app@db/reef")
    monkeypatch.setenv("BACKUP_SCHEDULE", "0 3 * * *")
    monkeypatch.setenv("BACKUP_TIMEZONE", "Mars/Phobos")

    result = cli_runner().invoke(cli, ["scheduler"], prog_name="safeharbor")

    assert result.exit_code == 2
    assert '"0 0 3 * * *"' in result.stderr
    assert "BACKUP_TIMEZONE='Mars/Phobos'" in result.stderr


class TestLog:
    """What the front end says of runs that end in different ways."""

    def run(self, settings: Settings, name: JobName, capsys: pytest.CaptureFixture[str]) -> list[str]:
        Front(settings, TextOutput()).run(Job(name, settings.schedule, UTC, NOON, NOON))
        lines = capsys.readouterr().out.splitlines()
        assert all(datetime.strptime(line.split()[0], "%Y-%m-%dT%H:%M:%S%z") for line in lines)
        assert not any("s3cr3t" in line for line in lines)
        return [line.partition(" ")[2] for line in lines]

    def test_a_failed_run_is_told_with_its_status_what_is_intact_and_what_to_do(
        self, complete: Settings, capsys: pytest.CaptureFixture[str]
    ) -> None:
        lines = self.run(complete, JobName.BACKUP, capsys)

        assert lines[0] == "backup: starts"
        assert lines[1].startswith("backup: FAILED (status 6): ")
        assert lines[-2] == "backup: No archive was written."
        assert lines[-1].startswith("backup: hint: Check BACKUP_DATABASE_URL")

    @pytest.mark.parametrize("error", [LockHeld("Another one."), OSError(28, "No space left on device")], ids=repr)
    def test_it_goes_on_after_any_foreseen_error(
        self,
        complete: Settings,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
        error: Exception,
    ) -> None:
        monkeypatch.setattr("safeharbor_backup.cli.commands.scheduler.take_backup", raising(error))

        lines = self.run(complete, JobName.BACKUP, capsys)

        assert lines[1].startswith("backup: FAILED (status ")

    def test_it_goes_on_after_a_bug_and_shows_its_traceback(
        self, complete: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("safeharbor_backup.cli.commands.scheduler.take_backup", raising(ZeroDivisionError("a bug")))

        lines = self.run(complete, JobName.BACKUP, capsys)

        assert "Traceback (most recent call last):" in lines
        assert lines[-1] == "ZeroDivisionError: a bug"

    def test_a_sound_archive_is_told(self, complete: Settings, capsys: pytest.CaptureFixture[str]) -> None:
        path = put_archive(complete.backup_dir, NOON)

        lines = self.run(complete, JobName.VERIFY, capsys)

        assert lines[1].startswith(f"verify: done: {path} is OK (")

    def test_a_damaged_archive_is_told_with_all_its_problems(
        self, complete: Settings, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = put_archive(complete.backup_dir, NOON, facts=Facts())
        with open(path, "r+b") as file:
            file.seek(4096 + 10)
            file.write(b"XX")

        lines = self.run(complete, JobName.VERIFY, capsys)

        assert lines[1].startswith(f"verify: FAILED (status 5): {path}: ")

    def test_the_state_is_published_after_each_run(
        self, complete: Settings, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        settings = replace(complete, status_file=tmp_path / "status.json")

        self.run(settings, JobName.BACKUP, capsys)

        assert '"published_at"' in (tmp_path / "status.json").read_text()

    def test_slots_are_told_in_both_zones(self, complete: Settings, capsys: pytest.CaptureFixture[str]) -> None:
        berlin = zone_named("Europe/Berlin")

        Front(complete, TextOutput()).planned([Job(JobName.BACKUP, "0 0 3 * * *", berlin, NOON, NOON)])

        assert capsys.readouterr().out.endswith("next backup: 2026-05-07 12:00:00 UTC (2026-05-07 14:00:00 CEST)\n")


def raising(error: Exception) -> Callable[..., None]:
    def fail(*_arguments: object, **_options: object) -> None:
        raise error

    return fail


def test_the_clock_of_the_machine_is_aware_and_in_utc() -> None:
    assert scheduler.SystemClock().now().tzinfo is UTC


def fetched(port: int, path: str, method: str = "GET") -> tuple[int, str, str]:
    """Status, kind and content of an answer."""
    connection = HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.headers["Content-Type"], answer.read().decode()
    finally:
        connection.close()


def test_what_listens_answers_with_the_metrics_and_the_health_of_this_moment(complete: Settings) -> None:
    put_archive(complete.backup_dir, datetime.now(UTC) - timedelta(days=9))
    with metrics_served(complete, ("127.0.0.1", 0)) as (_, port), create_connection(("127.0.0.1", port)):
        # the connection above says nothing, and holds nobody up
        status, kind, content = fetched(port, "/metrics")
        assert (status, kind) == (200, "text/plain; version=0.0.4; charset=utf-8")
        assert 'safeharbor_archives{name="safeharbor",state="complete"} 1.0' in content
        assert fetched(port, "/healthz")[::2] == (503, "stale\n")
        put_archive(complete.backup_dir, datetime.now(UTC) - timedelta(minutes=1))
        assert fetched(port, "/healthz?from=k8s")[::2] == (200, "good\n")
        assert fetched(port, "/healthz", "HEAD")[::2] == (200, "")
        assert fetched(port, "/etc/passwd")[0] == 404
        assert fetched(port, "/metrics", "POST")[0] == 501

        with pytest.raises(SettingsInvalid, match=f"--listen 127.0.0.1:{port}: Address already in use"):
            metrics_served(complete, ("127.0.0.1", port)).__enter__()
        complete.backup_dir.rename(complete.backup_dir.with_name("moved"))
        assert fetched(port, "/metrics")[0] == fetched(port, "/healthz")[0] == 503
        assert str(complete.backup_dir) in fetched(port, "/metrics")[2]
    with pytest.raises(ConnectionRefusedError):
        fetched(port, "/metrics")


@pytest.mark.slow
def test_who_only_connects_leaves_descriptors_for_backups(complete: Settings) -> None:
    with metrics_served(complete, ("127.0.0.1", 0)) as (_, port), ExitStack() as connected:
        # less than the seconds after which one that asks for nothing is left
        connections = [connected.enter_context(create_connection(("127.0.0.1", port), 8)) for _ in range(17)]

        assert connections[-1].recv(1) == b""


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("9187", ("127.0.0.1", 9187)),
        ("0.0.0.0:80", ("0.0.0.0", 80)),
        ("[::1]:9187", ("::1", 9187)),
        ("localhost:0", ("localhost", 0)),
    ],
)
def test_an_address_to_listen_at_is_this_host_alone_unless_it_says_more(given: str, address: tuple[str, int]) -> None:
    assert AddressType().convert(given, None, None) == address


@pytest.mark.parametrize(
    "given", ["", ":9187", "::1:9187", "host", "host:", "127.0.0.1:65536", "127.0.0.1:-1", "1:²", "9" * 5000]
)
def test_what_is_no_address_is_refused(given: str) -> None:
    result = cli_runner().invoke(cli, ["scheduler", "--listen", given])

    assert result.exit_code == 2
    assert "is not an address such as 127.0.0.1:9187" in result.output
