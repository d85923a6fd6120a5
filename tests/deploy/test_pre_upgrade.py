"""Back up before migrations: the script run for real on the sample app, from its first revision to its last."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from support.needs import need_program
from support.postgres import PASSWORD, Database
from support.runs import Outcome, Site, all_bins

ROOT = Path(__file__).parents[2]
PRE_UPGRADE = ROOT / "deploy" / "pre-upgrade"
SCRIPT = PRE_UPGRADE / "pre-upgrade"
PAGE = ROOT / "docs" / "upgrades.md"


class Logbook:
    """The sample app, installed, in front of an upgrade: its database has the revision before the last."""

    def __init__(self, site: Site, database: Database) -> None:
        self.site = site
        self.database = database
        site.environment = {
            "DATABASE_URL": database.url,
            "UPLOAD_DIR": str(site.uploads),
            "BACKUP_DIR": str(site.backups),
            "BACKUP_PG_BIN": all_bins(),
            "SECRET_KEY": "test",
            "FLASK_APP": "logbook",
            "PYTHONPATH": str(ROOT / "examples" / "logbook"),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        assert self.run("flask", "db", "upgrade", "0001").status == 0
        database.execute(
            "INSERT INTO entry (vessel, berth, remark, arrived_at) VALUES ('Albatross', 'A1', 'before', now())"
        )

    def run(self, *argv: str | Path, **extra: str) -> Outcome:
        done = subprocess.run(
            argv, env=self.site.full_environment(extra), cwd=self.site.root, capture_output=True, check=False
        )
        outcome = Outcome(done.returncode, done.stdout.decode(), done.stderr.decode())
        assert PASSWORD not in outcome.output
        return outcome

    @property
    def revision(self) -> str:
        return str(self.database.execute("SELECT version_num FROM alembic_version")[0][0])

    @property
    def backups(self) -> list[Path]:
        return sorted(self.site.backups.glob("pre-upgrade-*.tar"))


def shell_blocks() -> list[str]:
    """What the page gives to type."""
    return re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture
def logbook(tmp_path: Path, database: Database) -> Logbook:
    return Logbook(Site(tmp_path, ""), database)


def test_the_script_is_clean_posix_shell() -> None:
    done = subprocess.run([need_program("shellcheck"), "--shell=sh", SCRIPT], capture_output=True, check=False)

    assert done.returncode == 0, done.stdout.decode()


def test_a_pending_migration_is_backed_up_then_run_then_the_app_started(logbook: Logbook) -> None:
    done = logbook.run(SCRIPT, "sh", "-c", 'echo "started $0"', "app")

    assert done.status == 0, done.output
    assert logbook.revision == "0002"
    assert done.stdout.endswith("started app\n")
    (archive,) = logbook.backups
    assert re.fullmatch(r"pre-upgrade-\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ\.tar", archive.name)
    assert logbook.site.run("verify", str(archive)).status == 0
    assert f"restore --from {archive}" in done.stderr

    again = logbook.run(SCRIPT, "echo", "started")

    assert again.status == 0
    assert again.stdout == "started\n"
    assert "no migration is pending" in again.stderr
    assert logbook.backups == [archive]


def test_no_app_is_loaded_for_the_backup(logbook: Logbook, tmp_path: Path) -> None:
    flask = tmp_path / "flask"
    flask.write_text(f'#!/bin/sh\n[ "$1" != safeharbor ] || exit 70\nexec {Path(sys.executable).parent}/flask "$@"\n')
    flask.chmod(0o755)

    done = logbook.run(SCRIPT, PATH=f"{tmp_path}:{logbook.site.environment['PATH']}")

    assert done.status == 0, done.output
    assert logbook.revision == "0002"
    assert len(logbook.backups) == 1


def test_such_a_file_is_listed_and_neither_pruned_nor_taken_for_last_nights_backup(site: Site) -> None:
    archive = site.backups / "pre-upgrade-2026-05-07T03-00-00Z.tar"
    assert site.run("backup", "--output", str(archive), "--no-prune").status == 0
    os.utime(archive, (0, 0))

    assert f"1 other file, never touched: {archive.name}" in site.run("list").stdout
    assert site.run("prune").status == 0
    assert archive.exists()
    assert site.run("restore", "--from", "latest", "--dry-run").status == 5
    assert site.run("verify", "--latest").status == 5
    assert site.run("verify", str(archive)).status == 0
    assert "no backup yet" in site.run("status").stdout


@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        ({"BACKUP_DIR": "/nonexistent"}, 7),
        ({"BACKUP_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/x"}, 6),
    ],
)
def test_if_the_backup_fails_nothing_is_migrated_or_started(
    logbook: Logbook, wrong: dict[str, str], status: int
) -> None:
    done = logbook.run(SCRIPT, "echo", "started", **wrong)

    assert done.status == status, done.output
    assert "started" not in done.stdout
    assert f"the backup failed with status {status}. Nothing was migrated." in done.stderr
    assert logbook.revision == "0001"


def test_after_an_upgrade_by_the_pages_lines_what_was_before_comes_back(logbook: Logbook) -> None:
    photo = logbook.site.uploads / "photo.jpg"
    photo.write_bytes(b"before")
    (logbook.site.uploads / "away").symlink_to("/outside")  # a backup with warnings is good enough
    (logbook.site.root / ".env").write_text(f"FLASK_APP=logbook\nBACKUP_DIR={logbook.site.backups}\n")
    (logbook.site.root / "deploy").symlink_to(ROOT / "deploy")
    lines = next(block for block in shell_blocks() if "/srv/reef" in block)

    done = logbook.run("sh", "-ec", lines.replace("/srv/reef", str(logbook.site.root)), FLASK_APP="", BACKUP_DIR="")

    assert done.status == 0, done.output
    assert "Warning: 1 upload cannot be archived" in done.stderr
    assert logbook.revision == "0002"
    logbook.database.execute("UPDATE entry SET remark = 'spoilt'")
    photo.write_bytes(b"spoilt")
    (going_back,) = re.findall(r"To go back, with the version before: (.*)", done.stderr)
    restored = logbook.run(*going_back.split(), "--yes")
    assert restored.status == 0, restored.output
    assert logbook.revision == "0001"
    assert logbook.database.execute("SELECT remark FROM entry") == [("before",)]
    assert photo.read_bytes() == b"before"


def test_the_pages_line_for_other_tools_migrates_only_after_a_backup(site: Site) -> None:
    (line,) = (block for block in shell_blocks() if "./migrate" in block)
    (site.root / "migrate").write_text("#!/bin/sh\ntouch migrated\n")
    (site.root / "migrate").chmod(0o755)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"

    def run(directory: str) -> int:
        environment = site.full_environment({"PATH": path})
        argv = ["sh", "-c", line.replace("/backups", directory)]
        return subprocess.run(argv, env=environment, cwd=site.root, capture_output=True, check=False).returncode

    assert run("/nonexistent") == 7
    assert not (site.root / "migrated").exists()
    assert run(str(site.backups)) == 0
    assert (site.root / "migrated").exists()
    assert len(list(site.backups.glob("pre-upgrade-*.tar"))) == 1


def test_if_the_revision_cannot_be_told_nothing_is_migrated_or_started(logbook: Logbook) -> None:
    done = logbook.run(SCRIPT, "echo", "started", FLASK_APP="nosuch")

    assert done.status != 0
    assert "started" not in done.stdout
    assert logbook.backups == []


def test_a_migration_that_fails_starts_nothing_and_passes_its_status_on(logbook: Logbook) -> None:
    logbook.database.execute("CREATE INDEX ix_entry_newest ON entry (id)")  # which 0002 wants to make

    done = logbook.run(SCRIPT, "echo", "started")

    assert done.status == 1
    assert "started" not in done.stdout
    assert (
        f"the migration failed with status 1. To go back: safeharbor restore --from {logbook.backups[0]}" in done.stderr
    )
    assert logbook.revision == "0001"


def test_a_restart_loop_does_not_fill_the_disk(logbook: Logbook) -> None:
    for hour in range(5):
        (logbook.site.backups / f"pre-upgrade-2026-05-07T0{hour}-00-00Z.tar").touch()

    done = logbook.run(SCRIPT, "echo", "started")

    assert done.status == 1
    assert "5 backups in 24 hours" in done.stderr
    assert len(logbook.backups) == 5
    assert logbook.revision == "0001"


def test_an_upgrade_prunes_nothing(logbook: Logbook) -> None:
    for name in ("safeharbor-backup-2026-05-07T03-00-00Z.tar", "safeharbor-backup-2026-05-07T03-00-01Z.tar"):
        (logbook.site.backups / name).touch()
    for hour in range(5):  # those of the day before do not count as a restart loop
        path = logbook.site.backups / f"pre-upgrade-2026-05-07T0{hour}-00-00Z.tar"
        path.touch()
        os.utime(path, (time.time() - 90_000,) * 2)

    assert logbook.run(SCRIPT, BACKUP_RETENTION_DAILY="1", BACKUP_RETENTION_WEEKLY="1").status == 0

    assert len(logbook.site.archives) == 2
    assert len(logbook.backups) == 6


def test_the_pages_line_deletes_old_ones_and_nothing_else(tmp_path: Path) -> None:
    (line,) = re.findall(r"^find /backups .*$", PAGE.read_text(), re.MULTILINE)
    names = ("pre-upgrade-2026-05-07T03-00-00Z.tar", "safeharbor-backup-2026-05-07T03-00-00Z.tar", "notes.txt")
    for name in (*names, "pre-upgrade-2026-05-07T03-00-00Z.tar.00112233.tmp", "pre-upgrade-2026-09-01T03-00-00Z.tar"):
        (tmp_path / name).touch()
        if "09-01" not in name:
            os.utime(tmp_path / name, (0, 0))

    subprocess.run(["sh", "-c", line.replace("/backups", str(tmp_path))], check=True)

    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "notes.txt",
        "pre-upgrade-2026-09-01T03-00-00Z.tar",
        "safeharbor-backup-2026-05-07T03-00-00Z.tar",
    ]


def test_the_compose_file_lets_the_app_wait_for_the_migration() -> None:
    services = yaml.safe_load((PRE_UPGRADE / "compose.yaml").read_text())["services"]

    assert services["migrate"]["entrypoint"] == [SCRIPT.name]
    assert services["web"]["depends_on"] == {"migrate": {"condition": "service_completed_successfully"}}
    assert not any("/backups" in volume for volume in services["web"].get("volumes", []))
