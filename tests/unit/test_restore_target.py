"""Half of another target is refused, and nothing live is lost for ever without a word that names it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from safeharbor_backup import RestoreRequest, Settings, load_settings, restore_archive
from safeharbor_backup.cli.main import cli
from safeharbor_backup.progress import NoProgress
from safeharbor_backup.state.history import read_history
from safeharbor_backup.state.journal import Journal
from safeharbor_backup.state.restore_record import Phase
from support.archives import TAKEN_AT, put_archive
from support.commands import cli_runner

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
    return cli_runner().invoke(cli, ["restore", "--from", str(archive), *options], prog_name="safeharbor")


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


@pytest.mark.parametrize("text", ["none", "me/dia=/x", "a=/x,A=/y"])
def test_a_target_that_is_no_directory_is_a_mistake(archive: Path, text: str) -> None:
    done = restore(archive, "--only", "uploads", "--dry-run", "--upload-dir", text)

    assert done.exit_code == 2
    assert "--upload-dir: expected" in done.stderr


@pytest.mark.parametrize("verb", ["--undo", "--resume", "--discard-previous", "--from"])
def test_a_document_without_yes_is_refused_with_what_to_add(archive: Path, verb: str) -> None:
    done = restore(archive, "--json") if verb == "--from" else cli_runner().invoke(cli, ["restore", verb, "--json"])

    assert done.exit_code == 2
    assert "add --yes" in done.stderr
    assert ("--dry-run" in done.stderr) is (verb == "--from")  # which goes with that alone


def test_several_directories_can_be_the_target(archive: Path, tmp_path: Path) -> None:
    both = f"a={tmp_path / 'uploads'},b={tmp_path / 'other'}"
    (tmp_path / "tree" / "a").mkdir(parents=True)
    (tmp_path / "tree" / "a" / "x").touch()
    archive.unlink()
    put_archive(archive.parent, TAKEN_AT, uploads=tmp_path / "tree")

    done = restore(archive, "--only", "uploads", "--dry-run", "--upload-dir", both)

    assert done.exit_code == 3
    assert f"uploads: a={tmp_path / 'uploads'}\n" in done.stdout
    assert f"the archive has no uploads of b: {tmp_path / 'other'} stays as it is" in done.stderr


@pytest.mark.parametrize("how", ["--dry-run", "--yes"])
def test_uploads_of_no_directory_that_is_given_are_not_restored_as_nothing(
    archive: Path, tmp_path: Path, how: str
) -> None:
    done = restore(archive, "--only", "uploads", how, "--upload-dir", f"b={tmp_path / 'other'}", "--live-database")

    assert done.exit_code == 8, done.output
    assert "nothing would be restored" in done.stderr
    assert "To go back" not in done.output


def test_a_previous_state_that_is_deleted_in_part_is_not_said_to_be_kept(archive: Path, tmp_path: Path) -> None:
    settings = load_settings(os.environ)
    assert isinstance(settings, Settings)

    class Thief(NoProgress):
        def step(self, name: str) -> None:
            if name == "settled":
                (stage,) = (tmp_path / "uploads").glob(".safeharbor-restore-*")
                stage.rename(tmp_path / "taken")

    request = RestoreRequest(archive, with_database=False, keep_previous=False)
    done = restore_archive(settings, request, lambda plan: not plan.problems, Thief())

    assert (tmp_path / "taken" / "old").is_dir()
    assert [record.phase for record in Journal(archive.parent).read()] == [Phase.DISCARDING]
    assert "was replaced while this ran" in done.warnings[-1]
    assert (done.keeps_previous, done.can_be_undone) == (False, False)
