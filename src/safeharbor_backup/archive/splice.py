"""Takes a run out of an earlier archive: its whole blocks by a clone, its edges by reading them."""

from __future__ import annotations

import errno
import os

from safeharbor_backup.system.reflink import clone_range

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


class SharingRefused(Exception):
    """Blocks of an earlier archive cannot be started; the archive must be gone back to where that began."""

    def __init__(self, error: OSError) -> None:
        super().__init__(error.strerror or str(error))


def read_edge(source: int, offset: int, size: int) -> bytes:
    """The few bytes of a run that are no whole blocks. Raises SharingRefused."""
    try:
        data = os.pread(source, size, offset)
    except OSError as error:
        raise SharingRefused(error) from error
    if len(data) != size:
        raise SharingRefused(OSError(errno.EIO, "the earlier archive is shorter than it was"))
    return data


def clone_blocks(target: int, target_offset: int, source: int, source_offset: int, size: int) -> None:
    """Whole blocks of a run, none or many. Raises SharingRefused; OSError if there is no space."""
    if not size:
        return
    try:
        clone_range(target, target_offset, source, source_offset, size)
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise
        raise SharingRefused(error) from error
    os.lseek(target, target_offset + size, os.SEEK_SET)
