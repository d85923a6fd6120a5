"""Whether a filesystem takes the names of an archive: tried with these names in a directory of our own.

On filesystems that are known to take every name nothing is written. Elsewhere one directory is made, and removed again;
what a killed trial has left is removed by the next one.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from safeharbor_backup.system.filesystem import BCACHEFS, BTRFS, EXT4, F2FS, TMPFS, XFS, ZFS, filesystem_of
from safeharbor_backup.system.inode_flags import CASEFOLD, flags_of
from safeharbor_backup.uploads.doubtful_names import alike_names, unusual_names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

_OVERLAY = 0x794C7630
_TAKES_ALL_NAMES = frozenset({EXT4, XFS, BTRFS, F2FS, BCACHEFS, ZFS, TMPFS, _OVERLAY})
_PREFIX = ".safeharbor-trial-"  # decision 79
_OURS = re.compile(rb"\.safeharbor-trial-[0-9a-f]{16}")
_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


@dataclass(frozen=True, slots=True)
class Refusals:
    """What the filesystem would not take. `names` and `twins` as the archive has them, the first of each kind."""

    names: tuple[bytes, ...] = ()
    twins: tuple[tuple[bytes, bytes], ...] = ()
    links: bool = False
    modes: bool = False
    owners: bool = False


def try_filesystem(
    uploads: Path,
    list_names: Callable[[], Iterable[bytes]],
    *,
    has_links: bool,
    owners: Iterable[tuple[int, int]],
) -> Refusals:
    """What in an archive the filesystem of `uploads` refuses; `list_names` gives the archive's names, again each time.

    `owners` are user and group of what is in it: some may not be ours to give.

    Raises OSError if there is not even room for an empty directory.
    """
    root = os.open(uploads, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if filesystem_of(root) in _TAKES_ALL_NAMES and not flags_of(root) & CASEFOLD:
            return Refusals(owners=not _takes_owners(root, owners))
        _sweep(root)
        with _own_directory(root) as place:
            return Refusals(
                names=tuple(name for name in unusual_names(list_names()) if not _takes_name(place, name)),
                twins=tuple(_twins(place, list_names())) if _folds(place) else (),
                links=has_links and not _takes_link(place),
                modes=not _takes_mode(place),
                owners=not _takes_owners(place, owners),
            )
    finally:
        os.close(root)


@contextmanager
def _own_directory(root: int) -> Iterator[int]:
    name = f"{_PREFIX}{secrets.token_hex(8)}"
    os.mkdir(name, 0o700, dir_fd=root)
    try:
        descriptor = os.open(name, _OPEN_DIRECTORY, dir_fd=root)
        try:
            if os.listdir(descriptor):  # somebody has given its name to another one, which is not ours to empty
                raise OSError(errno.ENOTEMPTY, "it was replaced as soon as it was made", name)
            yield descriptor
            _empty(descriptor)
        finally:
            os.close(descriptor)
    finally:
        with suppress(OSError):  # the next trial removes it
            os.rmdir(name, dir_fd=root)


def _empty(directory: int) -> None:
    for name in os.listdir(directory):
        with suppress(OSError):
            os.unlink(name, dir_fd=directory)


def _sweep(root: int) -> None:
    """Remove what killed trials left: directories of that name that hold nothing but empty files."""
    for name in map(os.fsencode, os.listdir(root)):
        if not _OURS.fullmatch(name):
            continue
        with suppress(OSError):
            descriptor = os.open(name, _OPEN_DIRECTORY, dir_fd=root)
            try:
                if all(os.stat(each, dir_fd=descriptor).st_size == 0 for each in os.listdir(descriptor)):
                    _empty(descriptor)
            finally:
                os.close(descriptor)
            os.rmdir(name, dir_fd=root)


def _takes_name(place: int, name: bytes) -> bool:
    """Whether a file of this name can be made, and is found again under the same one. Raises OSError if it is full."""
    try:
        os.close(os.open(name, _CREATE, 0o600, dir_fd=place))
    except OSError as error:
        if error.errno in _FULL:
            raise
        return False
    is_there = name in map(os.fsencode, os.listdir(place))
    with suppress(OSError):
        os.unlink(name, dir_fd=place)
    return is_there


def _are_one(place: int, one: bytes, other: bytes) -> bool:
    """Whether two names are one there."""
    try:
        os.close(os.open(one, _CREATE, 0o600, dir_fd=place))
        os.close(os.open(other, _CREATE, 0o600, dir_fd=place))
    except FileExistsError:
        return True
    except OSError:
        return False  # it is refused, which is reported for each name
    finally:
        _empty(place)
    return False


def _folds(place: int) -> bool:
    pairs = (("aa", "AA"), ("\u00e9", "\u00c9"), ("\u00e9", "e\u0301"))
    return any(_are_one(place, one.encode(), other.encode()) for one, other in pairs)


def _twins(place: int, names: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Pairs of names in one directory of the archive that are one there."""
    return (pair for pair in alike_names(names) if _are_one(place, *pair))


def _takes_link(place: int) -> bool:
    try:
        os.symlink("target", "link", dir_fd=place)
        os.unlink("link", dir_fd=place)
    except OSError as error:
        if error.errno in _FULL:
            raise
        return False
    return True


def _takes_mode(place: int) -> bool:
    descriptor = os.open("mode", _CREATE, 0o600, dir_fd=place)
    try:
        os.fchmod(descriptor, 0o644)
    except OSError:
        return False
    finally:
        os.close(descriptor)
        _empty(place)
    return True


def _takes_owners(directory: int, owners: Iterable[tuple[int, int]]) -> bool:
    """Whether we may give a file there to each of these; tried with one without a name, where there are such."""
    others = [owner for owner in owners if owner != (os.geteuid(), os.getegid())]
    if not others:
        return True
    with ExitStack() as stack:
        try:
            descriptor = os.open(".", os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o600, dir_fd=directory)
        except OSError:
            place = stack.enter_context(_own_directory(directory))
            descriptor = os.open("owner", _CREATE, 0o600, dir_fd=place)
        stack.callback(os.close, descriptor)
        try:
            for uid, gid in others:
                os.fchown(descriptor, uid, gid)
        except (OSError, OverflowError):
            return False
    return True
