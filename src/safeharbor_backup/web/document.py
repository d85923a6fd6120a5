"""The status document as its reader takes it: somebody else wrote it, so only what is known and sane gets through.

What is missing or of another kind becomes nothing; lists are cut to what a page can show. Reading never fails.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from safeharbor_backup.web.untrusted_json import (
    FEW,
    amount_in,
    count_in,
    list_in,
    mapping_in,
    moment_in,
    several_in,
    text_in,
    texts_in,
)

if TYPE_CHECKING:
    from datetime import datetime

SCHEMA = 1
_ARCHIVES = 1000
_RUNS = 400


@dataclass(frozen=True, slots=True)
class Newest:
    """The newest complete archive. `path` is as the backup sees it."""

    name: str
    path: str
    taken_at: datetime
    size_bytes: int | None
    rows: int | None
    upload_files: int | None


@dataclass(frozen=True, slots=True)
class Latest:
    """What a restore of `latest` takes, "" if nothing, and in words why newer archives, or others, are not meant."""

    name: str
    path: str
    others: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that makes the state what it is. The code is "" in a document of an earlier version."""

    code: str
    text: str
    command: str = ""


@dataclass(frozen=True, slots=True)
class Archive:
    """One archive and what is in it. `folders` is None if the archive does not tell."""

    name: str
    taken_at: datetime | None
    size_bytes: int | None
    new_bytes: int | None
    state: str
    problem: str
    kept_as: tuple[str, ...]
    is_daily: bool
    is_weekly: bool
    goes_next: bool
    server_version: str
    database: str
    tables: int | None
    rows: int | None
    upload_files: int | None
    upload_bytes: int | None
    largest_tables: tuple[tuple[str, int], ...]
    folders: tuple[tuple[str, int, int], ...] | None
    warnings: tuple[str, ...]
    verified_at: datetime | None
    drilled_at: datetime | None

    @property
    def is_usable(self) -> bool:
        """Whether it can be restored, as a quick look tells: complete, or another program's."""
        return self.state in ("complete", "no manifest")


@dataclass(frozen=True, slots=True)
class Run:
    """How one run of a command ended."""

    command: str
    started_at: datetime
    seconds: float
    exit_status: int
    archive: str
    reason: str
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    size_bytes: int | None
    rows: int | None
    upload_files: int | None

    @property
    def is_success(self) -> bool:
        """Whether it did what it is for, with or without warnings."""
        return self.exit_status in (0, 3)


@dataclass(frozen=True, slots=True)
class KeptState:
    """What a restore keeps. `is_undone`: it is the restored state that is kept."""

    id: str
    restored_at: datetime | None
    archive: str
    is_undone: bool
    size_bytes: int | None
    logical_slots: int


@dataclass(frozen=True, slots=True)
class Interrupted:
    """A restore that waits to be settled."""

    id: str
    archive: str
    started_at: datetime | None


@dataclass(frozen=True, slots=True)
class Document:
    """All that a page can tell. What the document does not tell is None or empty."""

    schema: int | None = None
    health: str = ""
    findings: tuple[Finding, ...] = ()
    max_age_seconds: float | None = None
    published_at: datetime | None = None
    newest: Newest | None = None
    latest: Latest | None = None
    are_gone: bool = False
    next_backup: datetime | None = None
    typed_as: str = ""  # what stands before a command that the reader is to type
    schedule: str = ""
    timezone: str = ""
    last_backup: Run | None = None
    last_verify: Run | None = None
    last_drill: Run | None = None
    last_failure: Run | None = None
    free_bytes: int | None = None
    next_archive_bytes: int | None = None
    fits: int | None = None
    next_deleted: tuple[str, ...] = ()
    retention_warnings: tuple[str, ...] = ()
    kept: tuple[KeptState, ...] = ()
    interrupted: Interrupted | None = None
    history: tuple[Run, ...] = ()
    contents: tuple[Archive, ...] = field(default=(), repr=False)
    version: str = ""


def read_document(given: object) -> Document:
    """The document in what a JSON parser made; an empty one if it is no object."""
    if not isinstance(given, Mapping):
        return Document()
    storage, retention = mapping_in(given.get("storage")), mapping_in(given.get("retention"))
    return Document(
        schema=count_in(given.get("schema")),
        health=text_in(given.get("health")),
        findings=_findings(given),
        max_age_seconds=amount_in(given.get("max_age_seconds")),
        published_at=moment_in(given.get("published_at")),
        newest=_newest(given.get("newest")),
        latest=_latest(given.get("latest")),
        are_gone=bool(mapping_in(given.get("gone"))),
        next_backup=moment_in(given.get("next_backup")),
        typed_as=text_in(given.get("typed_as")),
        schedule=text_in(given.get("schedule")),
        timezone=text_in(given.get("timezone")),
        last_backup=_run(given.get("last_backup")),
        last_verify=_run(given.get("last_verify")),
        last_drill=_run(given.get("last_drill")),
        last_failure=_run(given.get("last_failure")),
        free_bytes=count_in(storage.get("free_bytes")),
        next_archive_bytes=count_in(storage.get("next_archive_bytes")),
        fits=count_in(storage.get("fits")),
        next_deleted=texts_in(retention.get("next_deleted")),
        retention_warnings=texts_in(retention.get("warnings")),
        kept=several_in(given.get("kept"), _kept, FEW),
        interrupted=_interrupted(given.get("interrupted")),
        # the newest of them stand at the end
        history=several_in(list_in(given.get("history"))[-_RUNS:], _run, _RUNS),
        contents=several_in(given.get("contents"), _archive, _ARCHIVES),
        version=text_in(given.get("safeharbor_version")),
    )


