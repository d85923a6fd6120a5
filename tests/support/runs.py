"""Running Safe Harbor as its user does: the real command in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from safeharbor_backup.postgres.private_cluster import find_server_bins
from support.forkserver import can_be_forked, run_forked, run_traced
from support.needs import memory_filesystem, need_program
from support.postgres import PASSWORD, Database

# what the console script is, and `python -m safeharbor_backup`
MAIN = "from safeharbor_backup.cli.main import main; main()"


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    status: int
    stdout: str
    stderr: str

    @property
    def output(self) -> str:
        return self.stdout + self.stderr

    @property
    def document(self) -> Any:
        """Standard output as JSON."""
        return json.loads(self.stdout)


def all_bins() -> str:
    """All client tools there are; the right ones are for the command to choose."""
    return ":".join(str(path) for path in find_server_bins().values())


class Site:
    """An application's surroundings: a database, uploads, a backup directory, and the command."""

    def __init__(self, root: Path, database_url: str, tools: str = "") -> None:
        """`tools`: where the client tools are, or all that there are, of which each command asks for the version."""
        self.root = root
        self.uploads = root / "uploads"
        self.backups = root / "backups"
        self.uploads.mkdir()
        self.backups.mkdir()
        self.environment = {
            "BACKUP_DATABASE_URL": database_url,
            "BACKUP_UPLOAD_DIR": str(self.uploads),
            "BACKUP_DIR": str(self.backups),
            "BACKUP_PG_BIN": tools or all_bins(),
        }
        memory = memory_filesystem()
        if memory is not None:
            self.environment["TMPDIR"] = str(memory)  # where a drill's own server goes

    def argv(self, *arguments: str) -> list[str]:
        """The command line."""
        return [sys.executable, "-W", "error", "-c", MAIN, *arguments]

    def full_environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """The environment of a run: this process's, without settings of its own."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("BACKUP_", "PG", "FLASK_"))
            and name not in ("DATABASE_URL", "UPLOAD_DIR", "SECRET_KEY")
        }
        return {**kept, **self.environment, **(extra or {})}

    def run(self, *arguments: str, timeout: float = 120, **extra: str) -> Outcome:
        """Run the command to its end; keyword arguments are environment variables. No password may show."""
        done = self.run_code(MAIN, *arguments, timeout=timeout, **extra)
        outcome = Outcome(done.returncode, done.stdout.decode(), done.stderr.decode())
        assert PASSWORD not in outcome.output
        assert "Traceback" not in outcome.stderr, outcome.stderr
        return outcome

    def run_code(
        self, code: str, *arguments: str, timeout: float = 120, **extra: str
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a script to its end as the command would be run."""
        environment = self.full_environment(extra)
        if can_be_forked(environment):
            return run_forked(code, list(arguments), environment, self.root, timeout)
        argv = [sys.executable, "-W", "error", "-c", code, *arguments]
        return subprocess.run(argv, env=environment, capture_output=True, timeout=timeout, cwd=self.root, check=False)

    def run_traced(
        self, options: Iterable[str | Path], *arguments: str, **extra: str
    ) -> subprocess.CompletedProcess[bytes]:
        """Run the command to its end under strace with these options, which say where its log goes."""
        strace = [str(need_program("strace")), *map(str, options)]
        environment = self.full_environment(extra)
        if can_be_forked(environment):
            return run_traced(strace, MAIN, list(arguments), environment, self.root, timeout=180)
        argv = [*strace, "-qq", *self.argv(*arguments)]
        return subprocess.run(argv, env=environment, capture_output=True, timeout=180, cwd=self.root, check=False)

    def run_as(self, user: int, *arguments: str, **extra: str) -> Outcome:
        """The same as another user, who may read everything, since our Python may lie below /root, but not write it."""
        may_read = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
        become = [str(need_program("setpriv")), f"--reuid={user}", f"--regid={user}", "--clear-groups", *may_read]
        environment = self.full_environment({**extra, "HOME": "/nonexistent"})
        done = subprocess.run(
            [*become, *self.argv(*arguments)], env=environment, capture_output=True, cwd="/", check=False
        )
        return Outcome(done.returncode, done.stdout.decode(), done.stderr.decode())

    def start(self, *arguments: str, **extra: str) -> subprocess.Popen[bytes]:
        """The command at work, for a test that disturbs it."""
        return subprocess.Popen(
            self.argv(*arguments),
            env=self.full_environment(extra),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.root,
        )

    @property
    def archives(self) -> list[Path]:
        """The archives there are, oldest name first."""
        return sorted(self.backups.glob("safeharbor-backup-*.tar"))

    @property
    def leftovers(self) -> list[str]:
        """What is in the backup directory and should not be."""
        names = {path.name for path in self.backups.iterdir()}
        return sorted(names - {path.name for path in self.archives} - {".safeharbor.lock", ".safeharbor", "lost+found"})


@pytest.fixture
def site(tmp_path: Path, database: Database) -> Site:
    """A small application: two tables, a few uploads."""
    return make_site(tmp_path, database)


def make_site(root: Path, database: Database, rows: int = 500) -> Site:
    """A small application on this database."""
    database.execute(
        "CREATE TABLE entry (id int PRIMARY KEY, remark text);"
        f"INSERT INTO entry SELECT g, md5(g::text) FROM generate_series(1, {rows}) g;"
        "CREATE TABLE photo (id int PRIMARY KEY, entry int REFERENCES entry, path text);"
        "INSERT INTO photo SELECT g, g, '2026/' || g || '.jpg' FROM generate_series(1, 10) g"
    )
    made = Site(root, database.url, str(find_server_bins()[database.server.major]))
    (made.uploads / "2026").mkdir()
    for number in range(1, 11):
        (made.uploads / "2026" / f"{number}.jpg").write_bytes(number.to_bytes(2, "big") * 3000)
    return made
