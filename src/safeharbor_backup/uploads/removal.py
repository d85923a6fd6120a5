"""Deletes trees by open directories: never through a link, never across a mount, however deep, whoever changes them."""

from __future__ import annotations

import os
import secrets
import stat
from typing import TYPE_CHECKING

from safeharbor_backup.errors import StorageUnavailable
from safeharbor_backup.system.atomic_file import rename_between
from safeharbor_backup.system.filesystem import mount_of

if TYPE_CHECKING:
    from pathlib import Path

_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_DEEPEST = 64


def remove_tree(path: Path) -> None:
    """Delete `path` and all below it; nothing if it is not there. Raises OSError, StorageUnavailable at a mount."""
    try:
        parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        remove_below(parent, os.fsencode(path.name), str(path))
    finally:
        os.close(parent)


def remove_below(parent: int, name: bytes, shown: str) -> None:
    """Delete the entry `name` of an open directory and all below it; nothing if it is not there.

    `shown` is its path for messages. Directories of ours without write permission go too. Raises OSError with the
    whole path, StorageUnavailable if something is mounted in it: that, and what is behind it, is left as it is.
    """
    _Removal(parent, mount_of(parent)).run(name, shown)


class _Removal:
    """`top` is an open directory on `mount`, where subtrees go that are too deep to hold every directory open."""

    def __init__(self, top: int, mount: int) -> None:
        self._top = top
        self._mount = mount
        self._moved: list[tuple[bytes, str]] = []

    def run(self, name: bytes, shown: str) -> None:
        self._moved.append((name, shown))
        while self._moved:
            name, shown = self._moved.pop()
            self._remove(self._top, name, shown, 0)

    def _remove(self, parent: int, name: bytes, shown: str, depth: int) -> None:
        try:
            if not stat.S_ISDIR(os.lstat(name, dir_fd=parent).st_mode):
                os.unlink(name, dir_fd=parent)
                return
            descriptor = self._open(parent, name, shown)
        except FileNotFoundError:
            return
        except OSError as error:
            raise _named(error, shown) from None
        try:
            self._empty(descriptor, shown, depth)
        finally:
            os.close(descriptor)
        try:
            os.rmdir(name, dir_fd=parent)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise _named(error, shown) from None

    def _empty(self, descriptor: int, shown: str, depth: int) -> None:
        for each in map(os.fsencode, os.listdir(descriptor)):
            path = f"{shown}/{os.fsdecode(each)}"
            if depth < _DEEPEST:
                self._remove(descriptor, each, path, depth + 1)
                continue
            higher = b"." + secrets.token_hex(12).encode()
            try:
                rename_between(descriptor, each, self._top, higher)
            except OSError as error:
                raise _named(error, path) from None
            self._moved.append((higher, path))

    def _open(self, parent: int, name: bytes, shown: str) -> int:
        descriptor = open_own_directory(parent, name)
        try:
            if mount_of(descriptor) != self._mount:
                raise StorageUnavailable(
                    f"{shown} is a mount point: it and what is behind it are left as they are.",
                    hint="Unmount it, then run this again.",
                )
            if os.geteuid() != 0 and os.fstat(descriptor).st_uid == os.geteuid():
                os.fchmod(descriptor, 0o700)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor


def open_own_directory(parent: int, name: bytes) -> int:
    """A descriptor of the directory `name`, never through a link, and readable even if its mode forbids that.

    Raises OSError.
    """
    try:
        return os.open(name, _OPEN_DIRECTORY, dir_fd=parent)
    except PermissionError:
        held = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        try:
            if os.fstat(held).st_uid != os.geteuid():
                raise
            os.chmod(f"/proc/self/fd/{held}", 0o700)  # the very directory that is held, whatever its name is now
            return os.open(name, _OPEN_DIRECTORY, dir_fd=parent)
        finally:
            os.close(held)


def _named(error: OSError, shown: str) -> OSError:
    return OSError(error.errno, error.strerror, shown)
