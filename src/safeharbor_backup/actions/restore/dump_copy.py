"""The dump as a file of its own, so that several jobs can load it; where possible a clone of the archive's blocks.

The file has no name: whatever happens to us, nothing of it is left.
"""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from safeharbor_backup.postgres.dump_input import DumpInput
from safeharbor_backup.settings.min_free import Floor, free_restores
from safeharbor_backup.system.atomic_file import when_closed, write_all
from safeharbor_backup.system.reflink import clone_range

if TYPE_CHECKING:
    from collections.abc import Iterator

    from safeharbor_backup.settings.min_free import MinFree

_NO_UNNAMED_FILES = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT)
_IN_MEMORY = ("tmpfs", "ramfs", "devtmpfs")


class DumpCopy:
    """A copy under way: feed it the dump's chunks, or let it clone them."""

    def __init__(self, descriptor: int, floor: Floor) -> None:
        self._descriptor = descriptor
        self._floor = floor
        # the process id, since every job opens the file anew
        self.input = DumpInput(Path(f"/proc/{os.getpid()}/fd/{descriptor}"))

    def clone(self, source: DumpInput, size: int) -> bool:
        """Whether the filesystem gave us the dump's blocks as they are."""
        block = os.fstatvfs(self._descriptor).f_bsize
        if source.offset % block:
            return False
        with source.opened() as archive:
            # up to a whole block: what is too much is cut off again
            wanted = min(-(-size // block) * block, os.fstat(archive).st_size - source.offset)
            try:
                clone_range(self._descriptor, 0, archive, source.offset, wanted)
            except OSError:
                return False
        os.ftruncate(self._descriptor, size)
        return True

    def patch(self, offset: int, data: bytes) -> None:
        """Have other bytes there. Raises OSError."""
        os.pwrite(self._descriptor, data, offset)

    def write(self, chunk: bytes) -> None:
        """The next piece. Raises StorageUnavailable if there is no space for it, OSError."""
        self._floor.require(len(chunk))
        write_all(self._descriptor, chunk)


@contextmanager
def copied_dump(directory: Path, min_free: MinFree) -> Iterator[DumpCopy]:
    """An empty, nameless file in `directory`. Raises OSError, also where such a file is of no use."""
    try:
        descriptor = os.open(directory, os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o600)  # decision 27
    except OSError as error:
        if error.errno not in _NO_UNNAMED_FILES or not directory.is_dir():
            raise
        name = directory / f".safeharbor-dump-{os.getpid()}.tmp"
        descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        _take_name_away(name, descriptor)
    try:
        os.fstatvfs(descriptor)  # a pool (mergerfs) can do neither without a name
        os.close(os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_CLOEXEC))
        yield DumpCopy(descriptor, Floor(descriptor, directory, min_free, free_restores()))
    finally:
        os.close(descriptor)


def _take_name_away(name: Path, descriptor: int) -> None:
    """Raises OSError; then the file is gone and closed."""
    try:
        os.unlink(name)
    except OSError:
        os.close(descriptor)
        when_closed(lambda: os.unlink(name))  # some shares remove no open file
        raise


def lives_in_memory(directory: Path) -> bool:
    """Whether `directory` is on a filesystem that would put a dump into memory (proc_pid_mounts(5))."""
    real = os.path.realpath(directory)
    kind, longest = "", -1
    with open("/proc/self/mounts", encoding="utf-8", errors="surrogateescape") as mounts:
        for line in mounts:
            _, place, filesystem, *_ = line.split(" ")
            place = place.encode("utf-8", "surrogateescape").decode("unicode_escape", "replace")
            if os.path.commonpath([real, place]) == place and len(place) >= longest:
                kind, longest = filesystem, len(place)
    return kind in _IN_MEMORY
