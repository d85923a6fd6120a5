"""Archives that were there and are not: what the history and the published status know of an empty directory."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from safeharbor_backup.actions.catalog.last_runs import BACKUP
from safeharbor_backup.archive.layout import time_in_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
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
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return None
            document = json.loads(file.read(_LIMIT_BYTES))
        gone = document.get("gone")
        if gone:
            return _gone(gone, "seen_at")
        return _gone(document, "published_at") if document.get("newest") else None
    except (OSError, ValueError, RecursionError, AttributeError, KeyError, TypeError):
        return None


def _gone(found: Mapping[str, object], key: str) -> Gone | None:
    count, moment = found["archives"], datetime.fromisoformat(str(found[key]))
    return Gone(count, moment) if isinstance(count, int) and count > 0 and moment.tzinfo is not None else None
