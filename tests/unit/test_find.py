"""In which archives a file is: by its name, its path, its SHA-256; newest first, with its versions."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from safeharbor_backup.archive.layout import archive_name
from support.archives import foreign_archive, put_archive, upload
from support.commands import run_inside as run

if TYPE_CHECKING:
    from pathlib import Path

    from safeharbor_backup.settings.model import Settings

FIRST = datetime(2025, 11, 26, 3, tzinfo=UTC)
DIGEST = hashlib.sha256(b"old").hexdigest().replace("0", "1")
ODD = b"odd\\ \n\x1b[2J\xff.jpg"


@pytest.fixture
def directory(settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Three nights: a file that changes in the third, one that is gone then."""
    for name in list(os.environ):
        if name in ("DATABASE_URL", "UPLOAD_DIR") or name.startswith(("BACKUP_", "RESTORE_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("BACKUP_DIR", str(settings.backup_dir))
    uploads = tmp_path / "uploads"
    (uploads / "a" / "b").mkdir(parents=True)
    (uploads / "a" / "cat.jpg").write_text("old")
    (uploads / "a" / "b" / "cat.jpg").write_text("other")
    (uploads / "[x]y.txt").write_text("")
    (uploads / "top.jpg").write_text("top")
    (uploads / "a" / "top.jpg").write_text("below")
    (uploads / "Café.txt").write_text("")
    (uploads / DIGEST).write_text("called as something else is")
    with open(os.fsencode(uploads) + b"/" + ODD, "w"):
        pass
    put_archive(settings.backup_dir, FIRST, uploads=uploads)
    put_archive(settings.backup_dir, FIRST + timedelta(days=1), uploads=uploads)
    (uploads / "a" / "cat.jpg").write_text("new")
    (uploads / "a" / "b" / "cat.jpg").unlink()
    put_archive(settings.backup_dir, FIRST + timedelta(days=2), uploads=uploads)
    return settings.backup_dir


def found(pattern: str) -> dict[str, list[list[str]]]:
    """By path the days of the archives that have each version."""
    files = json.loads(run("find", pattern, "--json").stdout)["files"]
    return {
        file["path"]: [[each["name"][18:28] for each in version["archives"]] for version in file["versions"]]
        for file in files
    }


CAT = [["2025-11-28"], ["2025-11-27", "2025-11-26"]]
BELOW = [["2025-11-27", "2025-11-26"]]
EVER = [["2025-11-28", "2025-11-27", "2025-11-26"]]


@pytest.mark.usefixtures("directory")
@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("cat.jpg", {"a/cat.jpg": CAT, "a/b/cat.jpg": BELOW}),
        ("c?t.*", {"a/cat.jpg": CAT, "a/b/cat.jpg": BELOW}),
        ("a/cat.jpg", {"a/cat.jpg": CAT}),
        ("uploads/a/b/*", {"a/b/cat.jpg": BELOW}),
        ("[[]x]y.txt", {"[x]y.txt": EVER}),
        ("[x]y.txt", {"[x]y.txt": EVER}),
        ("odd*.jpg", {os.fsdecode(ODD): EVER}),
        (hashlib.sha256(b"old").hexdigest().upper(), {"a/cat.jpg": CAT[1:]}),
        ("uploads/top.jpg", {"top.jpg": EVER}),
        ("./top.jpg", {"top.jpg": EVER, "a/top.jpg": EVER}),
        ("Caf?.txt", {"Café.txt": EVER}),
        ("Caf[éè].txt", {"Café.txt": EVER}),
        (DIGEST, {DIGEST: EVER}),
        (DIGEST.upper(), {}),
        ("cat", {}),
        ("CAT.jpg", {}),
    ],
)
def test_a_file_is_found_by_name_path_and_checksum(pattern: str, expected: dict[str, list[list[str]]]) -> None:
    assert found(pattern) == expected


@pytest.mark.usefixtures("directory")
def test_versions_are_shown_newest_first_and_how_to_get_one_back() -> None:
    said = run("find", "a/cat.jpg").stdout.splitlines()

    newest = archive_name(FIRST + timedelta(days=2))
    assert said[0] == "a/cat.jpg"
    assert said[1].startswith(f"  {hashlib.sha256(b'new').hexdigest()[:16]}  in 1 archive, ")
    assert said[2] == f"    {newest}"
    assert said[-1] == f"To get it back: safeharbor extract {newest} uploads/a/cat.jpg --to DIRECTORY"
    assert "\x1b" not in run("find", "odd*").output


def test_how_to_get_a_file_of_any_name_back_can_be_pasted(directory: Path, tmp_path: Path) -> None:
    line = run("find", "odd*").stdout.splitlines()[-1]

    assert line.isprintable()
    words = line.partition("safeharbor ")[2].replace("DIRECTORY", "out")
    program = f"{shlex.quote(sys.executable)} -m safeharbor_backup {words}"
    subprocess.run(["bash", "-c", program], cwd=tmp_path, check=True, capture_output=True)
    assert os.listdir(os.fsencode(tmp_path / "out")) == [ODD]


@pytest.mark.usefixtures("directory")
def test_nothing_found_is_1_with_what_a_pattern_means() -> None:
    done = run("find", "missing\n*")

    assert done.exit_code == 1
    assert "None of 3 archives" in done.stderr
    assert "missing\\n*" in done.stderr


@pytest.mark.usefixtures("directory")
def test_an_empty_pattern_is_no_pattern() -> None:
    assert run("find", "").exit_code == 2


def test_what_could_not_be_searched_is_named_with_3(directory: Path) -> None:
    (directory / archive_name(FIRST + timedelta(days=3))).write_bytes(foreign_archive([upload(b"cat.jpg")]))
    damaged = directory / archive_name(FIRST)
    os.truncate(damaged, damaged.stat().st_size - 1024)

    done = run("find", "cat.jpg")

    assert done.exit_code == 3
    assert f"{damaged.name} was not searched" in done.stderr
    assert "by another program" in done.stderr
    assert "  content not known  in 1 archive" in done.stdout
