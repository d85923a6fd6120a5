"""Logs for a collector: every line of real runs is a JSON object."""

from __future__ import annotations

import json
from typing import Any

import pytest

from support.runs import Site
from support.schedules import scheduling

pytestmark = pytest.mark.timeout(90)


def events(text: str) -> list[dict[str, Any]]:
    told = [json.loads(line) for line in text.splitlines()]
    for event in told:
        assert set(event) >= {"time", "level", "event", "command"}
        assert event["level"] in ("info", "warning", "error")
    return told


def test_every_line_of_a_backup_and_of_its_restore_parses(site: Site) -> None:
    (site.uploads / "away").symlink_to("/outside")  # a warning

    backup = site.run("backup", "--log-format", "json")
    restore = site.run("restore", "--from", "latest", "--yes", BACKUP_LOG_FORMAT="json")

    (archive,) = site.archives
    told = events(backup.stderr)
    phases = {event["phase"]: event for event in told if event["event"] == "phase"}
    assert backup.status == 3
    assert {"rows", "dump and uploads", "sync", "verify", "prune"} <= set(phases)
    assert phases["dump and uploads"]["bytes"] >= sum(path.stat().st_size for path in site.uploads.glob("2026/*.jpg"))
    assert [event["message"] for event in told if event["event"] == "warning"] != []
    done = events(backup.stdout)[-1]
    assert (done["event"], done["exit_status"], done["level"]) == ("done", 3, "warning")
    assert done["archive"] == archive.name
    assert done["bytes"] == archive.stat().st_size
    assert done["details"]["rows"] == 510
    assert restore.status == 0, restore.output
    restored = events(restore.stdout)
    assert restored[-1]["event"] == "done"
    assert any("To go back: safeharbor restore --undo" in str(event.get("message")) for event in restored)
    events(restore.stderr)


def test_every_line_of_the_scheduler_parses_and_runs_bear_their_own_name(site: Site) -> None:
    with scheduling(site, "* * * * * *", BACKUP_LOG_FORMAT="json") as running:
        running.read_until('"event": "done", "command": "backup"')
        running.read_until('"event": "next", "command": "backup"')
        assert running.stop() == 0

    told = events("\n".join(running.log))
    of_backup = [event["event"] for event in told if event["command"] == "backup"]
    start = of_backup.index("start")
    done = of_backup.index("done")
    assert set(of_backup[start + 1 : done]) <= {"phase", "note", "progress"}
    assert "phase" in of_backup[start:done]
    assert told[-1]["event"] == "done"
    assert told[-1]["command"] == "scheduler"
