"""How much space the uploads will take in an archive, by a walk that reads nothing."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING, NamedTuple

from safeharbor_backup.archive import layout
from safeharbor_backup.uploads.omissions import Omissions
from safeharbor_backup.uploads.tree_entries import Batch
from safeharbor_backup.uploads.walk import opened_tree, walk_batches

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from safeharbor_backup.settings.upload_dirs import UploadDirs


class Estimate(NamedTuple):
    """What the tree will take in an archive, and what of it was changed since an earlier archive. In bytes."""

    whole: int
    newer: int


def estimate_size(
    dirs: UploadDirs, is_excluded: Callable[[str], bool] | None, since: datetime | None = None
) -> Estimate:
    """How many bytes the tree will take in an archive, by a walk without reading; sparse files at their whole size.

    Raises OSError.
    """
    since_ns = int(since.timestamp()) * 1_000_000_000 if since is not None else 0
    whole = newer = 0
    with opened_tree(dirs) as roots:
        for found in walk_batches(roots, is_excluded, Omissions()):
            if not isinstance(found, Batch):
                whole += layout.BLOCK
                newer += layout.BLOCK
                continue
            for status in found.statuses:
                size = layout.BLOCK
                if stat.S_ISREG(status.st_mode):
                    size += -(-status.st_size // layout.BLOCK) * layout.BLOCK
                whole += size
                if status.st_ctime_ns >= since_ns:
                    newer += size
    return Estimate(whole, newer)
