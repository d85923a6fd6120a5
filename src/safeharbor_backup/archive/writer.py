"""Writes an archive in one pass, members as they come; the first 4096 bytes last."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, NamedTuple

from safeharbor_backup.archive.checksums import Tally, TallyMark
from safeharbor_backup.archive.digest import Hasher, OverlappedDigest
from safeharbor_backup.archive.headers import (
    WIDE_HEADER_BYTES,
    ManifestReference,
    encode_front,
    encode_member,
    encode_pad,
    encode_wide,
    padding,
)
from safeharbor_backup.archive.layout import DUMP_NAME, DUMP_OFFSET, END, FILE, MANIFEST_NAME, SUMS_NAME, Member
from safeharbor_backup.archive.manifest_json import parse_manifest
from safeharbor_backup.archive.parallel_dump import pwrite_all
from safeharbor_backup.archive.runs import Run, RunEdges, RunList, pad_blocks, split_run
from safeharbor_backup.archive.splice import clone_blocks, read_edge
from safeharbor_backup.system.atomic_file import write_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from safeharbor_backup.archive.manifest import Manifest
    from safeharbor_backup.archive.parallel_dump import DumpRegion

_BUFFER = 1024 * 1024


class Written(NamedTuple):
    """Where a member stands, and what it adds to the list of members and to SHA256SUMS."""

    start: int
    end: int
    line: bytes
    sums: bytes


class WriterMark(NamedTuple):
    """A state of a writer to go back to."""

    position: int
    tally: TallyMark
    witness: hashlib._Hash
    runs: int
    cloned_bytes: int


class ArchiveWriter:
    """An archive being written into an open, empty file; every method may raise OSError.

    Order of calls: `write_dump`, any number of `write_other_dump`, any number of `write_member`, `write_file`,
    `write_stream` and pairs of `begin_run` and `write_run`, `finish`, `close`. Or, where somebody else writes the only
    dump meanwhile: `begin_parallel`, the same without runs, `flush`, `join_dump`, `finish`, `close`.
    """

    def __init__(
        self,
        descriptor: int,
        directory: Path,
        taken_at_seconds: int,
        require_room: Callable[[int], None] | None = None,
    ) -> None:
        """`require_room` is asked before so many bytes are written; it raises if they may not be."""
        self._descriptor = descriptor
        self.require_room = require_room or (lambda _: None)
        self._buffer = bytearray()
        self._flushed_to = DUMP_OFFSET
        self._taken_at = taken_at_seconds
        self._dump: Member | None = None
        self.tally = Tally(directory)
        self.runs = RunList()
        self.cloned_bytes = 0
        self.moved_bytes = 0
        self._run_begin = 0
        self._apart_from = 0
        self._first_line = b""
        self._last = Written(0, 0, b"", b"")
        self._witness = hashlib.sha256()
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
        line, _ = self.tally.add(self._dump, digest.hexdigest())
        self._witness.update(line + digest.hexdigest().encode())
        return size, digest.hexdigest()

    def write_other_dump(self, name: bytes, chunks: Iterable[bytes]) -> tuple[int, str]:
        """Write the dump of a database beside the main one as member `name`; its size in bytes and SHA-256 in hex.

        Its header, which states the size, is put before it at last.
        """
        start = self.position
        self._put(bytes(WIDE_HEADER_BYTES))
        digest = self._hasher.start()
        begins = self.position
        for chunk in chunks:
            digest.update(chunk)
            self._put(chunk)
        member = self._own_member(name, self.position - begins)
        self._put(bytes(padding(member.size)))
        self.flush()
        pwrite_all(self._descriptor, encode_wide(member), start)
        line, _ = self.tally.add(member, digest.hexdigest())
        self._witness.update(line + digest.hexdigest().encode())
        return member.size, digest.hexdigest()

    def begin_parallel(self, start: int) -> None:
        """Write the uploads from `start` on for now, since the dump is not there yet."""
        self.tally.leave_out_first()
        self._apart_from = self._flushed_to = start
        os.lseek(self._descriptor, start, os.SEEK_SET)

    def join_dump(self, size: int, digest: str, gap: DumpRegion) -> None:
        """Let the uploads, all of them written and flushed, follow the dump of this size and SHA-256 in hex.

        `moved_bytes` is by how much they came forward. To the proof that follows they are a run: they were proven where
        they were written.
        """
        start = gap.close(size)
        moved = self.moved_bytes = self._apart_from - start
        self._flushed_to = os.lseek(self._descriptor, 0, os.SEEK_END)
        self._dump = self._own_member(DUMP_NAME, size)
        line = self.tally.add_first(self._dump, digest)
        begin, last = DUMP_OFFSET + size + padding(size), self._last
        self.runs.append(Run(begin, start, last.start - moved, last.end - moved))
        self._witness = hashlib.sha256(line + digest.encode() + self._first_line + last.line)

    def write_member(self, member: Member) -> Written:
        """Write a directory or a symlink."""
        start = self.position
        self._put(encode_member(member))
        return self._count(member, "", start)

    def write_file(self, member: Member, data: bytes) -> Written:
        """Write a file whose whole content is at hand; `member.size` is its length."""
        start = self.position
        self._put(encode_member(member) + data + bytes(-member.size % 512))
        return self._count(member, hashlib.sha256(data).hexdigest(), start)

    def write_stream(self, member: Member, chunks: Iterable[bytes], is_whole: Callable[[], bool]) -> Written | None:
        """Write a file from `chunks`, at most `member.size` bytes of them, and count it if `is_whole()` then says so.

        If not, nothing of it stays and None is returned. A file that was shorter than announced is kept, if
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
            return None
        if left:
            member = self._shorten(member, start, left, digest)
        self._put(bytes(padding(member.size)))
        return self._count(member, digest.hexdigest(), start)

    def begin_run(self, start: int, block: int) -> int:
        """Put the pad before a run that stood at `start` in an earlier archive; how much further on it stands now."""
        self._run_begin = self.position
        blocks = pad_blocks(self.position, start, block)
        if blocks:
            self._put(encode_pad(blocks))
        return self.position - start

    def count_shared(self, lines: bytes, sums: bytes, counts: tuple[int, int, int, int, bytes]) -> None:
        """Count members of a run: their lines, and how many files, directories, links and bytes of files they are, and
        in which folder.
        """
        self.tally.add_lines(lines, sums)
        self.tally.count_many(*counts)

    def write_run(self, source: int, edges: RunEdges, block: int) -> None:
        """Put in the run that `begin_run` made room for, from the open earlier archive, whose members were counted.

        Raises SharingRefused if the blocks cannot be shared after all, or the source cannot be read.
        """
        start = self.position
        end = start + edges.end - edges.start
        split = split_run(edges.start, edges.end, block)
        self._put(read_edge(source, edges.start, split.head))
        self.flush()
        clone_blocks(self._descriptor, self._flushed_to, source, edges.start + split.head, split.middle)
        self._flushed_to += split.middle
        self._put(read_edge(source, edges.end - split.tail, split.tail))
        last_start = start + edges.last_start - edges.start
        self.runs.append(Run(self._run_begin, start, last_start, end))
        self._witness.update(edges.first_line + edges.last_line)
        self.cloned_bytes += split.middle

    @property
    def witness_sha256(self) -> str:
        """SHA-256 in hex of what was written so far: each member's line and digest, of runs the first and last line."""
        return self._witness.hexdigest()

    def mark(self) -> WriterMark:
        """A place between two members to go back to."""
        return WriterMark(self.position, self.tally.mark(), self._witness.copy(), len(self.runs), self.cloned_bytes)

    def go_back(self, mark: WriterMark) -> None:
        """Forget everything that was written since."""
        self.rewind(mark.position)
        self.tally.go_back(mark.tally)
        self._witness = mark.witness.copy()
        self.runs.truncate(mark.runs)
        self.cloned_bytes = mark.cloned_bytes

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
        self.flush()
        front = encode_front(reference, self._dump, manifest.format)
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        write_all(self._descriptor, front)
        return manifest

    def close(self) -> None:
        """Give back what the writer holds; the descriptor stays the caller's."""
        self._hasher.close()
        self.tally.close()

    def _own_member(self, name: bytes, size: int) -> Member:
        return Member(name, FILE, 0o600, 0, 0, self._taken_at, size)

    def _count(self, member: Member, digest: str, start: int) -> Written:
        line, sums = self.tally.add(member, digest)
        self.tally.count(member)
        self._witness.update(line + digest.encode())
        self._first_line = self._first_line or line
        self._last = Written(start, self.position, line, sums)
        return self._last

    def _put(self, data: bytes) -> None:
        if len(self._buffer) + len(data) > _BUFFER:
            self.flush()
        if len(data) >= _BUFFER:
            self.require_room(len(data))
            write_all(self._descriptor, data)
            self._flushed_to += len(data)
        else:
            self._buffer += data

    def flush(self) -> None:
        """Hand everything to the kernel."""
        if self._buffer:
            self.require_room(len(self._buffer))
            write_all(self._descriptor, self._buffer)
            self._flushed_to += len(self._buffer)
            self._buffer.clear()

    def rewind(self, position: int) -> None:
        """Go back to where a member began; what was written after it is forgotten."""
        self.flush()
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
        self.flush()
        os.pwrite(self._descriptor, header, start)
        return shorter
