"""One pass over an archive that proves it while its members are used: verify and restore share it."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Protocol

from safeharbor_backup.archive import layout
from safeharbor_backup.archive.digest import Hasher
from safeharbor_backup.archive.foreign_reader import Skipped, read_foreign_members
from safeharbor_backup.archive.layout import Member, canonical_line, sums_line
from safeharbor_backup.archive.reader import Front, read_members, show
from safeharbor_backup.archive.source import Source, Truncated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from safeharbor_backup.archive.digest import OverlappedDigest

_SUMS_WINDOW = 256 * 1024
_SMALL = 64 * 1024


class Consumer(Protocol):
    """What is done with the members while they are proven."""

    def take_dump(self, member: Member, read: Callable[[], Iterator[bytes]]) -> None:
        """Use a dump; `read` gives its data from the start, as often as it is called, the last time to its end."""

    def take_upload(self, member: Member, data: Iterable[bytes]) -> None:
        """Use uploads/ itself or a member below it; all data must be taken."""


class CheckedPass:
    """Reads every byte of an archive of ours once, hands the members out, and collects what is wrong."""

    def __init__(self, source: Source, front: Front, consumer: Consumer, report: Callable[[str], None]) -> None:
        self._source = source
        self._front = front
        self._consumer = consumer
        self._report = report
        self._hasher = Hasher()
        self._sums = _SumsCursor(source, front)
        self.dump_sha256: dict[bytes, str] = {}  # in hex, by the names of the members

    def run(self) -> int:
        """The number of members, after all were read; what is wrong goes to `report`.

        Raises Rejected or Truncated where the structure ends to make sense, OSError, and what the consumer raises.
        """
        try:
            return self._run()
        finally:
            self._hasher.close()

    def _run(self) -> int:
        manifest = self._front.manifest
        listed = hashlib.sha256()
        counts = dict.fromkeys((layout.FILE, layout.DIRECTORY, layout.SYMLINK), 0)
        members = upload_bytes = 0
        sums_digest = ""
        for member, _ in read_members(self._source, self._front):
            members += 1
            if member.name == layout.MANIFEST_NAME:
                break
            if member.name == layout.SUMS_NAME:
                sums_digest = self._digest_of(member)
                continue
            listed.update(canonical_line(member))
            self._hand_out(member)
            if member.name != layout.UPLOADS_NAME and not layout.is_dump(member.name):
                counts[member.kind] += 1
                upload_bytes += member.size
        self._problem(self._sums.finish())
        if sums_digest != manifest.sums_sha256:
            self._problem("SHA256SUMS does not have the SHA-256 that the manifest states")
        if listed.hexdigest() != manifest.list_sha256:
            self._problem(
                "names, kinds, sizes, modes, owners or times of members are not those that the manifest states"
            )
        for each in manifest.databases:
            if self.dump_sha256.get(layout.dump_name(each.name)) != each.sha256:
                self._problem(f"databases/{each.name}.dump does not have the SHA-256 that the manifest states")
        stated = (
            manifest.upload_files,
            manifest.upload_directories,
            manifest.upload_links,
            manifest.upload_bytes,
        )
        found = (counts[layout.FILE], counts[layout.DIRECTORY], counts[layout.SYMLINK], upload_bytes)
        if stated != found:
            self._problem(f"the manifest states {_counts(stated)}; there are {_counts(found)}")
        return members

    def _hand_out(self, member: Member) -> None:
        if member.kind != layout.FILE:
            self._consumer.take_upload(member, ())
        elif layout.is_dump(member.name):
            reading = _Reading(self._source, member, self._hasher)
            self._consumer.take_dump(member, reading.start)
            self.dump_sha256[member.name] = reading.digest
            self._problem(self._sums.compare(member.name, reading.digest))
        elif member.size <= _SMALL:  # nearly all of them
            data = self._source.take(member.size)
            self._problem(self._sums.compare(member.name, hashlib.sha256(data).hexdigest()))
            self._consumer.take_upload(member, (data,))
        else:
            reading = _Reading(self._source, member, self._hasher)
            self._consumer.take_upload(member, reading.start())
            self._problem(self._sums.compare(member.name, reading.digest))

    def _digest_of(self, member: Member) -> str:
        reading = _Reading(self._source, member, self._hasher)
        for _ in reading.start():
            pass
        return reading.digest

    def _problem(self, text: str) -> None:
        if text:
            self._report(text)


class _Reading:
    """A member's data, hashed while it is used; it may be started again."""

    def __init__(self, source: Source, member: Member, hasher: Hasher) -> None:
        self._source = source
        self._size = member.size
        self._hasher = hasher
        self._begins = source.position
        self._digest: OverlappedDigest | None = None

    def start(self) -> Iterator[bytes]:
        if self._source.position != self._begins:
            self._source.seek(self._begins)
        self._digest = digest = self._hasher.start()
        for chunk in self._source.chunks(self._size):
            digest.update(chunk)
            yield chunk

    @property
    def digest(self) -> str:
        return self._digest.hexdigest() if self._digest is not None else ""


def run_foreign_pass(source: Source, consumer: Consumer, skipped: Skipped | None = None) -> int:
    """The same for an archive by another implementation, which carries nothing to compare with.

    What is left out is named in `skipped`. Raises Rejected, Truncated, OSError, and what the consumer raises.
    """
    members = 0
    for member, offset in read_foreign_members(source, skipped):
        members += 1
        if member.name == layout.DUMP_NAME:

            def read(size: int = member.size, begins: int = offset) -> Iterator[bytes]:
                if source.position != begins:
                    source.seek(begins)
                return source.chunks(size)

            consumer.take_dump(member, read)
        else:
            consumer.take_upload(member, source.chunks(member.size) if member.size else ())
    return members


def _counts(counts: tuple[int, int, int, int]) -> str:
    return "{} files, {} directories, {} links and {} bytes of uploads".format(*counts)


class _SumsCursor:
    """The lines of SHA256SUMS, read beside the members that they list: each mismatch by name, in constant memory."""

    def __init__(self, source: Source, front: Front) -> None:
        self._source = source
        self._at = front.manifest.sums_offset
        self._end = max(self._at, front.manifest_offset - layout.BLOCK)
        self._window = b""
        self._used = 0
        self._lost = False

    def compare(self, name: bytes, digest: str) -> str:
        """A problem if the next line does not state this digest for this name."""
        if self._lost:
            return ""
        expected = sums_line(name, digest)
        found = self._next(len(expected))
        if found == expected:
            return ""
        if found.split(b"  ", 1)[1:] == expected.split(b"  ", 1)[1:]:
            return f"{show(name)} does not have the SHA-256 that SHA256SUMS states"
        self._lost = True
        return f"SHA256SUMS does not list {show(name)} where it should"

    def finish(self) -> str:
        """A problem if there are lines left."""
        if not self._lost and self._next(1) not in (b"", b"\0"):
            return "SHA256SUMS lists files that are not in the archive"
        return ""

    def _next(self, size: int) -> bytes:
        if len(self._window) - self._used < size:
            more = min(max(_SUMS_WINDOW, size), self._end - self._at)
            try:
                read = self._source.read_at(self._at, more)
            except Truncated:
                return b""
            self._window, self._used = self._window[self._used :] + read, 0
            self._at += more
        line = self._window[self._used : self._used + size]
        self._used += len(line)
        return line
