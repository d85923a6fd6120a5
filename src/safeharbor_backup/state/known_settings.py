"""What the last good backup went by, without any secret: so that a restore needs no app, which may need its database.

The file is in the state directory beside the archives, where the app cannot write. It counts only if nobody else could
have put it there, and nothing of it is run.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from safeharbor_backup.settings.app_config import AppConfig
from safeharbor_backup.settings.table import SETTINGS
from safeharbor_backup.state.directory import STATE_DIRECTORY, make_state_directory
from safeharbor_backup.system.documents import dump_document, read_exactly
from safeharbor_backup.system.small_file import NotSmallFile, read_small_file, replace_small_file
from safeharbor_backup.text import iso_time

if TYPE_CHECKING:
    from pathlib import Path

    from safeharbor_backup.settings.model import Settings

KNOWN_NAME = "settings.json"
RETENTION_PREFIX = "BACKUP_RETENTION_"
_LONGEST_NUMBER = 10
_LIMIT_BYTES = 1 << 20
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
# programs, and how this run was started, are taken from nobody but who starts it
_NOT_TAKEN = ("BACKUP_PG_BIN", "BACKUP_COMMAND", "BACKUP_DIR")
_TAKEN = frozenset(each.name for each in SETTINGS if not each.is_secret and each.name not in _NOT_TAKEN)


@dataclass(frozen=True, slots=True)
class KnownSettings:
    """When it was written, the database as a connection string without its password, and settings as texts."""

    recorded_at: str
    database: str
    has_password: bool = False
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def config(self) -> AppConfig:
        """The same in the place of an app's configuration."""
        taken = {name: text for name, text in self.settings.items() if name in _TAKEN}
        values = {**taken, "SQLALCHEMY_DATABASE_URI": self.database}
        return AppConfig(values, origin=f"the backup of {self.recorded_at}")


def remember_settings(settings: Settings) -> None:
    """Write down what a good backup went by. Raises OSError, StorageUnavailable."""
    if settings.database is None:
        return
    given = {name: text for name, text in settings.given.items() if name in _TAKEN}
    known = KnownSettings(
        iso_time(datetime.now(UTC)),
        settings.database.conninfo(),
        settings.database.password is not None,
        {**find_retention_not_given(settings), **given},
    )
    state = make_state_directory(settings.backup_dir)
    replace_small_file(state / KNOWN_NAME, dump_document(known, indent=2).encode() + b"\n")


def read_known_settings(directory: Path) -> KnownSettings | None:
    """What is known of a backup directory; None if nothing is, it cannot be read, or others can have written it."""
    try:
        return _read(directory)
    except OSError:
        return None


def _read(directory: Path) -> KnownSettings | None:
    """The same. Raises OSError if it cannot be read, though it may be there and ours."""
    path = directory / STATE_DIRECTORY / KNOWN_NAME
    try:
        ours = {0, os.geteuid(), os.stat(directory).st_uid}
        for each in (path, path.parent):
            status = os.lstat(each)
            if status.st_uid not in ours or status.st_mode & _OTHERS_WRITE:
                return None
        return read_exactly(read_small_file(path, _LIMIT_BYTES), KnownSettings)
    except (FileNotFoundError, NotADirectoryError, NotSmallFile, ValueError):
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            return None
        raise


def find_retention_not_given(settings: Settings) -> dict[str, str]:
    """Retention that earlier backups were given and this run is not, though the defaults would keep less: by name.

    A command that is typed outside the app does not know what the app's configuration says. Raises OSError if what
    they were given cannot be read.
    """
    known = _read(settings.backup_dir)
    if known is None:
        return {}
    return {
        each.name: text
        for each in SETTINGS
        if each.name.startswith(RETENTION_PREFIX) and each.name not in settings.given
        if _is_more(text := known.settings.get(each.name, ""), getattr(settings, each.field))
    }


def _is_more(text: str, now: int) -> bool:
    return text.isascii() and text.isdigit() and len(text) < _LONGEST_NUMBER and int(text) > now


def describe_changed_uploads(settings: Settings) -> list[str]:
    """A line if the same database's uploads were in another directory at the last good backup."""
    known = read_known_settings(settings.backup_dir)
    if known is None or settings.database is None or known.database != settings.database.conninfo():
        return []
    before, now = known.settings.get("BACKUP_UPLOAD_DIR"), settings.given.get("BACKUP_UPLOAD_DIR")
    if before is None or now is None or before == now:
        return []
    return [f"the uploads directory has changed since the last backup: it was {before}, now it is {now}"]
