"""The records of an index, and their bytes: a directory each, or a chunk of a directory's other entries.

A chunk's facts stand together, so that a thousand unchanged files are compared, counted and remembered at once.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from safeharbor_backup.archive.layout import FILE, UPLOADS_NAME

FACTS_SIZE = 44
NEVER = bytes(FACTS_SIZE)  # the facts of what is not to be trusted: no inode is 0, so they equal no entry's

_SPAN = struct.Struct("<QQ")
_CHUNK = struct.Struct("<QQQIIIIII")
_DIRECTORY_KIND, _CHUNK_KIND = b"D", b"C"
_FIELDS = 8  # of a canonical line


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


def moved_record(record: Record, by: int) -> Record:
    """The same of an archive whose members stand so many bytes further on."""
    if isinstance(record, DirectoryRecord):
        return record._replace(start=record.start + by, end=record.end + by)
    return record._replace(base=record.base + by, end=record.end + by)


def encode_record(record: Record) -> tuple[bytes, bytes]:
    """Its kind, which is one byte, and its payload."""
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


def decode_record(kind: bytes, payload: bytes) -> Record:
    """The record that was encoded. Raises struct.error if it is too short to be one."""
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
