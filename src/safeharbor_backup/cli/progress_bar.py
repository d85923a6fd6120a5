"""Progress for whoever watches: a live bar on a terminal, a sober line now and then in a log, nothing when quiet."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from safeharbor_backup.progress import NoProgress
from safeharbor_backup.text import show_bytes, show_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

    from safeharbor_backup.progress import Progress

_LOG_EVERY_SECONDS = 5.0
_WORTH_A_LINE_SECONDS = 1.0


@contextmanager
def watching(line: Callable[[str], None], *, quiet: bool) -> Iterator[Progress]:
    """The watcher that fits standard error, of which `line` writes one line."""
    if quiet:
        yield _Quiet(line)
    elif sys.stderr is not None and sys.stderr.isatty() and (bars := _started_bars()) is not None:
        try:
            yield _Live(bars)
        finally:
            bars.stop()
    else:
        watcher_in_log = _Log(line)
        yield watcher_in_log
        watcher_in_log.finish()


def seconds_left(done_bytes: int, total_bytes: int | None, elapsed_seconds: float) -> float | None:
    """How long the rest of a phase will take; None if that cannot be said, or more was done than was expected."""
    if not total_bytes or not 0 < done_bytes <= total_bytes:
        return None
    return elapsed_seconds * (total_bytes - done_bytes) / done_bytes


class _Quiet(NoProgress):
    """Warnings alone."""

    def __init__(self, line: Callable[[str], None]) -> None:
        self._line = line

    def warn(self, text: str) -> None:
        self._line(f"Warning: {text}")


class _Log(NoProgress):
    """Lines for a log file: one when a phase that took a while ends, and one every few seconds within it."""

    def __init__(self, line: Callable[[str], None]) -> None:
        self._line = line
        self._phase = ""
        self._started = self._said = time.monotonic()
        self._bytes = 0
        self._items = 0
        self._total: int | None = None

    def phase(self, name: str, total_bytes: int | None = None) -> None:
        self.finish()
        self._phase = name
        self._total = total_bytes
        self._started = self._said = time.monotonic()
        self._bytes = self._items = 0

    def advance(self, size_bytes: int, items: int = 0) -> None:
        self._bytes += size_bytes
        self._items += items
        if time.monotonic() - self._said >= _LOG_EVERY_SECONDS:
            self._said = time.monotonic()
            left = seconds_left(self._bytes, self._total, time.monotonic() - self._started)
            if left is None or self._total is None:
                self._say("so far")
            else:
                self._say(f"of {show_bytes(self._total)}", f", about {show_duration(left)} left")

    def note(self, text: str) -> None:
        self._line(text)

    def warn(self, text: str) -> None:
        self._line(f"Warning: {text}")

    def finish(self) -> None:
        if self._phase and self._bytes and time.monotonic() - self._started >= _WORTH_A_LINE_SECONDS:
            self._say("done")
        self._phase = ""

    def _say(self, when: str, more: str = "") -> None:
        seconds = max(time.monotonic() - self._started, 0.001)
        rate = show_bytes(self._bytes / seconds)
        self._line(f"{self._phase}: {show_bytes(self._bytes)} {when}, {seconds:.1f} s, {rate}/s{more}")


def _started_bars() -> RichProgress | None:
    """Live bars; None if the system has no thread to draw them."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description:>8}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(compact=True),
    )
    bars = Progress(*columns, console=Console(stderr=True), transient=True)
    try:
        bars.start()
    except RuntimeError:
        return None
    return bars


class _Live(NoProgress):
    """A bar with phase, bytes, rate and time left."""

    def __init__(self, bars: RichProgress) -> None:
        self._bars = bars
        self._task: TaskID | None = None

    def phase(self, name: str, total_bytes: int | None = None) -> None:
        if self._task is not None:
            self._bars.remove_task(self._task)
        self._task = self._bars.add_task(name, total=total_bytes)

    def advance(self, size_bytes: int, items: int = 0) -> None:
        if self._task is not None:
            self._bars.advance(self._task, size_bytes)

    def note(self, text: str) -> None:
        self._bars.console.print(text, markup=False, highlight=False)

    def warn(self, text: str) -> None:
        self._bars.console.print(f"Warning: {text}", markup=False, highlight=False, style="yellow")
