"""What a backup will do, decided before it touches anything but its locks."""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from safeharbor_backup.actions.catalog.entries import newest_manifest
from safeharbor_backup.actions.hindrances import describe_hindrances
from safeharbor_backup.archive.layout import ARCHIVE_NAME, archive_name
from safeharbor_backup.postgres.connection import bounded
from safeharbor_backup.settings.model import Concern
from safeharbor_backup.state.known_settings import describe_changed_uploads
from safeharbor_backup.uploads.collect import make_filter

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from safeharbor_backup.archive.manifest import Manifest
    from safeharbor_backup.settings.database_url import DatabaseUrl
    from safeharbor_backup.settings.model import Settings
    from safeharbor_backup.settings.upload_dirs import UploadDirs


@dataclass(frozen=True, slots=True)
class BackupPlan:
    """What a backup works with. `uploads` is empty if the app has none.

    `directory` is where the archive goes: as `output`, or under its own name. `previous` is the manifest of the newest
    archive there, for estimates. `is_full`: no block is shared. `is_in_backup_dir`: it goes where archives are compared
    with each other, and pruned if it `prunes`.
    """

    settings: Settings
    address: DatabaseUrl
    uploads: UploadDirs
    directory: Path
    output: Path | None
    is_excluded: Callable[[str], bool] | None
    previous: Manifest | None
    is_full: bool
    is_in_backup_dir: bool
    prunes: bool
    warnings: tuple[str, ...]

    @property
    def draft_names(self) -> re.Pattern[str]:
        """The names whose drafts a run that was killed may have left."""
        return re.compile(re.escape(self.output.name)) if self.output is not None else ARCHIVE_NAME

    @property
    def dump_bytes(self) -> int | None:
        """How large the dump will probably be; None without an archive to estimate from."""
        return self.previous.dump_size if self.previous is not None else None

    def free_name(self) -> tuple[Path, datetime]:
        """Where the archive goes and the moment it is of; a second that is taken is waited out."""
        while True:
            now = datetime.now(UTC)
            taken_at = now.replace(microsecond=0)
            if self.output is not None:
                return self.output, taken_at
            path = self.directory / archive_name(taken_at)
            if not os.path.lexists(path):
                return path, taken_at
            time.sleep((taken_at + timedelta(seconds=1) - now).total_seconds())


def plan_backup(
    settings: Settings, directory: Path, output: Path | None, *, prune: bool, full: bool, is_locked: bool
) -> BackupPlan:
    """The plan of a run in `directory`; changes nothing. Without locks there (not `is_locked`) it warns of that.

    Raises SettingsInvalid, StorageUnavailable, JournalBroken, OSError.
    """
    is_excluded = make_filter(settings.exclude)
    uploads = settings.upload_dirs
    without_age = settings.problems_in(Concern.SHARING)  # that costs time, and no backup
    warnings = (
        *(
            []
            if is_locked
            else [f"{directory} is on a filesystem without locks: nothing prevents two runs at once there"]
        ),
        *describe_changed_uploads(settings),
        *describe_hindrances(uploads, settings.backup_dir, is_excluded),
        *(f"all uploads are read and written again: {problem}" for problem in without_age),
    )
    is_in_backup_dir = os.path.realpath(directory) == os.path.realpath(settings.backup_dir)
    return BackupPlan(
        settings=settings,
        address=bounded(settings.database_address(), settings),
        uploads=uploads,
        directory=directory,
        output=output.absolute() if output is not None else None,
        is_excluded=is_excluded,
        previous=newest_manifest(directory),
        is_full=full or bool(without_age),
        is_in_backup_dir=is_in_backup_dir,
        prunes=prune and is_in_backup_dir,
        warnings=warnings,
    )
