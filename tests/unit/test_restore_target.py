"""Half of another target is refused, and nothing live is lost for ever without a word that names it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from safeharbor_backup.cli.main import cli
from safeharbor_backup.state.history import read_history
from support.archives import TAKEN_AT, put_archive

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

LIVE = "postgresql://reef:s3cr3t@127.0.0.1:1/reef"
OTHER = "postgresql://reef@127.0.0.1:1/reef_dev"


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An archive of the configured database, on a server that nobody can reach."""
    for name in list(os.environ):
        if name in ("DATABASE_URL", "UPLOAD_DIR") or name.startswith(("BACKUP_", "RESTORE_")):
            monkeypatch.delenv(name)
    for name in ("backups", "uploads", "other"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("BACKUP_DIR", str(tmp_path / "backups"))
    monkeypatch.setenv("BACKUP_UPLOAD_DIR", str(tmp_path / "uploads"))
    monkeypatch.setenv("BACKUP_DATABASE_URL", LIVE)
    return put_archive(tmp_path / "backups", TAKEN_AT)


def restore(archive: Path, *options: str) -> Result:
    return CliRunner().invoke(cli, ["restore", "--from", str(archive), *options], prog_name="safeharbor")


@pytest.mark.parametrize("how", [("--yes",), ("--dry-run",), ("--yes", "--no-keep-previous"), ()])
@pytest.mark.parametrize("other", ["database", "uploads"])
def test_half_of_another_target_is_refused_and_the_other_half_is_named(
    archive: Path, tmp_path: Path, how: tuple[str, ...], other: str
) -> None:
    option = ("--database-url", OTHER) if other == "database" else ("--upload-dir", str(tmp_path / "other"))

    done = restore(archive, *how, *option)

    assert done.exit_code == 2
    assert "Nothing was changed" in done.stderr
    if other == "database":
        wanted = (str(tmp_path / "uploads"), "--upload-dir", "--only database", "--live-uploads")
    else:
        wanted = ('"reef" on 127.0.0.1:1', "--database-url", "--only uploads", "--live-database")
    assert [each for each in wanted if each not in done.stderr] == []
    assert "s3cr3t" not in done.output
    assert read_history(archive.parent) == ()


@pytest.mark.parametrize(
    "options",
    [
        ("--database-url", OTHER, "--only", "uploads"),
        ("--upload-dir", "/tmp", "--only", "database"),
    ],
)
def test_a_target_that_would_not_be_restored_is_a_mistake(archive: Path, options: tuple[str, ...]) -> None:
    assert restore(archive, "--yes", *options).exit_code == 2


@pytest.mark.parametrize(
    "options",
    [
        ("--database-url", OTHER, "--upload-dir", "OTHER"),
        ("--database-url", OTHER, "--only", "database"),
        ("--database-url", OTHER, "--live-uploads"),
        ("--upload-dir", "OTHER", "--live-database"),
        (),
        ("--only", "database"),
    ],
)
def test_a_target_that_is_named_as_a_whole_is_taken(archive: Path, tmp_path: Path, options: tuple[str, ...]) -> None:
    done = restore(archive, "--dry-run", *[str(tmp_path / "other") if each == "OTHER" else each for each in options])

    assert done.exit_code == 6  # the server is not there


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ((), "--live-database --live-uploads"),
        (("--only", "database"), "--live-database"),
        (("--only", "uploads"), "--live-uploads"),
        (("--live-database",), "--live-uploads"),
        (("--database-url", OTHER, "--upload-dir", "OTHER"), ""),
        (("--live-database", "--live-uploads"), ""),
        (("--only", "database", "--live-database"), ""),
    ],
)
def test_yes_does_not_delete_the_live_state_for_ever_unless_it_is_named(
    archive: Path, tmp_path: Path, options: tuple[str, ...], wanted: str
) -> None:
    words = [str(tmp_path / "other") if each == "OTHER" else each for each in options]

    done = restore(archive, "--yes", "--no-keep-previous", *words)

    assert done.exit_code == (2 if wanted else 6)
    assert (f"it is meant: {wanted}." in done.stderr) is bool(wanted)


@pytest.mark.parametrize("how", ["--dry-run", "--yes"])
def test_uploads_of_another_database_are_a_problem_unless_they_are_asked_for(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setenv("BACKUP_DATABASE_URL", "postgresql://shop@127.0.0.1:1/shop")
    (tmp_path / "uploads" / "live.txt").write_text("live")

    refused = restore(archive, how, "--only", "uploads")
    assert (tmp_path / "uploads" / "live.txt").exists()
    accepted = restore(archive, how, "--only", "uploads", "--from-another")

    assert refused.exit_code == 8
    assert 'of the database "reef", and the target is of "shop"' in refused.stderr
    assert "--from-another" in refused.stderr
    assert accepted.exit_code in (0, 3), accepted.output
    assert (tmp_path / "uploads" / "live.txt").exists() is (how == "--dry-run")
