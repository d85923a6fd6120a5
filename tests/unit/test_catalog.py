from __future__ import annotations

import errno
import fcntl
import os
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from safeharbor_backup.actions.catalog.entries import State, find_candidates, look_at, read_catalog
from safeharbor_backup.archive.layout import archive_name
from safeharbor_backup.errors import StorageUnavailable
from support.archives import Facts, foreign_archive, put_archive, write_archive
from support.patience import patient

if TYPE_CHECKING:
    from pathlib import Path

FIRST = datetime(2026, 5, 1, 3, tzinfo=UTC)


def test_archives_come_newest_first_with_what_they_say_of_themselves(tmp_path: Path) -> None:
    paths = [put_archive(tmp_path, FIRST + timedelta(days=number)) for number in (1, 0, 2)]

    catalog = read_catalog(tmp_path)

    assert [entry.path for entry in catalog.archives] == [paths[2], paths[0], paths[1]]
    assert all(entry.state is State.COMPLETE and entry.problem == "" for entry in catalog.archives)
    newest = catalog.archives[0]
    assert newest.taken_at == FIRST + timedelta(days=2)
    assert newest.manifest is not None
    assert (newest.manifest.rows, newest.manifest.database) == (5, "reef")


def test_everything_else_is_told_but_never_taken_for_an_archive(tmp_path: Path) -> None:
    name = archive_name(FIRST)
    put_archive(tmp_path, FIRST + timedelta(days=1))
    (tmp_path / f"{name}.0a1b2c3d.tmp").write_bytes(b"")
    (tmp_path / "notes.txt").write_bytes(b"")
    (tmp_path / name.upper()).write_bytes(b"")
    (tmp_path / ".hidden").write_bytes(b"")
    (tmp_path / name).symlink_to("notes.txt")
    (tmp_path / archive_name(FIRST - timedelta(days=1))).mkdir()
    os.mkfifo(tmp_path / archive_name(FIRST - timedelta(days=2)))

    catalog = read_catalog(tmp_path)

    assert len(catalog.archives) == 1
    assert catalog.unfinished == (f"{name}.0a1b2c3d.tmp",)
    assert set(catalog.foreign) == {
        "notes.txt",
        name.upper(),
        name,
        archive_name(FIRST - timedelta(days=1)),
        archive_name(FIRST - timedelta(days=2)),
    }
    assert [candidate.name for candidate in find_candidates(tmp_path)] == [catalog.archives[0].name]


@pytest.mark.parametrize(
    ("content", "state"),
    [
        (b"", State.DAMAGED),
        (b"<html>", State.DAMAGED),
        (bytes(10240), State.DAMAGED),
        (foreign_archive([])[:-1024] + b"cut", State.DAMAGED),
        (foreign_archive([]), State.UNVERIFIED),
    ],
)
def test_an_archive_without_a_manifest_is_listed_as_such(tmp_path: Path, content: bytes, state: State) -> None:
    (tmp_path / archive_name(FIRST)).write_bytes(content)

    entry = look_at(tmp_path / archive_name(FIRST), FIRST)
    assert entry is not None

    assert entry.state is state
    assert entry.taken_at == FIRST
    assert entry.manifest is None


@pytest.mark.parametrize("cut", [1, 512, 1024, 2048, 5000])
def test_an_archive_that_was_cut_is_listed_as_damaged(tmp_path: Path, cut: int) -> None:
    path = put_archive(tmp_path, FIRST)
    os.truncate(path, path.stat().st_size - cut)

    entry = look_at(path, FIRST)
    assert entry is not None

    assert entry.state is State.DAMAGED
    assert entry.problem
    assert str(path) not in entry.problem


@pytest.mark.parametrize("error", [errno.EIO, errno.ESTALE, errno.EACCES, errno.EMFILE, errno.ENOMEM])
def test_an_archive_that_cannot_be_opened_is_unreadable_and_not_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    path = put_archive(tmp_path, FIRST)
    real = os.open

    def refuse(name: Path, *arguments: int) -> int:
        if name == path:
            raise OSError(error, os.strerror(error), str(name))
        return real(name, *arguments)

    monkeypatch.setattr("os.open", refuse)
    entry = look_at(path, FIRST)

    assert entry is not None
    assert (entry.state, entry.problem) == (State.UNREADABLE, f"it cannot be read: {os.strerror(error)}")


@pytest.mark.parametrize("number", [1, 2, 3])
def test_an_error_at_any_read_makes_it_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    path = put_archive(tmp_path, FIRST)
    real, calls = os.pread, list[int]()

    def fail(descriptor: int, size: int, offset: int) -> bytes:
        calls.append(offset)
        if len(calls) == number:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(descriptor, size, offset)

    monkeypatch.setattr("os.pread", fail)
    entry = look_at(path, FIRST)

    assert len(calls) == number
    assert entry is not None
    assert entry.state is State.UNREADABLE


def test_the_newest_complete_archive_is_found_behind_damaged_ones(tmp_path: Path) -> None:
    good = put_archive(tmp_path, FIRST)
    (tmp_path / archive_name(FIRST + timedelta(days=1))).write_bytes(b"")

    newest, older = read_catalog(tmp_path).archives

    assert (newest.is_complete, older.is_complete, older.path) == (False, True, good)


def test_the_manifest_knows_better_than_a_changed_name_when_it_was_taken(tmp_path: Path) -> None:
    write_archive(tmp_path / archive_name(FIRST), facts=Facts(taken_at=FIRST + timedelta(hours=1)))

    entry = look_at(tmp_path / archive_name(FIRST), FIRST)

    assert entry is not None
    assert entry.taken_at == FIRST + timedelta(hours=1)


def test_an_archive_that_vanishes_while_the_directory_is_read_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_archive(tmp_path, FIRST)
    gone = put_archive(tmp_path, FIRST + timedelta(days=1))
    real = os.open

    def vanish_first(path: Path, *arguments: int) -> int:
        if path == gone:
            gone.unlink(missing_ok=True)
        return real(path, *arguments)

    monkeypatch.setattr("os.open", vanish_first)
    catalog = read_catalog(tmp_path)

    complete = [entry for entry in catalog.archives if entry.state is State.COMPLETE]
    assert len(complete) == 1


def test_a_directory_that_is_not_there_is_told_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(StorageUnavailable, match="does not exist") as caught:
        read_catalog(tmp_path / "missing")

    assert "mkdir" in caught.value.hint


def test_five_hundred_archives_are_listed_within_seconds(tmp_path: Path) -> None:
    first = put_archive(tmp_path, FIRST)
    for number in range(1, 500):
        os.link(first, tmp_path / archive_name(FIRST + timedelta(hours=number)))
    started = time.monotonic()

    catalog = read_catalog(tmp_path)

    assert len(catalog.archives) == 500
    assert time.monotonic() - started < patient(5)


def test_an_archive_that_is_gone_or_being_deleted_is_no_entry(tmp_path: Path) -> None:
    path = put_archive(tmp_path, FIRST)
    with open(path, "rb") as deleter:
        fcntl.flock(deleter, fcntl.LOCK_EX)  # as prune holds it
        assert look_at(path, FIRST) is None
        assert read_catalog(tmp_path).archives == ()
    path.unlink()

    assert look_at(path, FIRST) is None
