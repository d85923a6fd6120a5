"""One writer in a directory at a time, and no archive deleted while it is read."""

from __future__ import annotations

import errno
import fcntl
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from safeharbor_backup.errors import LockHeld, translate_os_error

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOCK_NAME = ".safeharbor.lock"

_NOT_SUPPORTED = frozenset({errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})


@contextmanager
def directory_lock(directory: Path) -> Iterator[bool]:
    """Hold the lock of `directory`; yields False where the filesystem has no locks.

    Raises LockHeld, StorageUnavailable.
    """
    busy = f"Another Safe Harbor run is at work in {directory}."
    with lock_file(directory / LOCK_NAME, directory, "opening the lock file", busy) as has_lock:
        yield has_lock


@contextmanager
def lock_file(path: Path, directory: Path, opening: str, busy: str) -> Iterator[bool]:
    """Hold the lock of a file that is there for nothing else; yields False where the filesystem has no locks.

    It belongs to the owner of `directory`, and stays for ever: to unlink it would let two runs hold "the" lock at once.
    `opening` and `busy` are words for the errors. Raises LockHeld, StorageUnavailable.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise translate_os_error(error, opening) from error
    try:
        give_to_owner_of(directory, descriptor)
        yield _flock(descriptor, fcntl.LOCK_EX, busy)
    finally:
        with suppress(OSError):  # nothing was written there, and what the run has done is done
            os.close(descriptor)


def is_locked(directory: Path) -> bool:
    """Whether somebody holds the lock of `directory` now; False if that is unknown."""
    return is_file_locked(directory / LOCK_NAME)


def is_file_locked(path: Path) -> bool:
    """Whether somebody holds the lock of this file now; False if that is unknown."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        _flock(descriptor, fcntl.LOCK_SH, "")
    except LockHeld:
        return True
    finally:
        os.close(descriptor)
    return False


def lock_shared(descriptor: int) -> None:
    """Keep `prune` away from an open archive until its descriptor is closed; does nothing where there are no locks.

    Raises LockHeld if it is being deleted at this moment.
    """
    _flock(descriptor, fcntl.LOCK_SH, "The archive is being deleted at this moment.")


def is_being_read(descriptor: int) -> bool:
    """Whether somebody holds the open archive; if not, nobody can take hold of it until the descriptor is closed."""
    try:
        _flock(descriptor, fcntl.LOCK_EX, "")
    except LockHeld:
        return True
    return False


def try_lock_exclusive(descriptor: int) -> bool | None:
    """Whether the open file is held by nobody else, and now by us, until it is closed; None where there are no locks.

    Raises StorageUnavailable.
    """
    try:
        return True if _flock(descriptor, fcntl.LOCK_EX, "") else None
    except LockHeld:
        return False


def supports_locks(descriptor: int) -> bool:
    """Whether the filesystem of this open file, which nobody else has, knows locks; it is locked then."""
    return _flock(descriptor, fcntl.LOCK_EX, "")


def give_to_owner_of(directory: Path, descriptor: int) -> None:
    """Make what root creates belong to the owner of `directory`, so that the next run as that user can use it."""
    if os.geteuid() != 0:
        return
    owner = os.stat(directory)
    try:
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
    except OSError:
        pass  # a share that maps root to nobody; then it already has the only owner it can have


def _flock(descriptor: int, how: int, busy: str) -> bool:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        raise LockHeld(busy) from None
    except OSError as error:
        if error.errno in _NOT_SUPPORTED:
            return False
        raise translate_os_error(error, "locking") from error
    return True
