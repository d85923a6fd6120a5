"""The table of contents of a custom-format dump, read as data: each entry's number, kind, names and dependencies.

`pg_restore --list` prints the same entries without their dependencies, with names that cannot be told apart from kinds.
The layout is that of pg_backup_archiver.c (ReadHead, ReadToc) for format versions 1.11 to 1.16, which is every pg_dump
since 8.4; newer ones are refused, not guessed.
"""

from __future__ import annotations

import codecs
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PRE_DATA, DATA, POST_DATA = 2, 3, 4  # sections
_MAGIC = b"PGDMP"
_CUSTOM = 1
_OLDEST, _NEWEST = (1, 11, 0), (1, 16, 255)
_LONGEST = 256 * 1024 * 1024
_MOST_ENTRIES = 50_000_000


# the first PostgreSQL with each format, (1, 16) and so on, from those that are still in use
_FIRST_WITH = {(1, 14): 12, (1, 15): 16, (1, 16): 17}


class UnknownToc(Exception):
    """Why a table of contents cannot be read."""


@dataclass(frozen=True, slots=True)
class TocEntry:
    """An entry. `kind` is pg_dump's word (TABLE, COMMENT, …), `name` its tag; `needs` are numbers of other entries.

    `definition` is its SQL, `start` where that begins in the dump.
    """

    number: int
    kind: str
    schema: str
    name: str
    owner: str
    needs: tuple[int, ...]
    section: int = 0
    definition: str = ""
    tablespace: str = ""
    start: int = 0

    @property
    def what(self) -> str:
        """Kind and name, for people."""
        return f"{self.kind.lower()} {f'{self.schema}.' if self.schema else ''}{self.name}"


def read_toc(descriptor: int) -> dict[int, TocEntry]:
    """The entries by their numbers, of the dump that begins where this stands. Raises UnknownToc, OSError."""
    with os.fdopen(os.dup(descriptor), "rb") as file:
        return _decoded(_Reader(file).entries())


def _decoded(toc: dict[int, TocEntry]) -> dict[int, TocEntry]:
    """The same, whose texts are in the dump's own encoding: `SET client_encoding = 'LATIN1';` is one of its entries."""
    said = next((entry.definition for entry in toc.values() if entry.kind == "ENCODING"), "")
    name = said.partition("'")[2].partition("'")[0].upper()
    if name in ("", "UTF8", "SQL_ASCII"):
        return toc
    try:
        codec = codecs.lookup(name.replace("WIN", "CP")).name
    except LookupError:
        return toc

    def text(raw: str) -> str:
        return raw if raw.isascii() else raw.encode("utf-8", "surrogateescape").decode(codec, "surrogateescape")

    return {
        number: replace(
            entry,
            schema=text(entry.schema),
            name=text(entry.name),
            owner=text(entry.owner),
            definition=text(entry.definition),
            tablespace=text(entry.tablespace),
        )
        for number, entry in toc.items()
    }


def client_for(head: bytes) -> int | None:
    """The oldest PostgreSQL whose pg_restore reads a dump that begins so; None if it is newer than we know, or none."""
    if not head.startswith(_MAGIC) or len(head) < len(_MAGIC) + 2:
        return None
    form = (head[5], head[6])
    return min(_FIRST_WITH.values()) if form < min(_FIRST_WITH) else _FIRST_WITH.get(form)


def users_of(toc: Mapping[int, TocEntry], numbers: Iterable[int]) -> list[TocEntry]:
    """The entries that need one of these, in order, those themselves not among them."""
    wanted = set(numbers)
    return [entry for entry in toc.values() if entry.number not in wanted and not wanted.isdisjoint(entry.needs)]


def with_dependants(toc: Mapping[int, TocEntry], numbers: Iterable[int]) -> set[int]:
    """These entries and whatever needs them, directly or not."""
    users: dict[int, list[int]] = {}
    for entry in toc.values():
        for need in entry.needs:
            users.setdefault(need, []).append(entry.number)
    found: set[int] = set()
    waiting = list(numbers)
    while waiting:
        number = waiting.pop()
        if number not in found:
            found.add(number)
            waiting += users.get(number, ())
    return found


class _Reader:
    def __init__(self, file: BinaryIO) -> None:
        self._read = file.read
        self._width = 5  # of a number: its sign and its bytes
        self._position = 0

    def entries(self) -> dict[int, TocEntry]:
        version, offset_size = self._head()
        count = self._int()
        if not 0 <= count <= _MOST_ENTRIES:
            raise UnknownToc(f"it says that there are {count} entries")
        found = (self._entry(version, offset_size) for _ in range(count))
        return {entry.number: entry for entry in found}

    def _head(self) -> tuple[tuple[int, int, int], int]:
        if self._take(5) != _MAGIC:
            raise UnknownToc("it is no dump in custom format")
        major, minor, revision, int_size, offset_size, form = self._take(6)
        version = (major, minor, revision)
        if not _OLDEST <= version <= _NEWEST or form != _CUSTOM or not 1 <= int_size <= 8 or offset_size > 8:
            raise UnknownToc(f"its format is {major}.{minor}")
        self._width = 1 + int_size
        if version >= (1, 15, 0):
            self._take(1)  # the algorithm of the compression
        else:
            self._int()
        for _ in range(7):  # when it was made
            self._int()
        for _ in ("database", "server", "client"):
            self._text()
        return version, offset_size

    def _entry(self, version: tuple[int, int, int], offset_size: int) -> TocEntry:
        number = self._int()
        self._int()  # whether it has data
        self._text()  # two numbers of the catalog
        self._text()
        name, kind = self._text(), self._text()
        section = self._int()
        start = self._position + self._width
        definition = self._text()
        for _ in ("drop", "copy"):
            self._text()
        schema = self._text()
        tablespace = self._text()
        if version >= (1, 14, 0):
            self._text()  # table access method
        if version >= (1, 16, 0):
            self._int()  # kind of relation
        owner = self._text()
        self._text()  # with OIDs
        needs = []
        while (need := self._optional()) is not None:
            if not need.isdigit():
                raise UnknownToc("a dependency is no number")
            needs.append(int(need))
        self._take(1 + offset_size)  # where its data is
        return TocEntry(number, kind, schema, name, owner, tuple(needs), section, definition, tablespace, start)

    def _int(self) -> int:
        data = self._take(self._width)
        value = int.from_bytes(data[1:], "little")
        return -value if data[0] else value

    def _text(self) -> str:
        return (self._optional() or b"").decode("utf-8", "surrogateescape")

    def _optional(self) -> bytes | None:
        length = self._int()
        if length < 0:
            return None
        if length > _LONGEST:
            raise UnknownToc(f"a text of it is {length} bytes long")
        return self._take(length)

    def _take(self, size: int) -> bytes:
        data = self._read(size)
        if len(data) < size:
            raise UnknownToc("it ends in the middle")
        self._position += size
        return data
