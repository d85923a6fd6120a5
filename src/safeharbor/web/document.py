"""The status document as its reader takes it: somebody else wrote it, so only what is known and sane gets through.

What is missing or of another kind becomes nothing, texts lose what could deceive a reader's eye, lists are cut to
what a page can show. Reading never fails.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar

SCHEMA = 1
_TEXT_LIMIT = 1000
_NUMBER_LIMIT = 1 << 62
_ARCHIVES = 1000
_RUNS = 400
_FEW = 50
# controls, which HTML forbids, what turns the direction of text round, and halves of characters
_DECEIVING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_YEARS = range(1980, 9000)

T = TypeVar("T")


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
    reasons: tuple[str, ...] = ()
    max_age_seconds: float | None = None
    published_at: datetime | None = None
    newest: Newest | None = None
    next_backup: datetime | None = None
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
    storage, retention = _mapping(given.get("storage")), _mapping(given.get("retention"))
    return Document(
        schema=_count(given.get("schema")),
        health=_text(given.get("health")),
        reasons=_texts(given.get("reasons")),
        max_age_seconds=_amount(given.get("max_age_seconds")),
        published_at=_moment(given.get("published_at")),
        newest=_newest(given.get("newest")),
        next_backup=_moment(given.get("next_backup")),
        schedule=_text(given.get("schedule")),
        timezone=_text(given.get("timezone")),
        last_backup=_run(given.get("last_backup")),
        last_verify=_run(given.get("last_verify")),
        last_drill=_run(given.get("last_drill")),
        last_failure=_run(given.get("last_failure")),
        free_bytes=_count(storage.get("free_bytes")),
        next_archive_bytes=_count(storage.get("next_archive_bytes")),
        fits=_count(storage.get("fits")),
        next_deleted=_texts(retention.get("next_deleted")),
        retention_warnings=_texts(retention.get("warnings")),
        kept=_several(given.get("kept"), _kept, _FEW),
        interrupted=_interrupted(given.get("interrupted")),
        # the newest of them stand at the end
        history=_several(_list(given.get("history"))[-_RUNS:], _run, _RUNS),
        contents=_several(given.get("contents"), _archive, _ARCHIVES),
        version=_text(given.get("safeharbor_version")),
    )


def _newest(given: object) -> Newest | None:
    found = _mapping(given)
    taken_at = _moment(found.get("taken_at"))
    if taken_at is None:
        return None
    return Newest(
        name=_text(found.get("name")),
        path=_text(found.get("path")),
        taken_at=taken_at,
        size_bytes=_count(found.get("size_bytes")),
        rows=_count(found.get("rows")),
        upload_files=_count(found.get("upload_files")),
    )


def _archive(given: object) -> Archive | None:
    found = _mapping(given)
    if not _text(found.get("name")):
        return None
    folders = found.get("folders")
    return Archive(
        name=_text(found.get("name")),
        taken_at=_moment(found.get("taken_at")),
        size_bytes=_count(found.get("size_bytes")),
        new_bytes=_count(found.get("new_bytes")),
        state=_text(found.get("state")),
        problem=_text(found.get("problem")),
        kept_as=_texts(found.get("kept_as")),
        is_daily=found.get("is_daily") is True,
        is_weekly=found.get("is_weekly") is True,
        goes_next=found.get("goes_next") is True,
        server_version=_text(found.get("server_version")),
        database=_text(found.get("database")),
        tables=_count(found.get("tables")),
        rows=_count(found.get("rows")),
        upload_files=_count(found.get("upload_files")),
        upload_bytes=_count(found.get("upload_bytes")),
        largest_tables=_several(found.get("largest_tables"), _table, _FEW),
        folders=_several(folders, _folder, _FEW) if isinstance(folders, list | tuple) else None,
        warnings=_texts(found.get("warnings")),
        verified_at=_moment(found.get("verified_at")),
        drilled_at=_moment(found.get("drilled_at")),
    )


def _table(given: object) -> tuple[str, int] | None:
    match given:
        case [name, rows, *_] if (count := _count(rows)) is not None:
            return _text(name), count
    return None


def _folder(given: object) -> tuple[str, int, int] | None:
    match given:
        case [name, files, size, *_] if (count := _count(files)) is not None and (total := _count(size)) is not None:
            return _text(name), count, total
    return None


def _run(given: object) -> Run | None:
    found = _mapping(given)
    started_at, exit_status = _moment(found.get("started_at")), _count(found.get("exit_status"))
    if started_at is None or exit_status is None:
        return None
    return Run(
        command=_text(found.get("command")),
        started_at=started_at,
        seconds=_amount(found.get("seconds")) or 0.0,
        exit_status=exit_status,
        archive=_text(found.get("archive")),
        reason=_text(found.get("reason")),
        warnings=_texts(found.get("warnings")),
        size_bytes=_count(found.get("size_bytes")),
        rows=_count(found.get("rows")),
        upload_files=_count(found.get("upload_files")),
    )


def _kept(given: object) -> KeptState | None:
    found = _mapping(given)
    if not _text(found.get("id")):
        return None
    return KeptState(
        id=_text(found.get("id")),
        restored_at=_moment(found.get("restored_at")),
        archive=_text(found.get("archive")),
        is_undone=found.get("undone") is True,
        size_bytes=_count(found.get("size_bytes")),
        logical_slots=_count(found.get("logical_slots")) or 0,
    )


def _interrupted(given: object) -> Interrupted | None:
    found = _mapping(given)
    if not found:
        return None
    return Interrupted(_text(found.get("id")), _text(found.get("archive")), _moment(found.get("started_at")))


def _mapping(given: object) -> Mapping[str, object]:
    return given if isinstance(given, Mapping) else {}


def _list(given: object) -> list[object]:
    return list(given) if isinstance(given, list | tuple) else []


def _several(given: object, read: Callable[[object], T | None], limit: int) -> tuple[T, ...]:
    return tuple(found for each in _list(given)[:limit] if (found := read(each)) is not None)


def readable(text: str) -> str:
    """The text, cut, and without what no page can hold or what would deceive its reader."""
    return _DECEIVING.sub("\N{REPLACEMENT CHARACTER}", text[:_TEXT_LIMIT])


def _text(given: object) -> str:
    return readable(given) if isinstance(given, str) else ""


def _texts(given: object) -> tuple[str, ...]:
    return _several(given, lambda each: _text(each) or None, _FEW)


def _amount(given: object) -> float | None:
    """A number that is finite, and no less than nothing."""
    if not isinstance(given, int | float) or isinstance(given, bool):
        return None
    return float(given) if 0 <= given < _NUMBER_LIMIT and math.isfinite(given) else None


def _count(given: object) -> int | None:
    amount = _amount(given)
    return None if amount is None else int(amount)


def _moment(given: object) -> datetime | None:
    """A moment in UTC; one without a zone is taken for UTC."""
    if not isinstance(given, str) or len(given) > 40:
        return None
    try:
        found = datetime.fromisoformat(given)
    except ValueError:
        return None
    if found.year not in _YEARS:
        return None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
