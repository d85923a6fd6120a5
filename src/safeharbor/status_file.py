"""The state of the backups as one JSON document: what `status --json` prints, and what others read from a file."""

from __future__ import annotations

import json
import os
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from safeharbor.publish import published_whole, sweep_drafts, write_all
from safeharbor.status import read_status

if TYPE_CHECKING:
    from pathlib import Path

    from safeharbor.settings import Settings
    from safeharbor.status import Status

_MODE = 0o644  # who shows it is another user, often in another container
_DRAFT_LASTS_SECONDS = 3600.0


def describe_status(status: Status) -> dict[str, object]:
    """The document. It holds no secret: no address of a database, nothing of the environment."""
    newest = status.newest
    return {
        "schema": 1,
        "health": status.health.name.lower(),
        "healthy": status.is_healthy,
        "reasons": list(status.reasons),
        "max_age_seconds": status.max_age_seconds,
        "age_seconds": status.age_seconds,
        "archives": status.archives,
        "damaged": status.damaged,
        "kept": [
            {
                "id": record.id,
                "restored_at": record.started_at,
                "archive": record.archive,
                "undone": record.is_undone,
                "size_bytes": record.kept_database_bytes + record.kept_uploads_bytes,
                "logical_slots": record.slots,
            }
            for record in status.kept
        ],
        "newest": None
        if newest is None or newest.manifest is None
        else {
            "name": newest.name,
            "path": str(newest.path),
            "taken_at": _iso(newest.taken_at),
            "size_bytes": newest.size,
            "tables": len(newest.manifest.tables),
            "rows": newest.manifest.rows,
            "upload_files": newest.manifest.upload_files,
            "upload_bytes": newest.manifest.upload_bytes,
        },
    }


def publish_status(settings: Settings, path: Path) -> None:
    """Put the state, by `BACKUP_MAX_AGE`, and the time into the file at `path`; readable for everybody.

    If the backup directory cannot be read, what is there stays, and its `published_at` gets old.
    Raises SafeHarborError, OSError.
    """
    document = describe_status(read_status(settings))
    document["published_at"] = _iso(datetime.now(UTC))
    # no lock keeps two publishers apart; a draft that is young may be the other's
    sweep_drafts(path.parent, re.compile(re.escape(path.name)), older_than_seconds=_DRAFT_LASTS_SECONDS)
    with published_whole(path, replace=True) as draft:
        write_all(draft.descriptor, json.dumps(document, indent=2).encode() + b"\n")
        os.fchmod(draft.descriptor, _MODE)


def _iso(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
