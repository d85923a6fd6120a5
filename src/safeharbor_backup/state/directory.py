"""The directory `.safeharbor` beside the archives: what runs remember. None of it is needed to restore."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING

from safeharbor_backup.errors import translate_os_error
from safeharbor_backup.system.lock import lock_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STATE_DIRECTORY = ".safeharbor"
DRILL_LOCK_NAME = "drill.lock"


def make_state_directory(directory: Path) -> Path:
    """The state directory of a backup directory, made if need be, with mode 0700 and the owner of `directory`.

    Raises OSError, also if something else stands there: root must not be led elsewhere by a link.
    """
    state = directory / STATE_DIRECTORY
    try:
        os.mkdir(state, 0o700)
    except FileExistsError:
        if not stat.S_ISDIR(os.lstat(state).st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), os.fspath(state)) from None
    if os.geteuid() == 0:
        owner = os.stat(directory)
        os.chown(state, owner.st_uid, owner.st_gid, follow_symlinks=False)
    return state


@contextmanager
def drill_lock(directory: Path) -> Iterator[None]:
    """Hold the lock of drills in a backup directory, beside any other run there.

    Raises LockHeld, StorageUnavailable.
    """
    opening = "opening the lock file of drills"
    try:
        path = make_state_directory(directory) / DRILL_LOCK_NAME
    except OSError as error:
        raise translate_os_error(error, opening) from error
    with lock_file(path, directory, opening, f"Another drill is at work in {directory}."):
        yield
