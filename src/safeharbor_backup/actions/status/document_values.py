"""Values as documents have them, whoever wrote them: moments in whole seconds, texts cut, numbers that are numbers."""

from __future__ import annotations

from datetime import UTC, datetime
from math import inf
from typing import TYPE_CHECKING

from safeharbor_backup.text import ascii_safe

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_TEXT = 1000
SHORT_TEXT = 300
MOST_WARNINGS = 20
_PHASES = 20


def in_seconds(given: datetime) -> datetime:
    """A moment as documents have it: UTC, whole seconds."""
    return given.astimezone(UTC).replace(microsecond=0)


def moment(given: datetime | None) -> datetime | None:
    """The same of a moment that may not be known."""
    return None if given is None else in_seconds(given)


def recorded(text: str) -> datetime | None:
    """A moment of the journal, which keeps it as a text."""
    try:
        return in_seconds(datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        return None


def cut(text: str, length: int = _TEXT) -> str:
    """A text in one line of plain characters, cut to so many of them."""
    text = ascii_safe(text)
    return text if len(text) <= length else text[: length - 1] + "…"


def cut_all(texts: Iterable[str]) -> tuple[str, ...]:
    """All of them, each cut to what a document may have."""
    return tuple(cut(text) for text in texts)


def whole(value: object) -> int | None:
    """A count, if it is one."""
    return value if type(value) is int else None


def amount(value: object) -> float | None:
    """A number that is finite and not below 0, if it is one."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < inf else None


def numbers(phases: Mapping[object, object]) -> dict[str, float]:
    """The first few of these numbers by name, without what is not a number."""
    kept = list(phases.items())[:_PHASES]
    return {
        cut(str(name), SHORT_TEXT): value for name, value in kept if isinstance(value, int | float) and 0 <= value < inf
    }
