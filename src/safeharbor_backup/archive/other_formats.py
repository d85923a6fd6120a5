"""What files are that other programs write and that are no tar, by how they begin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safeharbor_backup.archive.reader import Rejected
from safeharbor_backup.text import typed

if TYPE_CHECKING:
    from safeharbor_backup.archive.source import Source

_PAGE = "help instead-of-a-script"
# how such a file begins, what it is, and the page that says what becomes of it
_FORMATS = {
    b"\x1f\x8b": ("compressed by gzip", _PAGE),
    b"\x28\xb5\x2f\xfd": ("compressed by zstd", _PAGE),
    b"\x04\x22\x4d\x18": ("compressed by lz4", _PAGE),
    b"\xfd7zXZ": ("compressed by xz", _PAGE),
    b"BZh": ("compressed by bzip2", _PAGE),
    b"PK\3\4": ("a zip", _PAGE),
    b"7z\xbc\xaf\x27\x1c": ("a 7z", _PAGE),
    b"PGDMP": ("a dump by pg_dump alone", _PAGE),
    b"--\n-- PostgreSQL database": ("a dump in SQL", _PAGE),
    b"age-encryption.org/": ("encrypted by age", "help off-site"),
}
_LONGEST = max(map(len, _FORMATS))


def refuse_other_formats(source: Source) -> None:
    """Say what a file is that is not a tar, if it is known. Raises Rejected, OSError."""
    begins = source.read_at(0, min(source.size, _LONGEST))
    for magic, (what, page) in _FORMATS.items():
        if begins.startswith(magic):
            raise Rejected(f"it is {what}, and an archive is a plain tar; `{typed(page)}` shows what to do with it")
