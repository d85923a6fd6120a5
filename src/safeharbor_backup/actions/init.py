"""Setting up: the answers are checked before anything is written, and nothing that is there is overwritten."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from safeharbor_backup.actions.app_data import find_missing
from safeharbor_backup.actions.preflight import check_apart, check_directory, check_uploads
from safeharbor_backup.actions.restore.role_checks import judge_target
from safeharbor_backup.errors import SafeHarborError, SettingsInvalid, translate_os_error
from safeharbor_backup.postgres.addresses import target_address
from safeharbor_backup.postgres.connection import bounded, connected
from safeharbor_backup.postgres.target import target_connected
from safeharbor_backup.settings.model import Concern
from safeharbor_backup.system.small_file import replace_small_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from safeharbor_backup.actions.app_data import AppData
    from safeharbor_backup.settings.model import Settings
    from safeharbor_backup.settings.upload_dirs import UploadDirs


@dataclass(frozen=True, slots=True)
class Checked:
    """What would keep the role from a restore beside the live database, and what the app has and an archive lacks."""

    refused: list[SafeHarborError]
    missing: AppData


def check_answers(settings: Settings) -> Checked:
    """Check the answers. Returns what there is to warn of; changes nothing.

    Raises SafeHarborError if no backup can be taken with these settings.
    """
    settings.require(Concern.DATABASE, Concern.UPLOADS, Concern.DIRECTORY, Concern.DUMP, Concern.RESTORE)
    check_uploads(settings)
    check_apart(settings.upload_dirs, settings.backup_dir)
    address, name = target_address(settings)
    with connected(bounded(settings.database_address(), settings)) as session:
        missing = find_missing(settings, session)
    with target_connected(address, name) as target, target.answering(), target.session.transaction():
        return Checked(judge_target(target, target.find(target.name)), missing)


def require_new(paths: Mapping[str, Path]) -> None:
    """Raises SettingsInvalid, naming each of these that is there, by the option that says it."""
    there = [
        f"{option}: expected a file that does not exist yet; {path} exists"
        for option, path in paths.items()
        if os.path.lexists(path)
    ]
    if there:
        raise SettingsInvalid(there, hint="Nothing is overwritten. Name another file, or remove this one yourself.")


def make_directory(directory: Path, uploads: UploadDirs) -> bool:
    """Whether the directory for archives was made: mode 0700, and if root makes it the uploads' owner's.

    Raises StorageUnavailable, OSError.
    """
    if os.path.lexists(directory):
        check_directory(directory)
        return False
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        directory.mkdir(mode=0o700)
        directory.chmod(0o700)  # a umask takes bits away, a default ACL adds some
        if os.geteuid() == 0 and uploads:
            owner = os.stat(uploads[0].path)
            os.chown(directory, owner.st_uid, owner.st_gid)
    except OSError as error:
        raise translate_os_error(error, f"making {directory}") from error
    check_directory(directory)
    return True


def write_new(path: Path, text: str) -> None:
    """Write a file of mode 0600 that was not there before. Raises SettingsInvalid, StorageUnavailable."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_small_file(path, text.encode(), is_new=True)
    except FileExistsError:
        require_new({"--settings-file": path})
        raise
    except OSError as error:
        raise translate_os_error(error, f"writing {path}") from error
