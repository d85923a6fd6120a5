"""HUP, INT and TERM end a run the orderly way: cleaned up, and with the status that shells expect."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from safeharbor.errors import Interrupted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

_HANDLED = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)


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
        if first:
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


@contextmanager
def signals_held() -> Iterator[None]:
    """Inside the block HUP, INT and TERM wait: for work of seconds that must not be left half-done."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def orphans_reaped() -> Iterator[None]:
    """Inside the block nothing stays of children that end: for PID 1, which inherits all orphans of its container."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, before)
