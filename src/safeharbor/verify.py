"""Whether an archive would restore: every byte read once, every digest compared, the dump decoded to its end.

Needs no database and only reads; works on a copy anywhere. `backup` proves its own work with the same code.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from safeharbor.archive import layout
from safeharbor.archive.digest import Hasher, OverlappedDigest
from safeharbor.archive.foreign import read_foreign_members
from safeharbor.archive.layout import Member, canonical_line, sums_line
from safeharbor.archive.reader import Front, Rejected, bears_leading_mark, read_front, read_members, show
from safeharbor.archive.source import Source, Truncated, opened_archive
from safeharbor.errors import ArchiveRejected, ToolFailed
from safeharbor.postgres.decode import UnreadableHere, decode_dump, reading_order
from safeharbor.postgres.tools import find_client_tools
from safeharbor.progress import NoProgress, Progress

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from safeharbor.archive.manifest import Manifest
    from safeharbor.settings import Settings

_MOST_PROBLEMS = 1000
_SUMS_WINDOW = 256 * 1024
_SMALL = 64 * 1024
_REPORT_BYTES = 8 * 1024 * 1024


class ArchiveKind(StrEnum):
    """Who wrote an archive."""

    FORMAT_1 = "format 1"
    FOREIGN = "another implementation"


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found in one archive. No problems: it would restore. Sizes in bytes."""

    path: Path
    kind: ArchiveKind
    quick: bool
    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    manifest: Manifest | None
    size: int
    members: int
    seconds: float

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong with it."""
        return not self.problems

    def require_sound(self) -> None:
        """Raises ArchiveRejected with all problems."""
        if self.problems:
            raise ArchiveRejected(f"{self.path}: {self.problems[0]}", problems=self.problems)


def verify_archive(
    path: Path, settings: Settings, *, quick: bool = False, progress: Progress | None = None
) -> Verification:
    """What is wrong with the archive at `path`, every problem and not only the first.

    `quick` looks at the first header, the manifest with its digest and the end only. Raises StorageUnavailable
    if the file may not be read; everything else is a problem in the result.
    """
    started = time.monotonic()
    progress = progress or NoProgress()
    try:
        with opened_archive(path) as source:
            return verify_source(source, settings, quick=quick, progress=progress)
    except ArchiveRejected as error:
        seconds = time.monotonic() - started
        return Verification(path, ArchiveKind.FOREIGN, quick, error.problems, (), None, 0, 0, seconds)


def verify_source(
    source: Source,
    settings: Settings,
    *,
    quick: bool = False,
    progress: Progress | None = None,
    decoded_sha256: str = "",
) -> Verification:
    """The same for an archive that is open already.

    `decoded_sha256` is of a dump that was decoded before: then comparing digests is the whole proof for the dump.
    """
    return _Verifier(source, settings, progress or NoProgress(), decoded_sha256).verify(quick=quick)


class _Verifier:
    def __init__(self, source: Source, settings: Settings, progress: Progress, decoded_sha256: str) -> None:
        self._source = source
        self._settings = settings
        self._progress = progress
        self._decoded_sha256 = decoded_sha256
        self._problems: list[str] = []
        self._warnings: list[str] = []
        self._members = 0
        self._unreported = 0
        self._writer_major = 0
        self._hasher = Hasher()

    def verify(self, *, quick: bool) -> Verification:
        started = time.monotonic()
        manifest = None
        kind = ArchiveKind.FORMAT_1
        try:
            if bears_leading_mark(self._source):
                front = read_front(self._source)
                manifest = front.manifest
                self._writer_major = manifest.client_major
                if not quick:
                    self._read_all(front)
            else:
                kind = ArchiveKind.FOREIGN
                self._read_foreign(quick=quick)
        except (ArchiveRejected, Rejected) as error:
            self._problem(str(error).removeprefix(f"{self._source.path}: ").rstrip("."))
        except Truncated:
            self._problem("it was cut: it ends in the middle")
        except OSError as error:
            self._problem(f"it cannot be read to its end: {error.strerror or error}")
        finally:
            self._hasher.close()
        return Verification(
            self._source.path,
            kind,
            quick,
            tuple(self._problems),
            tuple(self._warnings),
            manifest,
            self._source.size,
            self._members,
            time.monotonic() - started,
        )

    def _read_all(self, front: Front) -> None:
        self._progress.phase("verify", self._source.size)
        manifest = front.manifest
        sums = _SumsCursor(self._source, front)
        listed = hashlib.sha256()
        counts = dict.fromkeys((layout.FILE, layout.DIRECTORY, layout.SYMLINK), 0)
        upload_bytes = 0
        sums_digest = ""
        for member, _ in read_members(self._source, front):
            self._members += 1
            if member.name == layout.MANIFEST_NAME:
                break
            if member.name == layout.SUMS_NAME:
                sums_digest = self._hash(member)
                continue
            listed.update(canonical_line(member))
            if member.kind == layout.FILE:
                is_dump = member.name == layout.DUMP_NAME
                digest = self._prove_dump(member) if is_dump else self._hash(member)
                self._problem(sums.compare(member.name, digest))
            if member.name not in (layout.DUMP_NAME, layout.UPLOADS_NAME):
                counts[member.kind] += 1
                upload_bytes += member.size
        self._problem(sums.finish())
        if sums_digest != manifest.sums_sha256:
            self._problem("SHA256SUMS does not have the SHA-256 that the manifest states")
        if listed.hexdigest() != manifest.list_sha256:
            self._problem(
                "names, kinds, sizes, modes, owners or times of members are not those that the manifest states"
            )
        stated = (
            manifest.upload_files,
            manifest.upload_directories,
            manifest.upload_links,
            manifest.upload_bytes,
        )
        found = (counts[layout.FILE], counts[layout.DIRECTORY], counts[layout.SYMLINK], upload_bytes)
        if stated != found:
            self._problem(f"the manifest states {_counts(stated)}; there are {_counts(found)}")

    def _read_foreign(self, *, quick: bool) -> None:
        self._warnings.append("it was written by another implementation and carries no checksums of its content")
        if quick:
            self._warnings.append("only a full verification can tell whether it is complete")
            next(read_foreign_members(self._source))
            return
        self._progress.phase("verify", self._source.size)
        for member, _ in read_foreign_members(self._source):
            self._members += 1
            if member.name == layout.DUMP_NAME:
                self._decode(member)
            else:
                for chunk in self._source.chunks(member.size):
                    self._progress.advance(len(chunk))

    def _hash(self, member: Member) -> str:
        if member.size <= _SMALL:
            self._unreported += layout.BLOCK + member.size
            if self._unreported >= _REPORT_BYTES:
                self._progress.advance(self._unreported)
                self._unreported = 0
            return hashlib.sha256(self._source.take(member.size)).hexdigest()
        digest = self._hasher.start()
        for chunk in self._source.chunks(member.size):
            digest.update(chunk)
            self._progress.advance(len(chunk))
        return digest.hexdigest()

    def _prove_dump(self, member: Member) -> str:
        if not self._decoded_sha256:
            return self._decode(member)
        digest = self._hash(member)
        if digest != self._decoded_sha256:
            self._problem("db.dump is not, byte for byte, what pg_dump wrote")
        return digest

    def _decode(self, member: Member) -> str:
        start = self._source.position
        found = reading_order(find_client_tools(self._settings.pg_bin), self._writer_major)
        unreadable = ""
        for tools in found:
            self._source.seek(start)
            digest = self._hasher.start()
            try:
                decode_dump(self._hashed(member, digest), tools)
            except UnreadableHere as error:
                unreadable = unreadable or error.message
                continue
            except ToolFailed as error:
                self._problem(f"db.dump does not decode to its end: {error.message}")
            return digest.hexdigest()
        why = f"no pg_restore here can read it ({unreadable})" if unreadable else "there is no pg_restore here"
        self._warnings.append(f"db.dump was not decoded: {why}")
        self._source.seek(start)
        return self._hash(member)

    def _hashed(self, member: Member, digest: OverlappedDigest) -> Iterator[bytes]:
        for chunk in self._source.chunks(member.size):
            digest.update(chunk)
            self._progress.advance(len(chunk))
            yield chunk

    def _problem(self, text: str) -> None:
        if not text:
            return
        if len(self._problems) < _MOST_PROBLEMS:
            self._problems.append(text)
        elif len(self._problems) == _MOST_PROBLEMS:
            self._problems.append("and more")


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
