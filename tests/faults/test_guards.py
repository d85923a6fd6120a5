"""Reads that a decision of retention rests on fail: nothing is deleted that a guard was holding."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from support.archives import Facts, put_archive
from support.needs import need_program
from support.runs import MAIN

NIGHT = datetime(2026, 5, 1, 3, tzinfo=UTC)
GONE = Facts(tables={"public.entries": 0})


def prune(directory: Path, *before: str) -> subprocess.CompletedProcess[str]:
    settings = {"BACKUP_DIR": str(directory), "BACKUP_RETENTION_DAILY": "1", "BACKUP_RETENTION_WEEKLY": "0"}
    argv = [*before, sys.executable, "-c", MAIN, "prune"]
    return subprocess.run(argv, env={**os.environ, **settings}, text=True, capture_output=True, check=False)


def held(directory: Path) -> list[Path]:
    """Two good archives, and the one of the bad night, for which a guard holds them."""
    return [
        put_archive(directory, NIGHT),
        put_archive(directory, NIGHT + timedelta(days=1)),
        put_archive(directory, NIGHT + timedelta(days=2), facts=GONE),
    ]


def test_without_a_fault_the_guard_holds(tmp_path: Path) -> None:
    held(tmp_path)

    done = prune(tmp_path)

    assert (done.returncode, len(list(tmp_path.glob("*.tar")))) == (3, 3)
    assert "rows" in done.stderr


@pytest.mark.parametrize("error", ["EIO", "ESTALE", "EACCES"])
@pytest.mark.parametrize("call", ["openat", "pread64"])
def test_an_error_at_any_read_of_the_newest_manifest_deletes_nothing(tmp_path: Path, call: str, error: str) -> None:
    need_program("strace")
    newest = held(tmp_path)[-1]
    log = tmp_path / "strace.log"
    traced = ["strace", "-f", "-qq", "-o", str(log), "-P", str(newest), "-e", f"trace={call}"]
    prune(tmp_path, *traced)
    calls = len(re.findall(rf"{call}\(", log.read_text()))
    assert calls >= 1

    for number in range(1, calls + 1):
        done = prune(tmp_path, *traced, "-e", f"inject={call}:error={error}:when={number}")

        assert log.read_text().count("(INJECTED)") == 1
        assert done.returncode == 3, done.stderr
        assert newest.name in done.stderr
        assert len(list(tmp_path.glob("*.tar"))) == 3
