"""Whether the newest backup is good and young enough."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from safeharbor.alerts import find_telling_problems
from safeharbor.catalog import CatalogEntry, State, read_catalog
from safeharbor.errors import SafeHarborError
from safeharbor.history import read_history
from safeharbor.journal import Journal
from safeharbor.lock import LOCK_NAME, is_locked
from safeharbor.prune import plan_prune
from safeharbor.settings import Concern

if TYPE_CHECKING:
    from pathlib import Path

    from safeharbor.journal import RestoreRecord
    from safeharbor.settings import Settings


class Health(StrEnum):
    """The state of the backups in one word."""

    GOOD = "good"
    WAITING = "waiting for the first backup"
    WARNING = "warning"
    STALE = "stale"
    INTERRUPTED = "interrupted restore"


@dataclass(frozen=True, slots=True)
class Status:
    """What an operator wants to know first. Ages in seconds."""

    health: Health
    newest: CatalogEntry | None
    age_seconds: float | None
    max_age_seconds: float
    archives: int
    damaged: int
    reasons: tuple[str, ...]
    kept: tuple[RestoreRecord, ...] = ()

    @property
    def is_healthy(self) -> bool:
        """Whether nobody needs to be woken: fresh, or too early for a first backup."""
        return self.health not in (Health.STALE, Health.INTERRUPTED)


def read_status(settings: Settings, *, max_age_seconds: float | None = None, now: datetime | None = None) -> Status:
    """The state of the backup directory, and what restores have left there.

    Raises StorageUnavailable if it cannot be read.
    """
    status = _judge_archives(settings, max_age_seconds, now)
    try:
        records = Journal(settings.backup_dir).read()
    except (SafeHarborError, OSError) as error:
        health = Health.WARNING if status.is_healthy else status.health
        return replace(status, health=health, reasons=(*status.reasons, f"the journal of restores: {error}"))
    kept = tuple(record for record in records if not record.is_interrupted)
    pending = next((record for record in records if record.is_interrupted), None)
    if pending is None or is_locked(settings.backup_dir):  # one that is at work is not interrupted
        return replace(status, kept=kept)
    reason = f"the restore {pending.id} of {pending.archive} was interrupted; until it is settled no backup is taken"
    return replace(status, health=Health.INTERRUPTED, reasons=(reason, *status.reasons), kept=kept)


def _judge_archives(settings: Settings, max_age_seconds: float | None, now: datetime | None) -> Status:
    now = now or datetime.now(UTC)
    limit = max_age_seconds or settings.max_age_seconds
    catalog = read_catalog(settings.backup_dir)
    newest = catalog.newest_complete
    damaged = sum(entry.state is State.DAMAGED for entry in catalog.archives)
    reasons = []
    if damaged:
        reasons.append(f"{damaged} of {len(catalog.archives)} archives {'is' if damaged == 1 else 'are'} damaged")
    if newest is None:
        health, reason = Health.STALE, "there is no complete archive"
        if not damaged:
            health, reason = _judge_absence(settings.backup_dir, limit, now)
        return Status(health, None, None, limit, len(catalog.archives), damaged, (reason, *reasons))
    age = max((now - newest.taken_at).total_seconds(), 0.0)
    if (newest.taken_at - now).total_seconds() > 60:
        reasons.append("the newest archive is from the future: the clock was wrong then, or is now")
    assert newest.manifest is not None  # noqa: S101 - complete archives have one
    reasons += newest.manifest.warnings
    concerns = (Concern.DIRECTORY, Concern.RETENTION, Concern.SCHEDULE, Concern.MONITORING)
    reasons += [str(problem) for problem in settings.problems_in(*concerns)]
    reasons += find_telling_problems(settings, read_history(settings.backup_dir))
    if not settings.problems_in(Concern.RETENTION, Concern.SCHEDULE):
        reasons += plan_prune(settings).warnings
    health = Health.WARNING if reasons else Health.GOOD
    if age > limit:
        health = Health.STALE
        reasons.insert(0, "the newest complete archive is older than it may be")
    return Status(health, newest, age, limit, len(catalog.archives), damaged, tuple(reasons))


def _judge_absence(directory: Path, limit: float, now: datetime) -> tuple[Health, str]:
    """Without any archive: waiting, as long as a first one need not be there yet.

    The clock starts with the first run ever tried there (its lock file stays), else with the directory.
    """
    try:
        since = os.stat(directory / LOCK_NAME).st_mtime
    except OSError:
        since = os.stat(directory).st_mtime
    if now.timestamp() - since <= limit:
        return Health.WAITING, "there is no archive yet, and none is due yet"
    return Health.STALE, "there is no complete archive"
