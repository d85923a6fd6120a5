"""Uploads that were extracted, read back from the disk and compared with SHA256SUMS."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from safeharbor_backup.archive.layout import UPLOADS_NAME
from safeharbor_backup.errors import require_own_resources
from safeharbor_backup.uploads.omissions import CappedList

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from safeharbor_backup.progress import Progress

_CHUNK = 1024 * 1024
_REPORT_BYTES = 8 * 1024 * 1024


@dataclass(slots=True)
class ReadBack:
    """How many files were compared, and those that differ or could not be read. Size in bytes."""

    files: int = 0
    size_bytes: int = 0
    different: CappedList = field(default_factory=CappedList)
    unreadable: CappedList = field(default_factory=CappedList)


def read_back(uploads: Path, sums: Iterable[tuple[bytes, str]], progress: Progress) -> ReadBack:
    """Compare each file below uploads/ in `sums` (name in the archive, SHA-256 in hex) with what is in `uploads`.

    Raises OSError if the directory itself cannot be opened.
    """
    found = ReadBack()
    unreported = 0
    root = os.open(uploads, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name, digest in sums:
            if not name.startswith(UPLOADS_NAME):
                continue
            path = name[len(UPLOADS_NAME) :]
            try:
                size, restored = _digest_of(path, root)
            except PermissionError as error:  # a mode that shuts out its own owner
                found.unreadable.add(path, str(error.strerror))
                continue
            except OSError as error:
                require_own_resources(error, "reading the copy back")
                found.different.add(path, str(error.strerror))
                continue
            found.files += 1
            found.size_bytes += size
            unreported += size + 512
            if restored != digest:
                found.different.add(path, f"{restored} instead of {digest}")
            if unreported >= _REPORT_BYTES:
                progress.advance(unreported)
                unreported = 0
    finally:
        os.close(root)
    progress.advance(unreported)
    return found


def _digest_of(path: bytes, root: int) -> tuple[int, str]:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=root)
    try:
        digest = hashlib.sha256()
        size = 0
        while chunk := os.read(descriptor, _CHUNK):
            digest.update(chunk)
            size += len(chunk)
        return size, digest.hexdigest()
    finally:
        os.close(descriptor)
