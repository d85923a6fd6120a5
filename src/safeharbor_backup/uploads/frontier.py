"""What in the live uploads stays where it is when an archive's tree is exchanged for them, and what that means.

What the backup left out knowingly is no waste: what is excluded, mounts, pipes, sockets, devices and links that leave
the tree, unless the archive has that very path. The directories above each of these cannot be exchanged whole;
they are the frontier, whose entries are exchanged one by one.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from safeharbor_backup.archive import layout
from safeharbor_backup.errors import CannotRestore
from safeharbor_backup.system.filesystem import mounts_below, names_in
from safeharbor_backup.text import ascii_safe
from safeharbor_backup.uploads.movable import is_left_alone
from safeharbor_backup.uploads.removal import open_own_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_MOST = 100_000
_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Frontier:
    """Paths below the uploads: directories whose entries are exchanged one by one, and entries that stay."""

    directories: tuple[str, ...] = ()
    stays: tuple[str, ...] = ()


def find_frontier(uploads: Path, restored: int | None, is_excluded: Callable[[str], bool] | None) -> Frontier:
    """Where the exchange of `uploads` with the open directory `restored` (None: of anything) has to step down.

    `is_excluded` is what the archive left out by its patterns, as for a backup. Raises CannotRestore if something
    stays in the place of what the archive holds, or too much stays; OSError.
    """
    root = os.open(uploads, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    mounts = frozenset(mounts_below(uploads))
    stays: list[bytes] = []
    directories: set[bytes] = set()
    try:
        for path, is_mount in _staying(root, b"", is_excluded, mounts):
            if restored is not None and _is_there(restored, path):
                if is_mount:
                    raise refused_mount(uploads, path)
                continue  # the archive has it
            stays.append(path)
            above = path.rpartition(b"/")[0]
            while above and above not in directories:
                directories.add(above)
                above = above.rpartition(b"/")[0]
            if len(stays) > _MOST:
                raise CannotRestore(
                    f"More than {_MOST:,} entries of {uploads} are not in archives and would stay where they are, "
                    f"{os.fsdecode(path)} among them.",
                    hint="Delete the pipes, sockets and links that nobody needs, or exclude their directory.",
                )
        for path in directories:
            if restored is not None and _is_there(restored, path, but_directory=True):
                raise CannotRestore(
                    f"{uploads}/{os.fsdecode(path)} holds what stays where it is, and is not a directory in the "
                    "archive.",
                    hint="Restore into another directory with --upload-dir.",
                )
    finally:
        os.close(root)
    return Frontier(tuple(map(os.fsdecode, sorted(directories))), tuple(map(os.fsdecode, sorted(stays))))


def find_entered(root: int, side: int) -> tuple[str, ...]:
    """The directories in an open side of a stage that are live too: what an exchange has gone into, entry by entry.

    Raises CannotRestore if there are too many to have come of that, OSError.
    """
    found = []
    for path in _in_both(root, side, b""):
        found.append(os.fsdecode(path))
        if len(found) > _MOST:
            raise CannotRestore(f"More than {_MOST:,} directories are live and in the stage too.")
    return tuple(sorted(found))


def refused_mount(uploads: Path, path: bytes) -> CannotRestore:
    """The error for a mount point at `path` below the uploads, which an archive holds too."""
    return CannotRestore(
        f"{uploads}/{ascii_safe(os.fsdecode(path))} is a mount point, and the archive holds it: what is behind a mount "
        "cannot be exchanged.",
        hint="Unmount it, or restore into another directory with --upload-dir.",
    )


def _staying(
    directory: int, prefix: bytes, is_excluded: Callable[[str], bool] | None, mounts: frozenset[bytes]
) -> Iterator[tuple[bytes, bool]]:
    """Everything below an open directory that archives do not hold, and whether it is a mount, outermost first."""
    below: list[bytes] = []
    with os.scandir(directory) as entries:
        for entry in entries:
            name = os.fsencode(entry.name)
            path = prefix + name
            if not prefix and is_left_alone(directory, name):
                continue
            if path in mounts or _is_left_out(entry, path, directory, is_excluded):
                yield path, path in mounts
            elif entry.is_dir(follow_symlinks=False):
                below.append(name)
    for name in below if prefix.count(b"/") < layout.DEPTH_LIMIT else ():
        try:
            descriptor = os.open(name, _OPEN_DIRECTORY, dir_fd=directory)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            continue  # gone, or nothing that we could move from it
        try:
            yield from _staying(descriptor, prefix + name + b"/", is_excluded, mounts)
        finally:
            os.close(descriptor)


def _is_left_out(
    entry: os.DirEntry[str], path: bytes, directory: int, is_excluded: Callable[[str], bool] | None
) -> bool:
    is_directory = entry.is_dir(follow_symlinks=False)
    if is_excluded is not None and is_excluded(os.fsdecode(path) + ("/" if is_directory else "")):
        return True
    if is_directory or entry.is_file(follow_symlinks=False):
        return False
    if not entry.is_symlink():
        return True  # a pipe, a socket or a device
    try:
        link = os.readlink(os.fsencode(entry.name), dir_fd=directory)
    except OSError:
        return False  # gone
    return not layout.link_stays_inside(path.rpartition(b"/")[0], link)


def _in_both(one: int, other: int, prefix: bytes) -> Iterator[bytes]:
    for name in names_in(other) if prefix.count(b"/") < layout.DEPTH_LIMIT else ():
        with ExitStack() as stack:
            below = []
            try:
                for directory in (one, other):
                    below.append(open_own_directory(directory, name))
                    stack.callback(os.close, below[-1])
            except (FileNotFoundError, NotADirectoryError):
                continue
            yield prefix + name
            yield from _in_both(below[0], below[1], prefix + name + b"/")


def _is_there(root: int, path: bytes, *, but_directory: bool = False) -> bool:
    """Whether there is an entry of this path below an open directory; `but_directory`: one that is not a directory."""
    descriptor = os.dup(root)
    try:
        parts = path.split(b"/")
        for part in parts[:-1]:
            try:
                below = os.open(part, _OPEN_DIRECTORY, dir_fd=descriptor)
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                    raise
                return False
            os.close(descriptor)
            descriptor = below
        try:
            status = os.lstat(parts[-1], dir_fd=descriptor)
        except FileNotFoundError:
            return False
        return not (but_directory and stat.S_ISDIR(status.st_mode))
    finally:
        os.close(descriptor)
