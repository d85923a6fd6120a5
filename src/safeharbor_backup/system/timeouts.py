"""A bound on what has none of its own: looking up a name, a server that sends one byte now and then."""

from __future__ import annotations

import threading
import time
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from safeharbor_backup.system.threads import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")


def run_within(seconds: float, actions: Sequence[Callable[[], T]], late: T) -> list[T]:
    """What each action returns, all at once; `late` for those that take longer than `seconds`.

    An action that is late goes on in a thread that nobody waits for, and that ends with the process. Actions raise
    nothing: what they return must say what failed. Raises OutOfResources if the system has no thread for one.
    """
    results: list[T] = [late] * len(actions)
    closed = threading.Event()

    def run(index: int, action: Callable[[], T]) -> None:
        result = action()
        if not closed.is_set():
            results[index] = result

    workers = [Worker(partial(run, *each)) for each in enumerate(actions)]
    ends = time.monotonic() + seconds
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(max(ends - time.monotonic(), 0.0))
    closed.set()
    return list(results)
