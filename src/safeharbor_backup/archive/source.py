"""An archive opened for reading: a regular file, held against `prune`, read once from front to end."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING

from safeharbor_backup.errors import ArchiveNotFound, StorageUnavailable, translate_os_error
from safeharbor_backup.system.lock import lock_shared

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_CHUNK = 1024 * 1024
_MISTYPED = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.ENXIO, errno.EINVAL})


class Truncated(Exception):
    """The file ends before the data that was asked for."""


class Source:
    """Sequential bytes of an open file, by pread: the descriptor's own offset stays untouched."""

    def __init__(self, descriptor: int, path: Path, read_ahead: int = _CHUNK) -> None:
        self.descriptor = descriptor
        self.path = path
        self._read_ahead = read_ahead
        self.size = os.fstat(descriptor).st_size
        self._held = b""
        self._held_at = 0
        self._used = 0

    @property
    def position(self) -> int:
        """The offset of the next byte."""
        return self._held_at + self._used

    def seek(self, position: int) -> None:
        """Go on reading at `position`; what is held of the file there is not read again."""
        if self._held_at <= position <= self._held_at + len(self._held):
            self._used = position - self._held_at
        else:
            self._held, self._held_at, self._used = b"", position, 0

    def take(self, size: int) -> bytes:
        """The next `size` bytes, at most a few MiB. Raises Truncated, OSError."""
        end = self._used + size
        if end > len(self._held):
            self._fill(size)
            end = size
        data = self._held[self._used : end]
        self._used = end
        return data

    def chunks(self, size: int) -> Iterator[bytes]:
        """The next `size` bytes, however many, in pieces. Raises Truncated, OSError."""
        while size:
            if self._used == len(self._held):
                self._fill(1)
            piece = self._held[self._used : self._used + size] if self._used or size < len(self._held) else self._held
            self._used += len(piece)
            size -= len(piece)
            yield piece

    def read_at(self, offset: int, size: int) -> bytes:
        """`size` bytes at `offset`, aside from the sequence. Raises Truncated, OSError."""
        parts = []
        while size:
            part = self._read(size, offset)
            if not part:
                raise Truncated
            parts.append(part)
            offset += len(part)
            size -= len(part)
        return b"".join(parts)

    def _fill(self, at_least: int) -> None:
        rest = self._held[self._used :]
        start = self.position
        pieces = [rest]
        length = len(rest)
        while length < at_least:
            piece = self._read(max(self._read_ahead, at_least - length), start + length)
            if not piece:
                raise Truncated
            pieces.append(piece)
            length += len(piece)
        self._held, self._held_at, self._used = b"".join(pieces), start, 0

    def _read(self, size: int, offset: int) -> bytes:
        """Raises OSError with the archive's path."""
        try:
            return os.pread(self.descriptor, size, offset)
        except OSError as error:
            raise OSError(error.errno, error.strerror, os.fspath(self.path)) from None


@contextmanager
def opened_archive(path: Path, *, follow_symlinks: bool = True) -> Iterator[Source]:
    """The archive at `path`, open and held against `prune`.

    Raises ArchiveNotFound if it is not a regular file, StorageUnavailable if it may not be read, and SafeHarborError if
    the system could not open it; none of these says anything of an archive's bytes.
    """
    # O_NONBLOCK: opening a FIFO must not wait for a writer
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if follow_symlinks else os.O_NOFOLLOW)
    try:
        descriptor = os.open(path, flags)
    except FileNotFoundError:
        raise ArchiveNotFound(f"{path} does not exist.") from None
    except PermissionError as error:
        raise StorageUnavailable(
            f"{path} may not be read: {error.strerror}.",
            hint="Run this as the user that took the backup, or as root.",
        ) from error
    except OSError as error:
        if error.errno in _MISTYPED:
            raise ArchiveNotFound(f"{path} cannot be opened: {error.strerror}.") from None
        raise translate_os_error(error, "opening the archive") from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ArchiveNotFound(f"{path} is not a regular file.")
        lock_shared(descriptor)
        yield Source(descriptor, path)
    finally:
        os.close(descriptor)
