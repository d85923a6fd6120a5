"""The status document as the page takes it: somebody else wrote it, so only what is known and sane gets through.

What is missing or of another kind becomes nothing; lists are cut to what a page can show. Reading never fails.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec

from safeharbor_backup.actions.status.schema import RUNS, Finding, StatusDocument
from safeharbor_backup.system.documents import Misfit, convert_document

_TEXT_LIMIT = 1000
_NUMBER_LIMIT = 1 << 62
_YEARS = range(1980, 9000)
_NO_CHARACTERS = "".join(chr(plane + last) for plane in range(0, 0x110000, 0x10000) for last in (0xFFFE, 0xFFFF))
# controls and what is not a character, which HTML forbids; what turns the direction of text round; halves of characters
_DECEIVING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufdd0-\ufdef"
    f"{_NO_CHARACTERS}]"
)


def read_document(given: object) -> StatusDocument:
    """The document, or what a JSON parser made of one; an empty one if it is not an object."""
    given = msgspec.to_builtins(given) if isinstance(given, msgspec.Struct) else given
    if not isinstance(given, Mapping):
        return StatusDocument()
    history = given.get("history")
    # the newest of them stand at the end
    told = {**given, "history": history[-RUNS:] if isinstance(history, list) else ()}
    document = convert_document(told, StatusDocument, sane)
    if document.findings is None:  # an earlier version wrote it
        findings = tuple(Finding(text=reason) for reason in document.reasons)
        return msgspec.structs.replace(document, findings=findings)
    return document


def readable(text: str) -> str:
    """The text, cut, and without what no page can hold or what would deceive its reader."""
    return _DECEIVING.sub("\N{REPLACEMENT CHARACTER}", text[:_TEXT_LIMIT])


def sane(value: object) -> object:
    """The value as a page can show it. Raises Misfit if it cannot."""
    if isinstance(value, str):
        return readable(value)
    if isinstance(value, tuple):
        return tuple(map(sane, value))
    if isinstance(value, datetime):
        if value.year not in _YEARS:
            raise Misfit
        return value.astimezone(UTC)
    if isinstance(value, int | float) and not (abs(value) < _NUMBER_LIMIT and math.isfinite(value)):
        raise Misfit
    return value
