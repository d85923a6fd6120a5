"""How the backups are: whether the newest is good and young enough, how the last runs ended, what comes next."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from safeharbor.alerts import find_telling_problems
from safeharbor.archive.layout import archive_name
from safeharbor.catalog import CatalogEntry, State, read_catalog
from safeharbor.errors import SafeHarborError
from safeharbor.guards import judge_size, read_adopted
from safeharbor.history import read_history
from safeharbor.journal import Journal
from safeharbor.last_runs import (
    BACKUP,
    DRILL,
    LastRuns,
    Proofs,
    as_verified,
    find_proofs,
    judge_runs,
    tells_of_archives,
)
from safeharbor.lock import LOCK_NAME, is_locked
from safeharbor.prune import plan_prune
from safeharbor.retention import Candidate
from safeharbor.room import Room, measure_room
from safeharbor.schedule import find_zone, next_slot
from safeharbor.settings import Concern
from safeharbor.uploads.omissions import ascii_safe

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from safeharbor.history import Outcome
    from safeharbor.journal import RestoreRecord
    from safeharbor.retention import Verdict
    from safeharbor.settings import Settings


class Health(StrEnum):
    """The state of the backups in one word."""

    GOOD = "good"
    WAITING = "waiting for the first backup"
    WARNING = "warning"
    FAILED = "failed"
    STALE = "stale"
    INTERRUPTED = "interrupted restore"


@dataclass(frozen=True, slots=True)
class Outlook:
    """What retention says of each archive now, and which ones the next backup will delete."""

    verdicts: Mapping[str, Verdict] = field(default_factory=dict)
    next_deleted: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Status:
    """What an operator wants to know, the first things first. Ages in seconds; archives newest first.

    `next_backup` is None if the schedule cannot be used.
    """

    health: Health
    newest: CatalogEntry | None
    age_seconds: float | None
    max_age_seconds: float
    archives: tuple[CatalogEntry, ...]
    reasons: tuple[str, ...]
    runs: LastRuns
    proofs: Proofs
    history: tuple[Outcome, ...]
    room: Room
    outlook: Outlook
    next_backup: datetime | None
    kept: tuple[RestoreRecord, ...] = ()
    interrupted: RestoreRecord | None = None

    @property
    def is_healthy(self) -> bool:
        """Whether nobody needs to be woken: fresh, or too early for a first backup.

        A failed run wakes nobody as long as the newest archive is young enough: the next run may make it good.
        """
        return self.health not in (Health.STALE, Health.INTERRUPTED)

    @property
    def damaged(self) -> int:
        """How many archives are damaged."""
        return sum(entry.state is State.DAMAGED for entry in self.archives)


def read_status(settings: Settings, *, max_age_seconds: float | None = None, now: datetime | None = None) -> Status:
    """The state of the backup directory, and what runs and restores have left there.

    Raises StorageUnavailable if it cannot be read.
    """
    now = now or datetime.now(UTC)
    directory = settings.backup_dir
    history = read_history(directory)
    archives = read_catalog(directory).archives
    proofs = find_proofs(history, archives)
    archives = tuple(as_verified(entry, proofs) for entry in archives)
    complete = [entry for entry in archives if entry.state is State.COMPLETE]
    newest = complete[0] if complete else None
    limit = max_age_seconds or settings.max_age_seconds
    next_backup = _next_backup(settings, now)
    status = Status(
        health=Health.GOOD,
        newest=newest,
        age_seconds=max((now - newest.taken_at).total_seconds(), 0.0) if newest is not None else None,
        max_age_seconds=limit,
        archives=archives,
        reasons=(),
        runs=judge_runs(history, newest),
        proofs=proofs,
        history=history,
        room=measure_room(directory, complete, settings.full_read_days),
        outlook=_look_ahead(settings, archives, next_backup or now),
        next_backup=next_backup,
    )
    kept, interrupted, restores = _judge_restores(directory)
    findings = [*restores, *_judge_age(status, directory, now), *_judge_runs(status)]
    findings += [(Health.WARNING, reason) for reason in _what_to_look_at(status, complete, settings, now)]
    findings += [(Health.WARNING, ascii_safe(reason)) for reason in find_telling_problems(settings, history)]
    health = max((each for each, _ in findings), key=list(Health).index, default=Health.GOOD)
    reasons = [reason for _, reason in sorted(findings, key=lambda each: -list(Health).index(each[0]))]
    return replace(status, health=health, reasons=tuple(reasons), kept=kept, interrupted=interrupted)


Finding = tuple[Health, str]


def _judge_age(status: Status, directory: Path, now: datetime) -> list[Finding]:
    newest, limit = status.newest, status.max_age_seconds
    if newest is None or status.age_seconds is None:
        return [_judge_absence(directory, limit, now) if not status.damaged else (Health.STALE, _NOTHING)]
    if status.age_seconds > limit:
        return [(Health.STALE, "the newest complete archive is older than it may be")]
    return []


_NOTHING = "there is no complete archive"


def _judge_absence(directory: Path, limit: float, now: datetime) -> Finding:
    """Without any archive: waiting, as long as a first one need not be there yet.

    The clock starts with the first run ever tried there (its lock file stays), else with the directory.
    """
    try:
        since = os.stat(directory / LOCK_NAME).st_mtime
    except OSError:
        since = os.stat(directory).st_mtime
    if now.timestamp() - since <= limit:
        return Health.WAITING, "there is no archive yet, and none is due yet"
    return Health.STALE, _NOTHING


def _judge_runs(status: Status) -> list[Finding]:
    """What failed and was not made good.

    A failed backup is a failure. So is a check that found something wrong; of a verify only until there is a newer
    archive, which was proven when it was written. A check that could not be done says nothing of the archives.
    """
    findings = []
    newest = status.newest.taken_at if status.newest is not None else None
    for failure in status.runs.failures:
        if failure.command != BACKUP and not status.archives:
            continue  # there was nothing to check
        is_overtaken = failure.command != DRILL and newest is not None and newest >= failure.started_at
        has_failed = failure.command == BACKUP or (tells_of_archives(failure) and not is_overtaken)
        said = f": {ascii_safe(failure.reason)}" if failure.reason else ""
        sentence = (
            f"the last {failure.command} failed on {_show(failure.started_at)}, status {failure.exit_status}{said}"
        )
        findings.append((Health.FAILED if has_failed else Health.WARNING, sentence))
    return findings


def _judge_restores(directory: Path) -> tuple[tuple[RestoreRecord, ...], RestoreRecord | None, list[Finding]]:
    """What restores keep, the one that was interrupted, and what is to be said of that."""
    try:
        records = Journal(directory).read()
    except (SafeHarborError, OSError) as error:
        return (), None, [(Health.WARNING, f"the journal of restores: {error}")]
    kept = tuple(record for record in records if not record.is_interrupted)
    pending = next((record for record in records if record.is_interrupted), None)
    if pending is None or is_locked(directory):  # one that is at work is not interrupted
        return kept, None, []
    reason = f"the restore {pending.id} of {pending.archive} was interrupted; until it is settled no backup is taken"
    return kept, pending, [(Health.INTERRUPTED, reason)]


def _what_to_look_at(status: Status, complete: Sequence[CatalogEntry], settings: Settings, now: datetime) -> list[str]:
    reasons = []
    damaged = [entry for entry in status.archives if entry.state is State.DAMAGED]
    if damaged:
        how_many = f"{len(damaged)} of {len(status.archives)} archives {'is' if len(damaged) == 1 else 'are'} damaged"
        reasons.append(f"{how_many}: {damaged[0].name}: {damaged[0].problem}{', …' if len(damaged) > 1 else ''}")
    newest = status.newest
    if newest is None or newest.manifest is None:
        return reasons
    if (newest.taken_at - now).total_seconds() > 60:
        reasons.append("the newest archive is from the future: the clock was wrong then, or is now")
    reasons += newest.manifest.warnings
    concerns = (Concern.DIRECTORY, Concern.RETENTION, Concern.SCHEDULE, Concern.MONITORING)
    reasons += [str(problem) for problem in settings.problems_in(*concerns)]
    if newest.name not in read_adopted(settings.backup_dir).archives:
        smaller = judge_size(newest, complete[1] if len(complete) > 1 else None)
        reasons += [smaller] if smaller else []
    if not settings.problems_in(Concern.RETENTION, Concern.SCHEDULE):
        reasons += status.outlook.warnings
    room = status.room
    if room.fits == 0:
        takes = f"{room.free or 0:,} bytes are free, and the next one takes {room.next_archive or 0:,}"
        reasons.append(f"there is no room for another archive: {takes}")
    return reasons


def _next_backup(settings: Settings, now: datetime) -> datetime | None:
    if settings.problems_in(Concern.SCHEDULE):
        return None
    return next_slot(settings.schedule, find_zone(settings.timezone), now)


def _look_ahead(settings: Settings, archives: Sequence[CatalogEntry], next_backup: datetime) -> Outlook:
    """What retention says, and will say when the next archive is there. Raises StorageUnavailable."""
    problems = settings.problems_in(Concern.RETENTION, Concern.SCHEDULE)
    if problems:
        return Outlook(warnings=tuple(str(problem) for problem in problems))
    now = plan_prune(settings, archives=archives)
    upcoming = Candidate(archive_name(next_backup), int(next_backup.timestamp()) * 10**9)
    then = plan_prune(settings, archives=archives, upcoming=upcoming)
    doomed = tuple(sorted(name for name in then.doomed if name != upcoming.name))
    return Outlook({verdict.name: verdict for verdict in now.verdicts}, doomed, now.warnings)


def _show(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")
