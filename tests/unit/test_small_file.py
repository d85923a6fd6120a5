from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

import pytest

from safeharbor_backup.system.small_file import NotSmallFile, read_small_file, replace_small_file

if TYPE_CHECKING:
    from pathlib import Path


def test_what_is_written_is_read_again_in_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    replace_small_file(path, b"1")
    replace_small_file(path, b"22", mode=0o644)

    assert read_small_file(path, 2) == b"22"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert os.listdir(tmp_path) == ["state.json"]


def test_a_file_that_is_to_be_new_replaces_nothing(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    replace_small_file(path, b"1", is_new=True)

    with pytest.raises(FileExistsError):
        replace_small_file(path, b"2", is_new=True)
    assert path.read_bytes() == b"1"


def test_a_larger_file_is_refused_or_gives_its_end(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"first\nlast\n")

    with pytest.raises(NotSmallFile) as refused:
        read_small_file(tmp_path / "log", 5)
    assert refused.value.errno == errno.EFBIG
    assert read_small_file(tmp_path / "log", 5, only_end=True) == b"last\n"


def test_neither_a_link_nor_a_pipe_nor_a_directory_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to("file")
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(OSError, match="symbolic links"):
        read_small_file(tmp_path / "link", 5)
    assert read_small_file(tmp_path / "link", 5, follow_symlinks=True) == b"x"
    for name in ("pipe", "."):
        with pytest.raises(OSError, match=r"regular file|directory"):
            read_small_file(tmp_path / name, 5)


def test_what_a_killed_run_left_goes_once_it_is_old(tmp_path: Path) -> None:
    old, young = tmp_path / "state.json.0123abcd.tmp", tmp_path / "state.json.01234567.tmp"
    old.write_bytes(b"")
    young.write_bytes(b"")
    os.utime(old, (0, 0))

    replace_small_file(tmp_path / "state.json", b"1")

    assert sorted(os.listdir(tmp_path)) == ["state.json", young.name]