def _newest(given: object) -> Newest | None:
    found = mapping_in(given)
    taken_at = moment_in(found.get("taken_at"))
    if taken_at is None:
        return None
    return Newest(
        name=text_in(found.get("name")),
        path=text_in(found.get("path")),
        taken_at=taken_at,
        size_bytes=count_in(found.get("size_bytes")),
        rows=count_in(found.get("rows")),
        upload_files=count_in(found.get("upload_files")),
    )


def _latest(given: object) -> Latest | None:
    """None in a document of an earlier version."""
    found = mapping_in(given)
    if not found:
        return None
    others = several_in(found.get("others"), _other, FEW)
    return Latest(text_in(found.get("name")), text_in(found.get("path")), others)


def _other(given: object) -> str | None:
    found = mapping_in(given)
    return f"{text_in(found.get('name'))}: {text_in(found.get('text'))}" if text_in(found.get("name")) else None


def _findings(given: Mapping[str, object]) -> tuple[Finding, ...]:
    if "findings" not in given:
        return tuple(Finding("", reason) for reason in texts_in(given.get("reasons")))
    return several_in(given.get("findings"), _finding, FEW)


def _finding(given: object) -> Finding | None:
    found = mapping_in(given)
    text = text_in(found.get("text"))
    return Finding(text_in(found.get("code")), text, text_in(found.get("command"))) if text else None


def _archive(given: object) -> Archive | None:
    found = mapping_in(given)
    if not text_in(found.get("name")):
        return None
    folders = found.get("folders")
    return Archive(
        name=text_in(found.get("name")),
        taken_at=moment_in(found.get("taken_at")),
        size_bytes=count_in(found.get("size_bytes")),
        new_bytes=count_in(found.get("new_bytes")),
        state=text_in(found.get("state")),
        problem=text_in(found.get("problem")),
        kept_as=texts_in(found.get("kept_as")),
        is_daily=found.get("is_daily") is True,
        is_weekly=found.get("is_weekly") is True,
        goes_next=found.get("goes_next") is True,
        server_version=text_in(found.get("server_version")),
        database=text_in(found.get("database")),
        tables=count_in(found.get("tables")),
        rows=count_in(found.get("rows")),
        upload_files=count_in(found.get("upload_files")),
        upload_bytes=count_in(found.get("upload_bytes")),
        largest_tables=several_in(found.get("largest_tables"), _table, FEW),
        folders=several_in(folders, _folder, FEW) if isinstance(folders, list | tuple) else None,
        warnings=texts_in(found.get("warnings")),
        verified_at=moment_in(found.get("verified_at")),
        drilled_at=moment_in(found.get("drilled_at")),
    )


def _table(given: object) -> tuple[str, int] | None:
    match given:
        case [name, rows, *_] if (count := count_in(rows)) is not None:
            return text_in(name), count
    return None


def _folder(given: object) -> tuple[str, int, int] | None:
    match given:
        case [name, files, size, *_] if (count := count_in(files)) is not None and (
            total := count_in(size)
        ) is not None:
            return text_in(name), count, total
    return None


def _run(given: object) -> Run | None:
    found = mapping_in(given)
    started_at, exit_status = moment_in(found.get("started_at")), count_in(found.get("exit_status"))
    if started_at is None or exit_status is None:
        return None
    return Run(
        command=text_in(found.get("command")),
        started_at=started_at,
        seconds=amount_in(found.get("seconds")) or 0.0,
        exit_status=exit_status,
        archive=text_in(found.get("archive")),
        reason=text_in(found.get("reason")),
        warnings=texts_in(found.get("warnings")),
        notes=texts_in(found.get("notes")),
        size_bytes=count_in(found.get("size_bytes")),
        rows=count_in(found.get("rows")),
        upload_files=count_in(found.get("upload_files")),
    )


def _kept(given: object) -> KeptState | None:
    found = mapping_in(given)
    if not text_in(found.get("id")):
        return None
    return KeptState(
        id=text_in(found.get("id")),
        restored_at=moment_in(found.get("restored_at")),
        archive=text_in(found.get("archive")),
        is_undone=found.get("undone") is True,
        size_bytes=count_in(found.get("size_bytes")),
        logical_slots=count_in(found.get("logical_slots")) or 0,
    )


def _interrupted(given: object) -> Interrupted | None:
    found = mapping_in(given)
    if not found:
        return None
    return Interrupted(text_in(found.get("id")), text_in(found.get("archive")), moment_in(found.get("started_at")))
