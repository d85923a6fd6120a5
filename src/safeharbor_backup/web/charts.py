"""Small multiples: one number over time in each, from zero, all on one axis of time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from safeharbor_backup.text import plural, show_bytes
from safeharbor_backup.web.format import day, short_day, took

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from safeharbor_backup.actions.status.run_schema import PastRun
    from safeharbor_backup.actions.status.schema import Contents, StatusDocument

_WIDTH, _HEIGHT = 1000, 100  # of the drawing, as its template has it
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


@dataclass(frozen=True, slots=True)
class Bar:
    """A run. One that failed reaches to the top and is hollow: it has no time to compare."""

    x: float
    y: float
    width: float
    height: float
    is_failure: bool


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart in words, and its shapes: bars, or a line with the area below it as paths."""

    name: str
    title: str
    last: str
    usual: str
    top: str
    summary: str
    axis: tuple[str, str]
    bars: list[Bar]
    line: str
    area: str


def draw_charts(document: StatusDocument) -> list[Chart]:
    """Size, rows and uploads of the archives, and how long backups, and restores in drills, took; those of which there
    are two values.
    """
    archives, history = document.contents, document.history
    drills = [(run, run.restore_seconds) for run in history if run.command == "drill" and run.restore_seconds]
    most = document.drill_max_seconds
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
        Series(
            "restore",
            "Time that a restore takes" + (f", at most {took(most)} wanted" if most is not None else ""),
            [Point(run.started_at, seconds, not run.is_success) for run, seconds in drills],
            took,
            is_bars=True,
        ),
    ]
    moments = [point.moment for each in series for point in each.points]
    return [_draw(each, min(moments), max(moments)) for each in series if len(each.points) > 1]


def _taken(archives: Sequence[Contents], backups: Sequence[PastRun]) -> list[tuple[datetime, Contents | PastRun]]:
    """What was taken when, the oldest first: the archives that are there, and the runs that took those that are not."""
    found: list[tuple[datetime, Contents | PastRun]] = [
        (each.taken_at, each) for each in archives if each.is_usable and each.taken_at is not None
    ]
    there = {archive.name for archive in archives}
    found += [(run.started_at, run) for run in backups if run.is_success and run.archive not in there]
    return sorted(found, key=lambda each: each[0])


def _draw(series: Series, first: datetime, last: datetime) -> Chart:
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
    show_day = day if (last - first).days > _YEAR_MATTERS_DAYS else short_day
    seconds = max((last - first).total_seconds(), 1.0)
    width = min(max(0.6 * _WIDTH / len(points), 1.5), 24.0) if series.is_bars else 0.0
    places = [
        (
            round((point.moment - first).total_seconds() / seconds * (_WIDTH - width) + width / 2, 1),
            round(_HEIGHT - point.value / (top or 1.0) * (_HEIGHT - _ROOM), 1),
            point.is_failure,
        )
        for point in points
    ]
    line = "" if series.is_bars else "L".join(f"{x} {y}" for x, y, _ in places)
    return Chart(
        series.name,
        series.title,
        last=series.say(good[-1]),
        usual=f"usually {usual}{failed}",
        top=series.say(top),
        summary=summary,
        axis=(show_day(first), show_day(last)),
        bars=[_bar(*place, width) for place in places] if series.is_bars else [],
        line=line and f"M{line}",
        area=line and f"M{places[0][0]} {_HEIGHT}L{line}L{places[-1][0]} {_HEIGHT}Z",
    )


def _bar(x: float, y: float, is_failure: bool, width: float) -> Bar:
    top, height = (1, _HEIGHT - 2) if is_failure else (y, round(_HEIGHT - y, 1))
    return Bar(round(x - width / 2, 1), top, round(width, 1), height, is_failure)


def _whole(value: float) -> str:
    return f"{value:,.0f}"
