"""The uploads tree in the archive's order: depth first, each directory's entries in byte order of their names.

Everything is looked at relative to an open directory and never through a symlink, so a tree that changes
during the walk cannot lead out of itself. Memory: the names of the directories on the way down.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from safeharbor.archive import layout
from safeharbor.errors import translate_os_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from safeharbor.uploads.omissions import Omissions

_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Entry(NamedTuple):
    """Something in the tree: its path below the root, its name in the open `directory`, and what stat said.

    `directory` is open only until the next entry is asked for.
    """

    path: bytes
    name: bytes
    directory: int
    status: os.stat_result


def open_root(root: Path) -> int:
    """A descriptor of the tree's root, which may itself be a symlink. Raises OSError."""
    return os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def walk_tree(root: int, is_excluded: Callable[[str], bool] | None, omissions: Omissions) -> Iterator[Entry]:
    """Every entry below the open directory `root` that can be archived; the others are noted in `omissions`.

    `is_excluded` gets a path below the root, with a trailing slash for a directory. Raises SafeHarborError only if
    the root itself cannot be listed.
    """
    try:
        stack = [(root, b"", iter(_sorted_names(root)))]
    except OSError as error:
        raise translate_os_error(error, "listing the uploads directory") from error
    try:
        while stack:
            directory, prefix, names = stack[-1]
            name = next(names, None)
            if name is None:
                stack.pop()
                if directory != root:
                    os.close(directory)
                continue
            path = prefix + name
            try:
                status = os.stat(name, dir_fd=directory, follow_symlinks=False)
            except OSError as error:
                note_failure(error, path, omissions)
                continue
            is_directory = stat.S_ISDIR(status.st_mode)
            if is_directory and directory == root and _is_left_out(name, root, status, omissions):
                continue
            if is_excluded is not None and is_excluded(os.fsdecode(path) + ("/" if is_directory else "")):
                omissions.excluded.add(path)
                continue
            if len(path) > layout.PATH_LIMIT_BYTES or len(name) > 255 or len(stack) > layout.DEPTH_LIMIT:
                omissions.skipped.add(path, layout.refuse_path(path))
                continue
            entry = Entry(path, name, directory, status)
            if not is_directory:
                yield entry
                continue
            below = _open_below(entry, omissions)
            if below is None:
                continue
            descriptor, inside = below
            stack.append((descriptor, path + b"/", iter(inside)))
            yield entry._replace(status=os.fstat(descriptor))
    finally:
        for descriptor, _, _ in stack:
            if descriptor != root:
                os.close(descriptor)


def note_failure(error: OSError, path: bytes, omissions: Omissions) -> None:
    """Note why something in the tree could not be looked at or read."""
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):  # gone, or replaced by something else
        omissions.vanished.add(path)
    else:
        omissions.unreadable.add(path, error.strerror or str(error))


def _open_below(entry: Entry, omissions: Omissions) -> tuple[int, list[bytes]] | None:
    """A directory's descriptor and names; an unreadable one is archived empty, a vanished one not at all."""
    try:
        descriptor = os.open(entry.name, _OPEN_DIRECTORY, dir_fd=entry.directory)
    except PermissionError as error:
        _note_unreadable(entry, error, omissions)
        try:
            return os.open(entry.name, _OPEN_DIRECTORY | os.O_PATH, dir_fd=entry.directory), []
        except OSError as vanished:
            note_failure(vanished, entry.path, omissions)
            return None
    except OSError as error:
        note_failure(error, entry.path, omissions)
        return None
    try:
        return descriptor, _sorted_names(descriptor)
    except OSError as error:
        _note_unreadable(entry, error, omissions)
        return descriptor, []


def _note_unreadable(directory: Entry, error: OSError, omissions: Omissions) -> None:
    omissions.unreadable.add(directory.path + b"/", error.strerror or str(error))
    omissions.unreadable_directories += 1


def _sorted_names(descriptor: int) -> list[bytes]:
    return sorted(map(os.fsencode, os.listdir(descriptor)))


def _is_left_out(name: bytes, root: int, status: os.stat_result, omissions: Omissions) -> bool:
    """Whether a directory at the root is root's own lost+found, or the staging directory of a restore of ours."""
    if name == b"lost+found":
        left_out = status.st_uid == 0
    elif layout.is_staging_name(name):
        try:
            os.stat(name + b"/" + layout.STAGING_MARKER, dir_fd=root, follow_symlinks=False)
            left_out = True
        except OSError:
            left_out = False
    else:
        return False
    if left_out:
        omissions.excluded.add(name)
    return left_out
