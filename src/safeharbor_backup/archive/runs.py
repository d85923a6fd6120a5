"""Runs: members that stand together in an earlier archive and are put into the next one as they are there.

Blocks can be shared only if a range begins at a whole block in both files. So a pad makes both offsets equal modulo
the block size; then the few bytes before the first whole block and after the last one are copied, and the middle is
cloned. The arithmetic is here, and touches nothing.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, NamedTuple

from safeharbor_backup.archive.layout import BLOCK

if TYPE_CHECKING:
    from collections.abc import Iterator

_SMALLEST_RUN = 64 * 1024
SMALLEST_BLOCK, LARGEST_BLOCK = 4096, 64 * 1024


class Run(NamedTuple):
    """Where a run is in the new archive: the pad before it, its first and last headers, and its end.

    Offsets in bytes from the archive's start; `begin` is where the pad begins, or the run if there is none.
    """

    begin: int
    start: int
    last_start: int
    end: int


class RunEdges(NamedTuple):
    """A run in the earlier archive: where it stands, and what its first and last headers say."""

    start: int
    last_start: int
    end: int
    first_line: bytes
    last_line: bytes


class RunList:
    """The runs of an archive in their order: 32 bytes for each, and each stands for 64 KiB and more."""

    def __init__(self) -> None:
        self._numbers = array("Q")

    def __len__(self) -> int:
        return len(self._numbers) // len(Run._fields)

    def __iter__(self) -> Iterator[Run]:
        for at in range(0, len(self._numbers), len(Run._fields)):
            yield Run(*self._numbers[at : at + len(Run._fields)])

    def append(self, run: Run) -> None:
        """Add one after the last, in the order of the archive."""
        self._numbers.extend(run)

    def truncate(self, count: int) -> None:
        """Forget all but the first `count`."""
        del self._numbers[count * len(Run._fields) :]


class Split(NamedTuple):
    """A run's bytes: so many to copy, so many to clone, so many to copy."""

    head: int
    middle: int
    tail: int


def block_size_of(f_bsize: int) -> int:
    """The block size to go by on a filesystem that states this one; what a pad can bridge is the limit."""
    return min(max(f_bsize, SMALLEST_BLOCK), LARGEST_BLOCK)


def smallest_run(block: int) -> int:
    """The size from which on a run is shared; so at least half of it is whole blocks, wherever it begins."""
    return max(_SMALLEST_RUN, 4 * block)


def pad_blocks(position: int, start: int, block: int) -> int:
    """How many times 512 bytes of pad put a run that started at `start` at the same place within a block."""
    return (start - position) % block // BLOCK  # decision 49


def split_run(start: int, end: int, block: int) -> Split:
    """Which bytes from `start` to `end` are whole blocks."""
    first, last = -(-start // block) * block, end // block * block
    if first >= last:
        return Split(end - start, 0, 0)
    return Split(first - start, last - first, end - last)
