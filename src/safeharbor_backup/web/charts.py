"""Small multiples: one number over time in each, from zero, all on one axis of time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from safeharbor_backup.text import plural, show_bytes
from safeharbor_backup.web.format import day, short_day, took
from safeharbor_backup.web.markup import Html, element

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from safeharbor_backup.web.document import Archive, Run

_WIDTH, _HEIGHT = 1000, 100
_ROOM = 8  # above the highest value
_YEAR_MATTERS_DAYS = 300


@dataclass(frozen=True, slots=True)
class Point:
    """A number at a moment; `is_failure` if it is of a run that failed."""

    moment: datetime
    value: float
    is_failure: bool = False


@dataclass(frozen=True, slots=True)
class Series:
    """What one chart shows; `say` puts a value into words."""

    name: str
    title: str
    points: Sequence[Point]
    say: Callable[[float], str]
    is_bars: bool = False


def draw_charts(archives: Sequence[Archive], history: Sequence[Run]) -> Html | None:
    """Size, rows and uploads of the archives, and how long backups took; None if there are no two values of any."""
    backups = [run for run in history if run.command == "backup"]
    taken = _taken(archives, backups)
    series = [
        Series(
            "size",
            "Size of an archive",
            [Point(at, each.size_bytes) for at, each in taken if each.size_bytes is not None],
            show_bytes,
        ),
        Series("rows", "Rows", [Point(at, each.rows) for at, each in taken if each.rows is not None], _whole),
        Series(
            "uploads",
            "Uploads",
            [Point(at, each.upload_files) for at, each in taken if each.upload_files is not None],
            _whole,
        ),
        Series(
            "time",
            "Time that a backup takes",
            [Point(run.started_at, run.seconds, not run.is_success) for run in backups],
            took,
            is_bars=True,
        ),
    ]
    moments = [point.moment for each in series for point in each.points]
    drawn = [_draw(each, min(moments), max(moments)) for each in series if len(each.points) > 1]
    return element("div", *drawn, class_="charts") if drawn else None


def _taken(archives: Sequence[Archive], backups: Sequence[Run]) -> list[tuple[datetime, Archive | Run]]:
    """What was taken when, the oldest first: the archives that are there, and the runs that took those that are not."""
    found: list[tuple[datetime, Archive | Run]] = [
        (each.taken_at, each) for each in archives if each.is_usable and each.taken_at is not None
    ]
    there = {archive.name for archive in archives}
    found += [(run.started_at, run) for run in backups if run.is_success and run.archive not in there]
    return sorted(found, key=lambda each: each[0])


def _draw(series: Series, first: datetime, last: datetime) -> Html:
    points = series.points
    good = [point.value for point in points if not point.is_failure] or [0.0]
    top = max(point.value for point in points)
    failures = sum(point.is_failure for point in points)
    usual = series.say(sorted(good)[len(good) // 2])
    failed = f", {plural(failures, 'failed run')}" if failures else ""
    summary = (
        f"{plural(len(points), 'value')} from {day(points[0].moment)} to {day(points[-1].moment)}: "
        f"the last {series.say(points[-1].value)}, usually {usual}, at most {series.say(top)}{failed}."
    )
    identity = f"chart-{series.name}"
    is_long = (last - first).days > _YEAR_MATTERS_DAYS
    return element(
        "figure",
        element(
            "figcaption",
            element("span", series.title),
            element("strong", series.say(good[-1])),
            element("span", f"usually {usual}{failed}"),
        ),
        element(
            "div",
            element("span", series.say(top), class_="top", aria_hidden="true"),
            element(
                "svg",
                element("title", series.title, id=f"{identity}-title"),
                element("desc", summary, id=f"{identity}-text"),
                *_shapes(series, top or 1.0, first, last),
                viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
                preserveAspectRatio="none",
                role="img",
                aria_labelledby=f"{identity}-title {identity}-text",
            ),
            class_="plot",
        ),
        element(
            "div",
            *(element("span", (day if is_long else short_day)(each)) for each in (first, last)),
            class_="axis",
            aria_hidden="true",
        ),
        class_="chart",
    )


def _shapes(series: Series, top: float, first: datetime, last: datetime) -> list[Html]:
    seconds = max((last - first).total_seconds(), 1.0)
    width = min(max(0.6 * _WIDTH / len(series.points), 1.5), 24.0) if series.is_bars else 0.0
    places = [
        (
            round((point.moment - first).total_seconds() / seconds * (_WIDTH - width) + width / 2, 1),
            round(_HEIGHT - point.value / top * (_HEIGHT - _ROOM), 1),
            point.is_failure,
        )
        for point in series.points
    ]
    if series.is_bars:
        return [_bar(*place, width) for place in places]
    line = "L".join(f"{x} {y}" for x, y, _ in places)
    area = f"M{places[0][0]} {_HEIGHT}L{line}L{places[-1][0]} {_HEIGHT}Z"
    return [element("path", d=area, class_="area"), element("path", d=f"M{line}", class_="line")]


def _bar(x: float, y: float, is_failure: bool, width: float) -> Html:
    """A run. One that failed reaches to the top and is hollow: it has no time to compare."""
    left = round(x - width / 2, 1)
    if is_failure:
        return element("rect", x=left, y=1, width=round(width, 1), height=_HEIGHT - 2, class_="bar failed")
    return element("rect", x=left, y=y, width=round(width, 1), height=round(_HEIGHT - y, 1), class_="bar")


def _whole(value: float) -> str:
    return f"{value:,.0f}"
