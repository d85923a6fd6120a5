"""When backups are due: six fields, seconds first, as the container scheduler reads them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

from safeharbor_backup.errors import Unusable

if TYPE_CHECKING:
    from collections.abc import Iterator

_SHORTHANDS = {
    "@yearly": "0 0 0 1 1 *",
    "@annually": "0 0 0 1 1 *",
    "@monthly": "0 0 0 1 * *",
    "@weekly": "0 0 0 * * 0",
    "@daily": "0 0 0 * * *",
    "@midnight": "0 0 0 * * *",
    "@hourly": "0 0 * * * *",
}
# What every scheduler that reads these fields takes; no L, W or #.
_FIELD = re.compile(
    r"(?:[0-9*,/?-]|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|mon|tue|wed|thu|fri|sat|sun)+", re.IGNORECASE
)


class UnusableSchedule(Unusable):
    """Why a schedule cannot be used, and what it should look like."""


def parse_schedule(text: str) -> str:
    """The schedule as six fields with single spaces: second minute hour day-of-month month day-of-week.

    Raises UnusableSchedule. Five fields are refused, because the container scheduler would take them for
    seconds first and run at other times than meant.
    """
    text = text.strip()
    if text.startswith("@"):
        if text.lower() not in _SHORTHANDS:
            raise UnusableSchedule(f"six fields, or one of {', '.join(_SHORTHANDS)}")
        return _SHORTHANDS[text.lower()]
    fields = text.split()
    if len(fields) == 5:
        raise UnusableSchedule(f'six fields, seconds first: "0 {" ".join(fields)}" if those five begin with the minute')
    if len(fields) != 6:
        raise UnusableSchedule('six fields (second minute hour day-of-month month day-of-week), such as "0 0 3 * * *"')
    for each in fields:
        if not _FIELD.fullmatch(each):
            raise UnusableSchedule(f'six fields of numbers, names, "*", ",", "-" and "/"; "{each}" is something else')
    normal = " ".join("*" if each == "?" else each for each in fields)
    try:
        next(_simulate(normal))
    except CronSimError as error:
        raise UnusableSchedule(f"six fields that mean a time: {str(error).lower()}") from None
    except StopIteration:
        raise UnusableSchedule("a time that exists") from None
    return normal


class UnusableZone(Unusable):
    """Why a time zone cannot be used, and what it should look like."""


def find_zone(name: str) -> tzinfo:
    """The time zone of this IANA name. UTC is always there; the others come with the system's `tzdata`.

    Raises UnusableZone.
    """
    if name.upper() == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown, not a name at all, a directory of names
        pass
    if not available_timezones():
        raise UnusableZone("UTC, since this system knows no other time zones; `apt-get install tzdata` brings them")
    raise UnusableZone("the IANA name of a time zone, such as Europe/Berlin, or UTC")


def upcoming_runs(schedule: str, after: datetime) -> Iterator[datetime]:
    """The times, strictly after `after` and in its time zone, at which a parsed `schedule` is due."""
    while True:
        after = next_slot(schedule, after.tzinfo or UTC, after).astimezone(after.tzinfo)
        yield after


def next_slot(schedule: str, zone: tzinfo, after: datetime) -> datetime:
    """The first moment, in UTC and strictly after `after`, at which a parsed `schedule` is due by the clocks of `zone`.

    Where clocks are set ahead, a time that is left out is due at the moment when they are. Where they are set back, a
    time that comes twice is due at the first of both. A schedule that is due in every hour of the day is none of times
    but of intervals: it leaves out and repeats with the clocks, and so stays even.
    """
    if zone is UTC:
        return next(CronSim(schedule, after.astimezone(UTC)))
    local = after.astimezone(zone)
    simulated = CronSim(schedule, local.replace(tzinfo=None, fold=0))
    is_of_intervals = len(simulated.hours) == 24  # decision 35
    if is_of_intervals:  # what the clock has shown already and will show again can be next
        repeated = local.replace(fold=1).astimezone(UTC) - after.astimezone(UTC)
        simulated = CronSim(schedule, local.replace(tzinfo=None, fold=0) - max(repeated, timedelta()))
    best = datetime.max.replace(tzinfo=UTC)
    for moment in simulated:
        moments = _moments(moment, zone, is_of_intervals=is_of_intervals)
        if moments and moments[0] >= best:
            break  # the first moments of later times are never earlier
        best = min([best, *(each for each in moments if each > after)])
    return best


def _moments(local: datetime, zone: tzinfo, *, is_of_intervals: bool) -> list[datetime]:
    """The moments, in UTC, at which a clock in `zone` that shows `local` makes a schedule due."""
    first = local.replace(tzinfo=zone, fold=0).astimezone(UTC)
    second = local.replace(tzinfo=zone, fold=1).astimezone(UTC)
    if first == second:
        return [first]
    if first < second:  # PEP 495: this time appears twice
        return [first, second] if is_of_intervals else [first]
    return [] if is_of_intervals else [_when_set_ahead(zone, second, first)]  # and this one never


def _when_set_ahead(zone: tzinfo, before: datetime, after: datetime) -> datetime:
    """The second between these two at which the clocks of `zone` are set."""
    old = before.astimezone(zone).utcoffset()
    while after - before > timedelta(seconds=1):
        middle = before + timedelta(seconds=(after - before) // timedelta(seconds=2))
        if middle.astimezone(zone).utcoffset() == old:
            before = middle
        else:
            after = middle
    return after


def _simulate(fields: str) -> Iterator[datetime]:
    return CronSim(fields, datetime.now(UTC))
