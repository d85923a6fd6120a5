"""What shows that an upload has not changed: inode, size, times, mode and owner, and where these can be relied on."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from safeharbor_backup.archive.index_records import NEVER
from safeharbor_backup.system.filesystem import BCACHEFS, BTRFS, EXT4, F2FS, TMPFS, XFS, ZFS, filesystem_of

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

_FACTS = struct.Struct("<QQQQIII")
_MASK = 2**64 - 1  # times before 1970 and far ahead; two that are 584 years apart would look the same
# the kernel's clock moves in ticks, and some filesystems keep whole seconds, or every other one
_CLOCK_MARGIN_NS = 2_000_000_000

# Local filesystems whose change times come from this machine's clock and cannot be set. Everything else is
# read in full: NFS, CIFS and FUSE have other clocks or none, an overlay may show files that change below it.
_RELIABLE = frozenset({EXT4, XFS, BTRFS, F2FS, BCACHEFS, ZFS, TMPFS})  # decision 51


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


def stable_signature(status: os.stat_result, started_ns: int) -> bytes:
    """The facts to remember of an entry that a run read which began its walk at `started_ns`.

    What changed that late may change again without showing it: its facts are such as never compare equal.
    """
    limit = started_ns - _CLOCK_MARGIN_NS
    if status.st_mtime_ns >= limit or status.st_ctime_ns >= limit:
        return NEVER
    return pack_facts((status,))


def tells_changes(descriptor: int) -> bool:
    """Whether the filesystem of an open file shows every change in the file's times."""
    return filesystem_of(descriptor) in _RELIABLE
