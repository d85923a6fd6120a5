"""In which archives of the backup directory a file is, by its name or its SHA-256, and which versions of it.

Only SHA256SUMS is read of each archive. Most of its lines are skipped by looking for the longest literal part of
what is sought, so that ten million of them take seconds.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from fnmatch import translate
from itertools import islice
from typing import TYPE_CHECKING

from safeharbor_backup.actions.catalog.last_runs import read_archives
from safeharbor_backup.archive.checksums import parse_line
from safeharbor_backup.archive.layout import UPLOADS_NAME
from safeharbor_backup.archive.listing import read_blocks
from safeharbor_backup.archive.reader import bears_leading_mark, read_front
from safeharbor_backup.archive.source import opened_archive
from safeharbor_backup.errors import ArchiveNotFound, LockHeld, SafeHarborError, translate_os_error
from safeharbor_backup.settings.model import Concern
from safeharbor_backup.text import ascii_safe

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from safeharbor_backup.actions.catalog.entries import CatalogEntry
    from safeharbor_backup.settings.model import Settings

MOST_FILES = 10_000
_DIGEST = re.compile(r"[0-9a-fA-F]{64}")
_WILD = re.compile(r"[*?\\\n\r]+")  # what is not itself in a pattern, or not in a line


@dataclass(frozen=True, slots=True)
class Version:
    """One content of a file ("": not known) and the archives that have it, newest first."""

    sha256: str
    archives: tuple[CatalogEntry, ...]


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file by its path below uploads/, and its versions, that of the newest archive first."""

    path: bytes
    versions: tuple[Version, ...]


@dataclass(frozen=True, slots=True)
class Search:
    """What was found in so many `archives`. `is_cut`: more than that match. `warnings` say what was not seen."""

    files: tuple[FoundFile, ...]
    archives: int
    is_cut: bool = False
    warnings: tuple[str, ...] = ()


def find_files(pattern: str, settings: Settings) -> Search:
    """The uploads that match in all archives: by name, by path if there is a slash in the pattern, or by SHA-256.

    Raises StorageUnavailable.
    """
    settings.require(Concern.DIRECTORY)
    sought = _Sought(pattern)
    found: dict[bytes, dict[str, list[CatalogEntry]]] = {}
    warnings: list[str] = []
    same: dict[str, list[tuple[bytes, str]]] = {}  # what is in each list of checksums, which nights may share
    searched, is_cut = 0, False
    for entry in read_archives(settings.backup_dir):
        try:
            sums = entry.manifest.sums_sha256 if entry.manifest is not None else entry.name
            if sums not in same:
                same[sums] = list(islice(_matches(entry.path, sought, warnings), MOST_FILES + 1))
            for path, digest in same[sums]:
                if path not in found and len(found) == MOST_FILES:
                    is_cut = True
                    break
                versions = found.setdefault(path, {}).setdefault(digest, [])
                if not versions or versions[-1] is not entry:
                    versions.append(entry)
            searched += 1
        except (ArchiveNotFound, LockHeld):
            continue  # it was pruned meanwhile
        except (SafeHarborError, OSError) as error:
            failure = translate_os_error(error, "reading it") if isinstance(error, OSError) else error
            warnings.append(f"{entry.name} was not searched: {failure.message}")
    files = [
        FoundFile(path, tuple(Version(digest, tuple(entries)) for digest, entries in versions.items()))
        for path, versions in sorted(found.items(), key=lambda each: each[0].split(b"/"))
    ]
    return Search(tuple(files), searched, is_cut, tuple(warnings))


class _Sought:
    """A pattern: `literal` is in the line of every file that matches."""

    def __init__(self, pattern: str) -> None:
        self._digest = pattern.lower() if _DIGEST.fullmatch(pattern) is not None else ""
        self._is_path = "/" in pattern.removeprefix("./")
        pattern = pattern.removeprefix("./").removeprefix(UPLOADS_NAME.decode())
        self._itself = os.fsencode(pattern)  # `photo [1].jpg` as a name is what it looks like, too
        self._matches = re.compile(translate(pattern), re.DOTALL).match
        before, _, behind = pattern.partition("[")
        longest = max((*_WILD.split(before), *_WILD.split(behind.rpartition("]")[2])), key=len)
        # a digest is in small letters; a file may be called by it, in whichever
        self.literal = b"" if self._digest and pattern != self._digest else os.fsencode(longest)

    @property
    def is_digest(self) -> bool:
        """Whether it may be a SHA-256."""
        return bool(self._digest)

    def accepts(self, path: bytes, digest: str) -> bool:
        """Whether a file matches the pattern."""
        if self._digest and digest == self._digest:
            return True
        name = path if self._is_path else path.rpartition(b"/")[2]
        # letters are compared, not bytes: `?` is one of them, however it is written
        return name == self._itself or self._matches(os.fsdecode(name)) is not None


def _matches(archive: Path, sought: _Sought, warnings: list[str]) -> Iterator[tuple[bytes, str]]:
    with opened_archive(archive) as source:
        front = read_front(source) if bears_leading_mark(source) else None
        if front is None:
            knows = "is not known to it" if sought.is_digest else "of its files are not known"
            warnings.append(f"{ascii_safe(archive.name)} is by another program: the SHA-256 {knows}")
        for block in read_blocks(source, front):
            for line in _lines_with(block, sought.literal):
                name, digest = parse_line(line)
                path = name.removeprefix(UPLOADS_NAME)
                if path != name and sought.accepts(path, digest):
                    yield path, digest


def _lines_with(block: bytes, literal: bytes) -> Iterator[bytes]:
    """The whole lines of `block` in which `literal` is."""
    if not literal:
        yield from block.split(b"\n")[:-1]
        return
    at = block.find(literal)
    while at >= 0:
        end = block.find(b"\n", at)
        yield block[block.rfind(b"\n", 0, at) + 1 : end]
        at = block.find(literal, end)
