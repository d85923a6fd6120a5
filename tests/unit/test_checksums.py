from __future__ import annotations

import hashlib
import os
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from safeharbor_backup.actions.catalog.entries import look_at
from safeharbor_backup.archive.checksums import Tally, folder_of, parse_line, parse_sums
from safeharbor_backup.archive.layout import DIRECTORY, FILE, SYMLINK, Member
from safeharbor_backup.archive.manifest_json import parse_manifest
from support.archives import TAKEN_AT, assemble, put_archive, uploads_root

if TYPE_CHECKING:
    from collections.abc import Iterator


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


@pytest.mark.parametrize("place", [0, 4000])
def test_of_very_many_folders_the_first_are_kept_wherever_a_file_in_none_comes(tally: Tally, place: int) -> None:
    members = [each for number in range(2000) for each in (member(b"%05d/" % number), member(b"%05d/x" % number, 3))]
    members.insert(place, member(b"x", 4))
    for each in members:
        tally.count(each)

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


HASH = "0123456789abcdef" * 4


def as_listed(*members: Member) -> str:
    """The digest of the list of members, as docs/archive-format.md describes it."""
    fields = []
    for each in members:
        numbers = (b"%d" % number for number in (each.uid, each.gid, each.mtime, each.size))
        fields.append((each.name, each.kind, b"%o" % each.mode, *numbers, each.link))
    return hashlib.sha256(b"".join(b"".join(each + b"\0" for each in one) + b"\n" for one in fields)).hexdigest()


def test_each_member_is_listed_and_each_file_has_a_line(tally: Tally) -> None:
    dump, root, file = Member(b"db.dump", FILE, 0o600, 0, 0, 7, 9), member(b""), member(b"new\nline\\r\r", 3)

    added = [tally.add(dump, HASH), tally.add(root), tally.add(file, HASH)]

    lines = [HASH.encode() + b"  db.dump\n", b"", b"\\" + HASH.encode() + b"  uploads/new\\nline\\\\r\\r\n"]
    assert [sums for _, sums in added] == lines
    assert b"".join(tally.lines()) == b"".join(lines)
    assert tally.lines_size() == len(b"".join(lines))
    assert tally.list_sha256 == as_listed(dump, root, file)
    names = [(b"db.dump", HASH), (b"uploads/new\nline\\r\r", HASH)]
    assert list(parse_sums(tally.lines())) == names
    assert list(parse_sums(bytes([each]) for each in b"".join(lines))) == names  # in whatever chunks they come


def test_the_first_member_may_be_known_last(tally: Tally) -> None:
    dump, root, file = Member(b"db.dump", FILE, 0o600, 0, 0, 7, 9), member(b""), member(b"x", 3)
    tally.leave_out_first()
    tally.add(root)
    tally.add(file, HASH)

    line = tally.add_first(dump, HASH[::-1])

    assert hashlib.sha256(line).hexdigest() == as_listed(dump)
    assert tally.list_sha256 == as_listed(dump, root, file)
    assert list(parse_sums(tally.lines())) == [(b"db.dump", HASH[::-1]), (b"uploads/x", HASH)]
    assert tally.lines_size() == len(b"".join(tally.lines()))
    tally.add(member(b"y"), HASH)
    assert tally.list_sha256 == as_listed(dump, root, file, member(b"y"))


def test_what_is_taken_back_leaves_no_line(tally: Tally) -> None:
    tally.add(member(b"a"), HASH)
    tally.count(member(b"a", 5))
    tally.count(member(b"d/"))
    tally.count(Member(b"uploads/l", SYMLINK, 0o777, 0, 0, 0, 0, b"a"))
    mark = tally.mark()
    before = (tally.list_sha256, b"".join(tally.lines()), tally.folders())
    tally.add(member(b"b"), HASH)
    tally.count(member(b"e/f", 7))
    tally.count(Member(b"uploads/m", SYMLINK, 0o777, 0, 0, 0, 0, b"a"))
    tally.count(member(b"e/"))
    assert tally.list_sha256 != before[0]

    tally.go_back(mark)

    assert (tally.list_sha256, b"".join(tally.lines()), tally.folders()) == before
    assert (tally.files, tally.directories, tally.links, tally.upload_bytes) == (1, 1, 1, 5)
    tally.add(member(b"c"), HASH)
    assert tally.list_sha256 == as_listed(member(b"a"), member(b"c"))
    assert [name for name, _ in parse_sums(tally.lines())] == [b"uploads/a", b"uploads/c"]
    tally.go_back(mark)  # once more to the same
    assert tally.list_sha256 == before[0]


def test_what_is_counted_adds_up_by_kind_and_folder(tally: Tally) -> None:
    tally.count_many(2, 3, 4, 50, b"a")
    tally.count_many(1, 1, 1, 5, b"a")
    tally.count_many(0, 1, 1, 0, b".")

    assert (tally.files, tally.directories, tally.links, tally.upload_bytes) == (3, 5, 6, 55)
    assert tally.folders() == [(b"a", 3, 55)]
    tally.count_many(1, 0, 0, 6, b".")
    tally.count_many(1, 0, 0, 7, b".")
    assert tally.folders() == [(b".", 2, 13), (b"a", 3, 55)]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"ab  uploads/x", (b"uploads/x", "ab")),
        (b"ab  uploads/x  y", (b"uploads/x  y", "ab")),
        (b"\\ab  uploads/x\\\\n\\n\\r", (b"uploads/x\\n\n\r", "ab")),
        (b"ab  uploads/x\\n", (b"uploads/x\\n", "ab")),
        (b"\xff\xffab  x", (b"x", "\ufffd\ufffdab")),
        (b"nonsense", (b"", "nonsense")),
        (b"\\XYab  x", (b"x", "XYab")),
        (b"", (b"", "")),
    ],
)
def test_a_line_is_read_as_it_was_written(line: bytes, expected: tuple[bytes, str]) -> None:
    assert parse_line(line) == expected


def test_a_million_lines_are_never_in_memory_together(tally: Tally) -> None:
    tally.leave_out_first()
    for _ in range(16):
        tally.add_lines(bytes(1024**2), bytes(1024**2))
    tracemalloc.start()
    try:
        tally.add_first(member(b"x"), HASH)
        length = sum(map(len, tally.lines()))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert length == tally.lines_size() > 16 * 1024**2
    assert most < 4 * 1024**2


def test_its_files_are_given_back(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    made = Tally(tmp_path)
    made.leave_out_first()
    assert len(os.listdir("/proc/self/fd")) == before + 2
    places = [str(path.readlink()) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    assert len([place for place in places if place.startswith(str(tmp_path))]) == 2

    made.close()

    assert len(os.listdir("/proc/self/fd")) == before
    assert os.listdir(tmp_path) == []
