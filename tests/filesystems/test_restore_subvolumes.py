"""Uploads on Btrfs: a restore exchanges what is there, subvolumes too."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from support.filesystems import mounted_in_memory
from support.needs import need_program
from support.runs import Site

ONLY = ("--only", "uploads")


def test_a_restore_on_btrfs_exchanges_files_directories_and_subvolumes(site: Site) -> None:
    program = need_program("btrfs")
    with mounted_in_memory("btrfs", 256 << 20) as (place, _):
        uploads = place / "uploads"
        uploads.mkdir()
        site.environment["BACKUP_UPLOAD_DIR"] = str(uploads)
        albums = [f"album-{number}" for number in range(20)]  # one has the number of the stage's inode
        for album in albums:
            subprocess.run([program, "subvolume", "create", uploads / album], check=True, stdout=subprocess.DEVNULL)
        (uploads / "plain").mkdir()
        assert os.stat(uploads / albums[0]).st_dev != os.stat(uploads).st_dev
        everything = [uploads / each / "photo" for each in (*albums, "plain")]
        write(everything, "first")
        done = site.run("backup")
        assert done.status == 0, done.output
        write(everything, "second")

        assert site.run("restore", "--from", "latest", *ONLY, "--dry-run").status == 0
        done = site.run("restore", "--from", "latest", *ONLY, "--yes")
        assert done.status == 0, done.output
        assert read(everything) == {"first"}
        undone = site.run("restore", "--undo")
        assert undone.status == 0, undone.output
        assert read(everything) == {"second"}
        assert site.run("restore", "--undo").status == 0
        assert read(everything) == {"first"}
        discarded = site.run("restore", "--discard-previous", "--yes")
        assert discarded.status == 0, discarded.output
        assert sorted(os.listdir(uploads)) == sorted([*albums, "plain"])
        assert read(everything) == {"first"}


def write(paths: list[Path], text: str) -> None:
    for path in paths:
        path.write_text(text)


def read(paths: list[Path]) -> set[str]:
    return {path.read_text() for path in paths}
