"""The files of an archive without their data: the lines of SHA256SUMS, and how two lists of them differ.

Lines come in the order of the tree. Where no SHA-256 is known, as in archives by other programs, it is empty.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum
from itertools import chain
from typing import TYPE_CHECKING

from safeharbor_backup.archive import layout
from safeharbor_backup.archive.checksums import parse_line
from safeharbor_backup.archive.foreign_reader import Skipped, read_foreign_members
from safeharbor_backup.archive.reader import Rejected, own_member, read_header, read_members, rejected
from safeharbor_backup.archive.source import Source, Truncated

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from safeharbor_backup.archive.layout import Member
    from safeharbor_backup.archive.reader import Front

_CHUNK = 1024 * 1024
_HEADERS_READ_AHEAD = 32 * 1024  # where only headers are wanted, each read beyond them is for nothing
_START = len(layout.UPLOADS_NAME)


class Change(StrEnum):
    """What became of a file."""

    ADDED = "added"
    GONE = "gone"
    CHANGED = "changed"


def read_lines(source: Source, front: Front | None) -> Iterator[bytes]:
    """The line of each upload, in order. At its end the whole list is proven. Raises ArchiveRejected, OSError."""
    lines = chain.from_iterable(map(bytes.splitlines, read_blocks(source, front)))
    for member in (front.dump, *(each for each, _ in front.others)) if front is not None else ():
        if parse_line(next(lines, b""))[0] != member.name:
            raise rejected(source, "its SHA256SUMS does not begin with the dump")
    yield from lines


def read_blocks(source: Source, front: Front | None) -> Iterator[bytes]:
    """The same with the lines of dumps, many whole lines at once, each with its end."""
    try:
        yield from _blocks_of_ours(source, front) if front is not None else _blocks_of_others(source)
    except (Rejected, Truncated) as error:
        raise rejected(source, str(error).rstrip(".") or "it was cut: it ends in the middle") from None


def _blocks_of_ours(source: Source, front: Front) -> Iterator[bytes]:
    manifest = front.manifest
    if not layout.DUMP_OFFSET < manifest.sums_offset < front.manifest_offset:
        raise Rejected("its SHA256SUMS is not where its manifest says")
    headers = Source(source.descriptor, source.path)
    headers.seek(manifest.sums_offset - layout.BLOCK)
    member = read_header(headers)
    if member != own_member(layout.SUMS_NAME, member.size, manifest) or member.size > front.manifest_offset:
        raise Rejected("its SHA256SUMS is not where its manifest says")
    digest = hashlib.sha256()
    size, rest = member.size, b""
    while size:
        chunk = headers.take(min(_CHUNK, size))
        size -= len(chunk)
        digest.update(chunk)
        end = chunk.rfind(b"\n") + 1
        yield rest + chunk[:end]
        rest = chunk[end:]
    if rest or digest.hexdigest() != manifest.sums_sha256:
        raise Rejected("SHA256SUMS does not have the SHA-256 that the manifest states")


def _blocks_of_others(source: Source) -> Iterator[bytes]:
    names = [member.name for member, _ in read_foreign_headers(source) if member.kind not in _NO_FILES]
    for name in sorted((name for name in names if name != layout.DUMP_NAME), key=lambda each: each.split(b"/")):
        yield layout.sums_line(name, "")


def read_uploads(source: Source, front: Front | None) -> Iterator[tuple[Member, str]]:
    """Each upload that is not a directory, with its SHA-256 if the archive has one. Reads only headers and SHA256SUMS.

    Raises ArchiveRejected, OSError.
    """
    try:
        members = _files_of_ours(source, front) if front is not None else _files_of_others(source)
        yield from ((member, digest) for member, digest in members if member.name.startswith(layout.UPLOADS_NAME))
    except (Rejected, Truncated) as error:
        raise rejected(source, str(error).rstrip(".") or "it was cut: it ends in the middle") from None


def _files_of_ours(source: Source, front: Front) -> Iterator[tuple[Member, str]]:
    lines = map(parse_line, read_lines(source, front))
    headers = Source(source.descriptor, source.path, _HEADERS_READ_AHEAD)
    for member, at in read_members(headers, front):
        if member.kind == layout.FILE and member.name.startswith(layout.UPLOADS_NAME):
            yield member, next((digest for name, digest in lines if name == member.name), "")
        elif member.kind == layout.SYMLINK:
            yield member, ""
        headers.seek(at + member.size)


def _files_of_others(source: Source) -> Iterator[tuple[Member, str]]:
    return ((member, "") for member, _ in read_foreign_headers(source) if member.kind != layout.DIRECTORY)


_NO_FILES = (layout.DIRECTORY, layout.SYMLINK)


def read_foreign_headers(source: Source) -> Iterator[tuple[Member, int]]:
    """The members of an archive by another program and where their data begins. Raises Rejected, Truncated, OSError."""
    headers = Source(source.descriptor, source.path, _HEADERS_READ_AHEAD)
    for member, at in read_foreign_members(headers, Skipped()):
        yield member, at
        if at + member.size > source.size:
            raise Truncated
        headers.seek(at + member.size)


def compare_lines(before: Iterable[bytes], after: Iterable[bytes]) -> Iterator[tuple[Change, bytes]]:
    """The uploads that differ, by their paths below uploads/, in order. A file is changed if both have a SHA-256 of it,
    and not the same.
    """
    left, right = iter(before), iter(after)
    old, new = next(left, None), next(right, None)
    while old is not None and new is not None:
        if old == new:  # nearly all of them
            old, new = next(left, None), next(right, None)
            continue
        old_name, old_digest = parse_line(old)
        new_name, new_digest = parse_line(new)
        if old_name == new_name:
            if old_digest and new_digest and old_digest != new_digest:
                yield Change.CHANGED, old_name[_START:]
            old, new = next(left, None), next(right, None)
        elif old_name.split(b"/") < new_name.split(b"/"):
            yield Change.GONE, old_name[_START:]
            old = next(left, None)
        else:
            yield Change.ADDED, new_name[_START:]
            new = next(right, None)
    for change, line, rest in ((Change.GONE, old, left), (Change.ADDED, new, right)):
        if line is not None:
            yield from ((change, parse_line(each)[0][_START:]) for each in chain([line], rest))
