"""Blocks shared by two files: a range of one becomes a range of the other (ioctl_ficlonerange(2)).

XFS and Btrfs can; others answer EOPNOTSUPP, EXDEV, EINVAL or ENOTTY. Nothing is ever copied in its place here.
"""

from __future__ import annotations

import fcntl
import struct

_FICLONERANGE = 0x4020940D


def clone_range(target: int, target_offset: int, source: int, source_offset: int, size: int) -> None:
    """Let `size` bytes of the open file `target` be those of `source`; all three numbers at whole blocks.

    `size` may go beyond a whole block only where both files end. Raises OSError.
    """
    fcntl.ioctl(target, _FICLONERANGE, struct.pack("qQQQ", source, source_offset, size, target_offset))
