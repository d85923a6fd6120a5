"""Files and folders out of an archive: checked, with owner and mode, over nothing; read without the rest of it."""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from safeharbor_backup.archive.layout import archive_name
from support.archives import assemble, foreign_archive, put_archive, upload, uploads_root
from support.commands import run_inside as run
from support.hostile import CASES

if TYPE_CHECKING:
    from pathlib import Path

    from safeharbor_backup.settings.model import Settings

FIRST = datetime(2025, 11, 26, 3, tzinfo=UTC)
NAME = archive_name(FIRST)


@pytest.fixture
def uploads(settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The live uploads, and an archive of them."""
    for name in list(os.environ):
        if name in ("DATABASE_URL", "UPLOAD_DIR") or name.startswith(("BACKUP_", "RESTORE_")):
            monkeypatch.delenv(name)
    uploads = tmp_path / "uploads"
    monkeypatch.setenv("BACKUP_DIR", str(settings.backup_dir))
    monkeypatch.setenv("BACKUP_UPLOAD_DIR", str(uploads))
    (uploads / "a" / "b").mkdir(parents=True)
    (uploads / "a" / "cat.jpg").write_text("old")
    (uploads / "a" / "b" / "deep\n\x1b[2J").write_text("deep")
    (uploads / "a.txt").write_text("beside")
    (uploads / "a" / "link").symlink_to("cat.jpg")
    (uploads / "z").write_text("last")
    (uploads / "a").chmod(0o2750)
    (uploads / "a" / "cat.jpg").chmod(0o640)
    os.utime(uploads / "a" / "cat.jpg", (1_600_000_000, 1_600_000_000))
    put_archive(settings.backup_dir, FIRST, uploads=uploads)
    return uploads


def names_below(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


@pytest.mark.usefixtures("uploads")
def test_files_and_folders_come_with_modes_and_times_and_what_is_above_them(tmp_path: Path) -> None:
    to = tmp_path / "out"

    done = run("extract", NAME, "uploads/a/b", "a/cat.jpg", "./z", "--to", str(to))

    assert done.exit_code == 0, done.output
    assert names_below(to) == {"a", "a/b", "a/b/deep\n\x1b[2J", "a/cat.jpg", "z"}
    assert f"extracted 3 files (11 B) into {to}" in done.stdout
    about = (to / "a" / "cat.jpg").stat()
    assert (stat.S_IMODE(about.st_mode), about.st_mtime) == (0o640, 1_600_000_000)
    assert stat.S_IMODE((to / "a").stat().st_mode) == 0o2750


@pytest.mark.usefixtures("uploads")
def test_all_of_it_is_uploads(tmp_path: Path) -> None:
    assert run("extract", NAME, "uploads", "--to", str(tmp_path / "out"), "--quiet").output == ""

    assert os.readlink(tmp_path / "out" / "a" / "link") == "cat.jpg"
    assert len(names_below(tmp_path / "out")) == 7


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (("a", "a/b"), {"a", "a/b", "a/b/deep\n\x1b[2J", "a/cat.jpg", "a/link"}),
        (("a/cat.jpg", "a", "a/b"), {"a", "a/b", "a/b/deep\n\x1b[2J", "a/cat.jpg", "a/link"}),
        (("uploads", "a/b"), {"a", "a.txt", "a/b", "a/b/deep\n\x1b[2J", "a/cat.jpg", "a/link", "z"}),
    ],
)
@pytest.mark.usefixtures("uploads")
def test_a_path_within_another_one_takes_nothing_from_it(
    paths: tuple[str, ...], names: set[str], tmp_path: Path
) -> None:
    done = run("extract", NAME, *paths, "--to", str(tmp_path / "out"))

    assert done.exit_code == 0, done.output
    assert names_below(tmp_path / "out") == names
    assert run("extract", NAME, *paths, "a/none", "--to", str(tmp_path / "out")).exit_code == 2


@pytest.mark.usefixtures("uploads")
def test_an_empty_path_is_not_all_of_it(tmp_path: Path) -> None:
    done = run("extract", NAME, "", "--to", str(tmp_path / "out"))

    assert done.exit_code == 2
    assert "A path is empty" in done.stderr


@pytest.mark.usefixtures("uploads")
def test_an_empty_directory_to_put_them_into_is_not_the_present_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    done = run("extract", NAME, "z", "--to", "")

    assert (done.exit_code, os.listdir()) == (2, []), done.output


@pytest.mark.parametrize("where", ["--to", "--in-place"])
def test_it_leaves_free_what_is_to_stay_free(
    uploads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    before = names_below(uploads)
    monkeypatch.setenv("BACKUP_MIN_FREE", "999TiB")

    done = run("extract", NAME, "z", where, *([str(tmp_path / "out")] if where == "--to" else []))

    assert done.exit_code == 7, done.output
    assert "BACKUP_MIN_FREE" in done.stderr
    assert names_below(uploads) == before
    assert not (tmp_path / "out").exists() or os.listdir(tmp_path / "out") == []


@pytest.mark.usefixtures("uploads")
def test_what_came_before_a_failure_is_named(tmp_path: Path) -> None:
    to = tmp_path / "out"
    (to / "a" / "b").mkdir(parents=True)
    subprocess.run(["chattr", "+i", to / "a"], check=True)
    try:
        nothing = run("extract", NAME, "a/cat.jpg", "--to", str(to), "--overwrite")
        half = run("extract", NAME, "a", "--to", str(to), "--overwrite")
    finally:
        subprocess.run(["chattr", "-i", to / "a"], check=True)

    assert (nothing.exit_code, half.exit_code) == (7, 7), half.output
    assert "Nothing was changed." in nothing.stderr
    assert "Already in place: a/b/deep\\n\\x1b[2J." in half.stderr


def test_a_long_name_is_kept_under_a_shorter_one(uploads: Path, settings: Settings) -> None:
    name = "é" * 127
    (uploads / name).write_text("old")
    put_archive(settings.backup_dir, FIRST + timedelta(days=1), uploads=uploads)
    (uploads / name).write_text("spoilt")

    done = run("extract", "latest", name, "--in-place", "--json")

    assert done.exit_code == 0, done.output
    (kept,) = json.loads(done.stdout)["kept"]
    assert kept.startswith("ééé")
    assert [(uploads / each).read_text() for each in (name, kept)] == ["old", "spoilt"]


@pytest.mark.usefixtures("uploads")
def test_nothing_is_overwritten_unless_asked_and_then_all_or_nothing(tmp_path: Path) -> None:
    to = tmp_path / "out"
    (to / "a").mkdir(parents=True)
    (to / "a" / "cat.jpg").write_text("mine")

    refused = run("extract", NAME, "a/cat.jpg", "z", "--to", str(to))
    forced = run("extract", NAME, "a/cat.jpg", "--to", str(to), "--overwrite")
    (to / "z").mkdir()
    never = run("extract", NAME, "z", "a.txt", "--to", str(to), "--overwrite")

    assert refused.exit_code == 8
    assert "a/cat.jpg exists there already" in refused.stderr
    assert forced.exit_code == 0
    assert (to / "a" / "cat.jpg").read_text() == "old"
    assert never.exit_code == 8
    assert names_below(to) == {"a", "a/cat.jpg", "z"}


def test_in_place_puts_them_back_and_keeps_what_they_replace(uploads: Path) -> None:
    (uploads / "a" / "cat.jpg").write_text("spoilt")
    (uploads / "a" / "b" / "deep\n\x1b[2J").unlink()

    done = run("extract", "latest", "a", "--in-place")

    assert done.exit_code == 0, done.output
    assert (uploads / "a" / "cat.jpg").read_text() == "old"
    assert (uploads / "a" / "b" / "deep\n\x1b[2J").read_text() == "deep"
    kept = [path for path in (uploads / "a").iterdir() if ".replaced-" in path.name and not path.is_symlink()]
    assert [path.read_text() for path in kept] == ["spoilt"]
    assert kept[0].name in done.stdout
    assert not list(uploads.glob(".safeharbor*"))


def test_in_place_makes_no_directory_where_a_share_is_not_mounted(uploads: Path) -> None:
    uploads.rename(uploads.with_name("elsewhere"))

    done = run("extract", "latest", "a/cat.jpg", "--in-place")

    assert done.exit_code == 7, done.output
    assert f"The uploads directory {uploads} does not exist." in done.stderr
    assert not uploads.exists()


def _refused(*_names: object, **_directories: object) -> None:
    raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))


def test_in_place_works_where_nothing_can_be_linked(uploads: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (uploads / "a" / "cat.jpg").write_text("of another user")
    monkeypatch.setattr(os, "link", _refused)

    done = run("extract", "latest", "a/cat.jpg", "--in-place")

    assert done.exit_code == 0, done.output
    (kept,) = (uploads / "a").glob("cat.jpg.replaced-*")
    assert (kept.read_text(), (uploads / "a" / "cat.jpg").read_text()) == ("of another user", "old")


@pytest.mark.parametrize("can_link", [True, False])
def test_a_file_that_cannot_be_replaced_in_place_is_as_it_was(
    uploads: Path, monkeypatch: pytest.MonkeyPatch, can_link: bool
) -> None:
    (uploads / "a" / "cat.jpg").write_text("mine")
    before = names_below(uploads)
    monkeypatch.setattr(os, "rename", _refused)
    if not can_link:
        monkeypatch.setattr(os, "link", _refused)

    done = run("extract", "latest", "a/cat.jpg", "--in-place")

    assert done.exit_code == 7, done.output
    assert "Nothing was changed." in done.stderr
    assert (names_below(uploads), (uploads / "a" / "cat.jpg").read_text()) == (before, "mine")


def test_however_much_is_replaced_it_is_counted(uploads: Path, settings: Settings) -> None:
    (uploads / "many").mkdir()
    for number in range(1021):
        (uploads / "many" / str(number)).touch()
    put_archive(settings.backup_dir, FIRST + timedelta(days=1), uploads=uploads)

    done = run("extract", "latest", "many", "--in-place")

    assert done.exit_code == 0, done.output
    assert done.stdout.endswith("  and 1,001 more\n")


@pytest.mark.usefixtures("uploads")
def test_a_link_in_the_target_leads_nowhere(tmp_path: Path) -> None:
    to, outside = tmp_path / "out", tmp_path / "outside"
    to.mkdir()
    outside.mkdir()
    (to / "a").symlink_to(outside)
    (to / "z").symlink_to(outside / "z")

    one = run("extract", NAME, "a/cat.jpg", "--to", str(to), "--overwrite")
    other = run("extract", NAME, "z", "--to", str(to), "--overwrite")

    assert (one.exit_code, other.exit_code) == (8, 0)
    assert not list(outside.iterdir())
    assert (to / "z").read_text() == "last"
    assert not (to / "z").is_symlink()


@pytest.mark.usefixtures("uploads")
def test_a_path_that_is_not_there_is_2_and_leaves_nothing(tmp_path: Path) -> None:
    done = run("extract", NAME, "a", "a/missing\n", "../etc", "--to", str(tmp_path / "out"))

    assert done.exit_code == 2
    assert "has no upload ../etc, a/missing\\n." in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("uploads")
@pytest.mark.parametrize(("old", "new"), [(b"beside", b"beSide"), (b"  uploads/a.txt", b"  uploads/a.tyt")])
def test_what_does_not_have_its_checksum_is_5_and_not_left(
    settings: Settings, tmp_path: Path, old: bytes, new: bytes
) -> None:
    path = settings.backup_dir / NAME
    path.write_bytes(path.read_bytes().replace(old, new))

    done = run("extract", NAME, "a.txt", "--to", str(tmp_path / "out"))

    assert done.exit_code == 5
    assert not names_below(tmp_path / "out")


@pytest.mark.usefixtures("uploads")
def test_an_archive_by_another_program_gives_what_it_has_with_3(settings: Settings, tmp_path: Path) -> None:
    name = archive_name(datetime(2025, 11, 27, tzinfo=UTC))
    parts = [upload(b"x/b", data=b"2"), upload(b"x/a", data=b"1"), upload(b"y")]
    (settings.backup_dir / name).write_bytes(foreign_archive(parts))

    done = run("extract", name, "x", "--to", str(tmp_path / "out"))

    assert done.exit_code == 3
    assert "not proven" in done.stderr
    assert (tmp_path / "out" / "x" / "a").read_text() == "1"
    assert names_below(tmp_path / "out") == {"x", "x/a", "x/b"}


@pytest.mark.slow
def test_a_hostile_archive_changes_nothing_outside(uploads: Path, tmp_path: Path) -> None:
    before = names_below(tmp_path)
    for name, case in CASES.items():
        if sum(len(part.header) for part in case.parts) > 1_000_000:
            continue  # what makes those hostile is not looked at here
        for content in (assemble([uploads_root(), *case.parts]), foreign_archive(case.parts)):
            (uploads.parent / "hostile.tar").write_bytes(content)

            done = run("extract", str(uploads.parent / "hostile.tar"), "uploads", "--to", str(tmp_path / "out"))

            assert done.exit_code in (2, 3, 5, 8), (name, done.output)
            assert "\x1b" not in done.output, name
            if done.exit_code == 3:
                run("extract", str(uploads.parent / "hostile.tar"), "evil", "--in-place")
            found = {each for each in names_below(tmp_path) - before if not each.startswith(("out", "uploads/evil"))}
            assert found <= {"hostile.tar", "backups/.safeharbor.lock"}, name
