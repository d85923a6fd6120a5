"""The table of contents of a custom-format dump, read as data: each entry's number, kind, names and dependencies.

`pg_restore --list` prints the same entries without their dependencies, with names that is unknown apart from kinds.
The layout is that of pg_backup_archiver.c (ReadHead, ReadToc) for format versions 1.11 to 1.16, which is every pg_dump
since 8.4; newer ones are refused, not guessed.
"""

from __future__ import annotations

import codecs
import os
import struct
from dataclasses import replace
from typing import TYPE_CHECKING, Any, BinaryIO

from safeharbor_backup.postgres.toc_entries import TocEntry

if TYPE_CHECKING:
    from collections.abc import Sequence

_MAGIC = b"PGDMP"
_CUSTOM = 1
_OLDEST, _NEWEST = (1, 11, 0), (1, 16, 255)
_LONGEST = 256 * 1024 * 1024
_LONGEST_NUMBER = 20  # digits
_MOST_ENTRIES = 50_000_000
_AHEAD = 1 << 20
_NUMBERS = {4: "<BI", 8: "<BQ"}  # by the size of an int where pg_dump ran
_NUMBER, _TEXT, _DEFINITION, _NEEDS = range(4)  # what a field of an entry is


# the first PostgreSQL with each format, (1, 16) and so on, from those that are still in use
_FIRST_WITH = {(1, 14): 12, (1, 15): 16, (1, 16): 17}


class UnknownToc(Exception):
    """Why a table of contents cannot be read."""


def read_toc(descriptor: int) -> dict[int, TocEntry]:
    """The entries by their numbers, of the dump that begins where this stands. Raises UnknownToc, OSError."""
    with os.fdopen(os.dup(descriptor), "rb") as file:
        return _decoded(_Reader(file).entries())


def _decoded(toc: dict[int, TocEntry]) -> dict[int, TocEntry]:
    """The same entries, decoded: a dump names its encoding in an entry `SET client_encoding = 'LATIN1';`."""
    said = next((entry.definition for entry in toc.values() if entry.kind == "ENCODING"), "")
    name = said.partition("'")[2].partition("'")[0].upper()
    if name in ("", "UTF8", "SQL_ASCII"):
        return toc

    def text(raw: str) -> str:
        return raw if raw.isascii() else raw.encode("utf-8", "surrogateescape").decode(codec, "surrogateescape")

    try:
        codec = codecs.lookup(name.replace("WIN", "CP")).name
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
    except (LookupError, ValueError):  # no codec of that name, or one that is not of texts
        return toc


def client_for(head: bytes) -> int | None:
    """The oldest PostgreSQL whose pg_restore reads a dump that begins so; None if it is newer than we know, or none."""
    if not head.startswith(_MAGIC) or len(head) < len(_MAGIC) + 2:
        return None
    form = (head[5], head[6])
    return min(_FIRST_WITH.values()) if form < min(_FIRST_WITH) else _FIRST_WITH.get(form)


class _Short(Exception):
    """More bytes are needed."""


class _Reader:
    """Reads ahead, and each entry in one loop: 10,000 tables have 80,000 entries of some 20 numbers and texts."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._number = struct.Struct("<BI")  # its sign and its value; a text has its length before it
        self._buffer = b""
        self._at = 0  # in the buffer
        self._passed = 0  # bytes before the buffer

    def entries(self) -> dict[int, TocEntry]:
        version, offset_size = self._head()
        (count,) = self._whole([_NUMBER])
        if not 0 <= count <= _MOST_ENTRIES:
            raise UnknownToc(f"it says that there are {count} entries")
        fields = [
            *[_NUMBER, _NUMBER, _TEXT, _TEXT, _TEXT, _TEXT, _NUMBER, _DEFINITION],
            *[_TEXT] * (5 if version >= (1, 14, 0) else 4),
            *[_NUMBER] * (version >= (1, 16, 0)),
            *[_TEXT, _TEXT, _NEEDS],
        ]
        found = (self._entry(fields, offset_size) for _ in range(count))
        return {entry.number: entry for entry in found}

    def _head(self) -> tuple[tuple[int, int, int], int]:
        head = self._take(len(_MAGIC) + 6)
        if not head.startswith(_MAGIC):
            raise UnknownToc("it is not a dump in custom format")
        major, minor, revision, int_size, offset_size, form = head[len(_MAGIC) :]
        version = (major, minor, revision)
        if not _OLDEST <= version <= _NEWEST or form != _CUSTOM or int_size not in _NUMBERS or offset_size > 8:
            raise UnknownToc(f"its format is {major}.{minor}")
        self._number = struct.Struct(_NUMBERS[int_size])
        if version >= (1, 15, 0):
            self._take(1)  # the algorithm of the compression
        else:
            self._whole([_NUMBER])
        self._whole([*[_NUMBER] * 7, _TEXT, _TEXT, _TEXT])  # when it was made; database, server, client
        return version, offset_size

    def _entry(self, fields: Sequence[int], offset_size: int) -> TocEntry:
        number, _, _, _, name, kind, section, (start, definition), _, _, schema, tablespace, *more = self._whole(fields)
        owner, _, needs = more[-3:]
        self._take(1 + offset_size)  # where its data is
        texts = (kind, schema, name, owner, definition, tablespace)
        kind, schema, name, owner, definition, tablespace = (_decode(each) for each in texts)
        return TocEntry(number, kind, schema, name, owner, needs, section, definition, tablespace, start)

    def _whole(self, fields: Sequence[int]) -> list[Any]:
        """The values of these fields, which come next: a number, a text (bytes or None), or a text with its place."""
        while True:
            try:
                values, end = self._parse(fields)
            except (_Short, struct.error):
                self._read_on(len(self._buffer) - self._at + 1)
            else:
                self._at = end
                return values

    def _parse(self, fields: Sequence[int]) -> tuple[list[Any], int]:
        at, buffer, unpack = self._at, self._buffer, self._number.unpack_from
        values: list[Any] = []
        for field in fields:
            if field == _NUMBER:
                is_negative, value = unpack(buffer, at)
                at += self._number.size
                values.append(-value if is_negative else value)
            elif field == _NEEDS:
                needs = []
                while (text := self._text(at)) is not None:
                    if not text.isdigit() or len(text) > _LONGEST_NUMBER:
                        raise UnknownToc("a dependency is not a number")
                    needs.append(int(text))
                    at += self._number.size + len(text)
                at += self._number.size
                values.append(tuple(needs))
            else:
                text = self._text(at)
                at += self._number.size
                values.append(text if field == _TEXT else (self._passed + at, text))
                at += len(text or b"")
        return values, at

    def _text(self, at: int) -> bytes | None:
        is_none, length = self._number.unpack_from(self._buffer, at)
        if is_none:
            return None
        if length > _LONGEST:
            raise UnknownToc(f"a text of it is {length} bytes long")
        at += self._number.size
        text = self._buffer[at : at + length]
        if len(text) < length:
            raise _Short
        return text

    def _take(self, size: int) -> bytes:
        if self._at + size > len(self._buffer):
            self._read_on(size)
        self._at += size
        return self._buffer[self._at - size : self._at]

    def _read_on(self, size: int) -> None:
        """Have so many bytes in the buffer from here."""
        rest = self._buffer[self._at :]
        self._passed += self._at
        self._at = 0
        self._buffer = rest + self._file.read(max(len(rest), _AHEAD))
        if len(self._buffer) < size:
            raise UnknownToc("it ends in the middle")


def _decode(text: bytes | None) -> str:
    return text.decode("utf-8", "surrogateescape") if text else ""
