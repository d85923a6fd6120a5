"""The scratch directory of a drill: uploads are extracted into it and read back, and then it goes.

A file in it is held as long as its drill lives, so what a killed one left differs from what is in use.
"""

from __future__ import annotations

import os
import re
import stat
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from safeharbor_backup.errors import translate_os_error
from safeharbor_backup.postgres.scratch_database import MARK, is_id_of_drill
from safeharbor_backup.system.atomic_file import write_all
from safeharbor_backup.system.lock import try_lock_exclusive
from safeharbor_backup.system.signals import signals_held
from safeharbor_backup.uploads.removal import remove_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_NAME = re.compile(r"\.safeharbor-drill-(?P<id>[0-9a-f]{12})")
_MARKER = "in-use"
_MARK = f"{MARK}. Delete this directory if no drill is running.\n".encode()
_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_YOUNG_SECONDS = 60.0  # between making a directory and holding its marker passes a moment
_LONGEST_DRILL_SECONDS = 7 * 86400.0  # where there are no locks, only age shows it


@contextmanager
def scratch_directory(parent: Path, drill_id: str, warn: Callable[[str], None]) -> Iterator[Path]:
    """An empty directory for uploads below `parent` that only we can enter; gone when the block ends.

    Raises StorageUnavailable. What hinders its removal goes to `warn`.
    """
    path = parent / f".safeharbor-drill-{drill_id}"
    descriptor = -1
    try:
        try:
            os.mkdir(path, 0o700)
            os.chmod(path, 0o700)  # a umask or a default ACL may have had its say
            descriptor = os.open(path / _MARKER, _CREATE, 0o600)
            try_lock_exclusive(descriptor)
            write_all(descriptor, _MARK)
            os.mkdir(path / "uploads", 0o700)
        except OSError as error:
            raise translate_os_error(error, "making the scratch directory of the drill") from error
        yield path / "uploads"
    finally:
        try:
            with signals_held():
                _remove(path)
        except OSError as error:
            warn(f"the scratch directory {path} could not be removed: {error.strerror}; the next drill tries again")
        if descriptor >= 0:
            os.close(descriptor)


def find_left_directories(parent: Path) -> list[Path]:
    """The scratch directories in `parent` of drills that are gone, and that we may remove. Raises OSError."""
    with os.scandir(parent) as entries:
        found = [_NAME.fullmatch(entry.name) for entry in entries]
    named = sorted(each[0] for each in found if each is not None and is_id_of_drill(each["id"]))
    return [parent / name for name in named if _is_left(parent / name)]


def remove_left_directory(path: Path) -> None:
    """Remove one that was found, unless somebody is at it now. Raises OSError."""
    if _is_left(path):
        _remove(path)


def _is_left(path: Path) -> bool:
    try:
        about = os.lstat(path)
        if not stat.S_ISDIR(about.st_mode) or os.geteuid() not in (0, about.st_uid):
            return False
        if not os.path.lexists(path / _MARKER):
            return not os.listdir(path) and _age_of(about) > _YOUNG_SECONDS
        descriptor = os.open(path / _MARKER, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False  # going at this moment, or not ours
    try:
        about = os.fstat(descriptor)
        is_ours = stat.S_ISREG(about.st_mode) and _MARK.startswith(os.pread(descriptor, len(_MARK) + 1, 0))
        is_free = try_lock_exclusive(descriptor)
        if is_free is None:
            return is_ours and _age_of(about) > _LONGEST_DRILL_SECONDS
        return is_ours and is_free and (about.st_size > 0 or _age_of(about) > _YOUNG_SECONDS)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    """The marker goes last: with it the directory is ours to remove."""
    if not os.path.lexists(path):
        return
    for name in sorted(os.listdir(path), key=lambda each: each == _MARKER):
        remove_tree(path / name)
    os.rmdir(path)


def _age_of(about: os.stat_result) -> float:
    return time.time() - about.st_mtime
