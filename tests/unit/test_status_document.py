from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import to_builtins

from safeharbor_backup import __version__
from safeharbor_backup.actions.status.document import describe_status
from safeharbor_backup.actions.status.run import read_status
from safeharbor_backup.archive.layout import archive_name
from safeharbor_backup.cli.main import cli
from safeharbor_backup.cli.status_lines import tell_status
from safeharbor_backup.state.history import Outcome, append_outcome
from safeharbor_backup.system.documents import dump_document
from support.archives import Facts, put_archive
from support.commands import cli_runner
from support.json_schemas import complaints

if TYPE_CHECKING:
    from pathlib import Path

    from safeharbor_backup.settings.model import Settings

KEYS = {
    "schema", "safeharbor_version", "health", "healthy", "reasons", "findings", "max_age_seconds", "age_seconds",
    "archives", "typed_as",
    "damaged", "next_backup", "schedule_seen", "schedule", "timezone",
    "last_backup", "last_verify", "last_drill", "last_failure",
    "storage", "retention", "kept", "interrupted", "newest", "latest", "gone", "offsite", "told",
    "drill_max_seconds", "contents", "history",
}  # fmt: skip
NOW = datetime.now(UTC).replace(microsecond=0)


def document(settings: Settings) -> Any:
    """The state as JSON has it."""
    return json.loads(dump_document(describe_status(read_status(settings), settings)))


def nights(settings: Settings, count: int) -> list[str]:
    """The names of so many nightly archives, the newest an hour old and first."""
    moments = [NOW - timedelta(hours=1 + 24 * number) for number in range(count)]
    return [put_archive(settings.backup_dir, moment).name for moment in moments]


def test_without_anything_it_has_all_keys(settings: Settings) -> None:
    told = document(settings)

    assert set(told) == KEYS
    assert complaints("status", told) == []
    assert (told["schema"], told["safeharbor_version"], told["health"]) == (1, __version__, "waiting")
    assert [told[key] for key in ("newest", "last_backup", "last_verify", "last_drill", "last_failure")] == [None] * 5
    assert (told["contents"], told["history"], told["interrupted"]) == ([], [], None)
    assert told["storage"]["free_bytes"] > 0
    assert (told["storage"]["next_archive_bytes"], told["storage"]["fits"]) == (None, None)


def test_it_tells_of_each_archive_what_is_in_it_and_what_becomes_of_it(settings: Settings) -> None:
    settings = replace(settings, retention_daily=2, retention_weekly=1)
    names = nights(settings, 2)

    told = document(settings)

    newest, oldest = told["contents"]
    assert complaints("status", told) == []
    assert [newest["name"], oldest["name"]] == names
    assert set(newest) == {
        "name", "taken_at", "size_bytes", "new_bytes", "state", "problem", "keep_codes", "kept_as", "is_daily",
        "is_weekly",
        "goes_next", "server_version", "database", "tables", "rows", "upload_files", "upload_bytes", "largest_tables",
        "folders", "databases", "warnings", "verified_at", "drilled_at",
    }  # fmt: skip
    assert newest["largest_tables"] == [["public.entries", 3], ["public.photos", 2]]
    assert (newest["state"], newest["tables"], newest["rows"]) == ("complete", 2, 5)
    assert (newest["server_version"], newest["database"]) == ("17.5", "reef")
    assert (newest["is_daily"], newest["is_weekly"], newest["goes_next"]) == (True, True, False)
    assert newest["kept_as"][0] == "daily 1 of 2"
    assert (oldest["is_daily"], oldest["is_weekly"], oldest["goes_next"]) == (True, False, True)
    assert told["retention"] == {
        "daily": 2, "weekly": 1, "hourly": 0, "monthly": 0, "yearly": 0, "next_deleted": [names[1]], "warnings": [],
    }  # fmt: skip
    assert told["newest"]["name"] == names[0]


def test_it_tells_which_folders_are_large(settings: Settings, tmp_path: Path) -> None:
    for number in range(40):
        folder = tmp_path / "uploads" / f"{number:02}"
        folder.mkdir(parents=True)
        (folder / "file").write_bytes(bytes(number))
    put_archive(settings.backup_dir, NOW, uploads=tmp_path / "uploads")

    (entry,) = document(settings)["contents"]

    assert len(entry["folders"]) == 30
    assert entry["folders"][0] == ["39", 1, 39]


def test_an_archive_without_a_manifest_has_nulls(settings: Settings) -> None:
    (name,) = nights(settings, 1)
    (settings.backup_dir / name).write_bytes(b"")

    (entry,) = document(settings)["contents"]

    assert (entry["state"], entry["problem"]) == ("damaged", "it is empty")
    assert [entry[key] for key in ("new_bytes", "tables", "rows", "database", "folders")] == [None] * 5


