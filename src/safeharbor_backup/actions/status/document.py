"""The state of the backups as one document: what `status --json` prints, what is published, what a page is made from.

It is bounded, however many archives, tables, folders and warnings there are. It holds no secret.
"""

from __future__ import annotations

from datetime import UTC, datetime
from heapq import nlargest
from math import inf
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING

import safeharbor_backup
from safeharbor_backup.actions.catalog.last_runs import BACKUP, DRILL, VERIFY
from safeharbor_backup.actions.status.schedule_seen import Seen
from safeharbor_backup.text import ascii_safe, typed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from safeharbor_backup.actions.catalog.entries import CatalogEntry
    from safeharbor_backup.actions.catalog.latest import Choice
    from safeharbor_backup.actions.status.health import Reason
    from safeharbor_backup.actions.status.reasons import Status
    from safeharbor_backup.archive.manifest_sections import Folder
    from safeharbor_backup.settings.model import Settings
    from safeharbor_backup.state.history import Outcome
    from safeharbor_backup.state.journal import RestoreRecord

_RUNS = 400
_RUNS_OF = (BACKUP, VERIFY, DRILL, "restore")
_ARCHIVES = 1000
_LARGEST = 30  # tables, and folders
_ARCHIVES_IN_FULL = 60  # of older ones, the largest few
_LARGEST_OF_OLD = 5
_WARNINGS = 20
_REASONS = 50
_PHASES = 20
_TEXT = 1000
_SHORT_TEXT = 300


def describe_status(status: Status, settings: Settings) -> dict[str, object]:
    """The document, ready for JSON."""
    runs = status.runs
    return {
        "schema": 1,
        "safeharbor_version": safeharbor_backup.__version__,
        "health": status.health.name.lower(),
        "healthy": status.is_healthy,
        "reasons": [_cut(reason) for reason in status.reasons[:_REASONS]],
        "findings": [_finding(each) for each in status.findings[:_REASONS]],
        "max_age_seconds": status.max_age_seconds,
        "age_seconds": status.age_seconds,
        "archives": len(status.archives),
        "damaged": status.damaged,
        "next_backup": iso(status.next_backup if status.seen is not Seen.NOTHING else None),
        "schedule_seen": status.seen,
        "typed_as": typed(""),
        "schedule": settings.schedule,
        "timezone": settings.timezone,
        "last_backup": _run(runs.backup),
        "last_verify": _run(runs.verify),
        "last_drill": _run(runs.drill),
        "last_failure": _run(runs.failures[0] if runs.failures else None),
        "storage": {
            "free_bytes": status.room.free,
            "next_archive_bytes": status.room.next_archive,
            "fits": status.room.fits,
        },
        "retention": {
            "daily": settings.retention_daily,
            "weekly": settings.retention_weekly,
            "next_deleted": list(status.outlook.next_deleted[:_ARCHIVES]),
            "warnings": [_cut(warning) for warning in status.outlook.warnings],
        },
        "kept": [_kept(record) for record in status.kept],
        "interrupted": None
        if status.interrupted is None
        else {
            "id": status.interrupted.id,
            "archive": status.interrupted.archive,
            "started_at": status.interrupted.started_at,
        },
        "newest": _newest(status.newest),
        "latest": _latest(status.latest),
        "gone": None
        if status.gone is None
        else {"archives": status.gone.archives, "seen_at": iso(status.gone.seen_at)},
        "contents": [_contents(entry, status, number) for number, entry in enumerate(status.archives[:_ARCHIVES])],
        "history": [_past(each) for each in [each for each in status.history if each.command in _RUNS_OF][-_RUNS:]],
    }


def iso(moment: datetime | None) -> str | None:
    """A moment for a machine."""
    # strftime leaves zeros of early years out
    return None if moment is None else moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _run(outcome: Outcome | None) -> dict[str, object] | None:
    if outcome is None:
        return None
    return {
        "command": outcome.command,
        "started_at": iso(outcome.started_at),
        "seconds": outcome.seconds,
        "exit_status": outcome.exit_status,
        "archive": _name_of(outcome),
        "reason": _cut(outcome.reason),
        "warnings": [_cut(warning) for warning in outcome.warnings[:_WARNINGS]],
        "notes": [_cut(note) for note in outcome.notes[:_WARNINGS]],
    }


def _past(outcome: Outcome) -> dict[str, object]:
    phases = outcome.details.get("seconds")
    return {
        "command": outcome.command,
        "started_at": iso(outcome.started_at),
        "seconds": outcome.seconds,
        "exit_status": outcome.exit_status,
        "archive": _name_of(outcome),
        "reason": _cut(outcome.reason, _SHORT_TEXT),
        **{key: _whole(outcome.details.get(key)) for key in ("size_bytes", "rows", "upload_files")},
        "phases": _numbers(phases) if isinstance(phases, dict) else {},
    }


