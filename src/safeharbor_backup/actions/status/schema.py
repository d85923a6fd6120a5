"""The status document: what `status --json` prints, what is published, and what the page is made from.

The one that writes it gives every field. One that reads it can rely on those without a default only.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType, field

from safeharbor_backup.actions.status.run_schema import LastRun, PastRun
from safeharbor_backup.actions.status.schema_types import FEW, Amount, Moment, Name, Texts
from safeharbor_backup.system.documents import Count

SCHEMA = 1
ARCHIVES = 1000
RUNS = 400


class Finding(Struct, frozen=True, kw_only=True):
    """One thing that makes the state what it is; `command` is the run's that it is about, if it is about one."""

    code: str = ""
    health: str = ""
    text: Name
    command: str | None = None


class Storage(Struct, frozen=True, kw_only=True):
    """How much is free for archives, what the next one is expected to take, and how many fit."""

    free_bytes: Count | None = None
    next_archive_bytes: Count | None = None
    fits: Count | None = None


class Retention(Struct, frozen=True, kw_only=True):
    """The rule, the archives that the next backup deletes, and why nothing is deleted."""

    daily: int | None = None
    weekly: int | None = None
    hourly: int = 0
    monthly: int = 0
    yearly: int = 0
    next_deleted: Annotated[tuple[Name, ...], Meta(max_length=ARCHIVES)] = ()
    warnings: Texts = ()


class KeptState(Struct, frozen=True, kw_only=True):
    """What a restore keeps; `undone`: it is the restored state that is kept."""

    id: Name
    restored_at: Moment | None = None
    archive: str = ""
    is_undone: bool = field(name="undone", default=False)
    size_bytes: Count | None = None
    logical_slots: Count = 0


class Interrupted(Struct, frozen=True, kw_only=True):
    """A restore that waits to be settled."""

    id: str = ""
    archive: str = ""
    started_at: Moment | None = None


class Newest(Struct, frozen=True, kw_only=True):
    """The newest complete archive; `path` is as the backup sees it."""

    name: str = ""
    path: str = ""
    taken_at: Moment
    size_bytes: Count | None = None
    tables: Count | None = None
    rows: Count | None = None
    upload_files: Count | None = None
    upload_bytes: Count | None = None


class NotLatest(Struct, frozen=True, kw_only=True):
    """An archive that `latest` does not mean, and why."""

    name: Name
    code: str = ""
    text: str = ""


class Latest(Struct, frozen=True, kw_only=True):
    """What a restore of `latest` takes, null if nothing, and why newer archives, or others, are not meant."""

    name: str | None = None
    path: str | None = None
    is_clear: bool = field(name="clear", default=False)
    others: Annotated[tuple[NotLatest, ...], Meta(max_length=FEW + 1)] = ()


class Gone(Struct, frozen=True, kw_only=True):
    """How many archives there were, and when that was known last."""

    archives: Count = 0
    seen_at: Moment | None = None


class KnownCopy(Struct, frozen=True, kw_only=True):
    """A copy elsewhere: when it was last made, of which archive, and when one fetched from there was restored."""

    name: Name
    copied_at: Moment | None = None
    archive: str | None = None
    drilled_at: Moment | None = None


class Contents(Struct, frozen=True, kw_only=True):
    """One archive and what is in it.

    `largest_tables` are names and rows, `folders` names, files and bytes; null if the archive does not record them.
    `databases` are those beside the main one: names, tables and rows.
    """

    name: Name
    taken_at: Moment | None = None
    size_bytes: Count | None = None
    new_bytes: Count | None = None
    state: str = ""
    problem: str = ""
    keep_codes: Texts = ()
    kept_as: Texts = ()
    is_daily: bool = False
    is_weekly: bool = False
    goes_next: bool = False
    server_version: str | None = None
    database: str | None = None
    tables: Count | None = None
    rows: Count | None = None
    upload_files: Count | None = None
    upload_bytes: Count | None = None
    largest_tables: Annotated[tuple[tuple[str, Count], ...], Meta(max_length=FEW)] = ()
    folders: Annotated[tuple[tuple[str, Count, Count], ...], Meta(max_length=FEW)] | None = None
    databases: Annotated[tuple[tuple[str, Count, Count], ...], Meta(max_length=FEW)] = ()
    warnings: Texts = ()
    verified_at: Moment | None = None
    drilled_at: Moment | None = None

    @property
    def is_usable(self) -> bool:
        """Whether it can be restored, as a quick look shows: complete, or another program's."""
        return self.state in ("complete", "no manifest")


class StatusDocument(Struct, frozen=True, kw_only=True):
    """The state of the backups. `published_at` is there in the published file only.

    `typed_as` is what stands before a command that the reader is to type. `offsite` is null where there is no copy
    elsewhere on purpose. `told` are the ways in which people hear of a failed run, without any address.
    """

    schema: Count | None = None
    safeharbor_version: str = ""
    health: str = ""
    healthy: bool = False
    reasons: Texts = ()
    findings: Annotated[tuple[Finding, ...], Meta(max_length=FEW)] | None = None
    max_age_seconds: Amount | None = None
    age_seconds: float | None = None
    drill_max_seconds: Amount | None = None
    told: Texts | None = None
    archives: Count = 0
    damaged: Count = 0
    next_backup: Moment | None = None
    schedule_seen: str | None = None
    typed_as: str = ""
    schedule: str | None = None
    timezone: str | None = None
    last_backup: LastRun | None = None
    last_verify: LastRun | None = None
    last_drill: LastRun | None = None
    last_failure: LastRun | None = None
    storage: Storage = Storage()
    retention: Retention = Retention()
    kept: Annotated[tuple[KeptState, ...], Meta(max_length=FEW)] = ()
    interrupted: Interrupted | None = None
    newest: Newest | None = None
    latest: Latest | None = None
    gone: Gone | None = None
    offsite: Annotated[tuple[KnownCopy, ...], Meta(max_length=FEW)] | None = None
    contents: Annotated[tuple[Contents, ...], Meta(max_length=ARCHIVES)] = ()
    history: Annotated[tuple[PastRun, ...], Meta(max_length=RUNS)] = ()
    published_at: Moment | UnsetType | None = UNSET