def test_it_tells_how_the_last_runs_ended_and_which_archives_they_proved(settings: Settings) -> None:
    (name,) = nights(settings, 1)
    later = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=2)
    details = {"size_bytes": 7, "seconds": {"dump": 1.5, "verify": 0.25}, "rows": 5}
    append_outcome(settings.backup_dir, Outcome("backup", NOW, 3.5, 3, "", name, ("2 uploads vanished",), details))
    append_outcome(settings.backup_dir, Outcome("prune", NOW, 0.1, 0))
    checked = {"quick": False, "archives": 1, "rejected": []}
    append_outcome(settings.backup_dir, Outcome("verify", later, 1, 0, "", name, details=checked))
    append_outcome(settings.backup_dir, Outcome("drill", later, 9, 0, "", name))

    told = document(settings)

    assert told["last_backup"] == {
        "command": "backup",
        "started_at": NOW.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "seconds": 3.5,
        "exit_status": 3,
        "archive": name,
        "reason": "",
        "warnings": ["2 uploads vanished"],
        "notes": [],
        "advice": "",
    }
    assert (told["last_verify"]["exit_status"], told["last_drill"]["seconds"], told["last_failure"]) == (0, 9, None)
    assert [each["command"] for each in told["history"]] == ["backup", "verify", "drill"]
    assert told["history"][0]["phases"] == {"dump": 1.5, "verify": 0.25}
    assert [each["size_bytes"] for each in told["history"]] == [7, None, None]
    assert [(each["rows"], each["upload_files"]) for each in told["history"]] == [(5, None), (None, None), (None, None)]
    assert told["contents"][0]["verified_at"] == told["contents"][0]["drilled_at"] == told["last_verify"]["started_at"]


def test_it_is_bounded_whatever_archives_and_runs_say(settings: Settings) -> None:
    tables = {f"public.table_{'x' * 2000}_{number}": number for number in range(200)}
    facts = Facts(tables=tables, warnings=tuple("w" * 5000 for _ in range(200)))
    put_archive(settings.backup_dir, NOW - timedelta(hours=1), facts=facts)
    for _ in range(450):
        append_outcome(settings.backup_dir, Outcome("backup", NOW, 1, 1, "r" * 1500))

    told = document(settings)

    assert len(told["history"]) == 400
    assert len(told["contents"][0]["largest_tables"]) == 30
    assert len(told["contents"][0]["warnings"]) == 20
    assert len(told["reasons"]) == 50
    assert len(json.dumps(told)) < 400_000


@pytest.mark.parametrize(
    "details",
    [{"size_bytes": "x", "seconds": [1]}, {"seconds": {"dump": "x"}}, {"archives": "x", "rejected": 3, "quick": 1}],
    ids=str,
)
def test_details_that_are_something_else_are_passed_over(settings: Settings, details: dict[str, object]) -> None:
    nights(settings, 1)
    for command in ("backup", "verify", "drill", "restore"):
        append_outcome(settings.backup_dir, Outcome(command, NOW, 1, 0, "", "../x", (), details))

    told = document(settings)

    assert told["health"] == "good"
    assert [(each["size_bytes"], each["phases"]) for each in told["history"]] == [(None, {})] * 4


NASTY: list[object] = [
    "x", "", None, True, -1, 10**400, float("nan"), float("inf"), [], {}, [[{}]], "\x1b[2J\ud800", "9" * 5000,
]  # fmt: skip


@pytest.mark.parametrize("command", ["backup", "verify", "drill"])
@pytest.mark.parametrize("place", ["started_at", "seconds", "exit_status", "reason", "archive", "warnings", "details"])
def test_no_line_of_the_history_breaks_it(settings: Settings, command: str, place: str) -> None:
    nights(settings, 1)
    path = settings.backup_dir / ".safeharbor" / "history.jsonl"
    append_outcome(settings.backup_dir, Outcome(command, NOW, 1, 5, "why", archive_name(NOW)))
    good = json.loads(path.read_text())
    in_details = [{key: each} for key in ("archives", "rejected", "quick", "seconds", "size_bytes") for each in NASTY]
    in_phases = [{"seconds": {"dump": each, str(each): 1}} for each in NASTY]
    times = ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"]
    for each in [*NASTY, *times] if place != "details" else [*NASTY, *in_details, *in_phases]:
        path.write_text(json.dumps({**good, place: each}) + "\n")
        status = read_status(settings)

        text = "\n".join(tell_status(status, settings, datetime.now(UTC)))
        told = json.dumps(to_builtins(describe_status(status, settings)), allow_nan=False, ensure_ascii=False)

        assert "\x1b" not in text + told
        (text + told).encode()


@pytest.mark.parametrize("moment", ["1000-01-01", "9999-12-30"])
def test_a_moment_at_the_end_of_the_calendar_breaks_nothing(settings: Settings, moment: str) -> None:
    for hour in (3, 4):
        put_archive(settings.backup_dir, datetime.fromisoformat(f"{moment}T0{hour}:00:00+00:00"))

    assert json.dumps(document(settings))


def test_garbage_beside_the_archives_hinders_nothing(settings: Settings) -> None:
    nights(settings, 1)
    state = settings.backup_dir / ".safeharbor"
    state.mkdir()
    (state / "history.jsonl").write_bytes(os.urandom(100_000) + b"\n{}\n[]\nnull\n")
    (state / "adopted.json").write_bytes(b"\xff")
    (settings.backup_dir / "safeharbor-drill-2026-11-24T03-00-00Z.json").write_bytes(b"{")

    assert document(settings)["health"] == "good"


def test_the_command_prints_it(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKUP_DIR", str(settings.backup_dir))

    result = cli_runner().invoke(cli, ["status", "--json"])

    assert result.exit_code == 0
    assert set(json.loads(result.stdout)) == KEYS
