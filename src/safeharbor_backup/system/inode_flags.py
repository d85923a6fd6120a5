"""The flags of an inode, as chattr(1) shows and sets them: what keeps a file where it is, and what folds names."""

from __future__ import annotations

import array
import fcntl
import os
import stat

CASEFOLD = 0x40000000  # names in this directory that differ only in case are one
_GET_FLAGS = 0x80086601  # FS_IOC_GETFLAGS, ioctl_iflags(2)
_FIXED = {0x10: "immutable (chattr +i)", 0x20: "append-only (chattr +a)"}


def why_fixed(directory: int, name: str) -> str:
    """Why this entry can be neither renamed nor removed, not by root either; "" if it can, or if that is unknown."""
    try:
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
            return ""
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    except OSError:
        return ""
    try:
        flags = flags_of(descriptor)
    finally:
        os.close(descriptor)
    return next((f"it is {what}" for flag, what in _FIXED.items() if flags & flag), "")


def flags_of(descriptor: int) -> int:
    """The flags of an open file or directory; 0 on a filesystem without such."""
    answer = array.array("L", [0])
    try:
        fcntl.ioctl(descriptor, _GET_FLAGS, answer)
    except OSError:
        return 0
    return answer[0] & 0xFFFFFFFF
