"""The state of the backups in a file, for those who must not reach the archives."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from safeharbor_backup.actions.status.document import describe_status, iso
from safeharbor_backup.actions.status.run import read_status
from safeharbor_backup.system.small_file import replace_small_file

if TYPE_CHECKING:
    from pathlib import Path

    from safeharbor_backup.settings.model import Settings

_MODE = 0o644  # who shows it is another user, often in another container


def publish_status(settings: Settings, path: Path) -> None:
    """Put the state, by `BACKUP_MAX_AGE`, and the time into the file at `path`; readable for everybody.

    If the backup directory cannot be read, what is there stays, and its `published_at` gets old.
    Raises SafeHarborError, OSError.
    """
    document = describe_status(read_status(settings), settings)
    document["published_at"] = iso(datetime.now(UTC))
    replace_small_file(path, json.dumps(document, separators=(",", ":")).encode() + b"\n", mode=_MODE)
