from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from contextlib import redirect_stderr
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click
import pytest

from safeharbor_backup.cli.json_output import JsonOutput, JsonWatcher
from safeharbor_backup.cli.main import cli
from safeharbor_backup.cli.progress_bar import watching
from safeharbor_backup.system.lock import directory_lock
from support.archives import Facts, put_archive
from support.commands import cli_runner, run_inside
from support.runs import MAIN

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

    from safeharbor_backup.settings.model import Settings

PASSWORD = "s3cr3t"


@pytest.fixture
def directory(configured: Settings) -> Path:
    """A backup directory with one archive of an hour ago; the uploads are missing."""
    return configured.backup_dir


def run(*arguments: str) -> Result:
    result = run_inside(*arguments)
    assert PASSWORD not in result.output
    return result


def events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_run_ends_with_what_is_known_of_it_on_standard_output(directory: Path) -> None:
    (archive,) = directory.glob("*.tar")

    result = run("verify", "--latest", "--log-format", "json")

    assert result.exit_code == 0
    done = events(result.stdout)[-1]
    assert datetime.fromisoformat(done.pop("time")).tzinfo is not None
    assert done.pop("seconds") >= 0
    details = done.pop("details")
    assert details["members"] == 4
    assert done == {
        "level": "info",
        "event": "done",
        "command": "verify",
        "exit_status": 0,
        "archive": archive.name,
        "bytes": archive.stat().st_size,
    }
    (phase,) = events(result.stderr)
    assert (phase["event"], phase["phase"], phase["command"]) == ("phase", "verify", "verify")
    assert {"bytes", "seconds"} <= set(phase)


def test_a_failure_is_one_event_with_all_that_an_error_says(directory: Path) -> None:
    with directory_lock(directory):
        result = run("prune", "--log-format", "json")

    assert result.exit_code == 4
    assert result.stdout == ""
    (failed,) = events(result.stderr)
    assert (failed["event"], failed["level"], failed["exit_status"]) == ("failed", "error", 4)
    assert failed["message"].startswith("Another Safe Harbor run is at work")
    assert failed["hint"] == "Wait until it has finished, then run this again."


def test_a_rejected_archive_fails_with_its_reason(directory: Path) -> None:
    (archive,) = directory.glob("*.tar")
    os.truncate(archive, archive.stat().st_size - 512)

    result = run("verify", "--latest", "--log-format", "json")

    failed = events(result.stderr)[-1]
    assert (failed["event"], failed["exit_status"], failed["archive"]) == ("failed", 5, archive.name)
    assert failed["message"].startswith(f"{archive.name}: ")


def test_warnings_have_their_level(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKUP_STATUS_FILE", "/nowhere/at/all/status.json")
    put_archive(directory, datetime.now(UTC).replace(microsecond=0), facts=Facts(database="another"))

    result = run("prune", "--log-format", "json")

    told = events(result.stderr)
    assert result.exit_code == 3
    assert [event["level"] for event in told] == ["warning", "warning"]
    assert told[1]["message"].startswith("/nowhere/at/all/status.json was not renewed")
    assert events(result.stdout)[-1]["level"] == "warning"


@pytest.mark.parametrize(
    ("arguments", "variable", "is_json"),
    [
        (["prune"], "json", True),
        (["prune"], "JSON", True),
        (["prune", "--log-format", "human"], "json", False),
        (["prune"], "human", False),
        (["prune"], "", False),
        (["status"], "json", False),
        (["list"], "json", False),
    ],
)
def test_the_option_goes_before_the_setting_and_who_only_looks_has_none(
    directory: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], variable: str, is_json: bool
) -> None:
    monkeypatch.setenv("BACKUP_LOG_FORMAT", variable)

    assert run(*arguments).stdout.startswith("{") is is_json


