"""A backup works the same on every filesystem that people put archives on."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from support.filesystems import mounted_image, mounted_pool, mounted_tmpfs
from support.states import tree_of

if TYPE_CHECKING:
    from support.runs import Site

SIZES = {"ext4": 64 << 20, "xfs": 320 << 20, "btrfs": 160 << 20, "tmpfs": 64 << 20}


@pytest.mark.parametrize("kind", SIZES)
def test_a_backup_is_taken_proven_listed_and_pruned(site: Site, kind: str) -> None:
    place = site.root / kind
    mount = mounted_tmpfs(place, SIZES[kind]) if kind == "tmpfs" else mounted_image(kind, place, SIZES[kind])
    with mount:
        few = {"BACKUP_DIR": str(place), "BACKUP_RETENTION_DAILY": "1", "BACKUP_RETENTION_WEEKLY": "0"}

        statuses = [site.run("backup", timeout=120, **few).status for _ in range(2)]
        listed = site.run("list", "--json", timeout=120, **few).document
        verified = site.run("verify", "--all", timeout=120, **few)

        assert statuses == [0, 0]
        assert len(listed["archives"]) == 1
        assert listed["archives"][0]["state"] == "complete"
        assert verified.status == 0
        left = {".safeharbor", ".safeharbor.lock", listed["archives"][0]["name"]}
        assert set(os.listdir(place)) - {"lost+found"} == left


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs"])
def test_uploads_are_read_from_every_filesystem(site: Site, kind: str) -> None:
    place = site.root / f"uploads-{kind}"
    with mounted_image(kind, place, SIZES[kind]):
        (place / "photos").mkdir()
        for number in range(50):
            (place / "photos" / f"{number}.jpg").write_bytes(os.urandom(3000))

        done = site.run("backup", BACKUP_UPLOAD_DIR=str(place))

        assert done.status == 0, done.output
        (site.root / f"out-{kind}").mkdir()
        subprocess.run(["tar", "-xf", site.archives[0], "-C", site.root / f"out-{kind}"], check=True)
        for number in range(50):
            copy = site.root / f"out-{kind}" / "uploads" / "photos" / f"{number}.jpg"
            assert copy.read_bytes() == (place / "photos" / f"{number}.jpg").read_bytes()


def test_on_a_pool_of_disks_everything_is_done(site: Site) -> None:
    """Where a file without a name cannot be opened again, one job loads the dump."""
    disks = [site.root / "disk1", site.root / "disk2"]
    for disk in disks:
        (disk / "uploads" / "on both").mkdir(parents=True)
        (disk / "uploads" / "on both" / f"{disk.name}.txt").write_text(disk.name)
        (disk / "backups").mkdir()
    with mounted_pool(disks, site.root / "pool", "mfs") as pool:
        site.environment |= {"BACKUP_DIR": str(pool / "backups"), "BACKUP_UPLOAD_DIR": str(pool / "uploads")}
        before = tree_of(pool / "uploads")
        done = [site.run("backup"), site.run("drill"), site.run("restore", "--from", "latest", "--yes", "--jobs", "2")]
        restored = tree_of(pool / "uploads")
        done += [site.run("restore", "--undo"), site.run("restore", "--discard-previous", "--yes")]

        assert [each.status for each in done] == [0] * 5, "\n".join(each.output for each in done)
        assert "one job loads the dump straight from the archive" in done[2].output
        assert restored == before
        assert tree_of(pool / "uploads") == before
    with mounted_pool(disks, site.root / "pool", "epmfs"):
        restore = ("restore", "--from", "latest", "--only", "uploads")
        for refused in (site.run(*restore, "--dry-run"), site.run(*restore, "--yes")):
            assert refused.status == 7, refused.output
            assert "Mount it with ignorepponrename=true" in refused.stderr
        assert tree_of(pool / "uploads") == before
