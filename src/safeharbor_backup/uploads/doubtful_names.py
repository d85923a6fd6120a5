"""The names of an archive that some filesystem refuses, or takes for another: those that are worth a trial."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

from safeharbor_backup.archive.layout import UPLOADS_NAME

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_UNUSUAL = re.compile(
    rb'[\x01-\x1f"*:<>?\\|\x7f-\xff]|[. ](?:/|$)|(?:^|/)(?:con|prn|aux|nul|com\d|lpt\d)(?:[./]|$)', re.IGNORECASE
)
_SIGNS = re.compile(rb'[\x01-\x1f"*:<>?\\|\x7f]')
_MOST_PAIRS = 100


def unusual_names(names: Iterable[bytes]) -> list[bytes]:
    """Of each kind of name that some filesystem refuses the first, and the longest ones."""
    found: dict[bytes, bytes] = {}
    longest = b""
    for path in names:
        if not path.startswith(UPLOADS_NAME):
            continue
        inside = path[len(UPLOADS_NAME) :].rstrip(b"/")
        parts = inside.split(b"/")
        longest = max(longest, *parts, key=len)
        if _UNUSUAL.search(inside) is not None:
            for part in parts:
                for kind in _kinds(part):
                    found.setdefault(kind, part)
    return list(dict.fromkeys([*found.values(), *([longest] if longest else [])]))


def _kinds(name: bytes) -> Iterator[bytes]:
    yield from _SIGNS.findall(name)
    if name.endswith((b".", b" ")):
        yield b"end" + name[-1:]
    if _UNUSUAL.fullmatch(name.partition(b".")[0]) is not None:
        yield b"device"
    if not name.isascii():
        try:
            text = name.decode()
        except UnicodeDecodeError:
            yield b"bytes"
        else:
            yield b"astral" if any(ord(sign) > 0xFFFF for sign in text) else b"letters"
            if text != unicodedata.normalize("NFC", text):
                yield b"decomposed"


def alike_names(names: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Pairs of names in one directory of the archive that differ only in case or composition, a hundred at most.

    In memory: the names on the way down.
    """
    levels: list[tuple[bytes, dict[str, bytes]]] = [(b"", {})]
    tried = 0
    for path in names:
        if not path.startswith(UPLOADS_NAME):
            continue
        parts = path[len(UPLOADS_NAME) :].rstrip(b"/").split(b"/")
        same = 0
        while same < min(len(parts), len(levels)) - 1 and levels[same + 1][0] == parts[same]:
            same += 1
        del levels[same + 1 :]
        for part in parts[same:]:
            known = levels[-1][1].setdefault(_folded(part), part)
            if known != part and tried < _MOST_PAIRS:
                tried += 1
                yield known, part
            levels.append((part, {}))
        levels.pop()


def _folded(name: bytes) -> str:
    return unicodedata.normalize(
        "NFC", unicodedata.normalize("NFD", name.decode("utf-8", "surrogateescape")).casefold()
    )
