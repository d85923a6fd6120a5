"""Ranges taken out of a file, and put into it, without moving what is in it (fallocate(2)).

ext4 and XFS can, for whole blocks. What stands after the range is forced to the disk by the kernel first, and read from
there afterwards. Others are not asked: most cannot, and an SMB share copies all that stands after the range.
"""

from __future__ import annotations

import ctypes
import errno
import os

from safeharbor_backup.system.filesystem import EXT4, XFS, filesystem_of

_COLLAPSE_RANGE, _INSERT_RANGE = 0x08, 0x20
_libc = ctypes.CDLL(None, use_errno=True)


def collapse_range(descriptor: int, offset: int, size: int) -> None:
    """Let what follows the range come forward to `offset`; the file gets shorter by `size`. Raises OSError."""
    _fallocate(descriptor, _COLLAPSE_RANGE, offset, size)


def insert_range(descriptor: int, offset: int, size: int) -> None:
    """Let what stands at `offset` and after it go back by `size`; a hole comes before it. Raises OSError."""
    _fallocate(descriptor, _INSERT_RANGE, offset, size)


def can_move(descriptor: int, block: int) -> bool:
    """Whether the filesystem of an open, empty file does both by such blocks and copies nothing; it stays empty."""
    if filesystem_of(descriptor) not in (EXT4, XFS):
        return False
    try:
        os.ftruncate(descriptor, 3 * block)
        insert_range(descriptor, block, block)
        collapse_range(descriptor, block, block)
    except OSError:
        return False
    finally:
        os.ftruncate(descriptor, 0)
    return True


def _fallocate(descriptor: int, mode: int, offset: int, size: int) -> None:
    try:
        fallocate = getattr(_libc, "fallocate64", None) or _libc.fallocate
    except AttributeError:  # a C library without it
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS)) from None
    while fallocate(descriptor, mode, ctypes.c_int64(offset), ctypes.c_int64(size)) != 0:
        number = ctypes.get_errno()
        if number != errno.EINTR:  # Python has run the signal's handler by the next turn
            raise OSError(number, os.strerror(number))
