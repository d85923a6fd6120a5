"""The state of the backups in a file, for those who must not reach the archives."""

from __future__ import annotations

import json
import os
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from safeharbor_backup.actions.status.document import describe_status, iso
from safeharbor_backup.actions.status.run import read_status
from safeharbor_backup.system.atomic_file import published_whole, sweep_drafts, write_all

if TYPE_CHECKING:
    from pathlib import Path

    from safeharbor_backup.settings.model import Settings

_MODE = 0o644  # who shows it is another user, often in another container
_DRAFT_LASTS_SECONDS = 3600.0


def publish_status(settings: Settings, path: Path) -> None:
    """Put the state, by `BACKUP_MAX_AGE`, and the time into the file at `path`; readable for everybody.

    If the backup directory cannot be read, what is there stays, and its `published_at` gets old.
    Raises SafeHarborError, OSError.
    """
    document = describe_status(read_status(settings), settings)
    document["published_at"] = iso(datetime.now(UTC))
    # no lock keeps two publishers apart; a draft that is young may be the other's
    sweep_drafts(path.parent, re.compile(re.escape(path.name)), older_than_seconds=_DRAFT_LASTS_SECONDS)
    with published_whole(path, replace=True) as draft:
        write_all(draft.descriptor, json.dumps(document, separators=(",", ":")).encode() + b"\n")
        os.fchmod(draft.descriptor, _MODE)
