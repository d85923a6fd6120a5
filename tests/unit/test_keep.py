"""Archives that are kept: never pruned, listed with their reason, marked beside themselves."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from safeharbor_backup.actions.prune import plan_prune, prune_archives
from safeharbor_backup.state.marks import write_mark
from support.archives import put_archive
from support.commands import run_inside as run
from support.settings import settings_of

if TYPE_CHECKING:
    from safeharbor_backup.settings.model import Settings

FIRST = datetime(2025, 11, 1, 3, tzinfo=UTC)
OFFSITE = Path(__file__).parents[2] / "deploy" / "offsite" / "archives.sh"


@pytest.fixture
def directory(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twenty nights, of which retention keeps nine."""
    for name in list(os.environ):
        if name in ("DATABASE_URL", "UPLOAD_DIR") or name.startswith(("BACKUP_", "RESTORE_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("BACKUP_DIR", str(settings.backup_dir))
    for night in range(20):
        put_archive(settings.backup_dir, FIRST + timedelta(days=night))
    return settings.backup_dir


def test_a_kept_archive_is_not_pruned_and_shows_why(directory: Path) -> None:
    name = "safeharbor-backup-2025-11-03T03-00-00Z.tar"

    assert run("keep", "11-03", "--because", "before\n the \x1b[2J move").exit_code == 0

    assert "keep: kept: before the \\x1b[2J move" in run("list").stdout
    archive = json.loads(run("list", "--json").stdout)["archives"][17]
    assert (archive["name"], archive["keep"], archive["codes"]) == (name, True, ["kept"])
    assert json.loads(run("list", "--json").stdout)["foreign"] == []
    shutil.rmtree(directory / ".safeharbor", ignore_errors=True)
    run("prune")
    assert (directory / name).exists()
    assert not (directory / "safeharbor-backup-2025-11-04T03-00-00Z.tar").exists()
    contents = json.loads(run("status", "--json").stdout)["contents"]
    assert {each["name"]: each["kept_as"] for each in contents}[name] == ["kept: before the \\x1b[2J move"]

    done = run("unkeep", name)

    assert "The next prune deletes it: " in done.stdout
    run("prune")
    assert not (directory / name).exists()


def test_the_contract_is_as_it_was_for_all_others(directory: Path) -> None:
    settings = settings_of(backup_dir=directory)
    before = {each.name for each in plan_prune(settings).verdicts if each.keep}

    run("keep", "11-03", "--because", "x")
    run("keep", "latest", "--because", "y")

    after = {each.name: each for each in plan_prune(settings).verdicts if each.keep}
    assert after.keys() - before == {"safeharbor-backup-2025-11-03T03-00-00Z.tar"}
    newest = after["safeharbor-backup-2025-11-20T03-00-00Z.tar"]
    assert newest.reasons == ("kept: y", "daily 1 of 7", "week 2025-W47 (1 of 4)")


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b'{"because": 5}', b"[" * 60_000])
def test_a_mark_counts_whatever_is_in_it(directory: Path, content: bytes) -> None:
    (directory / "safeharbor-backup-2025-11-03T03-00-00Z.tar.keep").write_bytes(content)

    prune_archives(settings_of(backup_dir=directory))

    assert (directory / "safeharbor-backup-2025-11-03T03-00-00Z.tar").exists()


def test_a_mark_that_comes_between_plan_and_deletion_counts(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = directory / "safeharbor-backup-2025-11-03T03-00-00Z.tar"
    real = os.unlink

    def unlink(name: Path) -> None:
        if not path.with_name(f"{path.name}.keep").exists():
            write_mark(path, "just now")
        real(name)

    monkeypatch.setattr("os.unlink", unlink)
    result = prune_archives(settings_of(backup_dir=directory))

    assert path.exists()
    assert path.name not in result.deleted
    assert len(result.deleted) == 10


def test_one_that_is_deleted_at_this_moment_is_not_said_to_be_kept(directory: Path) -> None:
    with (directory / "safeharbor-backup-2025-11-03T03-00-00Z.tar").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # as prune has it between its last look for a mark and the deletion

        done = run("keep", "11-03", "--because", "x")

    assert done.exit_code == 4
    assert not list(directory.glob("*.keep"))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["keep", "11-03", "--because", " \n"], "--because"),
        (["keep", "11-03", "--because", "x" * 201], "1 to 200"),
        (["keep", "12-03", "--because", "x"], "The nearest"),
        (["keep", "OUTSIDE", "--because", "x"], "nothing ever prunes it"),
        (["unkeep", "11-03"], "is not marked"),
    ],
)
def test_a_mistake_is_2_and_marks_nothing(directory: Path, tmp_path: Path, arguments: list[str], says: str) -> None:
    (tmp_path / "pre-upgrade.tar").touch()

    done = run(*(str(tmp_path / "pre-upgrade.tar") if each == "OUTSIDE" else each for each in arguments))

    assert done.exit_code == 2
    assert says in " ".join(done.stderr.split())
    assert not list(directory.glob("*.keep"))


def test_off_site_jobs_copy_what_is_kept_though_it_is_older(directory: Path, tmp_path: Path) -> None:
    run("keep", "11-03", "--because", "x")
    script = tmp_path / "job.sh"
    script.write_text(
        f"""set -e; . "{OFFSITE}"; cd "$BACKUP_DIR"
        names_there() {{ echo safeharbor-backup-2025-11-19T03-00-00Z.tar; }}
        store() {{ echo "stored $1"; }}
        copy_archives"""
    )

    environment = {**os.environ, "BACKUP_DIR": str(directory)}
    done = subprocess.run(["bash", script], env=environment, capture_output=True, check=True, text=True).stdout

    stored = [line.split()[-1] for line in done.splitlines() if line.startswith("stored")]
    assert stored == ["safeharbor-backup-2025-11-20T03-00-00Z.tar", "safeharbor-backup-2025-11-03T03-00-00Z.tar"]