def test_a_setting_that_is_no_format_is_a_warning(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKUP_LOG_FORMAT", "xml")

    result = run("prune")

    assert result.exit_code == 0
    assert result.stderr == "Warning: BACKUP_LOG_FORMAT='xml': expected one of human, json\n"
    assert run("prune", "--log-format", "xml").exit_code == 2


def test_a_document_goes_out_as_it_is(directory: Path) -> None:
    result = run("prune", "--json", "--log-format", "json")

    assert json.loads(result.stdout)["schema"] == 1
    assert [event["event"] for event in events(result.stderr)] == ["done"]


def test_a_quiet_run_tells_its_end_only(directory: Path) -> None:
    result = run("verify", "--latest", "--quiet", "--log-format", "json")

    assert [event["event"] for event in events(result.stdout + result.stderr)] == ["done"]


def test_what_an_app_prints_while_it_is_loaded_becomes_an_event(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flask.cli import FlaskGroup

    (tmp_path / "noisy.py").write_text(
        "import sys\nimport flask\nprint('hello')\nprint('unfinished', end='', file=sys.stderr)\n"
        "app = flask.Flask('noisy')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("BACKUP_LOG_FORMAT", "json")
    monkeypatch.setenv("FLASK_APP", "noisy")  # the oldest Flask has no --app

    result = cli_runner().invoke(FlaskGroup(), ["safeharbor", "prune"])

    assert result.exit_code == 0, result.output
    assert "hello" not in result.stdout
    assert [event["message"] for event in events(result.stderr)] == ["hello", "unfinished"]


def test_a_problem_that_stops_nothing_yet_is_an_error(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def tells(*_arguments: object, **_options: object) -> None:
        click.get_current_context().obj.output.problem("the role may not create databases", "ask somebody who may")
        click.get_current_context().exit(8)

    monkeypatch.setattr("safeharbor_backup.cli.commands.prune.prune_archives", tells)

    result = run("prune", "--log-format", "json")

    told, failed = events(result.stderr)
    assert (told["event"], told["level"], told["message"]) == ("problem", "error", "the role may not create databases")
    assert told["hint"] == "ask somebody who may"
    assert (failed["event"], failed["exit_status"]) == ("failed", 8)


@pytest.mark.parametrize("line", ["Warning: the app says so", "Problem: of the app", "Error: of a library"])
def test_what_others_print_has_no_level_of_ours_whatever_it_says(
    directory: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    def tells(*_arguments: object, **_options: object) -> None:
        click.echo(line, err=True)
        click.get_current_context().exit(0)

    monkeypatch.setattr("safeharbor_backup.cli.commands.prune.prune_archives", tells)

    told, *_ = events(run("prune", "--log-format", "json").stderr)

    assert (told["event"], told["level"], told["message"]) == ("line", "info", line)


def test_an_app_that_cannot_be_loaded_fails_as_an_event(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flask.cli import FlaskGroup

    monkeypatch.setenv("BACKUP_LOG_FORMAT", "json")
    monkeypatch.setenv("FLASK_APP", "no_such_app")

    result = cli_runner().invoke(FlaskGroup(), ["safeharbor", "backup"])

    assert result.exit_code == 2
    (failed,) = events(result.stderr)
    assert (failed["event"], failed["command"]) == ("failed", "backup")


def test_a_bug_is_told_before_its_traceback(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_arguments: object, **_options: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("safeharbor_backup.cli.commands.prune.prune_archives", broken)

    result = cli_runner().invoke(cli, ["prune", "--log-format", "json"])

    assert isinstance(result.exception, ZeroDivisionError)
    (failed,) = events(result.stderr)
    assert failed["message"] == "unexpected error: ZeroDivisionError"


def test_nobody_who_reads_changes_no_status_and_is_an_event_on_the_other_stream(directory: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-c", MAIN, "prune", "--log-format", "json"]

    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)

    assert done.returncode == 0
    assert b"Traceback" not in done.stderr
    (warning,) = events(done.stderr.decode())
    assert (warning["event"], warning["level"]) == ("warning", "warning")
    assert warning["message"].startswith("standard output was lost (Broken pipe).")


def test_a_long_phase_tells_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    errors = io.StringIO()
    now = 100.0
    monkeypatch.setattr("safeharbor_backup.cli.json_output.time.monotonic", lambda: now)
    watcher = JsonWatcher(JsonOutput("backup", io.StringIO(), errors), "backup")

    watcher.phase("dump", 5000)
    for _ in range(4):
        now += 3.0
        watcher.advance(1000)
    watcher.phase("uploads")
    watcher.phase("uploads", 9000)
    watcher.finish()

    told = [(each["event"], each["phase"], each["bytes"], each["seconds"]) for each in events(errors.getvalue())]
    assert told == [
        ("progress", "dump", 2000, 6.0),
        ("progress", "dump", 4000, 12.0),
        ("phase", "dump", 4000, 12.0),
        ("phase", "uploads", 0, 0.0),
    ]
    left = [(each.get("total_bytes"), each.get("seconds_left")) for each in events(errors.getvalue())]
    assert left == [(5000, 9.0), (5000, 3.0), (None, None), (None, None)]


def test_a_log_in_words_tells_the_total_and_the_time_left_while_they_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("safeharbor_backup.cli.progress_bar.time.monotonic", lambda: now)
    lines: list[str] = []

    with redirect_stderr(io.StringIO()), watching(lines.append, quiet=False) as progress:
        progress.phase("uploads", 4096)
        for _ in range(2):
            now += 10.0
            progress.advance(3072)

    assert lines[0] == "uploads: 3.0 KiB of 4.0 KiB, 10.0 s, 307 B/s, about 3 s left"
    assert lines[1].startswith("uploads: 6.0 KiB so far")  # more than was expected
