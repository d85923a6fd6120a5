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

    from safeharbor_backup.archive.index import Chunk, Remembered
    from safeharbor_backup.archive.writer import ArchiveWriter
    from safeharbor_backup.uploads.previous_index import Previous
    from safeharbor_backup.uploads.walk import Batch


class Counts(NamedTuple):
    """What members count as, all in one top-level directory of the tree."""

    files: int
    directories: int
    links: int
    upload_bytes: int
    folder: bytes


class Piece(NamedTuple):
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


def entry_piece(
    known: Remembered, counts: Counts, batch: Batch | None, record: Callable[[int], None], read: Callable[[], None]
) -> Piece:
    """The piece of one entry, or of a directory."""

    def line() -> bytes:
        return known.line

    return Piece(
        known.ordinal, 1, known.start, known.start, known.end, line, line, known.line, known.sums, counts, batch,
        record, read,
    )  # fmt: skip


def chunk_piece(
    ordinal: int, chunk: Chunk, batch: Batch, record: Callable[[int], None], read: Callable[[], None]
) -> Piece:
    """The piece of a whole chunk."""
    counts = Counts(chunk.files, 0, chunk.members - chunk.files, chunk.upload_bytes, folder_of(chunk.prefix))
    return Piece(
        ordinal, chunk.members, chunk.base, chunk.last_start, chunk.end, lambda: chunk.first_line,
        lambda: chunk.last_line, chunk.lines, chunk.sums, counts, batch, record, read,
    )  # fmt: skip


class Weaver:
    """Offered one piece after another; `settle` comes before anything else is written."""

    def __init__(self, writer: ArchiveWriter, previous: Previous) -> None:
        self._writer = writer
        self._archive = previous.archive
        self._block = previous.block_size
        self._smallest = smallest_run(previous.block_size)
        self._waiting: list[Piece] = []
        self._held: dict[int, Batch] = {}
        self._first: Piece | None = None
        self._last: Piece | None = None
        self._shift: int | None = None
        self.members = 0

    def offer(self, piece: Piece) -> None:
        """One more unchanged piece, in the order of the tree. Raises OSError, SharingRefused."""
        last = self._last
        if last is not None and last.ordinal + last.members != piece.ordinal:
            self.settle()
        if self._first is None:
            self._first = piece
        self._last = piece
        if self._shift is not None:
            self._take(piece, self._shift)
            return
        self._waiting.append(piece)
        if piece.end - self._first.start >= self._smallest:
            self._shift = self._writer.begin_run(self._first.start, self._block)
            waiting, self._waiting = self._waiting, []
            for each in waiting:
                self._take(each, self._shift)
            self._let_go()

    def settle(self) -> None:
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
            for piece in waiting:
                piece.read()
        finally:
            self._let_go()

    def leave(self, batch: Batch) -> None:
        """The walk goes on and will close the batch's directory, which what is held back may still need."""
        if self._waiting and self._waiting[-1].batch is batch:
            try:
                batch.directory = os.dup(batch.directory)
            except OSError:  # too many open files
                self.settle()
            else:
                self._held[id(batch)] = batch

    def close(self) -> None:
        """Give back what is held."""
        self._waiting = []
        self._let_go()

    def _take(self, piece: Piece, shift: int) -> None:
        self._writer.count_shared(piece.lines, piece.sums, piece.counts)
        self.members += piece.members
        piece.record(shift)

    def _let_go(self) -> None:
        for batch in self._held.values():
            os.close(batch.directory)
        self._held.clear()
