"""The command itself on filesystems that can share blocks, and on one that cannot."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from safeharbor_backup.archive.index import IndexWriter, read_index_front
from support.filesystems import mounted_in_memory
from support.needs import need_root

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.postgres import Database
    from support.runs import Outcome, Site


@pytest.fixture(scope="module")
def uploads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Uploads that are old enough to be trusted, of two owners."""
    need_root()
    root = tmp_path_factory.mktemp("uploads")
    for number in range(40):
        (root / f"{number}.jpg").write_bytes(os.urandom(10_000))
        os.chown(root / f"{number}.jpg", 4711 + number % 2, 4712)
    time.sleep(2.1)
    return root


@pytest.fixture
def xfs(site: Site, uploads: Path) -> Iterator[Site]:
    """An application whose archives are on XFS."""
    with mounted_in_memory("xfs", 320 << 20) as (place, _):
        site.backups = place
        site.environment |= {"BACKUP_DIR": str(place), "BACKUP_UPLOAD_DIR": str(uploads)}
        yield site


def traced(site: Site, inject: str) -> int:
    """The status of a backup under strace, which makes a chosen call fail or kill."""
    return site.run_traced(("-f", "-o", "/dev/null", "-e", f"inject={inject}"), "backup").returncode


def manifest_of(path: Path) -> dict[str, object]:
    done = subprocess.run(["tar", "-xOf", path, "manifest.json"], capture_output=True, check=True)
    document = json.loads(done.stdout)
    assert isinstance(document, dict)
    return document


def succeeded(outcome: Outcome) -> str:
    assert outcome.status == 0, outcome.output
    return outcome.stdout


def test_the_second_backup_tells_what_it_shares_and_with_which(xfs: Site) -> None:
    first = succeeded(xfs.run("backup"))
    second = succeeded(xfs.run("backup"))
    third = xfs.run("backup", "--json").document

    assert "shared" not in first
    assert re.search(
        rf"^\d{{3}}\.\d KiB shared with {xfs.archives[0].name}; \d+\.\d KiB written$", second, re.MULTILINE
    )
    assert third["shared_with"] == xfs.archives[1].name
    assert third["shared_members"] == 41  # uploads/ itself, and 40
    assert 350_000 < third["shared_bytes"] < third["size_bytes"]
    shared = {"archive": xfs.archives[1].name, "members": 41, "bytes": third["shared_bytes"]}
    assert manifest_of(xfs.archives[2])["shared"] == shared
    assert manifest_of(xfs.archives[0])["shared"] is None
    owners = [cast("dict[str, Any]", manifest_of(each)["uploads"])["owners"] for each in xfs.archives]
    assert owners == [[[4711, 4712], [4712, 4712]]] * 3
    succeeded(xfs.run("verify", "--all"))


def test_status_reckons_with_what_the_next_archive_will_write(xfs: Site) -> None:
    whole = xfs.run("backup", "--json").document
    shared = xfs.run("backup", "--json").document

    told = xfs.run("status", "--json").document

    written = shared["size_bytes"] - shared["shared_bytes"]
    assert [each["new_bytes"] for each in told["contents"]] == [written, whole["size_bytes"]]
    assert told["storage"]["next_archive_bytes"] == written
    assert told["storage"]["fits"] > told["storage"]["free_bytes"] // whole["size_bytes"]
    assert [each["folders"] for each in told["contents"]] == [[[".", 40, 400_000]]] * 2
    proven = xfs.run("verify", "--all")
    assert proven.status == 0
    assert all(each["verified_at"] for each in xfs.run("status", "--json").document["contents"])


def test_full_and_zero_days_share_nothing_and_say_nothing(xfs: Site) -> None:
    xfs.run("backup")

    full = xfs.run("backup", "--full")
    zero = xfs.run("backup", BACKUP_FULL_READ_DAYS="0")

    assert "shared" not in succeeded(full) + succeeded(zero)
    assert (full.stderr, zero.stderr) == ("", "")


def test_a_number_of_days_that_is_none_costs_no_backup(xfs: Site) -> None:
    xfs.run("backup")

    done = xfs.run("backup", BACKUP_FULL_READ_DAYS="seven")

    assert done.status == 3
    assert "BACKUP_FULL_READ_DAYS='seven': expected a whole number, 0 or more" in done.stderr
    assert "shared" not in done.stdout
    assert len(xfs.archives) == 2


def test_after_some_days_everything_is_written_anew(xfs: Site) -> None:
    xfs.run("backup")
    age(xfs, days=6.5)
    young = succeeded(xfs.run("backup"))
    age(xfs, days=7)

    old = xfs.run("backup")
    after = succeeded(xfs.run("backup"))

    assert "shared with" in young
    assert "shared with" not in succeeded(old)
    assert "everything is read and written again" in old.output
    assert f"shared with {xfs.archives[2].name}" in after


def test_where_there_is_no_room_for_everything_anew_what_is_shared_still_fits(xfs: Site, tmp_path: Path) -> None:
    (tmp_path / "large").mkdir()
    (tmp_path / "large" / "film").write_bytes(os.urandom(40_000_000))
    xfs.environment["BACKUP_UPLOAD_DIR"] = str(tmp_path / "large")
    xfs.environment["BACKUP_MIN_FREE"] = "1MiB"
    time.sleep(2.1)
    xfs.run("backup")
    system = os.statvfs(xfs.backups)
    with open(xfs.backups / "ballast", "wb") as file:
        os.posix_fallocate(file.fileno(), 0, system.f_bavail * system.f_frsize - 25_000_000)

    shared = xfs.run("backup", "--no-prune")
    full = xfs.run("backup", "--full")
    age(xfs, days=8)
    due = xfs.run("backup", "--no-prune")

    assert "shared with" in succeeded(shared)
    assert full.status == 7
    assert due.status == 3, due.output
    assert "there is no space to write everything again" in due.stderr
    assert "shared with" in due.stdout
    succeeded(xfs.run("verify", "--all"))


