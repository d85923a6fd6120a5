"""The live uploads as lines beside those of an archive; only names and times are looked at, no content."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from safeharbor_backup.archive.layout import UPLOADS_NAME, sums_line
from safeharbor_backup.uploads.omissions import Omissions
from safeharbor_backup.uploads.walk import opened_tree, walk_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from safeharbor_backup.settings.upload_dirs import UploadDirs

_NANOSECONDS = 10**9
_OTHER = "changed"  # no SHA-256, and so another one than any


def live_lines(dirs: UploadDirs, taken_at: datetime, is_excluded: Callable[[str], bool] | None) -> Iterator[bytes]:
    """A line for each live file, in the order of archives. One that was modified after the second in which the backup
    began has another content than in the archive; of the others none is known.

    Raises OSError, SafeHarborError if the tree cannot be listed.
    """
    began = (int(taken_at.timestamp()) + 1) * _NANOSECONDS
    with opened_tree(dirs) as roots:
        for entry in walk_tree(roots, is_excluded, Omissions()):
            if stat.S_ISREG(entry.status.st_mode):
                digest = _OTHER if entry.status.st_mtime_ns >= began else ""
                yield sums_line(UPLOADS_NAME + entry.path, digest).removesuffix(b"\n")
