"""Deletes one archive, unless somebody reads it or it is marked to stay."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from safeharbor_backup.actions.catalog.retention import Reason, Why
from safeharbor_backup.state.marks import is_kept
from safeharbor_backup.system.atomic_file import when_closed
from safeharbor_backup.system.lock import is_being_read

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_IN_USE = Reason(Why.IN_USE, "it is being read")


def delete_archive(path: Path) -> tuple[int, Reason | None]:
    """The size in bytes of what was deleted, or why it was not."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        return 0, _refused(error)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return 0, Reason(Why.REFUSED, "it is not a regular file any more")
        if is_being_read(descriptor):
            return 0, _IN_USE
        if is_kept(path):  # since the plan was made; who marks it holds it meanwhile
            return 0, Reason(Why.KEPT, "kept")
        try:
            return _unlink(path), None
        except OSError as error:
            if error.errno != errno.EBUSY:
                return 0, _refused(error)
    finally:
        os.close(descriptor)
    try:  # some shares remove no open file, ours or somebody else's
        return _unlink(path, when_closed), None
    except OSError as error:
        return 0, _refused(error)


def _refused(error: OSError) -> Reason:
    return Reason(Why.REFUSED, error.strerror or str(error))


def _at_once(action: Callable[[], None]) -> None:
    action()


def _unlink(path: Path, do: Callable[[Callable[[], None]], None] = _at_once) -> int:
    """The size of what was deleted. Raises OSError."""
    size = os.lstat(path).st_size
    do(lambda: os.unlink(path))
    return size
