"""A dump that a thread writes while the uploads are archived, and the progress of both together."""

from __future__ import annotations

import threading
import time
from functools import partial
from typing import TYPE_CHECKING

from safeharbor_backup.archive.parallel_dump import Abandoned
from safeharbor_backup.system.threads import Worker

if TYPE_CHECKING:
    from collections.abc import Callable

    from safeharbor_backup.actions.backup.manifest_content import DumpRecord
    from safeharbor_backup.progress import Progress

_LOOK_EVERY_SECONDS = 0.5


class DumpBeside:
    """A dump that a thread writes, and a `Progress` for whoever works beside it: each report also looks after the dump.

    So a dump that fails ends the work beside it, and the snapshot is given back as soon as it is not needed.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._taken = self._reported = 0
        self._conclude: Callable[[], DumpRecord] | None = None  # once it is written
        self._failure: BaseException | None = None
        self._record: DumpRecord | None = None
        # not Thread.join: in Python 3.11 one that a signal's exception leaves takes the thread for ended
        self._ended = threading.Event()
        self._ended.set()  # until it is started there is nothing to wait for
        self.seconds = 0.0

    def start(self, write: Callable[[], tuple[int, str]], conclude: Callable[[int, str], DumpRecord]) -> None:
        """Let a thread do `write`; `conclude` is done by the main one, when that has ended well."""
        started = time.monotonic()

        def run() -> None:
            try:
                size, digest = write()
            except Abandoned:
                pass  # whoever abandoned it tells why
            except BaseException as failure:
                self._failure = failure
            else:
                self._conclude = partial(conclude, size, digest)
            self.seconds = time.monotonic() - started
            self._ended.set()

        self._ended.clear()
        try:
            Worker(run).start()
        except BaseException:  # a container may be allowed no more of them
            self._ended.set()
            raise

    def take(self, size_bytes: int) -> None:
        """So much more of the dump came; called by its thread."""
        self._taken += size_bytes

    def finish(self) -> DumpRecord:
        """Wait for it. Raises what it failed with."""
        while self._record is None:
            self.has_ended(_LOOK_EVERY_SECONDS)
            self.advance(0)
        return self._record

    def has_ended(self, timeout_seconds: float | None = None) -> bool:
        """Whether all of it is written, or it has failed, within that time; None: however long it takes."""
        return self._ended.wait(timeout_seconds)

    def phase(self, name: str, total_bytes: int | None = None) -> None:
        """Tell it."""
        self._progress.phase(name, total_bytes)

    def advance(self, size_bytes: int, items: int = 0) -> None:
        """Tell it, together with what came of the dump; look after that. Raises what the dump failed with."""
        taken = self._taken
        self._progress.advance(size_bytes + taken - self._reported, items)
        self._reported = taken
        if self._record is not None or not self._ended.is_set():
            return
        if self._failure is not None:
            raise self._failure
        if self._conclude is not None:  # else it was abandoned
            self._record = self._conclude()

    def step(self, name: str) -> None:
        """Tell it."""
        self._progress.step(name)

    def note(self, text: str) -> None:
        """Tell it."""
        self._progress.note(text)

    def warn(self, text: str) -> None:
        """Tell it."""
        self._progress.warn(text)
