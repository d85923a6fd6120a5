"""What a drill leaves behind on purpose: one JSON file beside the archives for each of the last drills."""

from __future__ import annotations

import json
import os
import re
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from safeharbor_backup.system.small_file import replace_small_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

KEPT = 60  # more than a year, week by week
EVIDENCE_NAME = re.compile(r"safeharbor-drill-(\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ)\.json", re.ASCII)
_TIME_IN_NAME = "%Y-%m-%dT%H-%M-%SZ"


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
    replace_small_file(path, json.dumps(document, indent=1).encode("ascii") + b"\n", names=EVIDENCE_NAME, is_new=True)
    for name in _names_in(directory)[KEPT:]:
        with suppress(OSError):
            os.unlink(directory / name)


def _names_in(directory: Path) -> list[str]:
    """The newest first."""
    return sorted((name for name in os.listdir(directory) if EVIDENCE_NAME.fullmatch(name)), reverse=True)
