"""Times, ages and numbers as a page says them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safeharbor_backup.text import plural, show_bytes

if TYPE_CHECKING:
    from datetime import datetime

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
UNKNOWN = "not known"


def span(seconds: float) -> str:
    """A time such as `13 hours` or `2 days`, rounded down."""
    seconds = max(seconds, 0.0)
    if seconds < 1:
        return "less than a second"
    for unit, noun, least in ((1, "second", 120), (60, "minute", 7200), (3600, "hour", 172800)):
        if seconds < least:
            return plural(int(seconds // unit), noun)
    return plural(int(seconds // 86400), "day")


def took(seconds: float) -> str:
    """How long something took, such as `0.4 s`, `42 s` or `7 min 12 s`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s".removesuffix(" 0 s")
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60)} min".removesuffix(" 0 min")


def ago(moment: datetime, now: datetime) -> str:
    """`13 hours ago`, `in 9 hours` or `now`."""
    seconds = (now - moment).total_seconds()
    if abs(seconds) < 1:
        return "now"
    return f"{span(seconds)} ago" if seconds > 0 else f"in {span(-seconds)}"


def day(moment: datetime) -> str:
    """`24 Nov 2026`: our own names, whatever the process's locale is."""
    return f"{moment.day} {_MONTHS[moment.month - 1]} {moment.year}"


def short_day(moment: datetime) -> str:
    """`24 Nov`."""
    return f"{moment.day} {_MONTHS[moment.month - 1]}"


def month(moment: datetime) -> str:
    """`Nov`."""
    return _MONTHS[moment.month - 1]


def weekday(moment: datetime) -> str:
    """`Tue`."""
    return _DAYS[moment.weekday()]


def absolute(moment: datetime) -> str:
    """`24 Nov 2026, 03:00 UTC`."""
    return f"{day(moment)}, {moment:%H:%M} UTC"


def day_and_time(moment: datetime) -> str:
    """`Tue 24 Nov 2026, 03:00`."""
    return f"{weekday(moment)} {day(moment)}, {moment:%H:%M}"


def size(count: int | None) -> str:
    """A size such as `1.4 GiB`."""
    return UNKNOWN if count is None else show_bytes(count)


def counted(count: int | None, noun: str) -> str:
    """A number of things such as `1 row` or `2,914 rows`."""
    return f"{noun}s {UNKNOWN}" if count is None else plural(count, noun)


def number(count: int | None) -> str:
    """A number such as `2,914`."""
    return UNKNOWN if count is None else f"{count:,}"
