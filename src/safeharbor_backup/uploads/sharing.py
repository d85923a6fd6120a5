"""Whether the next archive may share blocks with the previous one, and the index that decides this."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from safeharbor_backup.archive.index import IndexFront, IndexUnusable, read_index_front
from safeharbor_backup.archive.runs import block_size_of
from safeharbor_backup.errors import SafeHarborError
from safeharbor_backup.settings.upload_dirs import describe_dirs
from safeharbor_backup.state.directory import STATE_DIRECTORY
from safeharbor_backup.system.lock import lock_shared
from safeharbor_backup.system.reflink import clone_range
from safeharbor_backup.uploads.previous_index import Previous

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from safeharbor_backup.settings.model import Settings
    from safeharbor_backup.settings.upload_dirs import UploadDirs

    Clock = Callable[[], int]

INDEX_NAME = "index"
_DAY_NS = 86_400 * 10**9
_HOUR_NS = 3_600 * 10**9  # a nightly run does not begin at the same second each night

WHY_FULL = "--full"
WHY_ALWAYS = "BACKUP_FULL_READ_DAYS=0"
WHY_DUE = "its blocks are as old as BACKUP_FULL_READ_DAYS allows, so everything is read and written again"
CANNOT_SHARE = "archives cannot share blocks on this filesystem"  # doctor says it; nobody can act on it each night


@dataclass(frozen=True, slots=True)
class Sharing:
    """What a run works with: the earlier archive to share with or to compare with, if any, and why not to share."""

    previous: Previous | None = None
    front: IndexFront | None = None
    why_not: str = ""

    @property
    def may_share(self) -> bool:
        """Whether blocks will be shared."""
        return self.previous is not None and self.previous.may_share

    @property
    def note(self) -> str:
        """Why nothing is shared, if the operator did not ask for that; "" otherwise."""
        return "" if self.why_not in (WHY_FULL, WHY_ALWAYS, CANNOT_SHARE) else self.why_not

    def despite_age(self) -> Sharing:
        """The same, sharing blocks that are due to be written again."""
        if self.previous is None or self.why_not != WHY_DUE:
            return self
        return replace(self, previous=replace(self.previous, may_share=True), why_not="")


def judge_index(
    front: IndexFront, now_ns: int, uploads: UploadDirs, full_read_days: int, *, full: bool
) -> tuple[bool, str]:
    """Whether an index can be used at all, and why no blocks may be shared by it; "" if they may."""
    if front.started_ns > now_ns or front.written_anew_ns > front.started_ns:
        return False, "everything is read: the clock was set back since the previous backup"
    if front.uploads != name_uploads(uploads):
        return False, "everything is read: the previous backup was of another uploads directory"
    if full:
        return True, WHY_FULL
    if full_read_days == 0:
        return True, WHY_ALWAYS
    if now_ns - front.written_anew_ns > full_read_days * _DAY_NS - _HOUR_NS:
        return True, WHY_DUE
    return True, ""


@contextmanager
def remembered(directory: Path, settings: Settings, *, full: bool, clock: Clock = time.time_ns) -> Iterator[Sharing]:
    """What is remembered of the newest archive in `directory`, which is held against `prune` until the block ends.

    Never an error: whatever is missing, stale or damaged means that everything is read.
    """
    with ExitStack() as held:
        yield _look(held, directory, settings, clock(), full=full)


def _look(held: ExitStack, directory: Path, settings: Settings, now_ns: int, *, full: bool) -> Sharing:
    try:
        index = _open(held, directory / STATE_DIRECTORY / INDEX_NAME)
        front = read_index_front(index)
        if "/" in front.archive:
            raise IndexUnusable("it names no archive beside it")
        archive = _open(held, directory / front.archive)
        status = os.fstat(archive)
        found = (status.st_size, status.st_ino, status.st_mtime_ns)
        if found != (front.size, front.inode, front.mtime_ns):
            raise IndexUnusable(f"{front.archive} has changed since it was written")
        lock_shared(archive)
    except FileNotFoundError:
        return Sharing()
    except (OSError, IndexUnusable, SafeHarborError) as error:
        return Sharing(why_not=f"everything is read: the record of the previous backup cannot be used: {error}")
    is_usable, why_not = judge_index(front, now_ns, settings.upload_dirs, settings.full_read_days, full=full)
    if not is_usable:
        return Sharing(why_not=why_not)
    block = block_size_of(os.fstatvfs(archive).f_bsize)
    if why_not in ("", WHY_DUE) and not (block == front.block_size and can_share(directory, archive, block)):
        why_not = CANNOT_SHARE
    previous = Previous(front.archive, archive, index, block, may_share=not why_not, moved=front.moved)
    return Sharing(previous, front, why_not)


def name_uploads(uploads: UploadDirs) -> str:
    """A digest of where the uploads are; a path can be longer than an index's front."""
    return hashlib.sha256(os.fsencode(describe_dirs(uploads))).hexdigest()


def _open(held: ExitStack, path: Path) -> int:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    held.callback(os.close, descriptor)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise IndexUnusable(f"{path.name} is not a regular file")
    return descriptor


def can_share(directory: Path, archive: int, block: int) -> bool:
    """Whether the first block of an open file in `directory` can be shared with a new file beside it."""
    try:
        # whoever can share blocks knows nameless files
        trial = os.open(directory, os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o600)
    except OSError:
        return False
    try:
        clone_range(trial, 0, archive, 0, block)
    except OSError:
        return False
    finally:
        os.close(trial)
    return True
