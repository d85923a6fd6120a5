"""The index of an archive's uploads: what the next backup compares the tree with. Derived data, safe to delete.

A file of its own beside the archives. Its front is one JSON object with a SHA-256; records follow in the order of the
members, a directory or a chunk of its other entries each. A chunk's facts stand together, so that a thousand unchanged
files are compared, counted and remembered at once. The SHA-256 of each record covers all records before it: whatever
is damaged ends the index there, and what comes after is read from the source.
"""

from __future__ import annotations

import hashlib
import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from safeharbor_backup.archive.layout import FILE, UPLOADS_NAME
from safeharbor_backup.system.atomic_file import write_all
from safeharbor_backup.system.documents import dump_document, read_exactly

if TYPE_CHECKING:
    from collections.abc import Iterator

INDEX_FORMAT = 2  # another with every change of what a member's header is made from, too
FACTS_SIZE = 44
NEVER = bytes(FACTS_SIZE)  # the facts of what is not to be trusted: no inode is 0, so they equal no entry's

_FRONT_SIZE = 4096
_HEX = 64
_HEAD = struct.Struct("<cI32s")
_SPAN = struct.Struct("<QQ")
_CHUNK = struct.Struct("<QQQIIIIII")
_DIRECTORY_KIND, _CHUNK_KIND = b"D", b"C"
_LONGEST_RECORD = 64 * 1024 * 1024  # so much would be read of a damaged length; batches make far smaller ones
_BUFFER = 1024 * 1024
_FIELDS = 8  # of a canonical line


class IndexUnusable(Exception):
    """Why an index cannot be gone by."""


@dataclass(frozen=True, slots=True)
class IndexFront:
    """Which archive an index is of, and how it was made. Times in nanoseconds since 1970, sizes in bytes.

    `started_ns` is when the walk began; `written_anew_ns` when all blocks of the archive, or of the earlier one that
    it shares blocks with, were last written. `moved` is by how much all members came forward after the records were
    written.
    """

    archive: str
    size: int
    inode: int
    mtime_ns: int
    started_ns: int
    written_anew_ns: int
    block_size: int
    uploads: str
    moved: int = 0
    format: int = INDEX_FORMAT


class DirectoryRecord(NamedTuple):
    """A directory: its path below the tree, its line in the list of members, where its header stands."""

    path: bytes
    line: bytes
    start: int
    end: int


class IndexEntry(NamedTuple):
    """One entry of a chunk; offsets as in the archive, `sums` empty for a link."""

    ordinal: int
    facts: bytes
    start: int
    end: int
    line: bytes
    sums: bytes


class Chunk(NamedTuple):
    """Some entries, none a directory, that follow one another in one directory and in the archive.

    `names` are joined by NULs; `facts` and `spans` have one item for each entry, spans count from `base`; `lines` and
    `sums` are what the entries add to the list of members and to SHA256SUMS.
    """

    prefix: bytes
    names: bytes
    facts: bytes
    spans: bytes
    lines: bytes
    sums: bytes
    base: int
    end: int
    members: int
    files: int
    upload_bytes: int

    @property
    def last_name(self) -> bytes:
        """The name of the last entry."""
        return self.names.rpartition(b"\0")[2]

    @property
    def last_start(self) -> int:
        """Where the last entry's header stands."""
        start, _ = _SPAN.unpack_from(self.spans, len(self.spans) - _SPAN.size)
        return self.base + int(start)

    @property
    def first_line(self) -> bytes:
        """The first entry's line in the list of members."""
        return b"\0".join(self.lines.split(b"\0", _FIELDS)[:_FIELDS]) + b"\0\n"

    @property
    def last_line(self) -> bytes:
        """The last entry's line in the list of members."""
        before, *rest = self.lines.rsplit(b"\0", _FIELDS)
        name = before.rpartition(b"\0")[2]  # after the LF of the line before, if there is one
        return b"\0".join([name[1:] if self.members > 1 else name, *rest])

    def entries(self, ordinal: int) -> dict[bytes, IndexEntry]:
        """Each entry by its name; `ordinal` is the first one's."""
        parts = self.lines.split(b"\0")
        sums = iter(self.sums.split(b"\n"))
        found = {}
        for number, name in enumerate(self.names.split(b"\0")):
            at = number * _FIELDS
            line = b"\0".join(parts[at : at + _FIELDS]) + b"\0\n"
            if number:
                line = line[1:]  # the LF of the line before
            start, end = _SPAN.unpack_from(self.spans, number * _SPAN.size)
            found[name] = IndexEntry(
                ordinal + number,
                self.facts[number * FACTS_SIZE : (number + 1) * FACTS_SIZE],
                self.base + start,
                self.base + end,
                line,
                next(sums) + b"\n" if parts[at + 1] == FILE else b"",
            )
        return found


Record = DirectoryRecord | Chunk


