"""Sane values in what a JSON parser made of somebody else's text; anything else is None or empty."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TypeVar

FEW = 50
_TEXT_LIMIT = 1000
_NUMBER_LIMIT = 1 << 62
_YEARS = range(1980, 9000)
_NO_CHARACTERS = "".join(chr(plane + last) for plane in range(0, 0x110000, 0x10000) for last in (0xFFFE, 0xFFFF))
# controls and what is no character, which HTML forbids; what turns the direction of text round; halves of characters
_DECEIVING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufdd0-\ufdef"
    f"{_NO_CHARACTERS}]"
)

T = TypeVar("T")


def mapping_in(given: object) -> Mapping[str, object]:
    """The object that it is; an empty one for anything else."""
    return given if isinstance(given, Mapping) else {}


def list_in(given: object) -> list[object]:
    """The list that it is; an empty one for anything else."""
    return list(given) if isinstance(given, list | tuple) else []


def several_in(given: object, read: Callable[[object], T | None], limit: int) -> tuple[T, ...]:
    """What `read` makes of the first ones of a list; those that it makes None of are left out."""
    return tuple(found for each in list_in(given)[:limit] if (found := read(each)) is not None)


def readable(text: str) -> str:
    """The text, cut, and without what no page can hold or what would deceive its reader."""
    return _DECEIVING.sub("\N{REPLACEMENT CHARACTER}", text[:_TEXT_LIMIT])


def text_in(given: object) -> str:
    """The text that it is, readable; an empty one for anything else."""
    return readable(given) if isinstance(given, str) else ""


def texts_in(given: object) -> tuple[str, ...]:
    """The texts of a list that are not empty."""
    return several_in(given, lambda each: text_in(each) or None, FEW)


def amount_in(given: object) -> float | None:
    """A number that is finite, and no less than nothing."""
    if not isinstance(given, int | float) or isinstance(given, bool):
        return None
    return float(given) if 0 <= given < _NUMBER_LIMIT and math.isfinite(given) else None


def count_in(given: object) -> int | None:
    """The same, whole."""
    amount = amount_in(given)
    return None if amount is None else int(amount)


def moment_in(given: object) -> datetime | None:
    """A moment in UTC; one without a zone is taken for UTC."""
    if not isinstance(given, str) or len(given) > 40:
        return None
    try:
        found = datetime.fromisoformat(given)
    except ValueError:
        return None
    if found.year not in _YEARS:
        return None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
