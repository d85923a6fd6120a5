"""What backups leave out on purpose is no waste: it stays through restore, undo and discard, at any depth."""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from safeharbor_backup.state.journal import JOURNAL_NAME, Journal
from support.faults import failed
from support.filesystems import mounted_bind, mounted_tmpfs
from support.kills import calls_of, killing, traced
from support.postgres import Database
from support.runs import Site
from support.states import tree_of

EXCLUDE = "/videos/, *.tmp, /2026/cache/"
ONLY = ("--only", "uploads")


@pytest.fixture
def left_out(site: Site) -> dict[str, str]:
    """A site with all kinds of what is left out, and their paths with their content."""
    site.environment["BACKUP_EXCLUDE"] = EXCLUDE
    uploads = site.uploads
    for directory in ("videos", "2026/cache/deep", "albums/spring"):
        (uploads / directory).mkdir(parents=True)
    for path in ("videos/v.mp4", "2026/cache/deep/1", "2026/half.tmp", "albums/spring/x.tmp", "top.tmp"):
        (uploads / path).write_text(path)
    (uploads / "albums" / "spring" / "photo").write_text("first")
    os.mkfifo(uploads / "albums" / "pipe")
    (uploads / "2026" / "outside").symlink_to("/etc/hostname")
    done = site.run("backup")
    assert done.status == 3, done.output  # the pipe and the link are named
    return stays_of(site)


def stays_of(site: Site) -> dict[str, str]:
    """What is left out, as it lies in the uploads."""
    found = {}
    for path in sorted(site.uploads.rglob("*")):
        inside = str(path.relative_to(site.uploads))
        if inside.startswith(".safeharbor"):
            continue
        status = path.lstat()
        if stat.S_ISFIFO(status.st_mode) or path.is_symlink():
            found[inside] = f"{status.st_ino}"
        elif path.is_file() and (inside.endswith(".tmp") or inside.startswith(("videos/", "2026/cache/"))):
            found[inside] = f"{status.st_ino} {path.read_text()}"
    return found


def change(site: Site) -> None:
    (site.uploads / "albums" / "spring" / "photo").write_text("second")
    (site.uploads / "albums" / "autumn").mkdir()
    (site.uploads / "albums" / "autumn" / "leaf").write_text("new")
    (site.uploads / "2026" / "3.jpg").unlink()


def photo(site: Site) -> str:
    return (site.uploads / "albums" / "spring" / "photo").read_text()


def test_it_stays_through_restore_undo_and_discard(site: Site, left_out: dict[str, str]) -> None:
    assert len(left_out) == 7
    change(site)

    dry = site.run("restore", "--from", "latest", *ONLY, "--dry-run")
    done = site.run("restore", "--from", "latest", *ONLY, "--yes")

    assert (dry.status, done.status) == (0, 0), dry.output + done.output
    assert "stay: archives do not hold them" in dry.stdout
    assert "v.mp4" not in "".join(line for line in dry.stdout.splitlines() if "You would lose" in line)
    assert (photo(site), stays_of(site)) == ("first", left_out)
    assert not (site.uploads / "albums" / "autumn").exists()
    assert site.run("restore", "--undo").status == 0
    assert (photo(site), stays_of(site)) == ("second", left_out)
    assert (site.uploads / "albums" / "autumn" / "leaf").read_text() == "new"
    assert site.run("restore", "--undo").status == 0
    assert (photo(site), stays_of(site)) == ("first", left_out)
    assert site.run("restore", "--discard-previous", "--yes").status == 0
    assert (photo(site), stays_of(site)) == ("first", left_out)
    assert list(site.uploads.glob(".safeharbor*")) == []


def test_what_came_after_the_restore_stays_through_the_undo_and_the_discard(
    site: Site, left_out: dict[str, str]
) -> None:
    change(site)
    assert site.run("restore", "--from", "latest", *ONLY, "--yes").status == 0
    (site.uploads / "later").mkdir()
    (site.uploads / "later" / "only.tmp").write_text("since the restore")
    (site.uploads / "videos" / "w.mp4").write_text("since the restore")
    os.mkfifo(site.uploads / "later" / "pipe")
    now = stays_of(site)
    assert len(now) == len(left_out) + 3

    assert site.run("restore", "--undo").status == 0
    assert (photo(site), stays_of(site)) == ("second", now)
    assert site.run("restore", "--discard-previous", "--yes").status == 0
    assert stays_of(site) == now


def test_the_patterns_of_the_archive_hold_although_they_are_not_set_any_more(
    site: Site, left_out: dict[str, str]
) -> None:
    change(site)
    del site.environment["BACKUP_EXCLUDE"]

    assert site.run("restore", "--from", "latest", *ONLY, "--yes").status == 0
    assert site.run("restore", "--discard-previous", "--yes").status == 0

    assert (photo(site), stays_of(site)) == ("first", left_out)


