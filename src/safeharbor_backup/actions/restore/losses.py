"""Which uploads a restore takes away or sets back: one walk of the live tree beside the archive's list of files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safeharbor_backup.archive.listing import Change, compare_lines
from safeharbor_backup.uploads.live_files import live_lines
from safeharbor_backup.uploads.omissions import CappedList

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from safeharbor_backup.settings.upload_dirs import UploadDirs


def compare_uploads(
    dirs: UploadDirs, lines: Iterable[bytes], taken_at: datetime, is_excluded: Callable[[str], bool] | None = None
) -> list[str]:
    """What of the live files would be lost, in words. `lines` are those of the archive's files in their order.

    A file in both is lost if it was modified after the second in which the backup began. Only names and times are
    compared, no content. Raises ArchiveRejected, OSError, SafeHarborError if the tree cannot be listed.
    """
    found = {change: CappedList() for change in Change}
    for change, path in compare_lines(lines, live_lines(dirs, taken_at, is_excluded)):
        found[change].add(path)
    added, changed = found[Change.ADDED], found[Change.CHANGED]
    losses = []
    if added.count:
        losses.append(f"{_uploads(added)} added since this backup: {added.first()}")
    if changed.count:
        losses.append(f"the present content of {_uploads(changed)} changed since this backup: {changed.first()}")
    return losses


def _uploads(listed: CappedList) -> str:
    return f"{listed.count:,} upload{'s' if listed.count != 1 else ''}"
