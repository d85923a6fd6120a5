"""Weaves what is unchanged into the new archive in runs, and has the rest read from the source.

What is unchanged and stood together in the earlier archive is held back until it is as large as a run must be. From
then on it is a run, and grows until something else comes. What ends before that is read from the source.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from safeharbor_backup.archive.checksums import folder_of
from safeharbor_backup.archive.runs import RunEdges, smallest_run

if TYPE_CHECKING:
    from collections.abc import Callable

    from safeharbor_backup.archive.index_records import Chunk, IndexEntry
    from safeharbor_backup.archive.writer import ArchiveWriter
    from safeharbor_backup.uploads.previous_index import Previous
    from safeharbor_backup.uploads.tree_entries import Batch


class Counts(NamedTuple):
    """What members count as, all in one top-level directory of the tree."""

    files: int
    directories: int
    links: int
    upload_bytes: int
    folder: bytes


class Segment(NamedTuple):
    """Unchanged members that stand together in the earlier archive.

    `record` remembers them, so much further on; `read` puts them in from the source instead. `batch` is theirs, or
    None for a directory, which needs no reading.
    """

    ordinal: int
    members: int
    start: int
    last_start: int
    end: int
    first_line: Callable[[], bytes]
    last_line: Callable[[], bytes]
    lines: bytes
    sums: bytes
    counts: Counts
    batch: Batch | None
    record: Callable[[int], None]
    read: Callable[[], None]


def entry_segment(
    known: IndexEntry, counts: Counts, batch: Batch | None, record: Callable[[int], None], read: Callable[[], None]
) -> Segment:
    """The piece of one entry, or of a directory."""

    def line() -> bytes:
        return known.line

    return Segment(
        known.ordinal, 1, known.start, known.start, known.end, line, line, known.line, known.sums, counts, batch,
        record, read,
    )  # fmt: skip


def chunk_segment(
    ordinal: int, chunk: Chunk, batch: Batch, record: Callable[[int], None], read: Callable[[], None]
) -> Segment:
    """The piece of a whole chunk."""
    counts = Counts(chunk.files, 0, chunk.members - chunk.files, chunk.upload_bytes, folder_of(chunk.prefix))
    return Segment(
        ordinal, chunk.members, chunk.base, chunk.last_start, chunk.end, lambda: chunk.first_line,
        lambda: chunk.last_line, chunk.lines, chunk.sums, counts, batch, record, read,
    )  # fmt: skip


class ReusePlanner:
    """Offered one piece after another; `settle` comes before anything else is written."""

    def __init__(self, writer: ArchiveWriter, previous: Previous) -> None:
        self._writer = writer
        self._archive = previous.archive
        self._block = previous.block_size
        self._smallest = smallest_run(previous.block_size)
        self._waiting: list[Segment] = []
        self._held: dict[int, Batch] = {}
        self._first: Segment | None = None
        self._last: Segment | None = None
        self._shift: int | None = None
        self.members = 0

    def add(self, segment: Segment) -> None:
        """One more unchanged piece, in the order of the tree. Raises OSError, SharingRefused."""
        last = self._last
        if last is not None and last.ordinal + last.members != segment.ordinal:
            self.flush()
        if self._first is None:
            self._first = segment
        self._last = segment
        if self._shift is not None:
            self._take(segment, self._shift)
            return
        self._waiting.append(segment)
        if segment.end - self._first.start >= self._smallest:
            self._shift = self._writer.begin_run(self._first.start, self._block)
            waiting, self._waiting = self._waiting, []
            for each in waiting:
                self._take(each, self._shift)
            self._let_go()

    def flush(self) -> None:
        """End the run, or have what was too small for one read from the source. Raises OSError, SharingRefused."""
        first, last, shift, waiting = self._first, self._last, self._shift, self._waiting
        self._first = self._last = self._shift = None
        self._waiting = []
        if first is None or last is None:
            return
        if shift is not None:
            edges = RunEdges(first.start, last.last_start, last.end, first.first_line(), last.last_line())
            self._writer.write_run(self._archive, edges, self._block)
            return
        try:
            for segment in waiting:
                segment.read()
        finally:
            self._let_go()

    def leave(self, batch: Batch) -> None:
        """The walk goes on and will close the batch's directory, which what is held back may still need."""
        if self._waiting and self._waiting[-1].batch is batch:
            try:
                batch.directory = os.dup(batch.directory)
            except OSError:  # too many open files
                self.flush()
            else:
                self._held[id(batch)] = batch

    def close(self) -> None:
        """Give back what is held."""
        self._waiting = []
        self._let_go()

    def _take(self, segment: Segment, shift: int) -> None:
        self._writer.count_shared(segment.lines, segment.sums, segment.counts)
        self.members += segment.members
        segment.record(shift)

    def _let_go(self) -> None:
        for batch in self._held.values():
            os.close(batch.directory)
        self._held.clear()
