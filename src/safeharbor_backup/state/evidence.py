"""What a drill leaves behind on purpose: one JSON file beside the archives for each of the last drills."""

from __future__ import annotations

import os
import re
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from msgspec import UNSET, Struct, UnsetType

from safeharbor_backup.errors import ArchiveRejected, one_line
from safeharbor_backup.system.documents import Count, dump_document, read_document
from safeharbor_backup.system.small_file import read_small_file, replace_small_file

if TYPE_CHECKING:
    from pathlib import Path

KEPT = 60  # more than a year, week by week
EVIDENCE_NAME = re.compile(
    r"safeharbor-drill-(\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ)\.json(\.sig)?", re.ASCII
)  # and its signature
_MOST_BYTES = 8 << 20
_TIME_IN_NAME = "%Y-%m-%dT%H-%M-%SZ"


class DrilledArchive(Struct, frozen=True, kw_only=True):
    """The archive, as far as it could be opened; a foreign one tells less.

    `offsite` is the copy elsewhere that it was fetched from.
    """

    name: str
    path: str
    taken_at: str | UnsetType | None = UNSET
    size_bytes: Count | UnsetType = UNSET
    database: str | UnsetType = UNSET
    sha256_of_members: str | UnsetType = UNSET
    offsite: str | UnsetType = UNSET


class DrillPlace(Struct, frozen=True, kw_only=True):
    """The server that the archive was restored on: `kind` says whose it is."""

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


class DrilledDatabase(Struct, frozen=True, kw_only=True):
    """A database beside the main one: as much of it as of that."""

    database: str
    tables: Count
    rows: Count | None
    compared: dict[str, dict[str, object]]
    not_recorded: tuple[str, ...]


class Evidence(Struct, frozen=True, kw_only=True):
    """What a drill found. `max_restore_seconds` is the objective, null without one.

    `compared` has by subject what was recorded, what was found and what differs. `databases` are those beside the main
    one, by their names in the archive; missing if there are none.
    """

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
    max_restore_seconds: float | None = None
    seconds: dict[str, float]
    compared: dict[str, dict[str, object]]
    not_recorded: tuple[str, ...]
    databases: dict[str, DrilledDatabase] | UnsetType = UNSET
    app_check: AppChecked | None
    problems: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def begun_at(self) -> datetime:
        """When it was drilled. Raises ValueError."""
        return datetime.strptime(self.drilled_at, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


def free_evidence(directory: Path) -> tuple[Path, datetime]:
    """Where the evidence of a drill that begins now goes; a second that is taken is waited out."""
    while True:
        now = datetime.now(UTC).replace(microsecond=0)
        path = directory / now.strftime(f"safeharbor-drill-{_TIME_IN_NAME}.json")
        if not os.path.lexists(path):
            return path, now
        time.sleep(0.2)


def write_evidence(evidence: Evidence) -> bytes:
    """What its file holds, and what is signed."""
    return dump_document(evidence, indent=1).encode() + b"\n"


def publish_evidence(path: Path, written: bytes, signature: bytes | None) -> None:
    """Put it there, mode 0600, then its signature, and remove the oldest beyond the last sixty.

    Raises OSError, StorageUnavailable.
    """
    replace_small_file(path, written, names=EVIDENCE_NAME, is_new=True)
    if signature is not None:
        replace_small_file(signature_of(path), signature, names=EVIDENCE_NAME)
    for oldest in list_evidence(path.parent)[KEPT:]:
        for each in (oldest, signature_of(oldest)):
            with suppress(OSError):
                os.unlink(each)


def signature_of(path: Path) -> Path:
    """Where the signature of evidence is, if it has one."""
    return path.with_name(f"{path.name}.sig")


def list_evidence(directory: Path) -> list[Path]:
    """That of every drill, the newest first. Raises OSError."""
    names = (name for name in os.listdir(directory) if name.endswith(".json") and EVIDENCE_NAME.fullmatch(name))
    return [directory / name for name in sorted(names, reverse=True)]


def drilled_at(path: Path) -> datetime | None:
    """The time in the name of evidence, None if there is none."""
    named = EVIDENCE_NAME.fullmatch(path.name)
    try:
        return datetime.strptime(named[1], _TIME_IN_NAME).replace(tzinfo=UTC) if named is not None else None
    except ValueError:
        return None


def read_evidence(path: Path) -> tuple[bytes, Evidence]:
    """What the file holds, and what that means. Raises ArchiveRejected if it is not evidence of that drill; OSError."""
    data = read_small_file(path, _MOST_BYTES, follow_symlinks=True)
    try:
        found = read_document(data, Evidence)
        begun_at = found.begun_at
    except ValueError as error:
        raise ArchiveRejected(f"it is not the evidence of a drill: {one_line(error)}") from None
    named = EVIDENCE_NAME.fullmatch(path.name)
    if named is not None and named[1] != begun_at.strftime(_TIME_IN_NAME):
        raise ArchiveRejected(f"it is the evidence of the drill at {found.drilled_at}, under the name of another")
    return data, found
