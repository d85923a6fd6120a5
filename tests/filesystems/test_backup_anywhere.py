"""A backup works the same on every filesystem that people put archives on."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from support.filesystems import mounted_image, mounted_tmpfs

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
