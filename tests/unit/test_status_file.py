from __future__ import annotations

import json
import os
import stat
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from safeharbor_backup.system.lock import directory_lock
from support.archives import set_mtime
from support.commands import run_inside

if TYPE_CHECKING:
    from pathlib import Path

    from safeharbor_backup.settings.model import Settings


@pytest.fixture
def published(configured: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the state is to be published; the directory has one archive of an hour ago."""
    path = tmp_path / "state" / "status.json"
    path.parent.mkdir()
    monkeypatch.setenv("SECRET_KEY", "hush-hush")
    monkeypatch.setenv("BACKUP_STATUS_FILE", str(path))
    return path


def test_it_holds_what_status_tells_as_json_and_when_it_was_written(published: Path) -> None:
    assert run_inside("status", "--healthcheck").exit_code == 0

    document = json.loads(published.read_text())
    told = json.loads(run_inside("status", "--json").stdout)
    written = datetime.strptime(document.pop("published_at"), "%Y-%m-%dT%H:%M:%S%z")
    assert abs((datetime.now(UTC) - written).total_seconds()) < 60
    assert document.pop("age_seconds") <= told.pop("age_seconds")
    assert document.pop("storage").keys() == told.pop("storage").keys()  # others write to this disk too
    assert document == told


@pytest.mark.parametrize(
    ("arguments", "status", "health"),
    [
        (["prune"], 0, "good"),
        (["verify", "--latest"], 0, "good"),
        (["verify", "--all", "--quick", "--quiet"], 0, "good"),
        (["backup"], 2, "failed"),  # the uploads are missing
        (["restore", "--from", "/etc/hostname", "--yes"], 5, "good"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_a_run_renews_it_however_it_ends(published: Path, arguments: list[str], status: int, health: str) -> None:
    result = run_inside(*arguments)

    assert result.exit_code == status, result.output
    assert json.loads(published.read_text())["health"] == health


def test_a_run_that_finds_the_lock_held_renews_it(published: Path, settings: Settings) -> None:
    with directory_lock(settings.backup_dir):
        assert run_inside("prune").exit_code == 4

    assert published.exists()


@pytest.mark.parametrize(
    "arguments",
    [["status"], ["status", "--json"], ["list"], ["prune", "--dry-run"], ["backup", "--no-such-option"]],
    ids=" ".join,
)
def test_who_only_looks_does_not_write(published: Path, arguments: list[str]) -> None:
    run_inside(*arguments)

    assert os.listdir(published.parent) == []


def test_a_check_of_named_archives_does_not_write(published: Path, settings: Settings) -> None:
    (archive,) = settings.backup_dir.glob("*.tar")

    assert run_inside("verify", str(archive)).exit_code == 0

    assert not published.exists()


def test_every_user_may_read_it_whatever_the_umask_and_nothing_else_stays(published: Path) -> None:
    before = os.umask(0o077)
    try:
        run_inside("prune")
        run_inside("prune")
    finally:
        os.umask(before)

    assert stat.S_IMODE(published.stat().st_mode) == 0o644
    assert sorted(os.listdir(published.parent)) == ["status-archives", "status.json"]


def test_it_holds_no_secret(published: Path) -> None:
    run_inside("backup")

    text = published.read_text()
    assert [secret for secret in ("s3cr3t", "hush-hush", "db.internal", "postgresql://") if secret in text] == []


def test_if_it_cannot_be_written_one_warning_says_so_and_the_status_stays(
    published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BACKUP_STATUS_FILE", str(published.parent / "missing" / "status.json"))

    result = run_inside("status", "--healthcheck")

    assert result.exit_code == 0
    assert result.stdout.startswith("GOOD: ")
    assert result.stderr.count("Warning: ") == result.stderr.count("\n") == 1
    assert "missing/status.json was not renewed: " in result.stderr


def test_if_a_directory_has_its_name_a_warning_says_so(published: Path) -> None:
    published.mkdir()

    result = run_inside("prune")

    assert result.exit_code == 0
    assert "was not renewed: " in result.stderr
    assert os.listdir(published.parent) == ["status.json"]


@pytest.mark.parametrize("name", ["status", "status.txt", ".safeharbor-restore.json", ".json", "x.tar"])
@pytest.mark.slow
def test_a_name_that_could_be_something_else_is_refused(
    published: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("BACKUP_STATUS_FILE", str(published.parent / name))

    result = run_inside("prune")

    assert result.exit_code == 0
    assert "the state was not published: BACKUP_STATUS_FILE=" in result.stderr
    assert os.listdir(published.parent) == []
    assert run_inside("status").exit_code == 3


def test_while_the_archives_cannot_be_read_it_gets_old(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_inside("prune")
    before = published.read_text()
    monkeypatch.setenv("BACKUP_DIR", str(published.parent / "not-mounted"))

    result = run_inside("status", "--healthcheck")

    assert result.exit_code == 1
    assert "was not renewed: " in result.stderr
    assert published.read_text() == before


def test_what_a_killed_run_left_goes_but_not_what_another_writes_now(published: Path) -> None:
    old = published.with_name("status.json.0123abcd.tmp")
    young = published.with_name("status.json.4567abcd.tmp")
    old.touch()
    young.touch()
    set_mtime(old, datetime.now(UTC) - timedelta(hours=2))

    run_inside("prune")

    assert sorted(os.listdir(published.parent)) == ["status-archives", "status.json", young.name]
