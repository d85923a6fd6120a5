"""What `--json` prints, one structure for each command.

`status` has its own, which the page reads, too. `diff`, `restore` and those that take something out of archives have
theirs in `…_documents.py`.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from safeharbor_backup.cli.databases_beside import DatabaseBeside
from safeharbor_backup.state.evidence import Evidence
from safeharbor_backup.system.documents import Count

Moment = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]  # UTC, whole seconds


class BackupDocument(Struct, frozen=True, kw_only=True):
    """A backup that was taken; `seconds` by phase, which may overlap."""

    schema: int = 1
    path: str
    size_bytes: Count
    taken_at: Moment
    tables: Count
    rows: Count
    upload_files: Count
    upload_bytes: Count
    seconds: dict[str, float]
    elapsed_seconds: float
    shared_with: str | None
    shared_members: Count
    shared_bytes: Count
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    pruned: tuple[str, ...]
    freed_bytes: Count
    databases: tuple[DatabaseBeside, ...] = ()


class Verified(Struct, frozen=True, kw_only=True):
    """An archive that was verified."""

    path: str
    sound: bool
    kind: str
    quick: bool
    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    size_bytes: Count
    members: Count
    seconds: float
    taken_at: Moment | None
    databases: tuple[DatabaseBeside, ...] = ()


class CheckedSignature(Struct, frozen=True, kw_only=True):
    """The evidence of a drill, and by which key it is signed; `result` and what follows is of the drill."""

    path: str
    signed: bool
    problem: str
    signer: str | None
    key: str | None
    result: str | None
    archive: str | None
    drilled_at: Moment | None


class VerifyDocument(Struct, frozen=True, kw_only=True):
    """All archives that were verified, or the evidence whose signatures were checked."""

    schema: int = 1
    archives: tuple[Verified, ...]
    evidence: tuple[CheckedSignature, ...] = ()


class ListedArchive(Struct, frozen=True, kw_only=True):
    """An archive; what its manifest would show is null without one, and `keep` where retention does not apply."""

    name: str
    taken_at: Moment
    modified_at: Moment
    size_bytes: Count
    state: str
    problem: str
    tables: Count | None
    rows: Count | None
    upload_files: Count | None
    upload_bytes: Count | None
    warnings: tuple[str, ...]
    keep: bool | None
    reasons: tuple[str, ...]
    codes: tuple[str, ...]
    databases: tuple[DatabaseBeside, ...] = ()


class ListDocument(Struct, frozen=True, kw_only=True):
    """What is in the backup directory."""

    schema: int = 1
    directory: str
    archives: tuple[ListedArchive, ...]
    unfinished: tuple[str, ...]
    foreign: tuple[str, ...]
    warnings: tuple[str, ...]


class PrunedArchive(Struct, frozen=True, kw_only=True):
    """What retention decided of an archive."""

    name: str
    keep: bool
    reasons: tuple[str, ...]
    codes: tuple[str, ...]


class PruneDocument(Struct, frozen=True, kw_only=True):
    """What was deleted, or would be."""

    schema: int = 1
    dry_run: bool
    deleted: tuple[str, ...]
    freed_bytes: Count
    archives: tuple[PrunedArchive, ...]
    warnings: tuple[str, ...]


class Check(Struct, frozen=True, kw_only=True):
    """A finding of doctor; `status` is what a run would end with."""

    name: str
    level: str
    text: str
    remedy: str
    status: int


class SettingInUse(Struct, frozen=True, kw_only=True):
    """A setting, its value without secrets, and where that is from."""

    name: str
    value: str
    origin: str


class DoctorDocument(Struct, frozen=True, kw_only=True):
    """All findings, the settings, and the next runs of the schedule."""

    schema: int = 1
    exit_status: int
    checks: tuple[Check, ...]
    settings: tuple[SettingInUse, ...]
    timezone: str
    next_runs: tuple[Moment, ...]


class DrillDocument(Evidence, frozen=True, kw_only=True):
    """The evidence, and where it and its signature are; null if it could not be written, or was not signed."""

    evidence: str | None
    signature: str | None


class KeepDocument(Struct, frozen=True, kw_only=True):
    """An archive that retention never deletes from now on."""

    schema: int = 1
    name: str
    because: str


class UnkeepDocument(Struct, frozen=True, kw_only=True):
    """An archive whose mark was taken away, and what retention says of it; null if that is not known."""

    schema: int = 1
    name: str
    keep: bool | None
    reasons: tuple[str, ...]


class ReportDocument(Struct, frozen=True, kw_only=True):
    """The page that was written."""

    schema: int = 1
    path: str
    size_bytes: Count


class DeliveryDocument(Struct, frozen=True, kw_only=True):
    """How sending by one way ended; `problem` is empty if the other side took it."""

    way: str
    problem: str
    seconds: float


class NotifyDocument(Struct, frozen=True, kw_only=True):
    """The test messages that were sent."""

    schema: int = 1
    deliveries: tuple[DeliveryDocument, ...]


class OffsiteDoneDocument(Struct, frozen=True, kw_only=True):
    """The copy that was remembered, with its newest archive, or forgotten."""

    schema: int = 1
    name: str
    newest: str | None
    forgotten: bool
