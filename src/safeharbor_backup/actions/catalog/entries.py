"""What is in the backup directory: archives with what they say of themselves, unfinished ones, and foreign files."""

from __future__ import annotations

import os
import shlex
import stat
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from safeharbor_backup.actions.catalog.retention import Candidate, Condition
from safeharbor_backup.archive.foreign_reader import look_at_foreign
from safeharbor_backup.archive.layout import ARCHIVE_NAME, time_in_name
from safeharbor_backup.archive.reader import bears_leading_mark, read_front
from safeharbor_backup.archive.source import opened_archive
from safeharbor_backup.errors import (
    ArchiveNotFound,
    ArchiveRejected,
    LockHeld,
    SafeHarborError,
    StorageUnavailable,
    translate_os_error,
)
from safeharbor_backup.state.evidence import EVIDENCE_NAME
from safeharbor_backup.state.marks import MARK_SUFFIX
from safeharbor_backup.system.atomic_file import is_draft_of

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from safeharbor_backup.archive.manifest import Manifest


class State(StrEnum):
    """What a look at an archive's first header, manifest and end shows.

    DAMAGED is what the bytes say. UNREADABLE: they could not be read, so nothing is known.
    """

    COMPLETE = "complete"
    DAMAGED = "damaged"
    UNREADABLE = "unreadable"
    UNVERIFIED = "no manifest"


_CONDITIONS = {State.DAMAGED: Condition.DAMAGED, State.UNREADABLE: Condition.UNREADABLE}
_CLOCK_TOLERANCE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """One archive. Size in bytes; `taken_at` from its manifest, otherwise from its name.

    `ctime_ns` is when the file was last touched in any way, in nanoseconds since the epoch.
    """

    path: Path
    size: int
    mtime_ns: int
    ctime_ns: int
    taken_at: datetime
    state: State
    problem: str
    manifest: Manifest | None

    @property
    def name(self) -> str:
        """The archive's file name."""
        return self.path.name

    @property
    def is_complete(self) -> bool:
        """Whether it is whole, as far as a quick look shows, and says what is in it."""
        return self.state is State.COMPLETE

    @property
    def can_be_read(self) -> bool:
        """Whether a quick look shows nothing that keeps it from being read: it is complete, or another program's."""
        return self.state in (State.COMPLETE, State.UNVERIFIED)

    @property
    def candidate(self) -> Candidate:
        """The archive as retention sees it: name, time and condition."""
        return Candidate(self.name, self.mtime_ns, _CONDITIONS.get(self.state, Condition.SOUND))


@dataclass(frozen=True, slots=True)
class Catalog:
    """A backup directory. Archives newest first by the time in their names."""

    directory: Path
    archives: tuple[CatalogEntry, ...]
    unfinished: tuple[str, ...]
    foreign: tuple[str, ...]


def read_catalog(directory: Path) -> Catalog:
    """Everything in `directory`; of each archive only the first header, the manifest and the end are read.

    Raises StorageUnavailable if the directory cannot be read.
    """
    archives, unfinished, foreign, marked = [], [], [], []
    for name, status in _scan(directory):
        named_at = time_in_name(name)
        if named_at is not None and stat.S_ISREG(status.st_mode):
            entry = look_at(directory / name, named_at)
            if entry is not None:
                archives.append(entry)
        elif is_draft_of(name, ARCHIVE_NAME):
            unfinished.append(name)
        elif name.endswith(MARK_SUFFIX) and time_in_name(name.removesuffix(MARK_SUFFIX)) is not None:
            marked.append(name)
        elif not name.startswith(".") and not EVIDENCE_NAME.fullmatch(name):
            foreign.append(name)
    there = {entry.name for entry in archives}
    foreign += [name for name in marked if name.removesuffix(MARK_SUFFIX) not in there]  # a mark of nothing
    archives.sort(key=lambda entry: entry.name, reverse=True)
    return Catalog(directory, tuple(archives), tuple(sorted(unfinished)), tuple(sorted(foreign)))


def is_from_future(entry: CatalogEntry, now: datetime) -> bool:
    """Whether an archive's time is later than now, by more than clocks differ: a clock was wrong then, or is now."""
    return entry.taken_at - now > _CLOCK_TOLERANCE


def find_candidates(directory: Path) -> list[Candidate]:
    """The archives in `directory` without a look inside; never a symlink, a directory or a look-alike.

    Raises StorageUnavailable.
    """
    return [
        Candidate(name, status.st_mtime_ns)
        for name, status in _scan(directory)
        if time_in_name(name) is not None and stat.S_ISREG(status.st_mode)
    ]


def look_at(path: Path, named_at: datetime) -> CatalogEntry | None:
    """An archive as a quick look shows it; damage is a state, not an error. None if it is gone, or going.

    `named_at` is the time in its name, for one that does not say when it was taken.
    """
    try:
        status = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return None
    facts = (path, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    try:
        with opened_archive(path, follow_symlinks=False) as source:
            if not bears_leading_mark(source):
                look_at_foreign(source)
                return CatalogEntry(*facts, named_at, State.UNVERIFIED, "", None)
            manifest = read_front(source).manifest
    except (LockHeld, ArchiveNotFound):
        return None  # being pruned at this moment, or gone
    except ArchiveRejected as error:
        return CatalogEntry(*facts, named_at, State.DAMAGED, error.reason, None)
    except SafeHarborError as error:
        cause = error.__cause__
        why = cause.strerror if isinstance(cause, OSError) else None
        return CatalogEntry(*facts, named_at, State.UNREADABLE, f"it cannot be read: {why or error.message}", None)
    except OSError as error:
        return CatalogEntry(*facts, named_at, State.UNREADABLE, f"it cannot be read: {error.strerror}", None)
    return CatalogEntry(*facts, manifest.taken_at, State.COMPLETE, "", manifest)


def _scan(directory: Path) -> list[tuple[str, os.stat_result]]:
    found = []
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                try:
                    found.append((entry.name, entry.stat(follow_symlinks=False)))
                except FileNotFoundError:
                    continue  # pruned, or published under its own name, since the scan began
    except FileNotFoundError:
        raise StorageUnavailable(
            f"The backup directory {directory} does not exist.",
            hint=f"Create it, or set BACKUP_DIR: mkdir -p {shlex.quote(str(directory))}",
        ) from None
    except OSError as error:
        raise translate_os_error(error, "reading the backup directory") from error
    return found


def newest_manifest(directory: Path) -> Manifest | None:
    """The manifest of the newest archive, for estimates; None if it has none or is not whole. Raises OSError."""
    newest = max((candidate.name for candidate in find_candidates(directory)), default="")
    named_at = time_in_name(newest)
    entry = look_at(directory / newest, named_at) if named_at is not None else None
    return entry.manifest if entry is not None and entry.is_complete else None
