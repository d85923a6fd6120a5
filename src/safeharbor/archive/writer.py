"""Writes an archive of format 1 in one pass, members as they come; the first 4096 bytes last."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

from safeharbor.archive.digest import Hasher, OverlappedDigest
from safeharbor.archive.headers import ManifestReference, encode_front, encode_member, padding
from safeharbor.archive.layout import (
    DUMP_NAME,
    DUMP_OFFSET,
    END,
    FILE,
    MANIFEST_NAME,
    SUMS_NAME,
    Member,
)
from safeharbor.archive.manifest import Manifest, parse_manifest
from safeharbor.archive.sums import Tally
from safeharbor.publish import write_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

_BUFFER = 1024 * 1024


class ArchiveWriter:
    """An archive being written into an open, empty file; every method may raise OSError.

    Order of calls: `write_dump`, any number of `write_member` and `write_file`, `finish`, `close`.
    """

    def __init__(self, descriptor: int, directory: Path, taken_at_seconds: int) -> None:
        self._descriptor = descriptor
        self._buffer = bytearray()
        self._flushed_to = DUMP_OFFSET
        self._taken_at = taken_at_seconds
        self._dump: Member | None = None
        self.tally = Tally(directory)
        self._hasher = Hasher()
        os.lseek(descriptor, DUMP_OFFSET, os.SEEK_SET)

    @property
    def position(self) -> int:
        """Where the next byte goes, counted from the archive's start."""
        return self._flushed_to + len(self._buffer)

    def write_dump(self, chunks: Iterable[bytes]) -> tuple[int, str]:
        """Write the dump as it comes; its size in bytes and its SHA-256 in hex."""
        digest = self._hasher.start()
        for chunk in chunks:
            digest.update(chunk)
            self._put(chunk)
        size = self.position - DUMP_OFFSET
        self._put(bytes(padding(size)))
        self._dump = self._own_member(DUMP_NAME, size)
        self.tally.add(self._dump, digest.hexdigest())
        return size, digest.hexdigest()

    def write_member(self, member: Member) -> None:
        """Write a directory or a symlink."""
        self._put(encode_member(member))
        self._count(member, "")

    def write_file(self, member: Member, data: bytes) -> None:
        """Write a file whose whole content is at hand; `member.size` is its length."""
        self._put(encode_member(member) + data + bytes(-member.size % 512))
        self._count(member, hashlib.sha256(data).hexdigest())

    def write_stream(self, member: Member, chunks: Iterable[bytes], is_whole: Callable[[], bool]) -> bool:
        """Write a file from `chunks`, at most `member.size` bytes of them, and count it if `is_whole()` then says so.

        If not, nothing of it stays and False is returned. A file that was shorter than announced is kept, if
        `is_whole` insists, with the size that it had.
        """
        start = self.position
        self._put(encode_member(member))
        digest = self._hasher.start()
        left = member.size
        for chunk in chunks:
            taken = chunk[:left] if len(chunk) > left else chunk
            digest.update(taken)
            self._put(taken)
            left -= len(taken)
            if not left:
                break
        if not is_whole():
            self.rewind(start)
            return False
        if left:
            member = self._shorten(member, start, left, digest)
        self._put(bytes(padding(member.size)))
        self._count(member, digest.hexdigest())
        return True

    def finish(self, manifest_for: Callable[[str, str, int], bytes]) -> Manifest:
        """Write SHA256SUMS, the manifest and the end, then the front; the manifest as a reader will find it.

        `manifest_for(sums_sha256, list_sha256, sums_offset)` gives the manifest's bytes.
        Raises ManifestInvalid if no reader would accept them.
        """
        assert self._dump is not None  # noqa: S101 - a caller's mistake, not input
        sums = self._own_member(SUMS_NAME, self.tally.lines_size())
        self._put(encode_member(sums))
        sums_offset = self.position
        digest = hashlib.sha256()
        for chunk in self.tally.lines():
            digest.update(chunk)
            self._put(chunk)
        self._put(bytes(padding(sums.size)))
        data = manifest_for(digest.hexdigest(), self.tally.list_sha256, sums_offset)
        manifest = parse_manifest(data)
        self._put(encode_member(self._own_member(MANIFEST_NAME, len(data))))
        reference = ManifestReference(self.position, len(data), hashlib.sha256(data).hexdigest())
        self._put(data + bytes(padding(len(data))) + END)
        self._flush()
        front = encode_front(reference, self._dump)
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        write_all(self._descriptor, front)
        return manifest

    def close(self) -> None:
        """Give back what the writer holds; the descriptor stays the caller's."""
        self._hasher.close()
        self.tally.close()

    def _own_member(self, name: bytes, size: int) -> Member:
        return Member(name, FILE, 0o600, 0, 0, self._taken_at, size)

    def _count(self, member: Member, digest: str) -> None:
        self.tally.add(member, digest)
        self.tally.count(member)

    def _put(self, data: bytes) -> None:
        if len(self._buffer) + len(data) > _BUFFER:
            self._flush()
        if len(data) >= _BUFFER:
            write_all(self._descriptor, data)
            self._flushed_to += len(data)
        else:
            self._buffer += data

    def _flush(self) -> None:
        if self._buffer:
            write_all(self._descriptor, self._buffer)
            self._flushed_to += len(self._buffer)
            self._buffer.clear()

    def rewind(self, position: int) -> None:
        """Go back to where a member began; what was written after it is forgotten."""
        self._flush()
        os.ftruncate(self._descriptor, position)
        os.lseek(self._descriptor, position, os.SEEK_SET)
        self._flushed_to = position

    def _shorten(self, member: Member, start: int, missing: int, digest: OverlappedDigest) -> Member:
        """Write the header again for a file that turned out shorter than announced."""
        shorter = member._replace(size=member.size - missing)
        header = encode_member(shorter)
        if len(header) != len(encode_member(member)):  # fell below 8 GiB: no room for the shorter header, so zeros
            while missing:
                zeros = bytes(min(missing, _BUFFER))
                digest.update(zeros)
                self._put(zeros)
                missing -= len(zeros)
            return member
        self._flush()
        os.pwrite(self._descriptor, header, start)
        return shorter
