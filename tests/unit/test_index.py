from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from safeharbor_backup.archive.index import IndexFront, IndexUnusable, IndexWriter, read_index_front, read_records
from safeharbor_backup.archive.index_records import (
    FACTS_SIZE,
    NEVER,
    Chunk,
    DirectoryRecord,
    IndexEntry,
    Record,
    pack_chunk,
)
from safeharbor_backup.archive.layout import DIRECTORY, FILE, SYMLINK, Member, canonical_line, sums_line

if TYPE_CHECKING:
    from pathlib import Path

FRONT = IndexFront("a.tar", 1024, 7, 2**62, 10, 5, 4096, "0" * 64)
NAMES = [b"a", b"new\nline", b"back\\slash", b"\xff\xfe", b"link", b"n" * 101, b"empty"]


def entries(prefix: bytes, at: int) -> list[tuple[bytes, IndexEntry]]:
    """One for each name, one of them a link, the one after it behind a pad."""
    found = []
    for number, name in enumerate(NAMES):
        path = b"uploads/" + prefix + name
        is_link = name == b"link"
        size = 0 if is_link or name == b"empty" else 100 + number
        member = Member(path, SYMLINK if is_link else FILE, 0o644, 1, 2, -3, size, b"to\nthere" if is_link else b"")
        sums = b"" if is_link else sums_line(path, hashlib.sha256(name).hexdigest())
        facts = bytes([number + 1]) * FACTS_SIZE
        found.append((name, IndexEntry(number, facts, at, at + 1024, canonical_line(member), sums)))
        at += 1024 + (512 if is_link else 0)
    return found


def records() -> list[Record]:
    root = canonical_line(Member(b"uploads/", DIRECTORY, 0o755, 0, 0, 1, 0))
    below = canonical_line(Member(b"uploads/d/", DIRECTORY, 0o755, 0, 0, 1, 0))
    return [
        DirectoryRecord(b"", root, 4096, 4608),
        pack_chunk(b"", entries(b"", 4608)),
        DirectoryRecord(b"d", below, 20_000, 20_512),
        pack_chunk(b"d/", entries(b"d/", 20_512)),
    ]


def write(path: Path, front: IndexFront = FRONT) -> bytes:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        writer = IndexWriter(descriptor)
        for record in records():
            writer.add(record)
        writer.finish(front)
    finally:
        os.close(descriptor)
    return path.read_bytes()


def read(path: Path) -> tuple[IndexFront, list[tuple[int, Record]]]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return read_index_front(descriptor), list(read_records(descriptor))
    finally:
        os.close(descriptor)


def test_an_index_is_read_as_it_was_written(tmp_path: Path) -> None:
    write(tmp_path / "index")

    front, found = read(tmp_path / "index")

    assert front == FRONT
    assert [record for _, record in found] == records()
    assert [ordinal for ordinal, _ in found] == [0, 1, 8, 9]


def test_an_index_that_is_begun_anew_holds_nothing_of_before(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path / "index", os.O_RDWR | os.O_CREAT)
    writer = IndexWriter(descriptor)
    writer.add(pack_chunk(b"x/", entries(b"x/", 0) * 4000))  # more than is held back
    writer.restart()
    for record in records():
        writer.add(record)
    writer.finish(FRONT)
    os.close(descriptor)

    assert (tmp_path / "index").read_bytes() == write(tmp_path / "other")


def test_a_chunk_gives_its_entries_back() -> None:
    known = entries(b"d/", 5120)

    chunk = pack_chunk(b"d/", known)

    assert chunk.entries(40) == {name: entry._replace(ordinal=40 + entry.ordinal) for name, entry in known}
    assert (chunk.base, chunk.end) == (known[0][1].start, known[-1][1].end)
    assert (chunk.members, chunk.files, chunk.upload_bytes) == (7, 6, 100 + 101 + 102 + 103 + 105)
    assert (chunk.first_line, chunk.last_line) == (known[0][1].line, known[-1][1].line)
    assert (chunk.last_name, chunk.last_start) == (b"empty", known[-1][1].start)


@pytest.mark.parametrize("number", range(len(NAMES)))
def test_a_chunk_of_one_entry_knows_its_edges(number: int) -> None:
    name, known = entries(b"", 0)[number]

    chunk = pack_chunk(b"", [(name, known)])

    assert (chunk.first_line, chunk.last_line, chunk.last_name) == (known.line, known.line, name)
    assert chunk.entries(known.ordinal) == {name: known}


def test_any_byte_that_changes_ends_the_index_there(tmp_path: Path) -> None:
    path = tmp_path / "index"
    data = write(path)
    sound = records()
    descriptor = os.open(path, os.O_RDWR)
    try:
        for at in range(len(data)):
            os.pwrite(descriptor, bytes([data[at] ^ 1 << at % 8]), at)
            try:
                front = read_index_front(descriptor)
            except IndexUnusable:
                assert at < 4096
            else:
                assert at >= 4096
                assert front == FRONT
                found = [record for _, record in read_records(descriptor)]
                assert found == sound[: len(found)]
                assert len(found) < len(sound)
            os.pwrite(descriptor, data[at : at + 1], at)
    finally:
        os.close(descriptor)


def test_an_index_that_was_cut_is_gone_by_as_far_as_it_goes(tmp_path: Path) -> None:
    path = tmp_path / "index"
    data = write(path)
    for size in range(len(data) - 1, -1, -7):
        os.truncate(path, size)
        if size < 4096:
            with pytest.raises(IndexUnusable):
                read(path)
        else:
            found = [record for _, record in read(path)[1]]
            assert found == records()[: len(found)]
            assert len(found) < 4


@pytest.mark.parametrize("content", [b"", b"{}", b"x" * 10_000, bytes(10_000)])
def test_what_is_no_index_is_not_gone_by(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "index").write_bytes(content)

    with pytest.raises(IndexUnusable):
        read(tmp_path / "index")


def test_an_index_of_another_version_is_not_gone_by(tmp_path: Path) -> None:
    write(tmp_path / "index", replace(FRONT, format=1))

    with pytest.raises(IndexUnusable, match="another version"):
        read(tmp_path / "index")


@pytest.mark.parametrize("wrong", [{"size": "1"}, {"started_ns": None}, {"archive": 7}, {"inode": 1.5}])
def test_a_front_with_a_wrong_value_is_not_gone_by(tmp_path: Path, wrong: dict[str, object]) -> None:
    write(tmp_path / "index", replace(FRONT, **wrong))  # type: ignore[arg-type]

    with pytest.raises(IndexUnusable):
        read(tmp_path / "index")


def test_the_longest_name_of_an_archive_fits_the_front(tmp_path: Path) -> None:
    front = replace(FRONT, archive="\U0001f420" * 63 + ".ta", size=2**62, inode=2**63)

    write(tmp_path / "index", front)

    assert read(tmp_path / "index")[0] == front


def test_the_facts_of_what_is_not_trusted_are_no_facts_of_anything(tmp_path: Path) -> None:
    assert len(NEVER) == FACTS_SIZE
    assert isinstance(records()[1], Chunk)
    assert os.stat(tmp_path).st_ino != 0
