"""Disks of which every write and every flush is recorded: `python -m proof.disk_recorder LOG PLACE IMAGE…`.

A loop device over `PLACE/0` hands on what a real filesystem asks of its disk. One process and one thread serve all
disks, so the log has one order for them all.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
import sys
from typing import Any

import mfusepy

# kind, disk, place on it, how many bytes follow: a write, a flush, or a mark that the scenario has made
RECORD = struct.Struct("<cBQI")
WRITE, FLUSH, MARK = b"W", b"F", b"M"


def append(log: int, kind: bytes, disk: int, offset: int, data: bytes) -> None:
    """Add to the log, which is open for appending: also while another process does."""
    wanted = RECORD.size + len(data)
    if os.writev(log, [RECORD.pack(kind, disk, offset, len(data)), data]) != wanted:
        raise OSError(errno.EIO, "the log took a part of a record")


class Disks(mfusepy.Operations):  # type: ignore[misc] # it has no types
    """The images as files that are named by their numbers."""

    use_ns = True

    def __init__(self, log: str, images: list[str]) -> None:
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._images = [os.open(image, os.O_RDWR) for image in images]

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        if path == "/":
            return {"st_mode": stat.S_IFDIR | 0o755, "st_nlink": 2}
        size = os.fstat(self._images[self._number(path)]).st_size
        return {"st_mode": stat.S_IFREG | 0o600, "st_nlink": 1, "st_size": size, "st_blocks": size // 512}

    def readdir(self, path: str, fh: int) -> list[str]:
        return [".", "..", *map(str, range(len(self._images)))]

    def open(self, path: str, flags: int) -> int:
        return self._number(path)

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        return os.pread(self._images[fh], size, offset)

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        if os.pwrite(self._images[fh], data, offset) != len(data):
            raise mfusepy.FuseOSError(errno.EIO)
        append(self._log, WRITE, fh, offset, bytes(data))
        return len(data)

    def fsync(self, path: str, datasync: int, fh: int) -> int:
        append(self._log, FLUSH, fh, 0, b"")
        return 0

    def flush(self, path: str, fh: int) -> int:
        return 0

    def release(self, path: str, fh: int) -> int:
        return 0

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        return 0

    def _number(self, path: str) -> int:
        name = path[1:]
        if not name.isdigit() or int(name) >= len(self._images):
            raise mfusepy.FuseOSError(errno.ENOENT)
        return int(name)


if __name__ == "__main__":
    mfusepy.FUSE(Disks(sys.argv[1], sys.argv[3:]), sys.argv[2], foreground=True, nothreads=True, max_write=1 << 20)
