"""Archives of every format that was ever written: each is kept here, and restored by every later version of ours."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from safeharbor_backup.archive.layout import FORMAT_VERSION, FORMAT_WITH_DATABASES
from support.postgres import Database, make_beside
from support.runs import Site

ARCHIVES = sorted((Path(__file__).parents[1] / "support" / "kept_archives").iterdir())


def test_there_is_one_of_each_format() -> None:
    assert {f"format-{number}.tar" for number in range(FORMAT_VERSION, FORMAT_WITH_DATABASES + 1)} == {
        each.name for each in ARCHIVES
    }


@pytest.mark.parametrize("kept", ARCHIVES, ids=lambda each: each.stem)
def test_it_is_verified_and_restored_and_the_plain_tools_read_it(
    site: Site, database: Database, kept: Path, tmp_path: Path
) -> None:
    archive = site.backups / "safeharbor-backup-2026-11-29T09-40-38Z.tar"
    shutil.copyfile(kept, archive)
    beside = make_beside(database)
    site.environment["BACKUP_EXTRA_DATABASES"] = f"stats={beside.url}"

    assert site.run("verify", str(archive)).status == 0
    done = site.run("restore", "--from", str(archive), "--from-another", "--yes")

    has_others = kept.name != "format-1.tar"
    assert done.status in (0, 3), done.output  # a warning: the owner's role is another one, or stats is not in it
    assert database.execute("SELECT * FROM photo ORDER BY id") == [(1, "2026/1.jpg"), (2, "2026/2.jpg")]
    assert beside.execute("SELECT count(*) FROM visit") == [(1 if has_others else 2,)]
    files = {path.name: path.read_bytes() for path in (site.uploads / "2026").iterdir()}
    assert files == {"1.jpg": b"one\n", "näme\n2.jpg": b"two\n", "link": b"one\n"}
    assert (site.uploads / "empty").is_dir()
    subprocess.run(["tar", "-xf", archive, "-C", tmp_path], check=True)
    subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=tmp_path, check=True)
