"""What tells that an upload has not changed: inode, size, times, mode and owner, and where these can be relied on."""

from __future__ import annotations

import ctypes
import struct
from typing import TYPE_CHECKING

from safeharbor.archive.index import NEVER

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

_FACTS = struct.Struct("<QQQQIII")
_MASK = 2**64 - 1  # times before 1970 and far ahead; two that are 584 years apart would look the same
# the kernel's clock moves in ticks, and some filesystems keep whole seconds, or every other one
_CLOCK_MARGIN_NS = 2_000_000_000

# statfs(2). Local filesystems whose change times come from this machine's clock and cannot be set. Everything else is
# read in full: NFS, CIFS and FUSE have other clocks or none, an overlay may show files that change below it.
_RELIABLE = {
    0xEF53: "ext4",
    0x58465342: "XFS",
    0x9123683E: "Btrfs",
    0xF2F52010: "F2FS",
    0xCA451A4E: "bcachefs",
    0x2FC12FC1: "ZFS",
    0x01021994: "tmpfs",
}
_libc = ctypes.CDLL(None, use_errno=True)


def pack_facts(statuses: Iterable[os.stat_result]) -> bytes:
    """The facts of entries, one after another, to be compared at once."""
    pack, mask = _FACTS.pack, _MASK
    return b"".join(
        [
            pack(
                s.st_ino,
                s.st_size,
                s.st_mtime_ns & mask,
                s.st_ctime_ns & mask,
                s.st_mode,
                s.st_uid,
                s.st_gid,
            )
            for s in statuses
        ]
    )


def settled_facts(status: os.stat_result, started_ns: int) -> bytes:
    """The facts to remember of an entry that a run read which began its walk at `started_ns`.

    What changed that late may change again without showing it: its facts are such as never compare equal.
    """
    limit = started_ns - _CLOCK_MARGIN_NS
    if status.st_mtime_ns >= limit or status.st_ctime_ns >= limit:
        return NEVER
    return pack_facts((status,))


def tells_changes(descriptor: int) -> bool:
    """Whether the filesystem of an open file shows every change in the file's times."""
    return _magic_of(descriptor) in _RELIABLE


def _magic_of(descriptor: int) -> int:
    """The type of a filesystem; 0 if it cannot be told. It is the first word of `struct statfs`."""
    answer = (ctypes.c_ulong * 64)()  # larger than any struct statfs
    if _libc.fstatfs(descriptor, answer) != 0:
        return 0
    return int(answer[0]) & 0xFFFFFFFF