def test_an_undo_that_was_put_back_has_not_forgotten_what_stayed(site: Site, database: Database) -> None:
    assert site.run("backup").status == 0
    (site.uploads / "2026" / "1.jpg").write_bytes(b"live before")
    old = tree_of(site.uploads)
    assert site.run("restore", "--from", "latest", "--yes").status == 0
    restored = tree_of(site.uploads)
    (record,) = Journal(site.backups).read()
    os.mkfifo(site.uploads / "2026" / "pipe")
    in_the_way = f'"{record.staged_database}"'
    database.execute(f"CREATE DATABASE {in_the_way}")
    failed(site.run("restore", "--undo"), 8, "cannot be exchanged", "Now live: the restored data")
    (site.uploads / "2026" / "pipe").unlink()
    os.utime(site.uploads / "2026", ns=(0, 0))
    restored["2026"] = tree_of(site.uploads)["2026"]
    assert tree_of(site.uploads) == restored
    database.execute(f"DROP DATABASE {in_the_way}")

    for expected in (old, restored, old):
        done = site.run("restore", "--undo")
        assert done.status == 0, done.output
        assert tree_of(site.uploads) == expected


def test_what_stays_is_found_again_although_the_journal_is_lost(site: Site, left_out: dict[str, str]) -> None:
    change(site)
    restore = ("--from", "latest", *ONLY, "--yes")

    def present() -> dict[str, str]:
        """But for the times of directories, from which something was moved and came back."""
        return {name: what for name, what in tree_of(site.uploads).items() if not what.startswith("4")}

    old = present()
    renames = [number for name, number in calls_of(site, *restore) if name == "renameat2"]
    assert len(renames) > 10
    assert site.run("restore", "--undo").status == 0
    for number in renames[1::4]:
        assert site.run("restore", "--discard-previous", "--yes").status == 0
        assert present() == old, number
        assert traced(site, *killing("renameat2", number), verb=restore) == -signal.SIGKILL
        (stage,) = site.uploads.glob(".safeharbor-restore-*")
        (site.backups / JOURNAL_NAME).unlink()

        done = site.run("restore", "--undo", "--id", stage.name[-12:], "--yes")

        assert done.status == 0, done.output
        assert present() == old, number


def test_a_kept_state_comes_back_whole_around_what_stays_although_the_journal_is_lost(
    site: Site, left_out: dict[str, str]
) -> None:
    change(site)
    old = tree_of(site.uploads)
    assert site.run("restore", "--from", "latest", *ONLY, "--yes").status == 0
    restored = tree_of(site.uploads)
    (stage,) = site.uploads.glob(".safeharbor-restore-*")
    (site.backups / JOURNAL_NAME).unlink()

    for expected in (old, restored, old):
        done = site.run("restore", "--undo", "--id", stage.name[-12:], "--yes")
        assert done.status == 0, done.output
        assert tree_of(site.uploads) == expected


@contextmanager
def mounted(kind: str, site: Site, place: Path) -> Iterator[None]:
    """Something mounted there that holds a file: of another filesystem, or of the same one."""
    if kind == "tmpfs":
        with mounted_tmpfs(place, 1 << 20):
            (place / "theirs").write_text("behind the mount")
            yield
        return
    library = site.root / "library"
    library.mkdir()
    (library / "theirs").write_text("behind the mount")
    with mounted_bind(library, place):
        yield


@pytest.mark.parametrize("kind", ["tmpfs", "bind"])
@pytest.mark.parametrize("where", ["share", "2026/deep/share"])
def test_a_mount_inside_is_named_by_backup_doctor_and_dry_run_and_stays_where_it_is_excluded(
    site: Site, kind: str, where: str
) -> None:
    place = site.uploads / where
    place.mkdir(parents=True)
    with mounted(kind, site, place):
        done = site.run("backup")
        doctor = site.run("doctor")
        dry = site.run("restore", "--from", "latest", "--dry-run")
        refused = site.run("restore", "--from", "latest", "--yes")

        failed(done, 3, where, "it is a mount point", "BACKUP_EXCLUDE")
        assert [line for line in doctor.stdout.splitlines() if "mount point" in line and where in line], doctor.stdout
        assert dry.status == 7, dry.output
        failed(refused, 7, where, "it is a mount point", "Nothing was changed")

        site.environment["BACKUP_EXCLUDE"] = f"/{where}/"
        with_it = site.run("restore", "--from", "latest", "--dry-run")
        failed(site.run("restore", "--from", "latest", "--yes"), 8, where, "the archive holds it")
        assert with_it.status == 8, with_it.output
        again = site.run("backup")
        assert again.status == 0, again.output
        (site.uploads / "2026" / "3.jpg").write_bytes(b"other")
        done = site.run("restore", "--from", "latest", "--yes")
        assert done.status == 0, done.output
        assert (site.uploads / "2026" / "3.jpg").read_bytes() != b"other"
        assert site.run("restore", "--undo").status == 0
        assert site.run("restore", "--discard-previous", "--yes").status == 0
        assert (place / "theirs").read_text() == "behind the mount"
        assert os.path.ismount(place) or kind == "bind"
        assert (site.uploads / "2026" / "3.jpg").read_bytes() == b"other"
