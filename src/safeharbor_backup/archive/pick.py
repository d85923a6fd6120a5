"""Some members of an archive, read without the others' data: headers are walked, and what is between them skipped.

The members of our own archives come in the order of the tree, so the walk ends behind the last that is wanted.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from safeharbor_backup.archive import layout
from safeharbor_backup.archive.checksums import parse_line
from safeharbor_backup.archive.listing import read_blocks, read_foreign_headers, read_lines
from safeharbor_backup.archive.reader import Rejected, read_members, rejected, show
from safeharbor_backup.archive.source import Source, Truncated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from safeharbor_backup.archive.layout import Member
    from safeharbor_backup.archive.reader import Front

_READ_AHEAD = 1024  # padding and a header; what is read beyond it is for nothing
_START = len(layout.UPLOADS_NAME)


class Wanted:
    """Paths below uploads/ that were asked for; `missing` are those that nothing was found for."""

    def __init__(self, paths: Iterable[bytes]) -> None:
        self._paths = set(paths)
        whole = [path for path in self._paths if len(self._at_or_above(path)) == 1]
        self._last = max(path.split(b"/") for path in whole)  # what is below another one comes before its end
        self.missing = set(self._paths)

    def takes(self, path: bytes) -> bool:
        """Whether this one is asked for, itself or with a directory above it."""
        found = self._at_or_above(path)
        self.missing.difference_update(found)
        return bool(found)

    def leads_to(self, path: bytes) -> bool:
        """Whether something below this directory is asked for."""
        return any(each.startswith(path + b"/") for each in self._paths)

    def is_behind(self, path: bytes) -> bool:
        """Whether all that is asked for comes before this path, in the order of the tree."""
        return self._last != [b""] and path.split(b"/")[: len(self._last)] > self._last

    def _at_or_above(self, path: bytes) -> list[bytes]:
        """Those that were asked for of this path and the directories above it."""
        parts = path.split(b"/")
        above = (b"/".join(parts[:count]) for count in range(len(parts) + 1))
        return [each for each in dict.fromkeys(above) if each in self._paths]


def pick_members(
    source: Source, front: Front | None, wanted: Wanted, take: Callable[[Member, Iterable[bytes]], None]
) -> None:
    """Give `take` each wanted upload with its data, and the directories above it, in the archive's order.

    Afterwards the data are proven as far as the archive has checksums; until then nothing is to be used. Raises
    ArchiveRejected, OSError, and what `take` raises.
    """
    try:
        if front is None:
            _pick_from_others(source, wanted, take)
        else:
            _pick_from_ours(source, front, wanted, take)
    except (Rejected, Truncated) as error:
        raise rejected(source, str(error).rstrip(".") or "it was cut: it ends in the middle") from None


def pick_dump(
    source: Source, front: Front, member: Member, at: int, take: Callable[[Member, Iterable[bytes]], None]
) -> None:
    """Give `take` a dump of the archive, whose data is at that offset; afterwards it is proven.

    Raises ArchiveRejected, OSError, and what `take` raises.
    """
    try:
        lines = (parse_line(line) for block in read_blocks(source, front) for line in block.splitlines())
        stated = [digest for name, digest in lines if name == member.name]
        _take_proven(source, member, at, "".join(stated[:1]), take)
    except (Rejected, Truncated) as error:
        raise rejected(source, str(error).rstrip(".") or "it was cut: it ends in the middle") from None


def _pick_from_ours(
    source: Source, front: Front, wanted: Wanted, take: Callable[[Member, Iterable[bytes]], None]
) -> None:
    lines = map(parse_line, read_lines(source, front))
    headers = Source(source.descriptor, source.path, _READ_AHEAD)  # decision 97
    for member, at in read_members(headers, front):
        path = member.name[_START:].rstrip(b"/") if member.name.startswith(layout.UPLOADS_NAME) else b""
        if path:
            if wanted.is_behind(path):
                break
            if member.kind != layout.FILE:
                if wanted.takes(path) or (member.kind == layout.DIRECTORY and wanted.leads_to(path)):
                    take(member, ())
            elif wanted.takes(path):
                stated = next((digest for name, digest in lines if name == member.name), "")
                _take_proven(source, member, at, stated, take)
        headers.seek(at + member.size)
    for _ in lines:
        pass  # at its end the list itself is proven


def _take_proven(
    source: Source, member: Member, at: int, stated: str, take: Callable[[Member, Iterable[bytes]], None]
) -> None:
    digest = hashlib.sha256()

    def read() -> Iterator[bytes]:
        for chunk in source.chunks(member.size):
            digest.update(chunk)
            yield chunk

    source.seek(at)
    take(member, read())
    if digest.hexdigest() != stated:
        raise Rejected(f"{show(member.name)} does not have the SHA-256 that SHA256SUMS states")


def _pick_from_others(source: Source, wanted: Wanted, take: Callable[[Member, Iterable[bytes]], None]) -> None:
    for member, at in read_foreign_headers(source):
        path = member.name[_START:].rstrip(b"/") if member.name.startswith(layout.UPLOADS_NAME) else b""
        if path and (wanted.takes(path) or (member.kind == layout.DIRECTORY and wanted.leads_to(path))):
            source.seek(at)
            take(member, source.chunks(member.size) if member.size else ())
