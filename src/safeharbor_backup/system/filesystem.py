"""Which filesystem an open file is on (statfs(2)), which mount it was reached by, and what is mounted below it."""

from __future__ import annotations

import ctypes
import errno
import os
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

EXT4 = 0xEF53
XFS = 0x58465342
BTRFS = 0x9123683E
F2FS = 0xF2F52010
BCACHEFS = 0xCA451A4E
ZFS = 0x2FC12FC1
TMPFS = 0x01021994
_NO_MODES = (errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
_OCTAL = re.compile(rb"\\([0-7]{3})")
_libc = ctypes.CDLL(None, use_errno=True)


def filesystem_of(descriptor: int) -> int:
    """The number of an open file's filesystem type; 0 if it is unknown. It is the first word of `struct statfs`."""
    answer = (ctypes.c_ulong * 64)()  # larger than any struct statfs
    if _libc.fstatfs(descriptor, answer) != 0:
        return 0
    return int(answer[0]) & 0xFFFFFFFF


def set_mode(descriptor: int, mode: int) -> bool:
    """Give an open file these permissions; False where the filesystem has none of its own: shares, FAT, NTFS.

    Raises OSError for whatever else fails.
    """
    try:
        os.fchmod(descriptor, mode)
    except OSError as error:
        if error.errno not in _NO_MODES:
            raise
        return False
    return True


def names_in(directory: int) -> list[bytes]:
    """What is in an open directory now. Raises OSError.

    Btrfs goes on listing what was there when a descriptor was opened, so a new one is opened for each look.
    """
    descriptor = os.open(b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory)
    try:
        return list(map(os.fsencode, os.listdir(descriptor)))
    finally:
        os.close(descriptor)


def is_inode(directory: int, name: bytes, inode: int) -> bool:
    """Whether an entry of an open directory is the file of this number on the directory's filesystem. Raises OSError.

    A listing does not show it: for a Btrfs subvolume or a mount point it has a number of another kind.
    """
    try:
        status = os.lstat(name, dir_fd=directory)
    except FileNotFoundError:
        return False
    return (status.st_dev, status.st_ino) == (os.fstat(directory).st_dev, inode)


def mount_of(descriptor: int) -> int:
    """The number of the mount that an open file was reached by (proc(5), fdinfo). Raises OSError.

    `st_dev` does not show it: a bind mount of the same filesystem has the same one, a Btrfs subvolume another.
    """
    with open(f"/proc/self/fdinfo/{descriptor}", "rb", buffering=0) as file:
        for line in file.read(1000).splitlines():
            if line.startswith(b"mnt_id:"):
                return int(line[7:])
    return 0


def location_of(directory: Path) -> tuple[bytes, bytes] | None:
    """The device of a directory and its path in that filesystem, whichever mounts lead there (proc(5), mountinfo).

    None if it is not there, or that is unknown.
    """
    try:
        descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        wanted = b"%d" % mount_of(descriptor)
        path = os.fsencode(os.readlink(f"/proc/self/fd/{descriptor}"))
    finally:
        os.close(descriptor)
    with open("/proc/self/mountinfo", "rb") as file:
        for line in file:
            number, _, device, *paths = line.split(b" ")[:5]
            if number == wanted:
                root, place = map(_plain, paths)
                return device, os.path.normpath(os.path.join(root, os.path.relpath(path, place)))
    return None


def mounts_below(directory: Path) -> list[bytes]:
    """The mount points below `directory`, as paths relative to it (proc(5), mountinfo). Raises OSError."""
    root = os.fsencode(os.path.realpath(directory)).rstrip(b"/") + b"/"
    found = set()
    with open("/proc/self/mountinfo", "rb") as file:
        for line in file:
            place = _plain(line.split(b" ")[4])
            if place.startswith(root) and len(place) > len(root):
                found.add(place[len(root) :])
    return sorted(found)


def _plain(path: bytes) -> bytes:
    """A path of mountinfo as it is."""
    return _OCTAL.sub(lambda match: bytes([int(match[1], 8)]), path)
