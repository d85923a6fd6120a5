"""Which filesystem an open file is on, by the number that it goes by in the kernel (statfs(2))."""

from __future__ import annotations

import ctypes

EXT4 = 0xEF53
XFS = 0x58465342
BTRFS = 0x9123683E
F2FS = 0xF2F52010
BCACHEFS = 0xCA451A4E
ZFS = 0x2FC12FC1
TMPFS = 0x01021994
_libc = ctypes.CDLL(None, use_errno=True)


def filesystem_of(descriptor: int) -> int:
    """Its number; 0 if it cannot be told. It is the first word of `struct statfs`."""
    answer = (ctypes.c_ulong * 64)()  # larger than any struct statfs
    if _libc.fstatfs(descriptor, answer) != 0:
        return 0
    return int(answer[0]) & 0xFFFFFFFF
