"""What in the uploads a restore leaves alone, and what it could not move."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from safeharbor.archive.layout import is_staging_name
from safeharbor.filesystem import mounts_below
from safeharbor.uploads.trial import why_fixed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_LOST_AND_FOUND = b"lost+found"
_OWNER = "Run this as the owner of the uploads and of all in them, or as root."
_MOUNT = "it is a mount point"
_UNMOUNT = "Unmount it, or leave it out of backups and restores: BACKUP_EXCLUDE."


@dataclass(frozen=True, slots=True)
class Immovable:
    """An entry below the uploads ("." for these themselves), why it cannot be moved, and what helps."""

    path: str
    why: str
    remedy: str


def is_left_alone(uploads: int, name: bytes) -> bool:
    """Whether a top-level entry of the open uploads bears the name of a stage, or is root's lost+found."""
    if is_staging_name(name):
        return True
    if name != _LOST_AND_FOUND:
        return False
    try:
        status = os.lstat(name, dir_fd=uploads)
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == 0


def has_own_lost_and_found(uploads: Path) -> bool:
    """Whether the filesystem's own lost+found is in `uploads`, which stays there. Raises OSError."""
    descriptor = os.open(uploads, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return is_left_alone(descriptor, _LOST_AND_FOUND)
    finally:
        os.close(descriptor)


def find_immovable(uploads: Path, is_excluded: Callable[[str], bool] | None = None) -> list[Immovable]:
    """The entries that an exchange could not move. Changes nothing. Raises OSError.

    Looked at are the top level, and mount points at any depth. What `is_excluded` leaves out of archives stays where
    it is, and need not move.
    """
    if not os.access(uploads, os.W_OK | os.X_OK):
        read_only = os.statvfs(uploads).f_flag & os.ST_RDONLY
        why = "it is on a filesystem that is mounted read-only" if read_only else "it may not be written"
        return [Immovable(".", why, "Mount it for writing." if read_only else _OWNER)]
    descriptor = os.open(uploads, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        found = [each for each in (_fixed(descriptor, b".", "."),) if each is not None]
        names = [name for name in map(os.fsencode, os.listdir(descriptor)) if not is_left_alone(descriptor, name)]
        root = os.fstat(descriptor)
        looked = (_hindrance(descriptor, name, root) for name in sorted(names))
        found += [each for each in looked if each is not None and not _may_stay(each.path, is_excluded)]
    finally:
        os.close(descriptor)
    mounts = map(os.fsdecode, mounts_below(uploads))
    return found + [Immovable(mount, _MOUNT, _UNMOUNT) for mount in mounts if not _may_stay(mount, is_excluded)]


def _may_stay(path: str, is_excluded: Callable[[str], bool] | None) -> bool:
    return is_excluded is not None and (is_excluded(path) or is_excluded(f"{path}/"))


def _hindrance(uploads: int, name: bytes, root: os.stat_result) -> Immovable | None:
    shown = os.fsdecode(name)
    try:
        status = os.lstat(name, dir_fd=uploads)
    except FileNotFoundError:
        return None  # the app has removed it meanwhile
    if stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode):
        fixed = _fixed(uploads, name, shown)
        if fixed is not None:
            return fixed
    me = os.geteuid()
    if me == 0:
        return None
    if root.st_mode & stat.S_ISVTX and me not in (status.st_uid, root.st_uid):
        return Immovable(shown, f"it belongs to uid {status.st_uid} in a sticky directory", _OWNER)
    if stat.S_ISDIR(status.st_mode) and status.st_uid != me and not os.access(name, os.W_OK, dir_fd=uploads):
        why = f"it belongs to uid {status.st_uid} with mode {stat.S_IMODE(status.st_mode):04o}"
        return Immovable(shown, why, _OWNER)
    return None


def _fixed(directory: int, name: bytes, shown: str) -> Immovable | None:
    """Whether its attributes keep it where it is."""
    why = why_fixed(directory, os.fsdecode(name))
    return Immovable(shown, why, f"As root: chattr -i -a {shown}. Then restore again.") if why else None
