"""Members become files: content, kinds, modes, times, owners; relative to open directories and never through a link."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from safeharbor_backup.archive.layout import DIRECTORY, FILE, SYMLINK, Member
from safeharbor_backup.uploads.extract import Extraction
from support.needs import need_root


def member(name: bytes, kind: bytes = FILE, *, mode: int = 0o640, size: int = 0, link: bytes = b"") -> Member:
    full = b"uploads/" + name + (b"/" if kind == DIRECTORY and name else b"")
    return Member(full, kind, mode, os.geteuid(), os.getegid(), 1_600_000_000, size, link)


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield descriptor
    os.close(descriptor)


def test_files_directories_and_links_are_as_they_were(tmp_path: Path, root: int) -> None:
    extraction = Extraction(root, in_order=True)
    extraction.add(member(b"", DIRECTORY), ())
    extraction.add(member(b"a", DIRECTORY, mode=0o2750), ())
    extraction.add(member(b"a/empty", DIRECTORY, mode=0o500), ())
    extraction.add(member(b"a/file", size=6), (b"abc", b"def"))
    extraction.add(member(b"a/link", SYMLINK, link=b"../b\xff"), ())
    extraction.add(member(b"b\xff", mode=0o4755), ())
    extraction.finish()

    file = tmp_path / "a" / "file"
    assert file.read_bytes() == b"abcdef"
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert {os.lstat(path).st_mtime for path in (file, tmp_path / "a", tmp_path / "a" / "link")} == {1_600_000_000}
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o2750
    assert stat.S_IMODE((tmp_path / "a" / "empty").stat().st_mode) == 0o500
    assert os.readlink(os.fsencode(tmp_path / "a" / "link")) == b"../b\xff"
    assert stat.S_IMODE(os.stat(os.fsencode(tmp_path) + b"/b\xff").st_mode) == 0o755  # without its set-uid bit
    assert (extraction.files, extraction.size_bytes) == (2, 6)
    assert not extraction.lacks_owners


def test_in_any_order_directories_may_come_late_or_never(tmp_path: Path, root: int) -> None:
    extraction = Extraction(root, in_order=False)
    extraction.add(member(b"deep/er/file", size=1), (b"x",))
    extraction.add(member(b"other", size=1), (b"y",))
    extraction.add(member(b"deep/again", size=1), (b"z",))
    extraction.add(member(b"deep", DIRECTORY, mode=0o500), ())
    extraction.add(member(b"deep/er/late", size=1), (b"!",))
    extraction.finish()

    assert (tmp_path / "deep" / "er" / "file").read_bytes() == b"x"
    assert (tmp_path / "deep" / "er" / "late").read_bytes() == b"!"
    assert stat.S_IMODE((tmp_path / "deep").stat().st_mode) == 0o500
    assert stat.S_IMODE((tmp_path / "deep" / "er").stat().st_mode) == 0o755


def test_a_hard_link_of_another_implementation_is_a_link_again(tmp_path: Path, root: int) -> None:
    extraction = Extraction(root, in_order=False)
    extraction.add(member(b"a/file", size=1), (b"x",))
    extraction.add(member(b"b/same", b"1", link=b"uploads/a/file"), ())
    extraction.finish()

    assert (tmp_path / "b" / "same").samefile(tmp_path / "a" / "file")


@pytest.mark.parametrize("name", [b"planted", b"planted/file"])
def test_a_link_in_the_way_is_not_followed(tmp_path: Path, root: int, name: bytes) -> None:
    outside = tmp_path.parent / "outside"
    outside.mkdir(exist_ok=True)
    (tmp_path / "planted").symlink_to(outside)
    extraction = Extraction(root, in_order=False)

    with pytest.raises(OSError):
        extraction.add(member(name, size=1), (b"x",))
    extraction.close()

    assert list(outside.iterdir()) == []


def test_a_file_in_the_way_is_not_overwritten(tmp_path: Path, root: int) -> None:
    (tmp_path / "file").write_text("mine")
    extraction = Extraction(root, in_order=True)

    with pytest.raises(FileExistsError):
        extraction.add(member(b"file", size=1), (b"x",))

    assert (tmp_path / "file").read_text() == "mine"


def test_as_root_owners_are_kept(tmp_path: Path, root: int) -> None:
    need_root()
    extraction = Extraction(root, in_order=True)
    extraction.add(member(b"theirs", DIRECTORY, mode=0o2755)._replace(uid=4711, gid=4712), ())
    extraction.add(member(b"theirs/file", mode=0o755)._replace(uid=4711, gid=4712), ())
    extraction.finish()

    for path in (tmp_path / "theirs", tmp_path / "theirs" / "file"):
        assert (path.stat().st_uid, path.stat().st_gid) == (4711, 4712)
    assert stat.S_IMODE((tmp_path / "theirs").stat().st_mode) == 0o2755


def test_a_thousand_directories_leave_no_descriptor_open(tmp_path: Path, root: int) -> None:
    before = len(os.listdir("/proc/self/fd"))
    extraction = Extraction(root, in_order=True)
    for number in range(1000):
        extraction.add(member(b"%04d" % number, DIRECTORY, mode=0o755), ())
        extraction.add(member(b"%04d/file" % number), ())
    extraction.finish()

    assert len(os.listdir("/proc/self/fd")) == before
    assert len(os.listdir(tmp_path)) == 1000
