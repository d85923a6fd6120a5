"""Which uploads a restore takes away or sets back: one walk of the live tree beside the archive's list of files."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from safeharbor_backup.archive.layout import UPLOADS_NAME
from safeharbor_backup.uploads.omissions import Listed, Omissions
from safeharbor_backup.uploads.walk import open_root, walk_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime
    from pathlib import Path

_NANOSECONDS = 10**9


def compare_uploads(
    uploads: Path, names: Iterable[bytes], taken_at: datetime, is_excluded: Callable[[str], bool] | None = None
) -> list[str]:
    """What of the live files would be lost, in words. `names` are the archive's regular members in their order.

    A file in both is lost if it was modified after the second in which the backup began. Only names and times are
    compared, no content. Raises OSError, SafeHarborError if the tree cannot be listed.
    """
    began = (int(taken_at.timestamp()) + 1) * _NANOSECONDS
    added, changed = Listed(), Listed()
    archived = _split(names)
    current = next(archived, None)
    root = open_root(uploads)
    try:
        for path, status in _live_files(root, is_excluded):
            key = path.split(b"/")
            while current is not None and current < key:
                current = next(archived, None)
            if current != key:
                added.add(path)
            elif status.st_mtime_ns >= began:
                changed.add(path)
    finally:
        os.close(root)
    losses = []
    if added.count:
        losses.append(f"{_uploads(added)} added since this backup: {added.first()}")
    if changed.count:
        losses.append(f"the present content of {_uploads(changed)} changed since this backup: {changed.first()}")
    return losses


def _uploads(listed: Listed) -> str:
    return f"{listed.count:,} upload{'s' if listed.count != 1 else ''}"


def _split(names: Iterable[bytes]) -> Iterator[list[bytes]]:
    for name in names:
        if name.startswith(UPLOADS_NAME):
            yield name[len(UPLOADS_NAME) :].split(b"/")


def _live_files(root: int, is_excluded: Callable[[str], bool] | None) -> Iterator[tuple[bytes, os.stat_result]]:
    for entry in walk_tree(root, is_excluded, Omissions()):
        if stat.S_ISREG(entry.status.st_mode):
            yield entry.path, entry.status