def _whole(value: object) -> int | None:
    return value if type(value) is int else None


def _numbers(phases: Mapping[object, object]) -> dict[str, float]:
    kept = list(phases.items())[:_PHASES]
    return {
        _cut(str(name), _SHORT_TEXT): value
        for name, value in kept
        if isinstance(value, int | float) and 0 <= value < inf
    }


def _name_of(outcome: Outcome) -> str | None:
    return None if outcome.archive is None else _cut(outcome.archive, _SHORT_TEXT)


def _kept(record: RestoreRecord) -> dict[str, object]:
    return {
        "id": record.id,
        "restored_at": record.started_at,
        "archive": record.archive,
        "undone": record.is_undone,
        "size_bytes": record.kept_database_bytes + record.kept_uploads_bytes,
        "logical_slots": record.slots,
    }


def _newest(entry: CatalogEntry | None) -> dict[str, object] | None:
    if entry is None or entry.manifest is None:
        return None
    return {
        "name": entry.name,
        "path": str(entry.path),
        "taken_at": iso(entry.taken_at),
        "size_bytes": entry.size,
        "tables": len(entry.manifest.tables),
        "rows": entry.manifest.rows,
        "upload_files": entry.manifest.upload_files,
        "upload_bytes": entry.manifest.upload_bytes,
    }


def _latest(choice: Choice) -> dict[str, object]:
    """What `--from latest` means; nothing if it is not clear."""
    others = [*choice.passed[:_REASONS], *([choice.rival] if choice.rival is not None else [])]
    return {
        "name": choice.entry.name if choice.entry is not None else None,
        "path": str(choice.entry.path) if choice.entry is not None else None,
        "clear": choice.is_clear,
        "others": [{"name": each.entry.name, "code": each.code.value, "text": _cut(each.text)} for each in others],
    }


def _finding(reason: Reason) -> dict[str, object]:
    return {
        "code": reason.code.value,
        "health": reason.health.name.lower(),
        "text": _cut(reason.text),
        "command": reason.command or None,
    }


def _contents(entry: CatalogEntry, status: Status, number: int) -> dict[str, object]:
    """One archive; `number` counts from the newest."""
    manifest, name = entry.manifest, entry.name
    verdict = status.outlook.verdicts.get(name)
    most = _LARGEST if number < _ARCHIVES_IN_FULL else _LARGEST_OF_OLD
    return {
        "name": name,
        "taken_at": iso(entry.taken_at),
        "size_bytes": entry.size,
        "new_bytes": None if manifest is None else entry.size - manifest.shared_size,
        "state": entry.state.value,
        "problem": _cut(entry.problem, _SHORT_TEXT),
        "keep_codes": [] if verdict is None or not verdict.keep else [each.code.value for each in verdict.because],
        "kept_as": [] if verdict is None or not verdict.keep else list(verdict.reasons),
        "is_daily": verdict is not None and verdict.is_daily,
        "is_weekly": verdict is not None and verdict.is_weekly,
        "goes_next": name in status.outlook.next_deleted,
        "server_version": None if manifest is None else _cut(manifest.server_version, _SHORT_TEXT),
        "database": None if manifest is None else _cut(manifest.database, _SHORT_TEXT),
        "tables": None if manifest is None else len(manifest.tables),
        "rows": None if manifest is None else manifest.rows,
        "upload_files": None if manifest is None else manifest.upload_files,
        "upload_bytes": None if manifest is None else manifest.upload_bytes,
        "largest_tables": [] if manifest is None else _largest(manifest.tables.items(), most),
        "folders": None if manifest is None else _folders(manifest.folders, most),
        "warnings": [] if manifest is None else [_cut(each, _SHORT_TEXT) for each in manifest.warnings[:_WARNINGS]],
        "verified_at": iso(status.proofs.verified.get(name)),
        "drilled_at": iso(status.proofs.drilled.get(name)),
    }


def _largest(tables: Iterable[tuple[str, int]], most: int) -> list[list[object]]:
    largest = nlargest(most, tables, key=itemgetter(1))
    return [[_cut(name, _SHORT_TEXT), rows] for name, rows in largest]


def _folders(folders: Iterable[Folder] | None, most: int) -> list[list[object]] | None:
    if folders is None:
        return None
    largest = nlargest(most, folders, key=attrgetter("bytes"))
    return [[_cut(each.name, _SHORT_TEXT), each.files, each.bytes] for each in largest]


def _cut(text: str, length: int = _TEXT) -> str:
    text = ascii_safe(text)
    return text if len(text) <= length else text[: length - 1] + "…"
