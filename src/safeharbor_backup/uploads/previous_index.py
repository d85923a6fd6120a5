"""What the last backup remembers of the tree, looked up in step with the walk; and what this one will remember."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from safeharbor_backup.archive.index import read_records
from safeharbor_backup.archive.index_records import NEVER, Chunk, DirectoryRecord, IndexEntry, pack_chunk
from safeharbor_backup.uploads.stat_signature import stable_signature

if TYPE_CHECKING:
    import os

    from safeharbor_backup.archive.index import IndexWriter
    from safeharbor_backup.archive.index_records import Record
    from safeharbor_backup.archive.writer import Written
    from safeharbor_backup.uploads.tree_entries import Batch, Entry

_END = (b"\xff" * 256,)  # after every path: no component is longer than 255 bytes


@dataclass(frozen=True, slots=True)
class Previous:
    """An earlier archive, open, and its index. Whether its blocks may be shared is for whoever made this.

    `moved` as in the index's front.
    """

    name: str
    archive: int
    index: int
    block_size: int
    may_share: bool
    moved: int = 0


class IndexLookup:
    """The earlier archive's members, asked for in the order of the tree only; constant memory."""

    def __init__(self, previous: Previous) -> None:
        self._records = read_records(previous.index, previous.moved)
        self._record: Record | None = None
        self._ordinal = 0
        self._last: tuple[bytes, ...] = ()
        self._entries: dict[bytes, IndexEntry] | None = None
        self._advance()

    def directory(self, path: bytes, line: bytes) -> IndexEntry | None:
        """The directory at `path` (no trailing slash), if it was there and its line was the same."""
        self._skip_to(tuple(path.split(b"/")) if path else ())
        record = self._record
        if isinstance(record, DirectoryRecord) and record.path == path and record.line == line:
            return IndexEntry(self._ordinal, NEVER, record.start, record.end, line, b"")
        return None

    def chunk(self, batch: Batch, facts: bytes) -> tuple[int, Chunk] | None:
        """The chunk, with its first ordinal, that was exactly this batch, if there is one."""
        self._skip_to((*batch.prefix.split(b"/")[:-1], batch.names[0]))
        record = self._record
        if (
            isinstance(record, Chunk)
            and record.facts == facts
            and record.prefix == batch.prefix
            and record.names == b"\0".join(batch.names)
        ):
            return self._ordinal, record
        return None

    def entry(self, entry: Entry) -> IndexEntry | None:
        """What was at this path, if it was no directory."""
        record = self._record
        prefix = entry.path[: len(entry.path) - len(entry.name)]
        if not isinstance(record, Chunk) or record.prefix != prefix or self._last[-1] < entry.name:
            self._skip_to(tuple(entry.path.split(b"/")))
            record = self._record
            if not isinstance(record, Chunk) or record.prefix != prefix:
                return None
        if self._entries is None:
            self._entries = record.entries(self._ordinal)
        return self._entries.get(entry.name)

    def _skip_to(self, place: tuple[bytes, ...]) -> None:
        """Go on to the first record that does not end before `place`. Depth first is the order of the components."""
        while self._last < place:
            self._advance()

    def _advance(self) -> None:
        self._entries = None
        self._ordinal, self._record = next(self._records, (0, None))
        record = self._record
        if record is None:
            self._last = _END
        elif isinstance(record, DirectoryRecord):
            self._last = tuple(record.path.split(b"/")) if record.path else ()
        else:
            self._last = (*record.prefix.split(b"/")[:-1], record.last_name)


class Recorder:
    """Builds the index of the archive being written. What it cannot write costs the next run its time, nothing else."""

    def __init__(self, index: IndexWriter, started_ns: int) -> None:
        self._index = index
        self.started_ns = started_ns
        self._batch: Batch | None = None
        self._entries: list[tuple[bytes, IndexEntry]] = []
        self.failure: OSError | None = None
        self.is_wanted = True

    def add_directory(self, path: bytes, line: bytes, start: int, end: int) -> None:
        """A directory; the path without its slash."""
        self.flush()
        self._write(DirectoryRecord(path, line, start, end))

    def add_chunk(self, chunk: Chunk, shift: int) -> None:
        """A chunk that is in this archive as it was in the earlier one, so much further on."""
        self.flush()
        self._write(chunk._replace(base=chunk.base + shift, end=chunk.end + shift))

    def add_read(self, batch: Batch, entry: Entry, written: Written, status: os.stat_result, *, is_whole: bool) -> None:
        """An entry of a batch that was read from the source."""
        facts = stable_signature(status, self.started_ns) if is_whole and batch.is_home else NEVER
        self.add(batch, entry.name, IndexEntry(0, facts, *written))

    def add(self, batch: Batch, name: bytes, remembered: IndexEntry) -> None:
        """An entry of a batch, where it is in this archive."""
        if batch is not self._batch:
            self.flush()
            self._batch = batch
        self._entries.append((name, remembered))

    def flush(self) -> None:
        """Write the records that are held back."""
        if self._entries and self._batch is not None:
            self._write(pack_chunk(self._batch.prefix, self._entries))
        self._entries = []
        self._batch = None

    def restart(self) -> None:
        """Forget what was recorded, and begin again."""
        self._entries, self._batch = [], None
        if self.failure is None:
            try:
                self._index.restart()
            except OSError as error:
                self.failure = error

    def _write(self, record: Record) -> None:
        if self.failure is not None:
            return
        try:
            self._index.add(record)
        except OSError as error:
            self.failure = error
            try:
                self._index.restart()  # its room may be what the archive needs
            except OSError:
                pass
