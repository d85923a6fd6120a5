"""The state of the backups: whether the newest is good and young enough, how the last runs ended, what comes next."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from safeharbor_backup.actions.alerts.deliveries import find_telling_problems
from safeharbor_backup.actions.catalog.entries import is_from_future, read_catalog
from safeharbor_backup.actions.catalog.last_runs import as_verified, find_proofs, judge_runs
from safeharbor_backup.actions.catalog.latest import choose_latest
from safeharbor_backup.actions.catalog.retention import Candidate
from safeharbor_backup.actions.offsite import find_copies
from safeharbor_backup.actions.prune import plan_prune
from safeharbor_backup.actions.status.free_space import measure_room
from safeharbor_backup.actions.status.gone import find_gone
from safeharbor_backup.actions.status.health import Code, Health, Reason
from safeharbor_backup.actions.status.reasons import (
    judge_age,
    judge_archives,
    judge_copies,
    judge_last_runs,
    judge_restores,
)
from safeharbor_backup.actions.status.result import Outlook, Status
from safeharbor_backup.actions.status.schedule_seen import TWICE, has_second_scheduler, look_for_schedule
from safeharbor_backup.archive.layout import archive_name
from safeharbor_backup.settings.model import Concern
from safeharbor_backup.settings.schedule import find_zone, next_slot
from safeharbor_backup.state.adopted import read_adopted
from safeharbor_backup.state.history import read_history
from safeharbor_backup.text import ascii_safe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safeharbor_backup.actions.catalog.entries import CatalogEntry
    from safeharbor_backup.settings.model import Settings


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
    complete = [entry for entry in archives if entry.is_complete]
    newest = next((entry for entry in complete if not is_from_future(entry, now)), None)
    limit = max_age_seconds or settings.max_age_seconds
    next_backup = _next_backup(settings, now)
    status = Status(
        health=Health.GOOD,
        newest=newest,
        age_seconds=max((now - newest.taken_at).total_seconds(), 0.0) if newest is not None else None,
        max_age_seconds=limit,
        archives=archives,
        findings=(),
        latest=choose_latest(archives, read_adopted(directory), now, settings.database_name),
        runs=judge_runs(history, newest),
        proofs=proofs,
        history=history,
        room=measure_room(directory, complete, settings.full_read_days, settings.min_free),
        outlook=_look_ahead(settings, archives, now, next_backup or now),
        next_backup=next_backup,
        seen=look_for_schedule(settings, history, [entry.taken_at for entry in archives], now),
        gone=find_gone(history, settings.status_file) if not archives else None,
        copies=find_copies(directory, settings.offsite),
    )
    kept, interrupted, found = judge_restores(directory)
    found += [*judge_age(status, directory, now), *judge_last_runs(status)]
    found += judge_archives(status, complete, settings, now)
    found += judge_copies(status, now)
    if has_second_scheduler(settings, history, now):
        found.append(Reason(Code.TWO_SCHEDULERS, Health.WARNING, TWICE))
    telling = find_telling_problems(history, settings.notify_urls, settings.ping_url)
    found += [Reason(Code.TELLING, Health.WARNING, ascii_safe(problem)) for problem in telling]
    worst_first = sorted(found, key=lambda each: -list(Health).index(each.health))
    health = worst_first[0].health if worst_first else Health.GOOD
    return replace(status, health=health, findings=tuple(worst_first), kept=kept, interrupted=interrupted)


def _next_backup(settings: Settings, now: datetime) -> datetime | None:
    if settings.problems_in(Concern.SCHEDULE):
        return None
    return next_slot(settings.schedule, find_zone(settings.timezone), now)


def _look_ahead(
    settings: Settings, archives: Sequence[CatalogEntry], moment: datetime, next_backup: datetime
) -> Outlook:
    """What retention says, and will say when the next archive is there. Raises StorageUnavailable."""
    problems = settings.problems_in(Concern.RETENTION, Concern.SCHEDULE)
    if problems:
        return Outlook(problems=tuple(str(problem) for problem in problems))
    now = plan_prune(settings, archives=archives, now=moment)
    upcoming = Candidate(archive_name(next_backup), int(next_backup.timestamp()) * 10**9)
    then = plan_prune(settings, archives=archives, upcoming=upcoming, now=next_backup)
    to_delete = tuple(sorted(name for name in then.to_delete if name != upcoming.name))
    return Outlook({verdict.name: verdict for verdict in now.verdicts}, to_delete, now.notices)
