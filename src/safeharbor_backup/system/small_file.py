"""Small files that hold a document: read without being led elsewhere, and replaced whole."""

from __future__ import annotations

import errno
import os
import re
import stat
from typing import TYPE_CHECKING

from safeharbor_backup.system.atomic_file import published_whole, sweep_drafts, write_all

if TYPE_CHECKING:
    from pathlib import Path

DRAFT_LASTS_SECONDS = 3600.0  # no run writes longer at one of these


class NotSmallFile(OSError):
    """It is not a regular file, or is larger than any that we write; `errno` is EINVAL or EFBIG."""


def read_small_file(path: Path, limit_bytes: int, *, follow_symlinks: bool = False, only_end: bool = False) -> bytes:
    """What is in the file; `only_end` if a larger one is to give its last `limit_bytes`.

    It waits for nobody, not at a FIFO either. Raises NotSmallFile, OSError.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow_symlinks else os.O_NOFOLLOW)
    with open(path, "rb", opener=lambda name, _flags: os.open(name, flags)) as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise NotSmallFile(errno.EINVAL, "it is not a regular file", os.fspath(path))
        if found.st_size > limit_bytes and not only_end:
            raise NotSmallFile(errno.EFBIG, f"it is larger than {limit_bytes >> 20} MiB", os.fspath(path))
        file.seek(max(found.st_size - limit_bytes, 0))
        return file.read(limit_bytes)


def replace_small_file(
    path: Path, data: bytes, *, mode: int = 0o600, names: re.Pattern[str] | None = None, is_new: bool = False
) -> None:
    """Put `data` into the file, whole or not at all, and onto the disk.

    Removes what killed runs left in its directory of files of that name, or of these `names`: what is young may be
    another run's, for there need be no lock. Raises FileExistsError if it `is_new` and there is one, OSError,
    StorageUnavailable.
    """
    sweep_drafts(path.parent, names or re.compile(re.escape(path.name)), older_than_seconds=DRAFT_LASTS_SECONDS)
    with published_whole(path, replace=not is_new) as draft:
        write_all(draft.descriptor, data)
        if mode != 0o600:
            os.fchmod(draft.descriptor, mode)
