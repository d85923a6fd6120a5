"""Whether the next archive fits where archives are, by what the previous one and the live data take."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from safeharbor_backup.archive.layout import time_in_name
from safeharbor_backup.errors import StorageUnavailable
from safeharbor_backup.settings.min_free import free_backups, show_room
from safeharbor_backup.uploads.estimate import estimate_size

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from safeharbor_backup.archive.manifest import Manifest
    from safeharbor_backup.settings.min_free import MinFree
    from safeharbor_backup.settings.upload_dirs import Excluded, UploadDirs
    from safeharbor_backup.uploads.estimate import Estimate
    from safeharbor_backup.uploads.sharing import Sharing

# a compressed dump is seldom smaller than this part of its database
_SMALLEST_DUMP_PART = 20


def require_space(
    min_free: MinFree,
    directory: Path,
    database_size_bytes: int,
    previous: Manifest | None,
    uploads: Estimate,
    sharing: Sharing,
    other_databases: Mapping[str, int] | None = None,
) -> tuple[Sharing, str]:
    """How to share blocks so that there is space, and a warning if that is not as the settings want it.

    `other_databases`: the sizes of those beside the main one, by name. Where there is no space to write everything
    again, an archive with old blocks is better than none. Raises StorageUnavailable.
    """
    dumped = {"": previous.dump_size} if previous is not None else {}
    dumped |= {each.name: each.dump_bytes for each in previous.databases} if previous is not None else {}
    dump = sum(
        dumped[name] * 11 // 10 if name in dumped else size // _SMALLEST_DUMP_PART
        for name, size in {"": database_size_bytes, **(other_databases or {})}.items()
    )
    try:
        _check_space(min_free, directory, dump + (uploads.newer if sharing.may_share else uploads.whole))
    except StorageUnavailable:
        despite = sharing.despite_age()
        if despite is sharing:
            raise
        _check_space(min_free, directory, dump + uploads.newer)
        return (
            despite,
            "there is no space to write everything again, as BACKUP_FULL_READ_DAYS asks; old blocks are shared",
        )
    return sharing, ""


def estimate_uploads(uploads: UploadDirs, is_excluded: Excluded | None, sharing: Sharing) -> Estimate:
    """What the uploads will take, by a walk; `newer` is what the archive that blocks are shared with does not have.

    Raises OSError.
    """
    basis = sharing.previous.name if sharing.previous is not None else ""
    return estimate_size(uploads, is_excluded, time_in_name(basis))


def _check_space(min_free: MinFree, directory: Path, needed: int) -> None:
    """There is room for so many bytes, and as much stays free as the settings want. Raises StorageUnavailable."""
    system = os.statvfs(directory)
    room = min_free.room(system)
    if room is not None and needed > room:
        raise StorageUnavailable(
            f"{show_room(directory, system, min_free)}; the next archive takes about {needed:,}.",
            hint=free_backups(),
        )
