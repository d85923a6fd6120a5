from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from safeharbor_backup.archive.writer import ArchiveWriter
from safeharbor_backup.progress import NoProgress
from safeharbor_backup.settings.upload_dirs import UploadDir
from safeharbor_backup.uploads.collect import write_uploads
from safeharbor_backup.uploads.omissions import Omissions
from safeharbor_backup.uploads.readahead import NOT_OPEN, read_ahead
from safeharbor_backup.uploads.tree_entries import Batch
from safeharbor_backup.uploads.walk import walk_batches

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def open_files() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


@pytest.fixture
def batch(tmp_path: Path) -> Iterator[Batch]:
    """Fifty files, a link among them."""
    for number in range(50):
        (tmp_path / f"{number:02}").write_bytes(b"%d" % number)
    (tmp_path / "25").unlink()
    (tmp_path / "25").symlink_to("24")
    root = os.open(tmp_path, os.O_RDONLY)
    walk = walk_batches([(b"", root)], None, Omissions())
    yield next(found for found in walk if isinstance(found, Batch))
    os.close(root)


def test_each_file_comes_open_in_its_turn(batch: Batch) -> None:
    seen = []
    with read_ahead(batch) as opened:
        for descriptor in opened:
            seen.append(os.read(descriptor, 9) if descriptor != NOT_OPEN else None)
            if descriptor != NOT_OPEN:
                os.close(descriptor)

    assert seen == [None if number == 25 else b"%d" % number for number in range(50)]


def test_only_a_few_are_open_at_once_and_none_afterwards(batch: Batch) -> None:
    before = open_files()

    with read_ahead(batch) as opened:
        first = next(opened)
        assert 10 <= len(open_files() - before) <= 20
        os.close(first)

    assert open_files() == before


def test_a_file_that_is_gone_or_may_not_be_opened_is_left_to_its_turn(batch: Batch, tmp_path: Path) -> None:
    (tmp_path / "03").unlink()

    with read_ahead(batch) as opened:
        found = [next(opened) for _ in range(5)]

    assert found[3] == NOT_OPEN
    for descriptor in found:
        if descriptor != NOT_OPEN:
            os.close(descriptor)


def test_too_many_open_files_cost_nothing_but_the_reading_ahead(batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "open", refused)
    with read_ahead(batch) as opened:
        assert list(opened) == [NOT_OPEN] * 50


def test_a_file_that_is_replaced_after_it_was_opened_is_read_again_or_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for number in range(40):
        (tree / f"{number:02}").write_bytes(b"old %02d" % number)
    real = ArchiveWriter.write_file

    def replaces(self: ArchiveWriter, member: object, data: bytes) -> object:
        if data == b"old 00":  # by now the next ones are open
            for number in range(1, 40):
                (tmp_path / "new").write_bytes(b"new content %02d" % number)
                os.replace(tmp_path / "new", tree / f"{number:02}")
        written.append(data)
        return real(self, member, data)  # type: ignore[arg-type]

    written: list[bytes] = []
    monkeypatch.setattr(ArchiveWriter, "write_file", replaces)
    before = open_files()
    descriptor = os.open(tmp_path / "archive", os.O_RDWR | os.O_CREAT)
    writer = ArchiveWriter(descriptor, tmp_path, 1)
    writer.write_dump([])

    omissions = write_uploads(writer, (UploadDir(tree),), None, NoProgress()).omissions
    writer.close()
    os.close(descriptor)

    assert written == [b"old 00", *[b"new content %02d" % number for number in range(1, 40)]]
    assert omissions.warnings() == []
    assert open_files() == before