def age(site: Site, days: float) -> None:
    """Make the index say that its blocks were written so long ago."""
    descriptor = os.open(site.backups / ".safeharbor" / "index", os.O_RDWR)
    try:
        front = read_index_front(descriptor)
        long_ago = front.started_ns - int(days * 86_400 * 10**9)
        IndexWriter(descriptor).finish(replace(front, written_anew_ns=long_ago))
    finally:
        os.close(descriptor)


def test_an_archive_may_be_pruned_by_the_very_run_that_shares_its_blocks(xfs: Site) -> None:
    xfs.run("backup")

    done = xfs.run("backup", BACKUP_RETENTION_DAILY="1", BACKUP_RETENTION_WEEKLY="0")

    assert "shared with" in succeeded(done)
    assert "pruned 1 archive" in done.stdout
    assert len(xfs.archives) == 1
    succeeded(xfs.run("verify", "--latest"))


@pytest.mark.parametrize("damage", ["missing", "damaged", "of an archive that changed"])
def test_whatever_is_wrong_with_the_index_means_a_full_read(xfs: Site, damage: str) -> None:
    xfs.run("backup")
    index = xfs.backups / ".safeharbor" / "index"
    if damage == "missing":
        index.unlink()
    elif damage == "damaged":
        data = bytearray(index.read_bytes())
        data[100] ^= 1
        index.write_bytes(data)
    else:
        os.utime(xfs.archives[0])

    done = xfs.run("backup")

    assert "shared" not in succeeded(done)
    assert ("cannot be used" in done.output) is (damage != "missing")
    assert "shared with" in succeeded(xfs.run("backup"))


@pytest.mark.parametrize(
    "call",
    [
        "fsync:signal=KILL:when=1",
        "fsync:signal=KILL:when=2",  # the directory's, after the archive has its name
        "fsync:signal=KILL:when=3",  # the index's
        "rename:signal=KILL:when=2",  # the index's, after that of the mark of a run at work
    ],
)
def test_a_kill_at_any_point_leaves_all_archives_whole(xfs: Site, call: str) -> None:
    xfs.run("backup")

    assert traced(xfs, call) != 0

    succeeded(xfs.run("verify", "--all"))
    succeeded(xfs.run("backup"))
    succeeded(xfs.run("verify", "--all"))
    assert xfs.leftovers == []
    assert sorted(os.listdir(xfs.backups / ".safeharbor")) == ["history.jsonl", "index", "settings.json"]


_KILLED = """
import os, safeharbor_backup.archive.splice as splice
from safeharbor_backup.cli.main import main
clone = splice.clone_blocks
def die(*arguments):
    {before}
    clone(*arguments)
    os.kill(os.getpid(), 9)
splice.clone_blocks = die
import safeharbor_backup.archive.writer as writer
writer.clone_blocks = die
main()
"""


@pytest.mark.parametrize("before", ["os.kill(os.getpid(), 9)", "pass"], ids=["before", "after"])
def test_a_kill_around_a_clone_leaves_all_archives_whole(xfs: Site, before: str) -> None:
    xfs.run("backup")
    argv = [sys.executable, "-c", _KILLED.format(before=before), "backup"]

    killed = subprocess.run(argv, env=xfs.full_environment(), cwd=xfs.root, capture_output=True, check=False)

    assert killed.returncode == -signal.SIGKILL
    assert len(xfs.archives) == 1
    succeeded(xfs.run("verify", "--all"))
    assert "shared with" in succeeded(xfs.run("backup"))
    succeeded(xfs.run("verify", "--all"))
    assert xfs.leftovers == []


def test_an_index_that_cannot_be_written_costs_no_backup(xfs: Site) -> None:
    (xfs.backups / ".safeharbor").write_bytes(b"in the way")

    done = xfs.run("backup")

    assert "the next backup will read everything" in succeeded(done) + done.stderr
    assert (xfs.backups / ".safeharbor").read_bytes() == b"in the way"


def test_where_blocks_cannot_be_shared_no_run_says_so_but_doctor_says_which_filesystems_can(site: Site) -> None:
    with mounted_in_memory("ext4", 64 << 20) as (place, _):
        first = site.run("backup", BACKUP_DIR=str(place))
        second = site.run("backup", BACKUP_DIR=str(place))

        for run in (first, second):
            assert "XFS or Btrfs" not in succeeded(run) + run.stderr
        assert "XFS and Btrfs" in site.run("doctor", BACKUP_DIR=str(place)).stdout


def test_files_in_shared_blocks_are_files_of_the_archive(xfs: Site, database: Database) -> None:
    database.execute("CREATE TABLE picture AS SELECT g || '.jpg' AS path FROM generate_series(0, 40) g")
    xfs.environment["BACKUP_UPLOAD_REFERENCES"] = "picture.path"
    assert xfs.run("backup").status == 3

    done = xfs.run("backup", "--json")

    assert done.status == 3, done.output
    assert done.document["shared_members"] > 30
    (warning,) = done.document["warnings"]
    assert warning == "1 reference to uploads has no file in this archive: 40.jpg: picture.path"
