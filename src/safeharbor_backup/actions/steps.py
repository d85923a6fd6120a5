"""The steps of a run: each is shown to the watcher, and its time is kept."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from safeharbor_backup.progress import Progress


@dataclass(frozen=True, slots=True)
class Steps:
    """The watcher of a run, the seconds of each of its steps so far, and its warnings."""

    progress: Progress
    seconds: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @contextmanager
    def phase(self, name: str, total_bytes: int | None = None) -> Iterator[None]:
        """A step that is shown; `total_bytes` if its size is known."""
        self.progress.phase(name, total_bytes)
        with self.timed(name):
            yield

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """A step whose parts are shown, or which is at work beside another one; the same name again adds to it."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = round(self.seconds.get(name, 0.0) + time.monotonic() - started, 3)

    def warn(self, *texts: str) -> None:
        """Show these warnings at once, and keep them for the result."""
        for text in texts:
            self.warnings.append(text)
            self.progress.warn(text)
