"""How a verb tells a front end what it is doing; the core never prints."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """What a front end supplies to watch a run."""

    def phase(self, name: str, total_bytes: int | None = None) -> None:
        """A new part of the work begins; `total_bytes` if its size is known."""

    def advance(self, size_bytes: int, items: int = 0) -> None:
        """So much more of this phase is done; called at most every few hundred items."""

    def step(self, name: str) -> None:
        """Something that lasts was just done; a process that dies here leaves it so."""

    def note(self, text: str) -> None:
        """One line that the operator should see in the log."""

    def warn(self, text: str) -> None:
        """Something that is not as it should be, at the moment it is noticed."""


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
