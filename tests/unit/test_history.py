from __future__ import annotations

import fcntl
import os
import signal
import stat
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

import safeharbor_backup.state.history as history_module
from safeharbor_backup.cli.attempt import RecordedRun
from safeharbor_backup.cli.ending import Ending
from safeharbor_backup.cli.output import TextOutput
from safeharbor_backup.state.directory import STATE_DIRECTORY
from safeharbor_backup.state.history import HISTORY_NAME, LIMIT_BYTES, Outcome, append_outcome, read_history
from support.commands import run_inside

if TYPE_CHECKING:
    from pathlib import Path

    from safeharbor_backup.settings.model import Settings

NOW = datetime(2026, 11, 25, 3, 0, tzinfo=UTC)
GOOD = Outcome("backup", NOW, 12.5, 0, archive="a.tar", details={"rows": 3})
GARBAGE = [
    b"\n", b"{}\n", b"[]\n", b"null\n", b"\x00\xff\xfe\n", b"[" * 30_000 + b"\n", b'{"command": "backup"}\n',
    b'{"command":"x","started_at":5,"seconds":1,"exit_status":0,"reason":"","archive":null,"warnings":[],"details":{}}\n',
    b'{"command":"x","started_at":"2026-11-25T03:00:00Z","seconds":"1","exit_status":0,"reason":"","archive":null,'
    b'"warnings":[],"details":{}}\n',
    *[
        b'{"command":"x","started_at":"2026-11-25T03:00:00Z","seconds":%b,"exit_status":0,"reason":"","archive":null,'
        b'"warnings":[],"details":{}}\n' % seconds for seconds in (b"1e999", b"NaN")
    ],
    b'{"command":"x","started_at":"2026-11-25T03:00:00Z","seconds":1,"exit_status":1000,"reason":"","archive":null,'
    b'"warnings":[],"details":{}}\n',
    b'{"command":"x","started_at":"2026-11-25T03:00:00Z","seconds":1' + b"0" * 400 + b',"exit_status":0,"reason":"",'
    b'"archive":null,"warnings":[],"details":{}}\n',
]  # fmt: skip


def history(directory: Path) -> Path:
    return directory / STATE_DIRECTORY / HISTORY_NAME


def test_outcomes_come_back_as_they_were_the_oldest_first(tmp_path: Path) -> None:
    bad = Outcome("drill", NOW + timedelta(days=1), 1.0, 5, "it does not load", None, ("w", "x"), {"a": [1, None]})

    append_outcome(tmp_path, GOOD)
    append_outcome(tmp_path, bad)

    assert read_history(tmp_path) == (GOOD, bad)
    assert stat.S_IMODE(history(tmp_path).stat().st_mode) == 0o600


def test_there_is_none_where_there_is_none(tmp_path: Path) -> None:
    assert read_history(tmp_path / "missing") == ()
    assert read_history(tmp_path) == ()


@pytest.mark.parametrize("garbage", GARBAGE)
def test_garbage_is_skipped(tmp_path: Path, garbage: bytes) -> None:
    append_outcome(tmp_path, GOOD)
    with open(history(tmp_path), "ab") as file:
        file.write(garbage)
    append_outcome(tmp_path, GOOD)

    assert read_history(tmp_path) == (GOOD, GOOD)


def test_a_line_that_was_cut_off_takes_no_other_with_it(tmp_path: Path) -> None:
    append_outcome(tmp_path, GOOD)
    os.truncate(history(tmp_path), history(tmp_path).stat().st_size - 9)

    append_outcome(tmp_path, GOOD)

    assert read_history(tmp_path) == (GOOD,)


def test_it_is_bounded_and_loses_the_older_half(tmp_path: Path) -> None:
    for number in range(300):
        append_outcome(tmp_path, Outcome("backup", NOW + timedelta(days=number), 1.0, 1, "x" * 1900, "y" * 2500))

    kept = read_history(tmp_path)
    steps = {later.started_at - earlier.started_at for earlier, later in pairwise(kept)}

    assert history(tmp_path).stat().st_size <= LIMIT_BYTES + 16_384
    assert kept[-1].started_at == NOW + timedelta(days=299)
    assert steps == {timedelta(days=1)}
    assert sorted(os.listdir(tmp_path / STATE_DIRECTORY)) == [HISTORY_NAME]


