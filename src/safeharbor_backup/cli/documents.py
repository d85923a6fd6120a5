"""What `--json` prints, one structure for each command. `status` has its own, which the page reads, too."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

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


class VerifyDocument(Struct, frozen=True, kw_only=True):
    """All archives that were verified."""

    schema: int = 1
    archives: tuple[Verified, ...]


class ListedArchive(Struct, frozen=True, kw_only=True):
    """An archive; what its manifest would tell is null without one, and `keep` where retention does not apply."""

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


class DiffSide(Struct, frozen=True, kw_only=True):
    """An archive, or what is live; null is what it does not tell."""

    name: str
    taken_at: Moment | None
    tables: Count | None
    revision: str | None
    upload_files: Count | None
    upload_bytes: Count | None


class ColumnChanges(Struct, frozen=True, kw_only=True):
    """The columns of a table that came and went."""

    table: str
    added: tuple[str, ...]
    gone: tuple[str, ...]


class ChangeCounts(Struct, frozen=True, kw_only=True):
    """How many files came, went and changed."""

    added: Count
    gone: Count
    changed: Count


class ChangedNames(Struct, frozen=True, kw_only=True):
    """Their paths."""

    added: tuple[str, ...]
    gone: tuple[str, ...]
    changed: tuple[str, ...]


class UploadsDiff(ChangeCounts, frozen=True, kw_only=True):
    """The same by folder, and with `--names` the paths."""

    folders: dict[str, ChangeCounts]
    names: ChangedNames | UnsetType = UNSET


class DiffDocument(Struct, frozen=True, kw_only=True):
    """What changed between two; `rows` are table, rows before and rows after, null where there is no such table."""

    schema: int = 1
    before: DiffSide
    after: DiffSide
    rows: tuple[tuple[str, Count | None, Count | None], ...]
    columns: tuple[ColumnChanges, ...]
    uploads: UploadsDiff
    unknown: tuple[str, ...]


class ExtractDocument(Struct, frozen=True, kw_only=True):
    """Files that were extracted; `kept` are paths of those that they replaced."""

    schema: int = 1
    archive: str
    target: str
    files: Count
    size_bytes: Count
    kept: tuple[str, ...]
    warnings: tuple[str, ...]


class ExtractTableDocument(Struct, frozen=True, kw_only=True):
    """A table that was extracted; of `--into-live`: how many of its rows are missing, the same, different."""

    schema: int = 1
    archive: str
    table: str
    target: str
    rows: Count
    missing: Count | None
    same: Count | None
    different: Count | None
    warnings: tuple[str, ...]


class FoundIn(Struct, frozen=True, kw_only=True):
    """An archive that has the version of a file."""

    name: str
    taken_at: Moment


class FoundVersion(Struct, frozen=True, kw_only=True):
    """One content of a file, the archives that have it newest first; no digest in archives by other programs."""

    sha256: str | None
    archives: tuple[FoundIn, ...]


class FoundPath(Struct, frozen=True, kw_only=True):
    """A file below uploads/."""

    path: str
    versions: tuple[FoundVersion, ...]


class FindDocument(Struct, frozen=True, kw_only=True):
    """The files that match, in how many archives was searched, and whether that is all."""

    schema: int = 1
    searched: Count
    files: tuple[FoundPath, ...]
    complete: bool
    warnings: tuple[str, ...]


class DrillDocument(Evidence, frozen=True, kw_only=True):
    """The evidence, and where it is; null if it could not be written."""

    evidence: str | None
