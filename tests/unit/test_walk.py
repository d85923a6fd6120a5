from __future__ import annotations

import os
from itertools import chain
from typing import TYPE_CHECKING

import pytest

from safeharbor_backup.settings.upload_dirs import UploadDir
from safeharbor_backup.uploads.omissions import Omissions
from safeharbor_backup.uploads.tree_entries import Batch
from safeharbor_backup.uploads.walk import opened_tree, walk_batches, walk_tree

if TYPE_CHECKING:
    from pathlib import Path


def batches_of(root: Path) -> list[Batch | bytes]:
    """The batches, and the path of each directory."""
    with opened_tree((UploadDir(root),)) as roots:
        found = walk_batches(roots, None, Omissions())
        return [each if isinstance(each, Batch) else each.path for each in found]


def names_of(root: Path) -> list[list[bytes]]:
    return [each.names for each in batches_of(root) if isinstance(each, Batch)]


@pytest.mark.slow
def test_a_new_file_in_a_large_directory_moves_no_batch_but_its_own(tmp_path: Path) -> None:
    for number in range(9000):
        (tmp_path / f"{number:06}").touch()
    before = names_of(tmp_path)
    (tmp_path / "000000-new").touch()

    after = names_of(tmp_path)

    assert 4 < len(before) < 30
    assert max(map(len, after)) <= 4096
    assert [*chain(*after)] == sorted([*chain(*before), b"000000-new"])
    assert [names for names in after if b"000000-new" not in names] == before[1:]


def test_a_directory_ends_a_batch_and_its_own_entries_follow_it(tmp_path: Path) -> None:
    for name in ("a", "b", "d", "e"):
        (tmp_path / name).touch()
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "inside").touch()

    found = batches_of(tmp_path)

    shown = [each if isinstance(each, bytes) else (each.prefix, each.names) for each in found]
    assert shown == [(b"", [b"a", b"b"]), b"c", (b"c/", [b"inside"]), (b"", [b"d", b"e"])]
    assert all(each.is_home for each in found if isinstance(each, Batch))


@pytest.mark.slow
def test_batches_in_deep_directories_are_smaller(tmp_path: Path) -> None:
    deep = tmp_path
    for _ in range(12):
        deep /= "d" * 250
        deep.mkdir()
    descriptor = os.open(deep, os.O_RDONLY)
    try:
        for number in range(1000):
            os.close(os.open(f"{number:04}", os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=descriptor))
    finally:
        os.close(descriptor)

    assert max(map(len, names_of(tmp_path))) == 1024 * 1024 // (12 * 251 + 1)


def test_single_entries_are_those_of_the_batches(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").touch()
    with opened_tree((UploadDir(tmp_path),)) as roots:
        paths = [entry.path for entry in walk_tree(roots, None, Omissions())]

    assert paths == [b"a", b"a/x", b"b", b"b/x"]
