"""The index of an archive's uploads: what the next backup compares the tree with. Derived data, safe to delete.

A file of its own beside the archives. Its front is one JSON object with a SHA-256; records follow in the order of the
members. The SHA-256 of each record covers all records before it: whatever is damaged ends the index there, and what
comes after is read from the source.
"""

from __future__ import annotations

import hashlib
import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from safeharbor_backup.archive.index_records import Chunk, decode_record, encode_record, moved_record
from safeharbor_backup.system.atomic_file import write_all
from safeharbor_backup.system.documents import dump_document, read_exactly

if TYPE_CHECKING:
    from collections.abc import Iterator

    from safeharbor_backup.archive.index_records import Record

INDEX_FORMAT = 2  # another with every change of what a member's header is made from, too

_FRONT_SIZE = 4096
_HEX = 64
_HEAD = struct.Struct("<cI32s")
_LONGEST_RECORD = 64 * 1024 * 1024  # so much would be read of a damaged length; batches make far smaller ones
_BUFFER = 1024 * 1024


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


class IndexWriter:
    """Writes records into an open, empty file as they come, and the front last; every method may raise OSError."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._chain = b""
        self._buffer = bytearray(_FRONT_SIZE)

    def add(self, record: Record) -> None:
        """One more, in the order of the members."""
        kind, payload = encode_record(record)
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
                record = decode_record(kind, payload)
            except struct.error:
                return
            yield ordinal, record if not moved else moved_record(record, -moved)
            ordinal += record.members if isinstance(record, Chunk) else 1
