"""Marks an archive so that retention never deletes it, or takes the mark away."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from safeharbor_backup.actions.prune import plan_prune
from safeharbor_backup.archive.layout import time_in_name
from safeharbor_backup.archive.source import opened_archive
from safeharbor_backup.errors import ArchiveNotFound, SettingsInvalid, translate_os_error
from safeharbor_backup.settings.model import Concern
from safeharbor_backup.state.marks import LONGEST_REASON, remove_mark, write_mark
from safeharbor_backup.text import typed

if TYPE_CHECKING:
    from pathlib import Path

    from safeharbor_backup.actions.catalog.retention import Verdict
    from safeharbor_backup.settings.model import Settings


def keep_archive(archive: Path, because: str, settings: Settings) -> None:
    """Mark an archive of the backup directory, with the reason; a mark that it has gets this one.

    Raises SettingsInvalid for an invalid reason, ArchiveNotFound, LockHeld while it is deleted, StorageUnavailable.
    """
    reason = " ".join(because.split())
    if not reason or len(reason) > LONGEST_REASON:
        raise SettingsInvalid([f"--because: expected a reason of 1 to {LONGEST_REASON} characters"])
    _require_ours(archive, settings)
    try:
        with opened_archive(archive):  # nor does a prune delete it at this moment
            write_mark(archive, reason)
            if not os.path.lexists(archive):  # where there are no locks
                remove_mark(archive)
                raise ArchiveNotFound(f"{archive.name} was deleted meanwhile.")
    except OSError as error:
        raise translate_os_error(error, "marking the archive") from error


def unkeep_archive(archive: Path, settings: Settings) -> Verdict | None:
    """Take its mark away; what retention says of it now, None if that is not known.

    Raises ArchiveNotFound if it is not in the backup directory or has no mark, StorageUnavailable.
    """
    _require_ours(archive, settings)
    try:
        had_one = remove_mark(archive)
    except OSError as error:
        raise translate_os_error(error, "removing the mark") from error
    if not had_one:
        raise ArchiveNotFound(f"{archive.name} is not marked.", hint=f"`{typed('list')}` shows those that are kept.")
    if settings.problems_in(Concern.RETENTION, Concern.SCHEDULE):
        return None
    return next((each for each in plan_prune(settings).verdicts if each.name == archive.name), None)


def _require_ours(archive: Path, settings: Settings) -> None:
    """Raises ArchiveNotFound for an archive that retention has nothing to do with."""
    settings.require(Concern.DIRECTORY)
    is_here = os.path.realpath(archive.parent) == os.path.realpath(settings.backup_dir)
    if not is_here or time_in_name(archive.name) is None:
        raise ArchiveNotFound(
            f"{archive} is not an archive of {settings.backup_dir}, so nothing ever prunes it.",
            hint="Only archives in BACKUP_DIR, under the names that backups give them, are pruned.",
        )
