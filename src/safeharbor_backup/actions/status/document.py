"""The state of the backups as one document: what `status --json` prints, what is published, what a page is made from.

It is bounded, however many archives, tables, folders and warnings there are. It holds no secret.
"""

from __future__ import annotations

from datetime import UTC, datetime
from heapq import nlargest
from math import inf
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING

from msgspec.structs import replace

import safeharbor_backup
from safeharbor_backup.actions.alerts.deliveries import ways_of_telling
from safeharbor_backup.actions.catalog.last_runs import BACKUP, DRILL, VERIFY
from safeharbor_backup.actions.status.schedule_seen import Seen
from safeharbor_backup.actions.status.schema import (
    ARCHIVES,
    FEW,
    RUNS,
    SCHEMA,
    Contents,
    Finding,
    Gone,
    Interrupted,
    KeptState,
    KnownCopy,
    LastRun,
    Latest,
    Newest,
    NotLatest,
    PastRun,
    Retention,
    StatusDocument,
    Storage,
)
from safeharbor_backup.text import ascii_safe, typed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from safeharbor_backup.actions.catalog.entries import CatalogEntry
    from safeharbor_backup.actions.catalog.latest import Choice
    from safeharbor_backup.actions.status.health import Reason
    from safeharbor_backup.actions.status.result import Status
    from safeharbor_backup.archive.manifest_sections import Folder
    from safeharbor_backup.settings.model import Settings
    from safeharbor_backup.state.history import Outcome
    from safeharbor_backup.state.offsite import OffsiteCopy
    from safeharbor_backup.state.restore_record import RestoreRecord

_RUNS_OF = (BACKUP, VERIFY, DRILL, "restore")
_LARGEST = 30  # tables, and folders
_ARCHIVES_IN_FULL = 60  # of older ones, the largest few
_LARGEST_OF_OLD = 5
_WARNINGS = 20
_PHASES = 20
_TEXT = 1000
_SHORT_TEXT = 300


def describe_status(status: Status, settings: Settings) -> StatusDocument:
    """The document that `status --json` prints, the page shows and metrics count; lists are cut to what it may have."""
    runs = status.runs
    past = [each for each in status.history if each.command in _RUNS_OF][-RUNS:]
    return StatusDocument(
        schema=SCHEMA,
        safeharbor_version=safeharbor_backup.__version__,
        health=status.health.name.lower(),
        healthy=status.is_healthy,
        reasons=_cut_all(status.reasons[:FEW]),
        findings=tuple(_finding(each) for each in status.findings[:FEW]),
        max_age_seconds=status.max_age_seconds,
        age_seconds=status.age_seconds,
        drill_max_seconds=settings.drill_max_seconds,
        told=ways_of_telling(settings.notify_urls, settings.ping_url),
        archives=len(status.archives),
        damaged=status.damaged,
        next_backup=moment(status.next_backup if status.seen is not Seen.NOTHING else None),
        schedule_seen=status.seen,
        typed_as=typed(""),
        schedule=settings.schedule,
        timezone=settings.timezone,
        last_backup=_run(runs.backup),
        last_verify=_run(runs.verify),
        last_drill=_run(runs.drill),
        last_failure=_run(runs.failures[0] if runs.failures else None),
        storage=Storage(
            free_bytes=status.room.free, next_archive_bytes=status.room.next_archive, fits=status.room.fits
        ),
        retention=Retention(
            daily=settings.retention_daily,
            weekly=settings.retention_weekly,
            hourly=settings.retention_hourly,
            monthly=settings.retention_monthly,
            yearly=settings.retention_yearly,
            next_deleted=tuple(status.outlook.next_deleted[:ARCHIVES]),
            warnings=_cut_all(status.outlook.warnings[:FEW]),
        ),
        kept=tuple(_kept(record) for record in status.kept[:FEW]),
        interrupted=None if status.interrupted is None else _interrupted(status.interrupted),
        newest=_newest(status.newest),
        latest=_latest(status.latest),
        gone=None if status.gone is None else Gone(archives=status.gone.archives, seen_at=moment(status.gone.seen_at)),
        offsite=None if status.copies is None else tuple(_copy(each) for each in status.copies),
        contents=tuple(_contents(entry, status, number) for number, entry in enumerate(status.archives[:ARCHIVES])),
        history=tuple(_past(each) for each in past),
    )


def _interrupted(record: RestoreRecord) -> Interrupted:
    return Interrupted(id=record.id, archive=record.archive, started_at=_recorded(record.started_at))


def _run(outcome: Outcome | None) -> LastRun | None:
    if outcome is None:
        return None
    return LastRun(
        command=outcome.command,
        started_at=in_seconds(outcome.started_at),
        seconds=outcome.seconds,
        exit_status=outcome.exit_status,
        archive=_name_of(outcome),
        reason=_cut(outcome.reason),
        warnings=_cut_all(outcome.warnings[:_WARNINGS]),
        notes=_cut_all(outcome.notes[:_WARNINGS]),
        advice=_cut(outcome.advice),
    )


def _past(outcome: Outcome) -> PastRun:
    phases = outcome.details.get("seconds")
    return PastRun(
        command=outcome.command,
        started_at=in_seconds(outcome.started_at),
        seconds=outcome.seconds,
        exit_status=outcome.exit_status,
        archive=_name_of(outcome),
        reason=_cut(outcome.reason, _SHORT_TEXT),
        size_bytes=_whole(outcome.details.get("size_bytes")),
        rows=_whole(outcome.details.get("rows")),
        upload_files=_whole(outcome.details.get("upload_files")),
        restore_seconds=_amount(outcome.details.get("restore_seconds")),
        phases=_numbers(phases) if isinstance(phases, dict) else {},
    )


