"""When backups are due: six fields, seconds first, as the container scheduler reads them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cronsim import CronSim, CronSimError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

DEFAULT_SCHEDULE = "0 0 3 * * *"

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


class UnusableSchedule(ValueError):
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
        raise UnusableSchedule(
            f'six fields (second minute hour day-of-month month day-of-week), such as "{DEFAULT_SCHEDULE}"'
        )
    for each in fields:
        if not _FIELD.fullmatch(each):
            raise UnusableSchedule(f'six fields of numbers, names, "*", ",", "-" and "/"; "{each}" is something else')
    normal = " ".join("*" if each == "?" else each for each in fields)
    try:
        next(_simulate(normal))
    except CronSimError as error:
        raise UnusableSchedule(f"six fields that mean a time: {str(error).lower()}") from None
    except StopIteration:
        raise UnusableSchedule("a time that ever comes") from None
    return normal


def upcoming_runs(schedule: str, after: datetime) -> Iterator[datetime]:
    """The times, strictly after `after` and in its time zone, at which a parsed `schedule` is due."""
    return CronSim(schedule, after)


def _simulate(fields: str) -> Iterator[datetime]:
    from datetime import UTC, datetime

    return CronSim(fields, datetime.now(UTC))
