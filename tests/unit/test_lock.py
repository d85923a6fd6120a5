from __future__ import annotations

import errno
import fcntl
import os
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from safeharbor_backup.errors import LockHeld, SafeHarborError, StorageUnavailable
from safeharbor_backup.system.lock import LOCK_NAME, directory_lock, is_being_read, lock_shared
from support.needs import need_root

if TYPE_CHECKING:
    from pathlib import Path


def try_lock(directory: Path) -> bool:
    try:
        with directory_lock(directory):
            return True
    except LockHeld:
        return False


def test_only_one_at_a_time_holds_a_directory(tmp_path: Path) -> None:
    with directory_lock(tmp_path) as is_locked:
        assert is_locked
        assert not try_lock(tmp_path)

    assert try_lock(tmp_path)


def test_another_process_is_kept_out_too(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib, safeharbor_backup.system.lock as l\nwith "
        "l.directory_lock(pathlib.Path(sys.argv[1])): pass"
    )
    argv: list[str | Path] = [sys.executable, "-c", program, tmp_path]

    with directory_lock(tmp_path):
        during = subprocess.run(argv, capture_output=True, check=False)

    assert during.returncode == 1
    assert b"LockHeld" in during.stderr
    assert subprocess.run(argv, check=False).returncode == 0


def test_the_lock_file_stays_and_is_for_its_owner_only(tmp_path: Path) -> None:
    with directory_lock(tmp_path):
        first = os.lstat(tmp_path / LOCK_NAME)
    with directory_lock(tmp_path):
        second = os.lstat(tmp_path / LOCK_NAME)

    assert stat.S_IMODE(first.st_mode) == 0o600
    assert first.st_ino == second.st_ino


def test_the_lock_is_given_back_when_the_block_fails(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="x"), directory_lock(tmp_path):
        raise ValueError("x")

    assert try_lock(tmp_path)


def test_a_symlink_planted_as_the_lock_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / LOCK_NAME).symlink_to("elsewhere")

    with pytest.raises(SafeHarborError), directory_lock(tmp_path):
        pytest.fail("it must not get here")

    assert not (tmp_path / "elsewhere").exists()


def test_a_read_only_directory_is_told_as_storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("os.open", refuse)
    with pytest.raises(StorageUnavailable), directory_lock(tmp_path):
        pytest.fail("it must not get here")


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_filesystem_without_locks_is_told_to_the_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, "no locks")

    monkeypatch.setattr("fcntl.flock", refuse)
    with directory_lock(tmp_path) as is_locked:
        assert not is_locked


def test_a_failing_lock_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(SafeHarborError, match="broken"), directory_lock(tmp_path):
        pytest.fail("it must not get here")


def test_what_root_creates_belongs_to_the_directorys_owner(tmp_path: Path) -> None:
    need_root()
    os.chown(tmp_path, 12345, 23456)

    with directory_lock(tmp_path):
        status = os.lstat(tmp_path / LOCK_NAME)

    assert (status.st_uid, status.st_gid) == (12345, 23456)


def test_an_archive_can_be_read_by_many_and_is_then_not_free(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    readers = [os.open(tmp_path / "a", os.O_RDONLY) for _ in range(2)]
    judge = os.open(tmp_path / "a", os.O_RDONLY)
    for reader in readers:
        lock_shared(reader)

    assert is_being_read(judge)
    os.close(readers[0])
    assert is_being_read(judge)
    os.close(readers[1])
    assert not is_being_read(judge)
    os.close(judge)


def test_while_it_is_judged_free_nobody_can_begin_to_read_it(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    judge = os.open(tmp_path / "a", os.O_RDONLY)
    reader = os.open(tmp_path / "a", os.O_RDONLY)

    assert not is_being_read(judge)
    with pytest.raises(LockHeld):
        lock_shared(reader)
    fcntl.flock(judge, fcntl.LOCK_UN)
    lock_shared(reader)

    os.close(judge)
    os.close(reader)