def _whole(value: object) -> int | None:
    return value if type(value) is int else None


def _amount(value: object) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < inf else None


def _numbers(phases: Mapping[object, object]) -> dict[str, float]:
    kept = list(phases.items())[:_PHASES]
    return {
        _cut(str(name), _SHORT_TEXT): value
        for name, value in kept
        if isinstance(value, int | float) and 0 <= value < inf
    }


def _name_of(outcome: Outcome) -> str | None:
    return None if outcome.archive is None else _cut(outcome.archive, _SHORT_TEXT)


def _kept(record: RestoreRecord) -> KeptState:
    return KeptState(
        id=record.id,
        restored_at=_recorded(record.started_at),
        archive=record.archive,
        is_undone=record.is_undone,
        size_bytes=record.kept_database_bytes + record.kept_uploads_bytes,
        logical_slots=record.slots,
    )


def _newest(entry: CatalogEntry | None) -> Newest | None:
    if entry is None or entry.manifest is None:
        return None
    return Newest(
        name=entry.name,
        path=str(entry.path),
        taken_at=in_seconds(entry.taken_at),
        size_bytes=entry.size,
        tables=len(entry.manifest.tables),
        rows=entry.manifest.rows,
        upload_files=entry.manifest.upload_files,
        upload_bytes=entry.manifest.upload_bytes,
    )


def _latest(choice: Choice) -> Latest:
    """What `--from latest` means; nothing if it is not clear."""
    others = [*choice.passed[:FEW], *([choice.rival] if choice.rival is not None else [])]
    return Latest(
        name=choice.entry.name if choice.entry is not None else None,
        path=str(choice.entry.path) if choice.entry is not None else None,
        is_clear=choice.is_clear,
        others=tuple(NotLatest(name=each.entry.name, code=each.code.value, text=_cut(each.text)) for each in others),
    )


def _copy(copy: OffsiteCopy) -> KnownCopy:
    archive = None if copy.archive is None else _cut(copy.archive, _SHORT_TEXT)
    return KnownCopy(
        name=copy.name, copied_at=moment(copy.copied_at), archive=archive, drilled_at=moment(copy.drilled_at)
    )


def _finding(reason: Reason) -> Finding:
    return Finding(
        code=reason.code.value,
        health=reason.health.name.lower(),
        text=_cut(reason.text),
        command=reason.command or None,
    )


def _contents(entry: CatalogEntry, status: Status, number: int) -> Contents:
    """One archive; `number` counts from the newest."""
    manifest, name = entry.manifest, entry.name
    verdict = status.outlook.verdicts.get(name)
    stays = verdict is not None and verdict.keep
    most = _LARGEST if number < _ARCHIVES_IN_FULL else _LARGEST_OF_OLD
    known = Contents(
        name=name,
        taken_at=in_seconds(entry.taken_at),
        size_bytes=entry.size,
        state=entry.state.value,
        problem=_cut(entry.problem, _SHORT_TEXT),
        keep_codes=tuple(each.code.value for each in verdict.because) if verdict is not None and stays else (),
        kept_as=tuple(verdict.reasons) if verdict is not None and stays else (),
        is_daily=verdict is not None and verdict.is_daily,
        is_weekly=verdict is not None and verdict.is_weekly,
        goes_next=name in status.outlook.next_deleted,
        verified_at=moment(status.proofs.verified.get(name)),
        drilled_at=moment(status.proofs.drilled.get(name)),
    )
    if manifest is None:
        return known
    return replace(
        known,
        new_bytes=entry.size - manifest.shared_size if manifest.shared_size <= entry.size else None,
        server_version=_cut(manifest.server_version, _SHORT_TEXT),
        database=_cut(manifest.database, _SHORT_TEXT),
        tables=len(manifest.tables),
        rows=manifest.rows,
        upload_files=manifest.upload_files,
        upload_bytes=manifest.upload_bytes,
        largest_tables=_largest(manifest.tables.items(), most),
        folders=_folders(manifest.folders, most),
        databases=tuple((each.name, len(each.database.tables), each.rows) for each in manifest.databases[:most]),
        warnings=tuple(_cut(each, _SHORT_TEXT) for each in manifest.warnings[:_WARNINGS]),
    )


def _largest(tables: Iterable[tuple[str, int]], most: int) -> tuple[tuple[str, int], ...]:
    largest = nlargest(most, tables, key=itemgetter(1))
    return tuple((_cut(name, _SHORT_TEXT), rows) for name, rows in largest)


def _folders(folders: Iterable[Folder] | None, most: int) -> tuple[tuple[str, int, int], ...] | None:
    if folders is None:
        return None
    largest = nlargest(most, folders, key=attrgetter("bytes"))
    return tuple((_cut(each.name, _SHORT_TEXT), each.files, each.bytes) for each in largest)


def in_seconds(given: datetime) -> datetime:
    """A moment as documents have it: UTC, whole seconds."""
    return given.astimezone(UTC).replace(microsecond=0)


def moment(given: datetime | None) -> datetime | None:
    """The same of a moment that may not be known."""
    return None if given is None else in_seconds(given)


def _recorded(text: str) -> datetime | None:
    """A moment of the journal, which keeps it as a text."""
    try:
        return in_seconds(datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        return None


def _cut_all(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(_cut(text) for text in texts)


def _cut(text: str, length: int = _TEXT) -> str:
    text = ascii_safe(text)
    return text if len(text) <= length else text[: length - 1] + "…"
