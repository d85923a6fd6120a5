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
_AT_ONCE = timedelta(minutes=1)


TWICE = "two backups begin at each time of the schedule: two schedulers are at work, or one and a timer"
STOP_ONE = "Stop one of them. In the Compose stack: docs/backups.md#change-what-runs"


class Seen(StrEnum):
    """What shows whether something keeps the schedule."""

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
    slots = _last_slots(settings.schedule, settings.timezone, now)
    if not begun or not slots or slots[-1] <= begun[0]:
        return Seen.NOT_YET
    return Seen.RUNS if any(_count_begun(begun, slots, now, _LATE)) else Seen.NOTHING


def has_second_scheduler(settings: Settings, history: Sequence[Outcome], now: datetime) -> bool:
    """Whether two things start backups by the schedule, as after a change of scheduler that left the old one running.

    Two backups began within a minute of the last time that was due, or within the hour after each of the last two; one
    that found the other at work counts as well.
    """
    if settings.problems_in(Concern.SCHEDULE):
        return False
    begun = [each.started_at for each in history if each.command == "backup"]
    slots = _last_slots(settings.schedule, settings.timezone, now)
    if not slots:
        return False
    at_once = _count_begun(begun, slots, now, _AT_ONCE)
    late = _count_begun(begun, slots, now, _LATE)
    return any(many > 1 for many in at_once[-1:]) or (len(late) == _SLOTS and min(late) > 1)


def _count_begun(begun: Sequence[datetime], slots: Sequence[datetime], now: datetime, patience: timedelta) -> list[int]:
    """How many began at each slot: before the next one, and not much later."""
    ends = [min(slot + patience, after) for slot, after in zip(slots, [*slots[1:], now + patience], strict=True)]
    return [sum(slot <= each < end for each in begun) for slot, end in zip(slots, ends, strict=True)]


def _last_slots(schedule: str, timezone: str, now: datetime) -> list[datetime]:
    zone = find_zone(timezone)
    slots: list[datetime] = []
    for span in _SPANS:
        upcoming = upcoming_runs(schedule, (now - span).astimezone(zone))
        slots = list(takewhile(lambda slot: slot <= now, upcoming))[-_SLOTS:]
        if len(slots) == _SLOTS:
            break
    return slots