def test_one_run_cannot_fill_it(tmp_path: Path) -> None:
    append_outcome(tmp_path, Outcome("backup", NOW, 1.0, 3, "r" * 99_999, warnings=("w" * 99_999,) * 99))

    assert history(tmp_path).stat().st_size < 16_384
    assert read_history(tmp_path)[0].exit_status == 3


def test_several_at_once_lose_nothing_while_it_is_shortened(tmp_path: Path) -> None:
    def append(number: int) -> None:
        for day in range(60):
            append_outcome(tmp_path, Outcome(f"c{number}", NOW + timedelta(days=day), 1.0, 1, "x" * 1900, "y" * 2500))

    threads = [threading.Thread(target=append, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    for number in range(6):
        days = [(each.started_at - NOW).days for each in read_history(tmp_path) if each.command == f"c{number}"]
        assert days == list(range(60 - len(days), 60))


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / STATE_DIRECTORY).mkdir()
    history(tmp_path).symlink_to(tmp_path / "elsewhere")

    with pytest.raises(OSError, match="symbolic links"):
        append_outcome(tmp_path, GOOD)
    assert not (tmp_path / "elsewhere").exists()


def test_a_fifo_in_its_place_makes_nobody_wait(tmp_path: Path) -> None:
    (tmp_path / STATE_DIRECTORY).mkdir()
    os.mkfifo(history(tmp_path))

    assert read_history(tmp_path) == ()
    with pytest.raises(OSError, match="not a regular file"):
        append_outcome(tmp_path, GOOD)


def test_nobody_waits_for_ever_for_whoever_holds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append_outcome(tmp_path, GOOD)
    monkeypatch.setattr(history_module, "_PATIENCE_SECONDS", 0.1)
    with open(history(tmp_path), "rb") as held:
        fcntl.flock(held, fcntl.LOCK_SH)
        with pytest.raises(OSError, match="another process holds it"):
            append_outcome(tmp_path, GOOD)

    append_outcome(tmp_path, GOOD)
    assert read_history(tmp_path) == (GOOD, GOOD)


@pytest.fixture
def backups(configured: Settings) -> Path:
    """A backup directory with one archive, in the environment."""
    return configured.backup_dir


def test_a_verification_is_remembered_with_its_archive(backups: Path) -> None:
    assert run_inside("verify", "--latest").exit_code == 0

    (outcome,) = read_history(backups)
    assert (outcome.command, outcome.exit_status, outcome.reason) == ("verify", 0, "")
    assert outcome.archive == next(backups.glob("*.tar")).name
    assert outcome.details["quick"] is False


def test_a_rejected_archive_is_remembered_with_its_problem(backups: Path) -> None:
    archive = next(backups.glob("*.tar"))
    os.truncate(archive, archive.stat().st_size - 512)

    assert run_inside("verify", "--latest").exit_code == 5

    (outcome,) = read_history(backups)
    assert outcome.exit_status == 5
    assert outcome.reason.startswith(archive.name)
    assert outcome.details["rejected"] == [archive.name]


def test_a_backup_that_fails_is_remembered_with_its_reason_and_no_secret(backups: Path) -> None:
    result = run_inside("backup")

    (outcome,) = read_history(backups)
    assert outcome.command == "backup"
    assert outcome.exit_status == result.exit_code != 0
    assert outcome.reason
    assert "s3cr3t" not in history(backups).read_text()


@pytest.mark.parametrize("arguments", [("status",), ("list",), ("prune", "--dry-run"), ("verify", "--bogus")])
def test_what_changes_and_proves_nothing_is_not_remembered(backups: Path, arguments: tuple[str, ...]) -> None:
    run_inside(*arguments)

    assert read_history(backups) == ()


def test_a_history_that_cannot_be_written_costs_no_run_its_status(backups: Path) -> None:
    (backups / STATE_DIRECTORY).write_text("in the way")

    result = run_inside("prune")

    assert result.exit_code == 0
    assert "Warning: the run was not recorded in the history" in result.stderr


def test_a_backup_directory_that_is_missing_is_not_made(backups: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKUP_DIR", str(backups / "typo"))

    assert run_inside("backup").exit_code != 0

    assert not (backups / "typo").exists()


def test_a_backup_directory_that_cannot_be_looked_at_costs_no_run_its_status(
    backups: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BACKUP_UPLOAD_DIR", "none")
    monkeypatch.setenv("BACKUP_DIR", str(backups / ("x" * 300)))  # root may look into every other one

    result = run_inside("backup")

    assert result.exit_code == 1
    assert "Error: " in result.stderr
    assert "Warning: the run was not recorded in the history" in result.stderr


def test_nothing_is_written_where_the_share_is_not_mounted(backups: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKUP_SENTINEL", ".mounted")
    monkeypatch.setenv("BACKUP_UPLOAD_DIR", "none")

    assert run_inside("backup").exit_code == 7
    assert read_history(backups) == ()

    (backups / ".mounted").touch()
    assert run_inside("backup").exit_code == 6
    assert len(read_history(backups)) == 1


@pytest.mark.slow
def test_a_run_that_is_told_to_stop_is_remembered(backups: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "slow")
    slow = tmp_path / "bin" / "pg_restore"
    slow.parent.mkdir()
    slow.write_text(f"#!/bin/sh\n: > {tmp_path}/started\ncat {tmp_path}/slow\n")
    slow.chmod(0o755)
    (slow.parent / "pg_dump").symlink_to(os.path.join(os.environ["BACKUP_PG_BIN"], "pg_dump"))
    script = "from safeharbor_backup.cli.main import main; main()"
    child = subprocess.Popen(
        [sys.executable, "-c", script, "verify", "--latest"],
        env={**os.environ, "BACKUP_PG_BIN": str(slow.parent)},
        stderr=subprocess.PIPE,
    )
    while not (tmp_path / "started").exists():
        assert child.poll() is None

    child.send_signal(signal.SIGTERM)
    child.communicate(timeout=60)

    (outcome,) = read_history(backups)
    assert outcome.exit_status == child.returncode == 143
    assert outcome.reason == "interrupted by SIGTERM"


def test_warnings_that_are_accepted_are_remembered_as_warnings(settings: Settings) -> None:
    attempt = RecordedRun("backup", settings, TextOutput())
    attempt.describe(archive="a.tar", warnings=["a file changed"], details={})

    attempt.end(Ending(0))

    (outcome,) = read_history(settings.backup_dir)
    assert (outcome.exit_status, outcome.warnings) == (3, ("a file changed",))


@pytest.mark.slow
@pytest.mark.parametrize("stderr", ["2>/dev/full", "2>&-", "2>&1 >&3 | true"])
def test_an_error_that_nobody_reads_is_remembered_and_keeps_its_status(
    backups: Path, tmp_path: Path, stderr: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BACKUP_UPLOAD_DIR", "none")
    monkeypatch.setenv("BACKUP_DATABASE_URL", "postgresql://app@127.0.0.1:1/reef")
    command = f"'{sys.executable}' -c 'from safeharbor_backup.cli.main import main; main()' backup"
    script = f"{{ sleep 0.2; {command}; echo $? >{tmp_path}/status; }} {stderr}"

    subprocess.run(
        ["bash", "-c", f"exec 3>/dev/null; {script}"], env=os.environ, stdout=subprocess.DEVNULL, check=False
    )

    (outcome,) = read_history(backups)
    assert outcome.exit_status == int((tmp_path / "status").read_text()) == 6
    assert "cannot be used" in outcome.reason