def pack_chunk(prefix: bytes, entries: list[tuple[bytes, IndexEntry]]) -> Chunk:
    """The chunk of these entries, at least one, each with its name."""
    base = entries[0][1].start
    rows = [row for _, row in entries]
    files = [row for row in rows if row.sums]
    return Chunk(
        prefix,
        b"\0".join([name for name, _ in entries]),
        b"".join([row.facts for row in rows]),
        b"".join([_SPAN.pack(row.start - base, row.end - base) for row in rows]),
        b"".join([row.line for row in rows]),
        b"".join([row.sums for row in rows]),
        base,
        rows[-1].end,
        len(rows),
        len(files),
        sum(int(row.line.split(b"\0", 7)[6]) for row in files),
    )


class IndexWriter:
    """Writes records into an open, empty file as they come, and the front last; every method may raise OSError."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._chain = b""
        self._buffer = bytearray(_FRONT_SIZE)

    def add(self, record: Record) -> None:
        """One more, in the order of the members."""
        kind, payload = _encode(record)
        self._chain = hashlib.sha256(self._chain + kind + payload).digest()
        self._buffer += _HEAD.pack(kind, len(payload), self._chain)
        self._buffer += payload
        if len(self._buffer) >= _BUFFER:
            self._flush()

    def finish(self, front: IndexFront) -> None:
        """Write what is left, and the front."""
        self._flush()
        text = dump_document(front).encode()
        body = b" " + text.ljust(_FRONT_SIZE - _HEX - 2) + b"\n"
        os.pwrite(self._descriptor, hashlib.sha256(body).hexdigest().encode() + body, 0)

    def restart(self) -> None:
        """Forget all records that were written, so that the file has none. Raises OSError."""
        os.ftruncate(self._descriptor, 0)
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        self._chain = b""
        self._buffer = bytearray(_FRONT_SIZE)

    def _flush(self) -> None:
        write_all(self._descriptor, self._buffer)
        self._buffer = bytearray()


def read_index_front(descriptor: int) -> IndexFront:
    """The front of an index. Raises IndexUnusable, OSError."""
    data = os.pread(descriptor, _FRONT_SIZE, 0)
    if len(data) != _FRONT_SIZE or hashlib.sha256(data[_HEX:]).hexdigest().encode() != data[:_HEX]:
        raise IndexUnusable("it is damaged")
    try:
        front = read_exactly(data[_HEX:], IndexFront)
    except ValueError:
        raise IndexUnusable("it was written by another version") from None
    if front.format != INDEX_FORMAT:
        raise IndexUnusable("it was written by another version")
    return front


def read_records(descriptor: int, moved: int = 0) -> Iterator[tuple[int, Record]]:
    """Each record with the ordinal of its first entry, up to the end or to what is damaged; `moved` as in the front.

    Raises OSError.
    """
    chain, ordinal = b"", 0
    with open(os.dup(descriptor), "rb", buffering=_BUFFER) as file:
        file.seek(_FRONT_SIZE)
        while True:
            head = file.read(_HEAD.size)
            if len(head) != _HEAD.size:
                return
            kind, length, digest = _HEAD.unpack(head)
            payload = file.read(min(length, _LONGEST_RECORD))
            chain = hashlib.sha256(chain + kind + payload).digest()
            if chain != digest or len(payload) != length:
                return
            try:
                record = _decode(kind, payload)
            except struct.error:
                return
            yield ordinal, record if not moved else _moved(record, -moved)
            ordinal += record.members if isinstance(record, Chunk) else 1


def _moved(record: Record, by: int) -> Record:
    if isinstance(record, DirectoryRecord):
        return record._replace(start=record.start + by, end=record.end + by)
    return record._replace(base=record.base + by, end=record.end + by)


def _encode(record: Record) -> tuple[bytes, bytes]:
    if isinstance(record, DirectoryRecord):
        return _DIRECTORY_KIND, _SPAN.pack(record.start, record.end) + record.line
    numbers = _CHUNK.pack(
        record.base,
        record.end,
        record.upload_bytes,
        record.members,
        record.files,
        len(record.prefix),
        len(record.names),
        len(record.lines),
        len(record.sums),
    )
    parts = [numbers, record.prefix, record.names, record.facts, record.spans, record.lines, record.sums]
    return _CHUNK_KIND, b"".join(parts)


def _decode(kind: bytes, payload: bytes) -> Record:
    if kind == _DIRECTORY_KIND:
        start, end = _SPAN.unpack_from(payload)
        line = payload[_SPAN.size :]
        return DirectoryRecord(line.partition(b"\0")[0][len(UPLOADS_NAME) : -1], line, start, end)
    base, end, upload_bytes, members, files, *sizes = _CHUNK.unpack_from(payload)
    prefix, names, lines, sums = sizes
    parts, at = [], _CHUNK.size
    for size in (prefix, names, members * FACTS_SIZE, members * _SPAN.size, lines, sums):
        parts.append(payload[at : at + size])
        at += size
    return Chunk(parts[0], parts[1], parts[2], parts[3], parts[4], parts[5], base, end, members, files, upload_bytes)
