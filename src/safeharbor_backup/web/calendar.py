"""The archives by day, a column for each week: which stay as daily ones, which as weekly ones, which go next."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from safeharbor_backup.text import plural
from safeharbor_backup.web.format import day, month, weekday

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from safeharbor_backup.actions.status.run_schema import PastRun
    from safeharbor_backup.actions.status.schema import Contents, StatusDocument

_PITCH = 18  # as the template draws a day, and the names of the days
_LEFT, _TOP = 30, 18
_FEWEST_WEEKS, _ENLARGED_WEEKS, _MOST_WEEKS = 18, 26, 52
_MEANINGS = {
    "daily": "kept (daily)",
    "weekly": "kept (weekly)",
    "both": "kept (daily and weekly)",
    "kept": "kept for another reason",
    "next": "will be deleted after the next backup",
    "gone": "taken, deleted since",
    "damaged": "cannot be restored",
    "failed": "failed, no backup taken",
    "missed": "missed: nothing ran",
}


@dataclass(frozen=True, slots=True)
class Day:
    """Where a day is, how it is drawn, and what its tooltip says; with the month that begins in its column, if any."""

    x: int
    y: int
    mark: str
    tip: str
    month: str


@dataclass(frozen=True, slots=True)
class Drawing:
    """So many weeks: the size of the drawing itself and as it is shown, and what it shows in words."""

    kind: str
    width: int
    height: int
    shown_width: int
    shown_height: int
    summary: str
    days: list[Day]


@dataclass(frozen=True, slots=True)
class Calendar:
    """The calendar twice, one of them for narrow screens, and what its marks mean.

    `older` tells in which of the two some archives have no place: "both", "narrow" or "".
    """

    is_enlarged: bool
    wide: Drawing
    narrow: Drawing
    legend: list[tuple[str, str]]
    older: str


def draw_calendar(document: StatusDocument, now: datetime) -> Calendar | None:
    """The calendar; None if nothing was ever taken."""
    archives, history = document.contents, document.history
    if not archives and not history:
        return None
    by_day: dict[str, list[Contents]] = {}
    for archive in archives:
        if archive.taken_at is not None:
            by_day.setdefault(day(archive.taken_at), []).append(archive)
    runs = [run for run in history if run.command == "backup"]
    marks = dict.fromkeys(_expected(document, runs, now), "missed")
    marks |= {day(run.started_at): "failed" for run in runs if not run.is_success}
    marks |= {day(run.started_at): "gone" for run in runs if run.is_success}
    marks |= {date: _mark(found) for date, found in by_day.items()}
    oldest = min((archive.taken_at for archive in archives if archive.taken_at is not None), default=now)
    weeks = min(max((now - oldest).days // 7 + 2, _FEWEST_WEEKS), _MOST_WEEKS)
    without_place = "both" if oldest < _monday(now, weeks) else "narrow"
    return Calendar(
        is_enlarged=weeks <= _ENLARGED_WEEKS,
        wide=_draw("wide", weeks, by_day, marks, now),
        narrow=_draw("narrow", _FEWEST_WEEKS, by_day, marks, now),
        legend=[(name, meaning) for name, meaning in _MEANINGS.items() if name in marks.values()],
        older=without_place if oldest < _monday(now, _FEWEST_WEEKS) else "",
    )


def _expected(document: StatusDocument, runs: Sequence[PastRun], now: datetime) -> list[str]:
    """The days that are over, since the first run that is known, where the schedule has a backup on each day."""
    fields = (document.schedule or "").split()
    is_daily = fields[-3:] == ["*"] * 3 or fields in (["@daily"], ["@midnight"], ["@hourly"])
    if not is_daily or not runs:
        return []
    first = min(run.started_at for run in runs)
    return [day(first + timedelta(days=number)) for number in range((now.date() - first.date()).days)]


def _draw(kind: str, weeks: int, by_day: dict[str, list[Contents]], marks: dict[str, str], now: datetime) -> Drawing:
    first = _monday(now, weeks)
    days = []
    shown = 0
    last_label = -3
    for offset in range((weeks - 1) * 7 + now.weekday() + 1):
        date = first + timedelta(days=offset)
        column, row = divmod(offset, 7)
        label = ""
        if date.day <= 7 and row == 0 and column - last_label > 2:
            label, last_label = month(date), column
        found = by_day.get(day(date), ())
        shown += len(found)
        mark = marks.get(day(date), "none")
        days.append(Day(_LEFT + column * _PITCH, _TOP + row * _PITCH, mark, _tip(date, found, mark), label))
    width, height = _LEFT + weeks * _PITCH, _TOP + 7 * _PITCH
    scale = 1.5 if weeks <= _ENLARGED_WEEKS else 1
    total = sum(map(len, by_day.values()))
    older = f"; {plural(total - shown, 'older archive')} not shown" if total > shown else ""
    summary = f"{plural(shown, 'archive')} from {day(first)} to {day(now)}{older}. {_tally(marks.values())}"
    return Drawing(kind, width, height, round(width * scale), round(height * scale), summary, days)


def _monday(now: datetime, weeks: int) -> datetime:
    """The first day of so many weeks, this one included."""
    today = datetime(now.year, now.month, now.day, tzinfo=UTC)
    return today - timedelta(days=today.weekday(), weeks=weeks - 1)


def _tally(marks: Iterable[str]) -> str:
    every = list(marks)
    counts = [(every.count(name), meaning) for name, meaning in _MEANINGS.items()]
    return " ".join(f"{plural(count, 'day')}: {meaning}." for count, meaning in counts if count)


def _mark(archives: Sequence[Contents]) -> str:
    """How a day is drawn: by the archive of it that stays longest."""
    complete = [archive for archive in archives if archive.is_usable]
    if not complete:
        return "damaged"
    staying = [archive for archive in complete if not archive.goes_next]
    is_daily, is_weekly = any(each.is_daily for each in staying), any(each.is_weekly for each in staying)
    if is_daily and is_weekly:
        return "both"
    if is_daily or is_weekly:
        return "daily" if is_daily else "weekly"
    return "kept" if staying else "next"


def _tip(date: datetime, archives: Sequence[Contents], mark: str) -> str:
    if archives:
        said = [f"{archive.name}: {', '.join(archive.kept_as) or _MEANINGS[mark]}" for archive in archives[:5]]
        return f"{weekday(date)}, {day(date)}. " + "; ".join(said)
    return f"{weekday(date)}, {day(date)}. " + _MEANINGS.get(mark, "no archive")
