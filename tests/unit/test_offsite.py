"""What is known of copies elsewhere: said by jobs, shown, and a warning when one gets old."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from safeharbor_backup.actions.doctor.archive_checks import check_copies
from safeharbor_backup.actions.offsite import find_copies
from safeharbor_backup.actions.status.document import describe_status
from safeharbor_backup.actions.status.health import Code, Health
from safeharbor_backup.actions.status.metrics import gather_metrics
from safeharbor_backup.actions.status.run import read_status
from safeharbor_backup.archive.layout import archive_name
from safeharbor_backup.cli.status_lines import tell_status
from safeharbor_backup.state.history import Outcome, append_outcome
from safeharbor_backup.state.offsite import MOST_COPIES, read_copies, remember_copy, remember_drill
from safeharbor_backup.system.documents import dump_document
from safeharbor_backup.web.page import render_page
from support.archives import put_archive
from support.commands import run_inside as run

if TYPE_CHECKING:
    from pathlib import Path

    from safeharbor_backup.settings.model import Settings

NOW = datetime.now(UTC).replace(microsecond=0)
NIGHT = NOW - timedelta(hours=3)


@pytest.fixture
def directory(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BACKUP_DIR", str(settings.backup_dir))
    monkeypatch.delenv("BACKUP_OFFSITE", raising=False)
    put_archive(settings.backup_dir, NIGHT)
    return settings.backup_dir


def line(settings: Settings) -> str:
    told = tell_status(read_status(settings, now=NOW), settings, NOW)
    return next((each.split(None, 1)[1] for each in told if each.startswith("  off-site ")), "")


def page(settings: Settings) -> str:
    return render_page(json.loads(dump_document(describe_status(read_status(settings, now=NOW), settings))), NOW)


def test_that_none_is_known_is_a_note_everywhere_and_settled_by_a_setting(directory: Path, settings: Settings) -> None:
    assert read_status(settings, now=NOW).health is Health.GOOD
    assert line(settings).startswith("none known; ")
    assert "none known" in page(settings)
    assert [
        each.level.value
        for each in check_copies(find_copies(settings.backup_dir, settings.offsite), settings.backup_dir, NOW)
    ] == ["note"]

    settled = replace(settings, offsite="none")

    assert line(settled) == ""
    assert "Off-site copy" not in page(settled)
    assert [
        each.level.value
        for each in check_copies(find_copies(settled.backup_dir, settled.offsite), settled.backup_dir, NOW)
    ] == ["ok"]


def test_a_job_says_so_and_status_metrics_and_page_show_it(directory: Path, settings: Settings) -> None:
    newest = max(each.name for each in directory.glob("*.tar"))

    done = run("offsite-done", "nas")
    run("offsite-done", "s3", "--archive", "safeharbor-backup-2026-11-03T03-00-00Z.tar")

    assert f"the off-site copy nas is up to date with {newest}" in done.stdout
    nas, s3 = json.loads(run("status", "--json").stdout)["offsite"]
    assert (nas["name"], nas["archive"], nas["drilled_at"]) == ("nas", newest, None)
    assert (s3["name"], s3["archive"]) == ("s3", "safeharbor-backup-2026-11-03T03-00-00Z.tar")
    assert line(settings).startswith("nas 0 s ago, archive of ")
    assert "Off-site copy" in page(settings)
    metrics = {each.name: each.samples for each in gather_metrics(settings, NOW)}
    assert set(metrics["offsite_copy_timestamp_seconds"]) == {"nas", "s3"}
    assert json.loads((directory / ".safeharbor" / "offsite.json").read_text())["schema"] == 1


def test_one_older_than_two_days_is_a_warning_until_it_is_made_again_or_forgotten(
    directory: Path, settings: Settings
) -> None:
    remember_copy(directory, "nas", NOW - timedelta(days=2), None)
    assert read_status(settings, now=NOW).health is Health.GOOD
    remember_copy(directory, "nas", NOW - timedelta(days=2, seconds=1), None)

    status = read_status(settings, now=NOW)

    assert (status.health, [each.code for each in status.findings]) == (Health.WARNING, [Code.OFFSITE])
    assert "off-site copy nas was last made 2 days ago" in status.reasons[0]
    assert [
        each.level.value
        for each in check_copies(find_copies(settings.backup_dir, settings.offsite), settings.backup_dir, NOW)
    ] == ["warning"]
    assert run("status").exit_code == 3
    assert read_status(replace(settings, offsite="none"), now=NOW).health is Health.GOOD
    assert run("offsite-done", "nas", "--forget").exit_code == 0
    assert read_status(settings, now=NOW).health is Health.GOOD


def test_a_copy_of_an_old_archive_is_as_old_as_that_though_it_was_made_today(
    directory: Path, settings: Settings
) -> None:
    old = archive_name(NOW - timedelta(days=25))
    assert run("offsite-done", "nas", "--archive", archive_name(NOW - timedelta(days=1))).exit_code == 0
    assert read_status(settings, now=NOW).health is Health.GOOD
    done = run("offsite-done", "nas", "--archive", old)
    assert done.stdout == f"the off-site copy nas has {old}; the newest archive here is {archive_name(NIGHT)}\n"
    now = datetime.now(UTC).replace(microsecond=0)

    status = read_status(settings, now=now)

    assert (status.health, [each.code for each in status.findings]) == (Health.WARNING, [Code.OFFSITE])
    assert "off-site copy nas has no archive of the last 25 days" in status.reasons[0]
    copies = find_copies(directory, settings.offsite)
    assert [each.level.value for each in check_copies(copies, directory, now)] == ["warning"]
    metrics = {each.name: each.samples for each in gather_metrics(settings, now)}
    assert metrics["offsite_copy_timestamp_seconds"] == {"nas": (NOW - timedelta(days=25)).timestamp()}


def test_a_copy_made_before_a_newer_archive_was_taken_is_not_behind(directory: Path, settings: Settings) -> None:
    weekly = archive_name(NOW - timedelta(days=7))  # the newest when it was copied, two hours before the next one
    remember_copy(directory, "nas", NIGHT - timedelta(hours=2), weekly)

    assert read_status(settings, now=NOW).health is Health.GOOD


def test_a_drill_of_a_copy_proves_nothing_here_and_its_failure_stays_until_the_next(
    directory: Path, settings: Settings
) -> None:
    newest = max(each.name for each in directory.glob("*.tar"))
    remember_drill(directory, "nas", NOW)
    of_nas = {"offsite": "nas"}
    soon = NOW + timedelta(seconds=5)  # after the archive was put there
    append_outcome(directory, Outcome("drill", soon, 1.0, 0, "", newest, details=of_nas))

    status = read_status(settings, now=NOW)

    assert (status.runs.drill, status.proofs.drilled, status.health) == (None, {}, Health.GOOD)
    assert line(settings) == "nas no copy seen yet, drilled 0 s ago"
    append_outcome(directory, Outcome("drill", NOW, 1.0, 5, "it differs", newest, details=of_nas))
    append_outcome(directory, Outcome("drill", NOW, 1.0, 0, "", newest))
    assert read_status(settings, now=NOW).health is Health.FAILED
    append_outcome(directory, Outcome("drill", NOW, 1.0, 0, "", newest, details=of_nas))
    assert read_status(settings, now=NOW).health is Health.GOOD


@pytest.mark.parametrize(
    "broken", [b"", b"{}", b"[1]", b'{"copies": [{"name": "\\u001b[2J"}]}', b"\xff" * 10, b"{" * 99999]
)
def test_a_file_that_is_broken_is_none_and_the_next_copy_mends_it(
    directory: Path, settings: Settings, broken: bytes
) -> None:
    state = directory / ".safeharbor"
    state.mkdir(exist_ok=True)
    (state / "offsite.json").write_bytes(broken)

    assert read_status(settings, now=NOW).copies == ()
    assert run("offsite-done", "nas").exit_code == 0
    assert [each.name for each in read_copies(directory)] == ["nas"]


def test_so_many_copies_are_known_and_no_more(directory: Path) -> None:
    for number in range(MOST_COPIES + 1):
        remember_copy(directory, f"c{number}", NOW + timedelta(seconds=number), None)

    known = {each.name for each in read_copies(directory)}

    assert len(known) == MOST_COPIES
    assert "c0" not in known


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["offsite-done", ""], "not a name for a copy"),
        (["offsite-done", "a\nb"], "not a name for a copy"),
        (["offsite-done", "\x1b[2J"], "not a name for a copy"),
        (["offsite-done", "../x"], "not a name for a copy"),
        (["offsite-done", "x" * 51], "not a name for a copy"),
        (["offsite-done", "nas", "--archive", "/etc/passwd"], "the name of an archive"),
        (["offsite-done", "nas", "--forget"], "No off-site copy is called nas"),
        (["offsite-done", "nas", "--forget", "--archive", "x"], "--forget takes no --archive"),
        (["drill", "--offsite", "nas"], "needs the path"),
        (["drill", "--offsite", "a b", "latest"], "not a name for a copy"),
    ],
)
def test_a_mistake_is_2_and_remembers_nothing(directory: Path, arguments: list[str], says: str) -> None:
    done = run(*arguments)

    assert (done.exit_code, says in " ".join(done.stderr.split())) == (2, True), done.stderr
    assert "\x1b" not in done.stderr
    assert not (directory / ".safeharbor" / "offsite.json").exists() or not read_copies(directory)


def test_a_wrong_value_of_the_setting_is_a_problem(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKUP_OFFSITE", "restic")

    assert "BACKUP_OFFSITE='restic': expected none, or nothing" in run("status").stdout
