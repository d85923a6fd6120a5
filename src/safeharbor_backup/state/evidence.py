"""What a drill leaves behind on purpose: one JSON file beside the archives for each of the last drills."""

from __future__ import annotations

import os
import re
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from msgspec import UNSET, Struct, UnsetType

from safeharbor_backup.system.documents import Count, dump_document
from safeharbor_backup.system.small_file import replace_small_file

if TYPE_CHECKING:
    from pathlib import Path

KEPT = 60  # more than a year, week by week
EVIDENCE_NAME = re.compile(r"safeharbor-drill-(\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ)\.json", re.ASCII)
_TIME_IN_NAME = "%Y-%m-%dT%H-%M-%SZ"


class DrilledArchive(Struct, frozen=True, kw_only=True):
    """The archive, as far as it could be opened; a foreign one tells less."""

    name: str
    path: str
    taken_at: str | UnsetType | None = UNSET
    size_bytes: Count | UnsetType = UNSET
    database: str | UnsetType = UNSET
    sha256_of_members: str | UnsetType = UNSET


class DrillPlace(Struct, frozen=True, kw_only=True):
    """The server."""

    kind: str
    address: str


class Versions(Struct, frozen=True, kw_only=True):
    """Of the programs and servers, as far as they are known."""

    safeharbor: str
    taken_by: str | UnsetType = UNSET
    server: str | UnsetType = UNSET
    dumped_from: str | UnsetType = UNSET
    pg_restore: str | UnsetType = UNSET


class AppChecked(Struct, frozen=True, kw_only=True):
    """What the app's own check said."""

    program: str
    exit_status: int | None
    seconds: float
    output: tuple[str, ...]


class Evidence(Struct, frozen=True, kw_only=True):
    """What a drill found. `compared` has by subject what was recorded, what was found and what differs."""

    schema: int = 1
    drilled_at: str
    result: str
    exit_status: int
    archive: DrilledArchive
    server: DrillPlace | None
    versions: Versions
    tables: Count
    rows: Count | None
    upload_files: Count
    upload_bytes: Count
    restore_seconds: float | None
    seconds: dict[str, float]
    compared: dict[str, dict[str, object]]
    not_recorded: tuple[str, ...]
    app_check: AppChecked | None
    problems: tuple[str, ...]
    warnings: tuple[str, ...]


def free_evidence(directory: Path) -> tuple[Path, datetime]:
    """Where the evidence of a drill that begins now goes; a second that is taken is waited out."""
    while True:
        now = datetime.now(UTC).replace(microsecond=0)
        path = directory / now.strftime(f"safeharbor-drill-{_TIME_IN_NAME}.json")
        if not os.path.lexists(path):
            return path, now
        time.sleep(0.2)


def publish_evidence(path: Path, evidence: Evidence) -> None:
    """Write it, mode 0600, and remove the oldest beyond the last sixty. Raises OSError, StorageUnavailable."""
    directory = path.parent
    replace_small_file(path, dump_document(evidence, indent=1).encode() + b"\n", names=EVIDENCE_NAME, is_new=True)
    for name in _names_in(directory)[KEPT:]:
        with suppress(OSError):
            os.unlink(directory / name)


def _names_in(directory: Path) -> list[str]:
    """The newest first."""
    return sorted((name for name in os.listdir(directory) if EVIDENCE_NAME.fullmatch(name)), reverse=True)
