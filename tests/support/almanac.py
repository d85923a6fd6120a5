"""When schedules are due, worked out another way: by somebody who looks at a clock every 30 seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from support.needs import missing

LOOK = timedelta(seconds=30)


@dataclass(frozen=True)
class Plan:
    """A schedule, and whether what a clock shows matches it."""

    fields: str
    matches: Callable[[datetime], bool]
    every_hour: bool = False


PLANS = [
    Plan("0 0 3 * * *", lambda t: (t.hour, t.minute, t.second) == (3, 0, 0)),
    Plan("0 30 2 * * *", lambda t: (t.hour, t.minute, t.second) == (2, 30, 0)),
    Plan("30 15,45 1-2 * * *", lambda t: t.hour in (1, 2) and t.minute in (15, 45) and t.second == 30),
    Plan("0 0 0 * * *", lambda t: (t.hour, t.minute, t.second) == (0, 0, 0)),
    Plan("0 0 */2 * * *", lambda t: t.hour % 2 == 0 and (t.minute, t.second) == (0, 0)),
    Plan("0 45 1 * * 0", lambda t: t.weekday() == 6 and (t.hour, t.minute, t.second) == (1, 45, 0)),
    Plan("0 0 2 30,31 * *", lambda t: t.day in (30, 31) and (t.hour, t.minute, t.second) == (2, 0, 0)),
    Plan("0 */30 * * * *", lambda t: t.minute % 30 == 0 and t.second == 0, every_hour=True),
    Plan("30 40 * * * *", lambda t: (t.minute, t.second) == (40, 30), every_hour=True),
    Plan("*/30 */5 * * * *", lambda t: t.minute % 5 == 0 and t.second % 30 == 0, every_hour=True),
]

# the first has half an hour of summer time, the last left a whole day out
ZONES = ["Australia/Lord_Howe", "Europe/Berlin", "America/New_York", "Pacific/Apia"]


def zone_named(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except ZoneInfoNotFoundError:
        missing("tzdata is not installed; `scripts/test-needs` installs it")


def looks(start: datetime, end: datetime, zone: tzinfo) -> Iterator[tuple[datetime, datetime]]:
    """Each moment at which somebody looks, and what the clock on the wall shows then."""
    moment = start
    while moment < end:
        yield moment, moment.astimezone(zone).replace(tzinfo=None, fold=0)
        moment += LOOK


def due_moments(plan: Plan, seen: list[tuple[datetime, datetime]]) -> list[datetime]:
    """When the plan is due. A time that is shown again counts once, and one that is never shown when it has passed;
    unless it is every hour's: then what the clock shows is all that counts.
    """
    found = []
    latest = seen[0][1] - LOOK
    for moment, shown in seen:
        if plan.every_hour:
            if plan.matches(shown):
                found.append(moment)
            continue
        if shown <= latest:
            continue
        passed = latest + LOOK
        is_due = False
        while passed <= shown and not is_due:
            is_due = plan.matches(passed)
            passed += LOOK
        latest = shown
        if is_due:
            found.append(moment)
    return found


def days_around_changes(zone: tzinfo, first_year: int, last_year: int) -> list[tuple[datetime, datetime]]:
    """From half a day before each change of the clocks to as long after it."""
    found = []
    hour = datetime(first_year, 1, 1, tzinfo=UTC)
    while hour.year <= last_year:
        following = hour + timedelta(hours=6)
        if hour.astimezone(zone).utcoffset() != following.astimezone(zone).utcoffset():
            found.append((hour - timedelta(hours=12), following + timedelta(hours=12)))
        hour = following
    return found
