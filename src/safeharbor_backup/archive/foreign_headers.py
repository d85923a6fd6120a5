"""The headers of any tar dialect: v7, ustar, GNU's long names, pax records. Nothing of them is believed unchecked."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from safeharbor_backup.archive import layout
from safeharbor_backup.archive.headers import padding
from safeharbor_backup.archive.layout import BLOCK, Member
from safeharbor_backup.archive.reader import Rejected, show

if TYPE_CHECKING:
    from safeharbor_backup.archive.source import Source

_EXTRA_LIMIT = 64 * 1024
_PAX_RECORD = re.compile(rb"(\d{1,7}) ([^=\n]{1,200})=")
_FILE_KINDS = (b"0", b"\0", b"7")
HARD_LINK = b"1"
SKIPPED_KINDS = (b"3", b"4", b"6")  # devices and FIFOs, which nothing but a skipped directory may hold


def next_foreign_member(source: Source) -> Member | None:
    """The member whose headers come next; None at the end. Raises Rejected, Truncated, OSError."""
    extras: dict[bytes, bytes] = {}
    while True:
        block = source.take(BLOCK)  # every tar ends with a zero block; one without has lost its rest
        if not any(block):
            return None
        _check_sum(block)
        kind, size = block[156:157], _number(block[124:136])
        if kind not in (b"x", b"g", b"L", b"K"):
            return _parse(block, kind, size, extras)
        if not 0 <= size <= _EXTRA_LIMIT:
            raise Rejected(f"a header of type {kind.decode()} states a size of {size} bytes")
        data = source.take(size + padding(size))[:size]
        if kind != b"g":
            extras[kind] = data
        elif set(_pax(data)) & {b"path", b"size", b"linkpath"}:
            raise Rejected("a global header changes the names or sizes of what follows")


def _parse(block: bytes, kind: bytes, size: int, extras: dict[bytes, bytes]) -> Member:
    pax = _pax(extras.get(b"x", b""))
    if any(key.startswith(b"GNU.sparse") for key in pax):
        raise Rejected("it holds a sparse file, which this program does not read")
    name = _text(block[:100])
    prefix = _text(block[345:500]) if block[257:263] == b"ustar\0" else b""
    name = prefix + b"/" + name if prefix else name
    name = pax.get(b"path", extras[b"L"].rstrip(b"\0") if b"L" in extras else name)
    link = pax.get(b"linkpath", extras[b"K"].rstrip(b"\0") if b"K" in extras else _text(block[157:257]))
    if kind in _FILE_KINDS and name.endswith(b"/"):
        kind = layout.DIRECTORY  # as before POSIX
    if kind not in (*_FILE_KINDS, *SKIPPED_KINDS, HARD_LINK, layout.SYMLINK, layout.DIRECTORY):
        raise unknown_kind(name, kind)
    kind = layout.FILE if kind in _FILE_KINDS else kind
    size = _decimal(pax[b"size"]) if b"size" in pax else size
    if size < 0:
        raise Rejected(f"{show(name)} states a negative size")
    return Member(
        _plain(name, is_directory=kind == layout.DIRECTORY),
        kind,
        _number(block[100:108]) & 0o7777,
        max(_decimal(pax[b"uid"]) if b"uid" in pax else _number(block[108:116]), 0),
        max(_decimal(pax[b"gid"]) if b"gid" in pax else _number(block[116:124]), 0),
        _decimal(pax[b"mtime"]) if b"mtime" in pax else _number(block[136:148]),
        size if kind == layout.FILE else 0,
        _plain(link, is_directory=False) if kind == HARD_LINK else link,
    )


def unknown_kind(name: bytes, kind: bytes) -> Rejected:
    """The error for a member of a kind that no archive may hold."""
    return Rejected(f"{show(name)} is of a kind that archives do not hold (type {show(kind)!r})")


def _plain(name: bytes, *, is_directory: bool) -> bytes:
    """Without a leading `./` and with one trailing slash for a directory; "" for the tree's own `./`."""
    while name.startswith(b"./"):
        name = name[2:].lstrip(b"/")
    name = name.rstrip(b"/") if is_directory else name
    if name in (b"", b"."):
        return b""
    return name + b"/" if is_directory else name


def _check_sum(block: bytes) -> None:
    stated = _number(block[148:156])
    if stated != sum(block) - sum(block[148:156]) + 256:
        raise Rejected("a header has the wrong checksum")


def _number(field: bytes) -> int:
    if field[0] & 0x80:
        return int.from_bytes(field[1:], "big") if field[0] == 0x80 else -1
    digits = field.strip(b" \0")
    if not re.fullmatch(rb"[0-7]*", digits):
        raise Rejected("a header has a field that is not an octal number")
    return int(digits or b"0", 8)


def _decimal(value: bytes) -> int:
    found = re.fullmatch(rb"(-?\d{1,19})(?:\.\d{0,30})?", value)
    if found is None:
        raise Rejected("a pax header has an invalid number")
    return int(found[1])


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _pax(data: bytes) -> dict[bytes, bytes]:
    records: dict[bytes, bytes] = {}
    start = 0
    while start < len(data):
        found = _PAX_RECORD.match(data, start)
        end = start + int(found[1]) if found is not None else 0
        if found is None or not found.end() < end <= len(data) or data[end - 1 : end] != b"\n":
            raise Rejected("a pax header is malformed")
        records[found[2]] = data[found.end() : end - 1]
        start = end
    return records
