"""The state of the backups as one document: what `status --json` prints, what is published, what a page is made from.

It is bounded, however many archives, tables, folders and warnings there are. It holds no secret.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import safeharbor_backup
from safeharbor_backup.actions.alerts.deliveries import ways_of_telling
from safeharbor_backup.actions.catalog.last_runs import BACKUP, DRILL, VERIFY
from safeharbor_backup.actions.status.document_contents import contents_of
from safeharbor_backup.actions.status.document_values import (
    MOST_WARNINGS,
    SHORT_TEXT,
    amount,
    cut,
    cut_all,
    in_seconds,
    moment,
    numbers,
    recorded,
    whole,
)
from safeharbor_backup.actions.status.run_schema import LastRun, PastRun
from safeharbor_backup.actions.status.schedule_seen import Seen
from safeharbor_backup.actions.status.schema import (
    ARCHIVES,
    RUNS,
    SCHEMA,
    Finding,
    Gone,
    Interrupted,
    KeptState,
    KnownCopy,
    Latest,
    Newest,
    NotLatest,
    Retention,
    StatusDocument,
    Storage,
)
from safeharbor_backup.actions.status.schema_types import FEW
from safeharbor_backup.text import typed

if TYPE_CHECKING:
    from safeharbor_backup.actions.catalog.entries import CatalogEntry
    from safeharbor_backup.actions.catalog.latest import Choice
    from safeharbor_backup.actions.status.health import Reason
    from safeharbor_backup.actions.status.result import Status
    from safeharbor_backup.settings.model import Settings
    from safeharbor_backup.state.history import Outcome
    from safeharbor_backup.state.offsite import OffsiteCopy
    from safeharbor_backup.state.restore_record import RestoreRecord

_RUNS_OF = (BACKUP, VERIFY, DRILL, "restore")


def describe_status(status: Status, settings: Settings) -> StatusDocument:
    """The document that `status --json` prints, the page shows and metrics count; lists are cut to what it may have."""
    runs = status.runs
    past = [each for each in status.history if each.command in _RUNS_OF][-RUNS:]
    return StatusDocument(
        schema=SCHEMA,
        safeharbor_version=safeharbor_backup.__version__,
        health=status.health.name.lower(),
        healthy=status.is_healthy,
        reasons=cut_all(status.reasons[:FEW]),
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
            warnings=cut_all(status.outlook.warnings[:FEW]),
        ),
        kept=tuple(_kept(record) for record in status.kept[:FEW]),
        interrupted=None if status.interrupted is None else _interrupted(status.interrupted),
        newest=_newest(status.newest),
        latest=_latest(status.latest),
        gone=None if status.gone is None else Gone(archives=status.gone.archives, seen_at=moment(status.gone.seen_at)),
        offsite=None if status.copies is None else tuple(_copy(each) for each in status.copies),
        contents=tuple(contents_of(entry, status, number) for number, entry in enumerate(status.archives[:ARCHIVES])),
        history=tuple(_past(each) for each in past),
    )


def _interrupted(record: RestoreRecord) -> Interrupted:
    return Interrupted(id=record.id, archive=record.archive, started_at=recorded(record.started_at))


def _run(outcome: Outcome | None) -> LastRun | None:
    if outcome is None:
        return None
    return LastRun(
        command=outcome.command,
        started_at=in_seconds(outcome.started_at),
        seconds=outcome.seconds,
        exit_status=outcome.exit_status,
        archive=_name_of(outcome),
        reason=cut(outcome.reason),
        warnings=cut_all(outcome.warnings[:MOST_WARNINGS]),
        notes=cut_all(outcome.notes[:MOST_WARNINGS]),
        advice=cut(outcome.advice),
    )


def _past(outcome: Outcome) -> PastRun:
    phases = outcome.details.get("seconds")
    return PastRun(
        command=outcome.command,
        started_at=in_seconds(outcome.started_at),
        seconds=outcome.seconds,
        exit_status=outcome.exit_status,
        archive=_name_of(outcome),
        reason=cut(outcome.reason, SHORT_TEXT),
        size_bytes=whole(outcome.details.get("size_bytes")),
        rows=whole(outcome.details.get("rows")),
        upload_files=whole(outcome.details.get("upload_files")),
        restore_seconds=amount(outcome.details.get("restore_seconds")),
        phases=numbers(phases) if isinstance(phases, dict) else {},
    )


def _name_of(outcome: Outcome) -> str | None:
    return None if outcome.archive is None else cut(outcome.archive, SHORT_TEXT)


def _kept(record: RestoreRecord) -> KeptState:
    return KeptState(
        id=record.id,
        restored_at=recorded(record.started_at),
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
        others=tuple(NotLatest(name=each.entry.name, code=each.code.value, text=cut(each.text)) for each in others),
    )


def _copy(copy: OffsiteCopy) -> KnownCopy:
    archive = None if copy.archive is None else cut(copy.archive, SHORT_TEXT)
    return KnownCopy(
        name=copy.name, copied_at=moment(copy.copied_at), archive=archive, drilled_at=moment(copy.drilled_at)
    )


def _finding(reason: Reason) -> Finding:
    return Finding(
        code=reason.code.value,
        health=reason.health.name.lower(),
        text=cut(reason.text),
        command=reason.command or None,
    )
