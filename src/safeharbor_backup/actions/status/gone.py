"""Archives that were there and are not: what the history and the published status know of an empty directory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from safeharbor_backup.actions.catalog.last_runs import BACKUP
from safeharbor_backup.actions.status.schema import StatusDocument
from safeharbor_backup.archive.layout import time_in_name
from safeharbor_backup.system.documents import read_document
from safeharbor_backup.system.small_file import read_small_file

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime
    from pathlib import Path

    from safeharbor_backup.state.history import Outcome

_LIMIT_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Gone:
    """How many archives there were, and when that was known last."""

    archives: int
    seen_at: datetime


def find_gone(history: Iterable[Outcome], status_file: Path | None) -> Gone | None:
    """What is known of archives, for a directory that has none; None if there never were any, as far as is known."""
    known = [_in_history(history), _in_document(status_file) if status_file is not None else None]
    return max((each for each in known if each is not None), key=lambda each: each.seen_at, default=None)


def _in_history(history: Iterable[Outcome]) -> Gone | None:
    there: dict[str, datetime] = {}
    for outcome in history:
        if not outcome.is_success:
            continue
        if outcome.command == BACKUP and outcome.archive is not None and time_in_name(outcome.archive) is not None:
            there[outcome.archive] = outcome.started_at
        for key in ("pruned", "deleted"):
            names = outcome.details.get(key)
            for name in names if isinstance(names, list) else []:
                there.pop(str(name), None)
    return Gone(len(there), max(there.values())) if there else None


def _in_document(path: Path) -> Gone | None:
    try:
        document = read_document(read_small_file(path, _LIMIT_BYTES, follow_symlinks=True), StatusDocument)
    except (OSError, ValueError):
        return None
    if document.gone is not None:
        return _gone(document.gone.archives, document.gone.seen_at)
    return _gone(document.archives, document.published_at or None) if document.newest is not None else None


def _gone(archives: int, seen_at: datetime | None) -> Gone | None:
    return Gone(archives, seen_at) if archives > 0 and seen_at is not None else None
