"""A dump and uploads written into one archive at the same time.

In an archive the dump stands first, and its size is known last. So the uploads are written further on in the file, and
when both are complete the hole between them is taken out, without moving any data.
"""

from __future__ import annotations

import hashlib
import os
import resource
import threading
from typing import TYPE_CHECKING

from safeharbor_backup.archive.headers import encode_pad, padding
from safeharbor_backup.archive.layout import DUMP_OFFSET
from safeharbor_backup.archive.runs import block_size_of, pad_blocks
from safeharbor_backup.system.sparse import can_move, collapse_range, insert_range

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_LEAST_ROOM, _MOST_ROOM = 16 * 1024 * 1024, 256 * 1024**3


class Abandoned(Exception):
    """The uploads' side has failed; nobody waits for the dump any more."""


class DumpRegion:
    """Where the uploads begin, for as long as the dump before them is not complete; offsets from the file's start."""

    def __init__(self, descriptor: int, start: int, block: int) -> None:
        self.start = start
        self._descriptor = descriptor
        self._block = block
        self._uploads_ended = threading.Event()
        self._is_abandoned = False

    def uploads_are_written(self) -> None:
        """From now on they may be moved further away."""
        self._uploads_ended.set()

    def abandon(self) -> None:
        """Nothing will come of this archive; whoever writes the dump gets `Abandoned`, even while waiting for room."""
        self._is_abandoned = True
        self._uploads_ended.set()

    def reach(self, end: int) -> None:
        """Make sure that the dump can go up to `end`: if it is larger than expected, wait and move the uploads.

        Raises Abandoned, OSError.
        """
        if self._is_abandoned:
            raise Abandoned
        end += self._block  # what fills up its last block
        if end <= self.start:
            return
        self._uploads_ended.wait()
        if self._is_abandoned:
            raise Abandoned
        more = -(-max(end - self.start, _LEAST_ROOM, self.start // 2) // self._block) * self._block
        insert_range(self._descriptor, self.start, more)
        self.start += more

    def close(self, dump_size: int) -> int:
        """Fill up the dump's last block, pad, and take the rest of the gap out; where the uploads begin now.

        Raises OSError.
        """
        end = DUMP_OFFSET + dump_size + padding(dump_size)
        filling = bytes(padding(dump_size))
        blocks = pad_blocks(end, self.start, self._block)
        if blocks:
            pad = encode_pad(blocks)
            filling += pad
            end += len(pad)
        pwrite_all(self._descriptor, filling, DUMP_OFFSET + dump_size)
        if end < self.start:
            collapse_range(self._descriptor, end, self.start - end)  # decision 54
        return end


def reserve_dump_region(descriptor: int, expected_dump_size: int) -> DumpRegion | None:
    """The gap for a dump of about this size in an open, empty file; None where both must be written in turn.

    That is where the filesystem cannot take a hole out, where files may not be larger than so much, and on one core.
    """
    if len(os.sched_getaffinity(0)) < 2 or resource.getrlimit(resource.RLIMIT_FSIZE)[0] != resource.RLIM_INFINITY:
        return None
    block = block_size_of(os.fstatvfs(descriptor).f_bsize)
    if not can_move(descriptor, block):
        return None
    room = min(max(expected_dump_size, _LEAST_ROOM), _MOST_ROOM)
    start = -(-(DUMP_OFFSET + room) // block) * block
    return DumpRegion(descriptor, start, block)


def write_apart(
    descriptor: int, gap: DumpRegion, chunks: Iterator[bytes], require_room: Callable[[int], None]
) -> tuple[int, str]:
    """Write the dump at its place while somebody else writes uploads behind the gap; its size and SHA-256 in hex.

    Raises Abandoned, OSError, and what `chunks` raises.
    """
    digest = hashlib.sha256()
    position = DUMP_OFFSET
    for chunk in chunks:
        gap.reach(position + len(chunk))
        digest.update(chunk)
        require_room(len(chunk))
        pwrite_all(descriptor, chunk, position)
        position += len(chunk)
    return position - DUMP_OFFSET, digest.hexdigest()


def pwrite_all(descriptor: int, data: bytes, offset: int) -> None:
    """Write all of `data` at `offset`; a raw write may take less than it was given. Raises OSError."""
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written
