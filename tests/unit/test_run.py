"""What a command does at its start is what it says there, and its errors are translated in one place."""

from __future__ import annotations

import errno
import json
import signal
from typing import TYPE_CHECKING

import click
import pytest

from safeharbor_backup.cli.ending import How, ending_of
from safeharbor_backup.cli.json_output import JsonOutput
from safeharbor_backup.cli.output import TextOutput
from safeharbor_backup.cli.run import Run
from safeharbor_backup.errors import ArchiveRejected, ExitStatus, Interrupted, LockHeld
from safeharbor_backup.state.history import read_history
from support.receivers import http_server

if TYPE_CHECKING:
    from safeharbor_backup.settings.model import Settings


@pytest.mark.parametrize(
    ("error", "status", "how"),
    [
        (LockHeld("Another one."), ExitStatus.LOCKED, How.ERROR),
        (OSError(errno.ENOSPC, "No space left on device"), ExitStatus.STORAGE, How.ERROR),
        (MemoryError(), ExitStatus.FAILED, How.ERROR),
        (Interrupted(signal.SIGTERM), ExitStatus.TERMINATED, How.SIGNAL),
        (ZeroDivisionError(), ExitStatus.FAILED, How.BUG),
    ],
    ids=repr,
)
def test_whatever_ends_a_run_has_one_translation(error: Exception | Interrupted, status: ExitStatus, how: How) -> None:
    ending = ending_of(error, "backup")

    assert (ending.status, ending.how) == (status, how)
    assert ending.reason


def test_of_a_rejected_archive_each_problem_is_a_line_and_all_of_them_are_in_the_event(
    capsys: pytest.CaptureFixture[str],
) -> None:
    ending = ending_of(ArchiveRejected("a.tar: cut", problems=["a.tar: cut", "no end"], hint=""), "verify")

    TextOutput().end(ending, None)
    TextOutput().as_service().end(ending, None, "verify")
    people = capsys.readouterr()

    assert people.err == "Error: a.tar: cut\n       no end\n"
    assert [line.partition(" ")[2] for line in people.out.splitlines()] == [
        "verify: FAILED (status 5): a.tar: cut",
        "verify: no end",
    ]


def test_only_a_run_that_starts_pings_and_is_remembered(configured: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    with http_server() as pings:
        monkeypatch.setenv("BACKUP_PING_URL", f"http://127.0.0.1:{pings.port}/check")
        context = click.Context(click.Command("backup"), info_name="backup")

        with Run(context) as looking:
            looking.read_settings()
            looking.end(ending_of(LockHeld("Another one."), "backup"))
        assert pings.paths == []

        with Run(context) as working:
            working.start()
            assert len(pings.paths) == 1
            working.end(ending_of(LockHeld("Another one."), "backup"))
        assert len(pings.paths) == 2

    assert [outcome.exit_status for outcome in read_history(configured.backup_dir)] == [ExitStatus.LOCKED]


def test_an_event_has_its_level_by_what_it_is_and_not_by_its_words(capsys: pytest.CaptureFixture[str]) -> None:
    import sys

    output = JsonOutput("restore", sys.stdout, sys.stderr)
    output.line("Warning: says the app")
    output.warning("Problem: is how this warning begins")

    told = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(each["event"], each["level"]) for each in told] == [("line", "info"), ("warning", "warning")]
