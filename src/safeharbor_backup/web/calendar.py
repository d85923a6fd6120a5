"""The archives by day, a column for each week: which stay as daily ones, which as weekly ones, which go next."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from safeharbor_backup.text import plural
from safeharbor_backup.web.format import day, month, weekday
from safeharbor_backup.web.markup import Html, element

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from safeharbor_backup.web.document import Archive, Run

_PITCH, _CELL = 18, 14
_LEFT, _TOP = 30, 18
_FEWEST_WEEKS, _ENLARGED_WEEKS, _MOST_WEEKS = 18, 26, 52
_MEANINGS = {
    "daily": "stays as a daily one",
    "weekly": "stays as a weekly one",
    "both": "stays as a daily and a weekly one",
    "kept": "stays for another reason",
    "next": "goes when the next backup is done",
    "gone": "was taken, and is gone since",
    "damaged": "cannot be restored",
    "failed": "a backup failed, and none was taken",
}


def draw_calendar(archives: Sequence[Archive], history: Sequence[Run], now: datetime) -> Html:
    """The calendar twice, one of them for narrow screens, and what its marks mean."""
    by_day: dict[str, list[Archive]] = {}
    for archive in archives:
        if archive.taken_at is not None:
            by_day.setdefault(day(archive.taken_at), []).append(archive)
    runs = [run for run in history if run.command == "backup"]
    marks = {day(run.started_at): "failed" for run in runs if not run.is_success}
    marks |= {day(run.started_at): "gone" for run in runs if run.is_success}
    marks |= {date: _mark(found) for date, found in by_day.items()}
    oldest = min((archive.taken_at for archive in archives if archive.taken_at is not None), default=now)
    weeks = min(max((now - oldest).days // 7 + 2, _FEWEST_WEEKS), _MOST_WEEKS)
    told = [name for name in _MEANINGS if name in set(marks.values())]
    legend = [element("li", _swatch(name), element("span", _MEANINGS[name])) for name in told]
    drawn = [_draw("wide", weeks, by_day, marks, now), _draw("narrow", _FEWEST_WEEKS, by_day, marks, now)]
    for fewest, kind in ((weeks, "soft"), (_FEWEST_WEEKS, "soft only-narrow")):
        if oldest < _monday(now, fewest):
            legend.append(element("li", element("span", "Older ones are in the list below"), class_=kind))
            break
    legend_list = element("ul", *legend, class_="legend") if legend else None
    return element("div", *drawn, legend_list, class_="days few" if weeks <= _ENLARGED_WEEKS else "days")


def _draw(kind: str, weeks: int, by_day: dict[str, list[Archive]], marks: dict[str, str], now: datetime) -> Html:
    today = datetime(now.year, now.month, now.day, tzinfo=UTC)
    first = _monday(now, weeks)
    shapes = [
        element("text", label, x=0, y=_TOP + row * _PITCH + 11) for row, label in ((0, "Mon"), (2, "Wed"), (4, "Fri"))
    ]
    shown = 0
    last_label = -3
    for offset in range((today - first).days + 1):
        date = first + timedelta(days=offset)
        x, y = _LEFT + offset // 7 * _PITCH, _TOP + offset % 7 * _PITCH
        if date.day <= 7 and offset % 7 == 0 and offset // 7 - last_label > 2:
            shapes.append(element("text", month(date), x=x, y=10))
            last_label = offset // 7
        name = day(date)
        found = by_day.get(name, ())
        shown += len(found)
        shapes.append(_cell(x, y, marks.get(name, "none"), _tip(date, found, marks.get(name, "none"))))
    width, height = _LEFT + weeks * _PITCH, _TOP + 7 * _PITCH
    scale = 1.5 if weeks <= _ENLARGED_WEEKS else 1
    total = sum(map(len, by_day.values()))
    older = f"; {plural(total - shown, 'older archive')} not drawn" if total > shown else ""
    summary = f"{plural(shown, 'archive')} from {day(first)} to {day(now)}{older}. {_tally(marks.values())}"
    identity = f"calendar-{kind}"
    return element(
        "svg",
        element("title", "Archives by day", id=f"{identity}-title"),
        element("desc", f"{summary} The list of archives below has them all.", id=f"{identity}-text"),
        *shapes,
        class_=f"calendar {kind}",
        viewBox=f"0 0 {width} {height}",
        width=round(width * scale),
        height=round(height * scale),
        role="img",
        aria_labelledby=f"{identity}-title {identity}-text",
    )


def _monday(now: datetime, weeks: int) -> datetime:
    """The first day of so many weeks, this one included."""
    today = datetime(now.year, now.month, now.day, tzinfo=UTC)
    return today - timedelta(days=today.weekday(), weeks=weeks - 1)


def _tally(marks: Iterable[str]) -> str:
    every = list(marks)
    counts = [(every.count(name), meaning) for name, meaning in _MEANINGS.items()]
    return " ".join(f"{plural(count, 'day')}: {meaning}." for count, meaning in counts if count)


def _mark(archives: Sequence[Archive]) -> str:
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


def _tip(date: datetime, archives: Sequence[Archive], mark: str) -> str:
    if archives:
        said = [f"{archive.name}: {', '.join(archive.kept_as) or _MEANINGS[mark]}" for archive in archives[:5]]
        return f"{weekday(date)}, {day(date)}. " + "; ".join(said)
    return f"{weekday(date)}, {day(date)}. " + _MEANINGS.get(mark, "no archive")


def _cell(x: float, y: float, mark: str, tip: str) -> Html:
    """A day. The marks differ in shape, not only in colour."""
    return element("g", element("title", tip) if tip else None, *_shapes(x, y, mark), class_=f"day {mark}")


def _shapes(x: float, y: float, mark: str) -> list[Html]:
    middle_x, middle_y = x + _CELL / 2, y + _CELL / 2
    square = element("rect", x=x, y=y, width=_CELL, height=_CELL, rx=3)
    disc = element("circle", cx=middle_x, cy=middle_y, r=_CELL / 2)
    dot = element("circle", cx=middle_x, cy=middle_y, r=3, class_="hole")
    spot = element("circle", cx=middle_x, cy=middle_y, r=2.5)
    outline = element("rect", x=x + 1, y=y + 1, width=_CELL - 2, height=_CELL - 2, rx=2)
    cross = element("path", d=f"M{x + 4} {y + 4}l6 6m0-6l-6 6", class_="cross")
    return {
        "both": [square, dot],
        "weekly": [disc, dot],
        "gone": [square, spot],
        "next": [outline],
        "damaged": [square, cross],
        "failed": [outline, cross],
    }.get(mark, [square])


def _swatch(mark: str) -> Html:
    return element(
        "svg",
        _cell(1, 1, mark, ""),
        class_="swatch",
        viewBox="0 0 16 16",
        width=16,
        height=16,
        aria_hidden="true",
        focusable="false",
    )
