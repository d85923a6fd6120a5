"""The state of the backups in a file, for those who must not reach the archives."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from msgspec.structs import replace

from safeharbor_backup.actions.status.document import describe_status
from safeharbor_backup.actions.status.document_values import in_seconds
from safeharbor_backup.actions.status.published_lists import publish_lists
from safeharbor_backup.actions.status.run import read_status
from safeharbor_backup.system.documents import dump_document
from safeharbor_backup.system.small_file import replace_small_file

if TYPE_CHECKING:
    from pathlib import Path

    from safeharbor_backup.settings.model import Settings

_MODE = 0o644  # who shows it is another user, often in another container


def publish_status(settings: Settings, path: Path) -> tuple[str, ...]:
    """Put the state, by `BACKUP_MAX_AGE`, and the time into the file at `path`, and what is in each archive beside it.

    Both are readable for everybody. What kept the latter from being published is returned, in words.

    If the backup directory cannot be read, what is there stays, and its `published_at` gets old.
    Raises SafeHarborError, OSError.
    """
    status = read_status(settings)
    document = replace(describe_status(status, settings), published_at=in_seconds(datetime.now(UTC)))
    replace_small_file(path, dump_document(document, is_compact=True).encode() + b"\n", mode=_MODE)
    return publish_lists(status.archives, path)
