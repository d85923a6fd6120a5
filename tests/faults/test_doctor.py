"""`doctor` where no archive could be written: it says what to type, and leaves nothing behind, come what may."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from support.faults import fake_tools
from support.filesystems import mounted_tmpfs
from support.needs import need_root
from support.runs import Outcome, Site


@pytest.fixture
def tools(tmp_path: Path) -> str:
    """A client in which nothing is amiss."""
    return str(fake_tools(tmp_path / "tools", "exit 1", version="18.7"))


def line(outcome: Outcome, name: str) -> str:
    """What it says under this name, with what to type."""
    lines = outcome.stdout.splitlines()
    start = next(number for number, each in enumerate(lines) if each[9:].startswith(f"{name} "))
    return " ".join([*lines[start].split(), *lines[start + 1].split()])


def test_someone_elses_directory_is_told_with_the_exact_chown(site: Site, tools: str) -> None:
    need_root()
    for directory in (site.root, *site.root.parents):
        if directory != Path("/") and not directory.stat().st_mode & 0o001:
            directory.chmod(directory.stat().st_mode | 0o011)
    os.chown(site.backups, 0, 0)
    site.backups.chmod(0o755)

    done = site.run_as(12345, "doctor", BACKUP_PG_BIN=tools)
    os.chown(site.backups, 12345, 12345)
    as_told = site.run_as(12345, "doctor", BACKUP_PG_BIN=tools)

    assert done.status == 7, done.output
    assert f"-> sudo chown 12345:12345 {site.backups}" in line(done, "directory")
    assert line(as_told, "directory").startswith("ok")
    assert "cannot be moved aside" in line(as_told, "restore uploads")  # they are still root's


def test_a_full_disk_is_told(site: Site, tools: str) -> None:
    place = site.root / "full"
    with mounted_tmpfs(place, 1 << 20):
        with open(place / "filler", "wb", buffering=0) as filler:
            while True:
                try:
                    filler.write(bytes(4096))
                except OSError:
                    break

        done = site.run("doctor", BACKUP_DIR=str(place), BACKUP_PG_BIN=tools)

        assert done.status == 7, done.output
        assert "No space left" in line(done, "directory")
        assert "has 0 bytes free" in line(done, "space")
        assert "the next archive takes about" in line(done, "space")
        assert os.listdir(place) == ["filler"]


def test_a_directory_mounted_read_only_is_told_with_the_remedy(site: Site, tools: str) -> None:
    place = site.root / "ro"
    with mounted_tmpfs(place, 4 << 20):
        subprocess.run(["mount", "-o", "remount,ro", place], check=True)

        done = site.run("doctor", BACKUP_DIR=str(place), BACKUP_PG_BIN=tools)

    assert done.status == 7, done.output
    assert f"-> mount -o remount,rw {place}" in line(done, "directory")


def traced(site: Site, inject: str, tools: str) -> Outcome:
    """Run it under strace, which makes a chosen call fail or kill."""
    done = site.run_traced(("-f", "-o", "/dev/null", "-e", f"inject={inject}"), "doctor", BACKUP_PG_BIN=tools)
    return Outcome(done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_told_to_stop_it_takes_its_probe_away(site: Site, tools: str, call: str) -> None:
    done = traced(site, f"{call}:signal=TERM:when=1", tools)

    assert done.status == 128 + signal.SIGTERM, done.output
    assert list(site.backups.iterdir()) == []


@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_what_a_killed_one_leaves_is_in_nobodys_way(site: Site, tools: str, call: str) -> None:
    traced(site, f"{call}:signal=KILL:when=1", tools)
    left = list(site.backups.iterdir())
    assert len(left) == 1
    os.utime(left[0], (10**9, 10**9))

    assert site.run("backup").status == 0
    assert site.run("doctor", BACKUP_PG_BIN=tools).status == 0

    assert site.leftovers == []


def test_a_disk_that_cannot_write_is_told_though_the_mode_allows_it(site: Site, tools: str) -> None:
    done = traced(site, "fsync:error=EIO:when=1", tools)

    assert done.status == 1, done.output
    assert "Input/output error" in line(done, "directory")
    assert list(site.backups.iterdir()) == []
