"""How an action reports its progress to a front end; the core never prints."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """What a front end supplies to watch a run: it is called as the work goes on."""

    def phase(self, name: str, total_bytes: int | None = None) -> None:
        """A new phase of the work begins; `total_bytes` if its size is known."""

    def advance(self, size_bytes: int, items: int = 0) -> None:
        """A further part of this phase is done; called at most every few hundred items."""

    def step(self, name: str) -> None:
        """Something that lasts was just done; a process that dies here leaves it so."""

    def note(self, text: str) -> None:
        """One line that the operator should see in the log."""

    def warn(self, text: str) -> None:
        """A warning, at the moment when its cause is noticed."""


class NoProgress:
    """A front end that watches nothing."""

    def phase(self, name: str, total_bytes: int | None = None) -> None:
        """Ignore it."""

    def advance(self, size_bytes: int, items: int = 0) -> None:
        """Ignore it."""

    def step(self, name: str) -> None:
        """Ignore it."""

    def note(self, text: str) -> None:
        """Ignore it."""

    def warn(self, text: str) -> None:
        """Ignore it."""
