"""The lines of SHA256SUMS and the digest of the member list, gathered while members pass, and read again."""

from __future__ import annotations

import hashlib
import re
from typing import IO, TYPE_CHECKING, NamedTuple

from safeharbor_backup.archive.layout import FILE, UPLOADS_NAME, Member, canonical_line, sums_line
from safeharbor_backup.system.atomic_file import unnamed_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_CHUNK = 1024 * 1024
_ESCAPED = re.compile(rb"\\([\\nr])")
_MEANT = {b"\\": b"\\", b"n": b"\n", b"r": b"\r"}
_MOST_FOLDERS = 999  # and one more for files in none
NO_FOLDER = b"."


class TallyMark(NamedTuple):
    """A state of a tally to go back to."""

    digest: hashlib._Hash
    lines_size: int
    counts: tuple[int, int, int, int]
    folders: dict[bytes, tuple[int, int]]


def folder_of(path: bytes) -> bytes:
    """The top-level directory that a path below the uploads lies in, or NO_FOLDER. A directory's path ends with `/`."""
    folder, slash, _ = path.partition(b"/")
    return folder if folder and slash else NO_FOLDER


class Tally:
    """What has gone into an archive so far: counts, the member list's digest, the lines of SHA256SUMS.

    The lines go to an unnamed file beside the archive: a million of them would not fit the memory we allow ourselves.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lines = unnamed_file(directory)
        self._first_sums = b""
        self._list = hashlib.sha256()
        self._later: IO[bytes] | None = None
        self.files = 0
        self.directories = 0
        self.links = 0
        self.upload_bytes = 0
        self._folders: dict[bytes, tuple[int, int]] = {}

    def leave_out_first(self) -> None:
        """The first member will be known last, by `add_first`; there is no way back by a mark until then.

        Raises OSError.
        """
        self._later = unnamed_file(self._directory)

    def add_first(self, member: Member, digest: str) -> bytes:
        """Count the member that was left out; its line in the list. Raises OSError."""
        assert self._later is not None  # noqa: S101 - a caller's mistake, not input
        line = canonical_line(member)
        self._first_sums = sums_line(member.name, digest)
        self._list.update(line)
        self._later.seek(0)
        while chunk := self._later.read(_CHUNK):
            self._list.update(chunk)
        self._later.close()
        self._later = None
        return line

    def add(self, member: Member, digest: str = "") -> tuple[bytes, bytes]:
        """Count a finished member; `digest` is the SHA-256 in hex of a regular member's data.

        What it adds to the list of members and to SHA256SUMS. Raises OSError.
        """
        line = canonical_line(member)
        sums = sums_line(member.name, digest) if member.kind == FILE else b""
        self.add_lines(line, sums)
        return line, sums

    def add_lines(self, lines: bytes, sums: bytes) -> None:
        """Count members whose lines are known. Raises OSError."""
        if self._later is None:
            self._list.update(lines)
        else:
            self._later.write(lines)
        if sums:
            self._lines.write(sums)

    def count(self, member: Member) -> None:
        """Count a member of uploads."""
        folder = folder_of(member.name[len(UPLOADS_NAME) :])
        if member.kind == FILE:
            self.count_many(1, 0, 0, member.size, folder)
        elif member.link:
            self.count_many(0, 0, 1, 0, folder)
        else:
            self.count_many(0, 1, 0, 0, folder)

    def count_many(self, files: int, directories: int, links: int, upload_bytes: int, folder: bytes) -> None:
        """Count members of uploads that are in one folder."""
        self.files += files
        self.directories += directories
        self.links += links
        self.upload_bytes += upload_bytes
        known = self._folders.get(folder)
        if known is not None:
            self._folders[folder] = known[0] + files, known[1] + upload_bytes
        elif folder == NO_FOLDER:
            if files:  # the tree's root and links in it are in no folder either
                self._folders[folder] = files, upload_bytes
        elif len(self._folders) - (NO_FOLDER in self._folders) < _MOST_FOLDERS:
            self._folders[folder] = files, upload_bytes

    def folders(self) -> list[tuple[bytes, int, int]]:
        """Of each top-level directory how many files and bytes of files are in it, in order; the first thousand."""
        return [(name, *counts) for name, counts in sorted(self._folders.items())]

    def mark(self) -> TallyMark:
        """Where it stands now."""
        return TallyMark(
            self._list.copy(),
            self.lines_size(),
            (self.files, self.directories, self.links, self.upload_bytes),
            dict(self._folders),
        )

    def go_back(self, mark: TallyMark) -> None:
        """Forget what was added since. Raises OSError."""
        self._list = mark.digest.copy()
        self._lines.seek(mark.lines_size)
        self._lines.truncate()
        self.files, self.directories, self.links, self.upload_bytes = mark.counts
        self._folders = dict(mark.folders)

    @property
    def list_sha256(self) -> str:
        """SHA-256 in hex of the canonical list of all members added."""
        return self._list.hexdigest()

    def lines_size(self) -> int:
        """How many bytes of lines there are."""
        return len(self._first_sums) + self._lines.tell()

    def lines(self) -> Iterator[bytes]:
        """The lines in chunks, from the first."""
        yield self._first_sums
        self._lines.seek(0)
        while chunk := self._lines.read(_CHUNK):
            yield chunk

    def close(self) -> None:
        """Give the unnamed files back."""
        self._lines.close()
        if self._later is not None:
            self._later.close()


def parse_sums(chunks: Iterable[bytes]) -> Iterator[tuple[bytes, str]]:
    """Name and SHA-256 in hex of each line of SHA256SUMS; the padding after the last one is none."""
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        yield from map(parse_line, lines)


def parse_line(line: bytes) -> tuple[bytes, str]:
    """Name and SHA-256 in hex of a line without its end."""
    digest, _, name = line.partition(b"  ")
    if digest.startswith(b"\\"):
        name = _ESCAPED.sub(lambda found: _MEANT[found[1]], name)
    return name, digest.lstrip(b"\\").decode("ascii", "replace")
