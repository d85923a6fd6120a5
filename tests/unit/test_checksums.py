from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from safeharbor_backup.actions.catalog.entries import look_at
from safeharbor_backup.archive.checksums import Tally, folder_of
from safeharbor_backup.archive.layout import DIRECTORY, FILE, Member
from safeharbor_backup.archive.manifest import parse_manifest
from support.archives import TAKEN_AT, assemble, put_archive, uploads_root

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def tally(tmp_path: Path) -> Iterator[Tally]:
    """An empty one."""
    made = Tally(tmp_path)
    yield made
    made.close()


def member(path: bytes, size: int = 0) -> Member:
    kind = DIRECTORY if path.endswith(b"/") or not path else FILE
    return Member(b"uploads/" + path, kind, 0o644, 0, 0, 0, size)


def folders_in(path: Path) -> tuple[tuple[str, int, int], ...] | None:
    entry = look_at(path, TAKEN_AT)
    assert entry is not None
    assert entry.manifest is not None
    folders = entry.manifest.folders
    return None if folders is None else tuple((each.name, each.files, each.bytes) for each in folders)


@pytest.mark.parametrize(
    ("path", "folder"),
    [(b"", b"."), (b"/", b"."), (b"a", b"."), (b"a/", b"a"), (b"a/b", b"a"), (b"a/b/c/", b"a"), (b"\xff/x", b"\xff")],
)
def test_a_path_lies_in_its_first_directory_or_in_none(path: bytes, folder: bytes) -> None:
    assert folder_of(path) == folder


def test_an_archive_tells_what_is_in_each_folder_at_any_depth(tmp_path: Path) -> None:
    uploads = tmp_path / "uploads"
    for name, size in {"photos/2026/a": 5, "photos/b": 7, "avatars/c": 1, "readme": 9, "x": 2}.items():
        path = uploads / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(size))
    (uploads / "empty" / "below").mkdir(parents=True)
    (uploads / "link").symlink_to("readme")

    found = folders_in(put_archive(tmp_path, TAKEN_AT, uploads=uploads))

    assert found == ((".", 2, 11), ("avatars", 1, 1), ("empty", 0, 0), ("photos", 2, 12))


def test_without_uploads_there_are_no_folders(tmp_path: Path) -> None:
    assert folders_in(put_archive(tmp_path, TAKEN_AT)) == ()


def test_a_name_that_is_no_text_is_kept_as_it_is(tmp_path: Path) -> None:
    directory = os.fsencode(tmp_path / "uploads") + b"/\xff\n"
    os.makedirs(directory)

    assert folders_in(put_archive(tmp_path, TAKEN_AT, uploads=tmp_path / "uploads")) == (("\udcff\n", 0, 0),)


def test_of_very_many_folders_the_first_are_kept(tally: Tally) -> None:
    for number in range(2000):
        tally.count(member(b"%05d/" % number))
        tally.count(member(b"%05d/x" % number, 3))
    tally.count(member(b"x", 4))

    found = tally.folders()

    assert len(found) == 1000
    assert (found[0], found[1], found[-1]) == ((b".", 1, 4), (b"00000", 1, 3), (b"00998", 1, 3))
    assert (tally.files, tally.upload_bytes) == (2001, 6004)


def test_what_is_taken_back_is_not_counted(tally: Tally) -> None:
    tally.count(member(b"a/x", 1))
    mark = tally.mark()
    tally.count(member(b"a/y", 2))
    tally.count_many(5, 0, 0, 50, b"b")

    tally.go_back(mark)
    tally.count(member(b"a/z", 4))

    assert tally.folders() == [(b"a", 2, 5)]


@pytest.mark.parametrize(
    "folders",
    [None, 3, "x", [3], [{}], [{"name": 1, "files": 1, "bytes": 1}], [{"name": "a", "files": 1, "bytes": -1}]],
    ids=str,
)
def test_folders_that_are_something_else_are_not_known(folders: object) -> None:
    archive = assemble([uploads_root()])
    start = archive.index(b'{"format"')
    document = archive[start : archive.index(b"}\0", start) + 1].replace(
        b'"uploads": {',
        b'"uploads": {"folders": %s, ' % repr(folders).replace("'", '"').replace("None", "null").encode(),
    )

    assert parse_manifest(document).folders is None
