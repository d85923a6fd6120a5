"""Whether something takes backups by the schedule, as can be seen: not everybody who has a schedule has a scheduler."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from itertools import takewhile
from typing import TYPE_CHECKING

from safeharbor_backup.settings.model import Concern
from safeharbor_backup.settings.schedule import find_zone, upcoming_runs
from safeharbor_backup.state.scheduler_at_work import is_scheduler_at_work

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from safeharbor_backup.settings.model import Settings
    from safeharbor_backup.state.history import Outcome

_LATE = timedelta(hours=1)  # a timer may start at random, or wait for what runs before
_SPANS = (timedelta(days=2), timedelta(days=16), timedelta(days=70))
_SLOTS = 2  # one night may have been missed


class Seen(StrEnum):
    """What was seen of a schedule at work."""

    SCHEDULER = "scheduler"
    RUNS = "runs"
    NOT_YET = "not_yet"
    NOTHING = "nothing"


def look_for_schedule(
    settings: Settings, history: Sequence[Outcome], taken: Iterable[datetime], now: datetime
) -> Seen | None:
    """What is seen now; `taken` are the moments of the archives. None if the schedule cannot be used.

    A scheduler of ours at work; or a backup that began within the hour after one of the last two times that were due.
    It is too early to tell as long as none was due since the first backup.
    """
    if settings.problems_in(Concern.SCHEDULE):
        return None
    if is_scheduler_at_work(settings.backup_dir):
        return Seen.SCHEDULER
    begun = sorted([*(each.started_at for each in history if each.command == "backup"), *taken])
    slots = _last_slots(settings, now)
    if not begun or not slots or slots[-1] <= begun[0]:
        return Seen.NOT_YET
    for slot, after in zip(slots, [*slots[1:], now + _LATE], strict=True):
        if any(slot <= each < min(slot + _LATE, after) for each in begun):
            return Seen.RUNS
    return Seen.NOTHING


def _last_slots(settings: Settings, now: datetime) -> list[datetime]:
    zone = find_zone(settings.timezone)
    slots: list[datetime] = []
    for span in _SPANS:
        upcoming = upcoming_runs(settings.schedule, (now - span).astimezone(zone))
        slots = list(takewhile(lambda slot: slot <= now, upcoming))[-_SLOTS:]
        if len(slots) == _SLOTS:
            break
    return slots
