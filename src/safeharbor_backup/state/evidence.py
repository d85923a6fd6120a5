"""What a drill leaves behind on purpose: one JSON file beside the archives for each of the last drills."""

from __future__ import annotations

import json
import os
import re
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from safeharbor_backup.system.atomic_file import published_whole, sweep_drafts, write_all

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

KEPT = 60  # more than a year, week by week
EVIDENCE_NAME = re.compile(r"safeharbor-drill-(\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ)\.json", re.ASCII)
_TIME_IN_NAME = "%Y-%m-%dT%H-%M-%SZ"
_LIMIT_BYTES = 1 << 20
_DRAFT_LASTS_SECONDS = 3600.0


def free_evidence(directory: Path) -> tuple[Path, datetime]:
    """Where the evidence of a drill that begins now goes; a second that is taken is waited out."""
    while True:
        now = datetime.now(UTC).replace(microsecond=0)
        path = directory / now.strftime(f"safeharbor-drill-{_TIME_IN_NAME}.json")
        if not os.path.lexists(path):
            return path, now
        time.sleep(0.2)


def publish_evidence(path: Path, document: Mapping[str, object]) -> None:
    """Write it, mode 0600, and remove the oldest beyond the last sixty. Raises OSError, StorageUnavailable."""
    directory = path.parent
    sweep_drafts(directory, EVIDENCE_NAME, older_than_seconds=_DRAFT_LASTS_SECONDS)
    with published_whole(path) as draft:
        write_all(draft.descriptor, json.dumps(document, indent=1).encode("ascii") + b"\n")
    for name in _names_in(directory)[KEPT:]:
        with suppress(OSError):
            os.unlink(directory / name)


def read_newest(directory: Path) -> Mapping[str, Any] | None:
    """The newest evidence in a backup directory, as it was written; None if there is none that can be read.

    What is not a document of ours is passed over. Besides its own keys it has `path`.
    """
    try:
        names = _names_in(directory)
    except OSError:
        return None
    for name in names:
        document = _read(directory / name)
        if document is not None:
            return {**document, "path": os.fspath(directory / name)}
    return None


def _names_in(directory: Path) -> list[str]:
    """The newest first."""
    return sorted((name for name in os.listdir(directory) if EVIDENCE_NAME.fullmatch(name)), reverse=True)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            document = json.loads(file.read(_LIMIT_BYTES))
        is_ours = (
            isinstance(document, dict)
            and isinstance(document["result"], str)
            and isinstance(document["exit_status"], int)
            and isinstance(document["archive"], dict)
            and isinstance(document["drilled_at"], str)
        )
        datetime.strptime(document["drilled_at"], "%Y-%m-%dT%H:%M:%SZ")
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return document if is_ours else None
