"""Threads that are known to run: one that the system refuses, or that dies at its birth, is an error within seconds.

`threading.Thread.start` waits for ever for a thread that ran out of memory before its first line.
"""

from __future__ import annotations

import _thread
import threading
from typing import TYPE_CHECKING

from safeharbor_backup.errors import OutOfResources, no_more_processes

if TYPE_CHECKING:
    from collections.abc import Callable

_BIRTH_SECONDS = 10.0


class Worker:
    """Runs one function in a thread that ends with the process. What it does must not raise."""

    def __init__(self, do: Callable[[], object]) -> None:
        self._do = do
        self._begun = threading.Event()
        # not Thread.join: in Python 3.11 one that a signal's exception leaves takes the thread for ended
        self._ended = threading.Event()

    def start(self) -> None:
        """Start the thread. Raises OutOfResources if that is refused."""
        try:
            _thread.start_new_thread(self._run, ())
        except (RuntimeError, MemoryError) as error:
            raise no_more_processes("thread") from error
        if not self._begun.wait(_BIRTH_SECONDS):
            raise OutOfResources("A thread was started but does not run.", hint=no_more_processes("thread").hint)

    def join(self, timeout_seconds: float | None = None) -> bool:
        """Wait for the thread, for ever if the time is None. Returns whether it has ended."""
        return self._ended.wait(timeout_seconds)

    @property
    def is_alive(self) -> bool:
        """Whether it has begun and not ended."""
        return self._begun.is_set() and not self._ended.is_set()

    def _run(self) -> None:
        self._begun.set()
        try:
            self._do()
        finally:
            self._ended.set()


class Watchdog:
    """Calls a function after a number of seconds, unless it is cancelled before."""

    def __init__(self, seconds: float, do: Callable[[], object]) -> None:
        self._off = threading.Event()
        self._worker = Worker(lambda: self._off.wait(seconds) or do())

    def start(self) -> None:
        """From now on the time counts. Raises OutOfResources."""
        self._worker.start()

    def cancel(self) -> None:
        """Stop the watchdog: it will do nothing."""
        self._off.set()
