"""The entries of the uploads that a restore does not touch, and those that it could not move."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from safeharbor_backup.archive.layout import is_staging_name
from safeharbor_backup.system.filesystem import mounts_below
from safeharbor_backup.system.inode_flags import why_fixed

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
    """Whether a top-level entry of the open uploads has the name of a stage, or is root's lost+found."""
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
    """The entries that an exchange by this user could not move. Changes nothing. Raises OSError.

    Looked at are the top level, and mount points at any depth. What `is_excluded` leaves out of archives stays where
    it is, and need not move.
    """
    if not os.access(uploads, os.W_OK | os.X_OK):
        read_only = os.statvfs(uploads).f_flag & os.ST_RDONLY
        if fixed := _at_the_top(uploads, None, _by_attributes):
            return fixed
        why = "it is on a filesystem that is mounted read-only" if read_only else "it may not be written"
        return [Immovable(".", why, "Mount it for writing." if read_only else _OWNER)]
    return [*_at_the_top(uploads, is_excluded, _not_ours), *find_fixed(uploads, is_excluded)]


def find_fixed(uploads: Path, is_excluded: Callable[[str], bool] | None = None) -> list[Immovable]:
    """Those of them that nobody could move, root neither. Changes nothing. Raises OSError."""
    mounts = map(os.fsdecode, mounts_below(uploads))
    found = [Immovable(mount, _MOUNT, _UNMOUNT) for mount in mounts if not _may_stay(mount, is_excluded)]
    return [*_at_the_top(uploads, is_excluded, _by_attributes), *found, *_of_a_pool(uploads)]


def _of_a_pool(uploads: Path) -> list[Immovable]:
    """That mergerfs refuses to rename from one of its disks to another, where it is set to keep paths on theirs."""
    place = os.path.realpath(uploads)
    while not os.path.ismount(place):
        place = os.path.dirname(place)
    control = os.path.join(place, ".mergerfs")
    try:
        policy = os.getxattr(control, "user.mergerfs.func.create")
        may_rename = os.getxattr(control, "user.mergerfs.ignorepponrename") == b"true"
    except OSError:
        return []  # no pool, or one of another kind
    if may_rename or not policy.startswith((b"ep", b"msp")):
        return []
    why = f"mergerfs with the policy {policy.decode('ascii', 'replace')} renames nothing from one disk to another"
    return [Immovable(".", why, "Mount it with ignorepponrename=true, or with category.create=mfs.")]


def _at_the_top(
    uploads: Path,
    is_excluded: Callable[[str], bool] | None,
    judge: Callable[[int, bytes, os.stat_result], Immovable | None],
) -> list[Immovable]:
    """What `judge` finds of the uploads themselves and of the entries at their top."""
    descriptor = os.open(uploads, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        names = [name for name in map(os.fsencode, os.listdir(descriptor)) if not is_left_alone(descriptor, name)]
        root = os.fstat(descriptor)
        looked = [judge(descriptor, name, root) for name in (b".", *sorted(names))]
    finally:
        os.close(descriptor)
    return [each for each in looked if each is not None and not _may_stay(each.path, is_excluded)]


def _may_stay(path: str, is_excluded: Callable[[str], bool] | None) -> bool:
    return is_excluded is not None and (is_excluded(path) or is_excluded(f"{path}/"))


def _not_ours(uploads: int, name: bytes, root: os.stat_result) -> Immovable | None:
    """Whether its owner keeps this user from moving it."""
    me = os.geteuid()
    if me == 0 or name == b".":
        return None
    try:
        status = os.lstat(name, dir_fd=uploads)
    except FileNotFoundError:
        return None  # the app has removed it meanwhile
    if root.st_mode & stat.S_ISVTX and me not in (status.st_uid, root.st_uid):
        return Immovable(os.fsdecode(name), f"it belongs to uid {status.st_uid} in a sticky directory", _OWNER)
    if stat.S_ISDIR(status.st_mode) and status.st_uid != me and not os.access(name, os.W_OK, dir_fd=uploads):
        why = f"it belongs to uid {status.st_uid} with mode {stat.S_IMODE(status.st_mode):04o}"
        return Immovable(os.fsdecode(name), why, _OWNER)
    return None


def _by_attributes(uploads: int, name: bytes, _root: os.stat_result) -> Immovable | None:
    """Whether its attributes keep it where it is (chattr(1))."""
    shown = os.fsdecode(name)
    why = why_fixed(uploads, shown)
    return Immovable(shown, why, f"As root: chattr -i -a {shown}. Then restore again.") if why else None
