"""HUP, INT and TERM end a run the orderly way: cleaned up, and with the status that shells expect."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from safeharbor_backup.errors import Interrupted, TookTooLong

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

_HANDLED = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)


class _Hold:
    """Whether signals are held now, how many times over, and the first that came meanwhile."""

    depth = 0
    waiting: int | None = None


@contextmanager
def signals_interrupt() -> Iterator[None]:
    """Inside the block HUP, INT and TERM raise `Interrupted` once; more of them do not disturb the clean-up.

    A signal that was ignored when we started (`nohup`) stays ignored. Outside the main thread nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    first = True

    def interrupt(number: int, _frame: FrameType | None) -> None:
        nonlocal first
        if first and _Hold.depth:
            _Hold.waiting = _Hold.waiting or number
        elif first:
            first = False
            raise Interrupted(number)

    before = {number: signal.getsignal(number) for number in _HANDLED}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Deadline:
    """Raises TookTooLong in the main thread after so many seconds, unless it is called off before. None: never."""

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._before: object = None

    def start(self) -> None:
        """From now on the time counts."""
        if self._seconds is None or threading.current_thread() is not threading.main_thread():
            return
        self._before = signal.signal(signal.SIGALRM, self._ring)
        signal.setitimer(signal.ITIMER_REAL, self._seconds)

    def call_off(self) -> None:
        """The run is over. May be repeated."""
        if self._before is not None:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, self._before)  # type: ignore[arg-type]
            self._before = None

    def _ring(self, number: int, _frame: FrameType | None) -> None:
        if _Hold.depth:
            _Hold.waiting = _Hold.waiting or number
        elif self._seconds is not None:
            raise TookTooLong(self._seconds)


@contextmanager
def signals_held() -> Iterator[set[int | signal.Signals]]:
    """Inside the block HUP, INT and TERM wait: for work of seconds that must not be left half-done.

    Yields what was blocked before, for a child that is started meanwhile. The mask alone would not do: it is of one
    thread, the kernel gives a signal to any other, and Python then runs its handler in the main thread anyway.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED)
    _Hold.depth += 1
    try:
        yield before
    finally:
        _Hold.depth -= 1
        number = None
        if not _Hold.depth:
            number, _Hold.waiting = _Hold.waiting, None
        signal.pthread_sigmask(signal.SIG_SETMASK, before)  # one that waits in the kernel is raised here
        handler = signal.getsignal(number) if number is not None else None
        if number is not None and callable(handler):
            handler(number, None)


@contextmanager
def orphans_reaped() -> Iterator[None]:
    """Inside the block nothing stays of children that end: for PID 1, which inherits all orphans of its container."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, before)
