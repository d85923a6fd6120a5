"""Proof of an archive that shares blocks with an earlier one: whatever this run wrote is read back in full.

Of a run of shared blocks the first and the last header are read, and that it is as long as it was: its data was proven
when it was written, and `verify` reads it. The offsets of everything must add up to the end of the file.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from safeharbor_backup.archive import layout
from safeharbor_backup.archive.headers import padding
from safeharbor_backup.archive.layout import DUMP_OFFSET, Member, canonical_line
from safeharbor_backup.archive.reader import (
    Front,
    Rejected,
    own_member,
    read_front,
    read_header,
    refuse_root,
    refuse_upload,
    skip_padding,
)
from safeharbor_backup.archive.source import Source, Truncated
from safeharbor_backup.errors import ArchiveRejected

if TYPE_CHECKING:
    from collections.abc import Callable

    from safeharbor_backup.archive.runs import Run, RunList

_SMALL = 64 * 1024
_DIFFERS = "what was read back is not, byte for byte, what was written"


def prove_written(
    source: Source, runs: RunList, witness_sha256: str, advance: Callable[[int], None]
) -> tuple[str, ...]:
    """What is wrong with the archive in `source`; nothing if it holds what its writer's witness states.

    `advance` is told how many bytes were read. Raises OSError.
    """
    try:
        front = read_front(source)
        _Proof(source, front, advance).run(runs, witness_sha256)
    except ArchiveRejected as error:
        return (error.reason,)
    except Rejected as error:
        return (str(error).rstrip("."),)
    except Truncated:
        return ("it was cut: it ends in the middle",)
    return ()


def prove_uploads(
    source: Source, start: int, end: int, witness_sha256: str, advance: Callable[[int], None]
) -> tuple[str, ...]:
    """The same for uploads alone, which stand there before they are moved to their place behind the dump.

    Raises OSError.
    """
    witness = hashlib.sha256()
    tree: layout.TreeOrder | None = None
    source.seek(start)
    try:
        while source.position < end:
            member = read_header(source)
            if tree is None:
                refuse_root(member)
                tree = layout.TreeOrder()
            else:
                refuse_upload(member, tree)
            digest = _digest_of(source, member, advance) if member.kind == layout.FILE else ""
            witness.update(canonical_line(member) + digest.encode())
    except Rejected as error:
        return (str(error),)
    except Truncated:
        return ("it was cut: it ends in the middle",)
    return () if witness.hexdigest() == witness_sha256 else (_DIFFERS,)


class _Proof:
    def __init__(self, source: Source, front: Front, advance: Callable[[int], None]) -> None:
        self._source = source
        self._front = front
        self._advance = advance
        self._witness = hashlib.sha256()

    def run(self, runs: RunList, witness_sha256: str) -> None:
        source, front = self._source, self._front
        source.seek(DUMP_OFFSET)
        self._read(front.dump)
        for run in runs:
            while source.position < run.begin:
                self._read(read_header(source))
            self._look_at(run)
        while (member := read_header(source)).name != layout.SUMS_NAME:
            self._read(member)
        sums = own_member(layout.SUMS_NAME, member.size, front.manifest)
        if source.position != front.manifest.sums_offset or member != sums:
            raise Rejected("its SHA256SUMS is not where its manifest says")
        if _digest_of(source, member, self._advance) != front.manifest.sums_sha256:
            raise Rejected("SHA256SUMS does not have the SHA-256 that the manifest states")
        if read_header(source) != own_member(layout.MANIFEST_NAME, front.manifest_length, front.manifest):
            raise Rejected("its manifest's own header is not as the format prescribes")
        if source.position != front.manifest_offset:
            raise Rejected("its manifest is not where its first header says")
        if self._witness.hexdigest() != witness_sha256:
            raise Rejected(_DIFFERS)

    def _read(self, member: Member) -> None:
        digest = _digest_of(self._source, member, self._advance) if member.kind == layout.FILE else ""
        self._witness.update(canonical_line(member) + digest.encode())

    def _look_at(self, run: Run) -> None:
        source = self._source
        if source.position != run.begin:
            raise Rejected("the members before a run of shared blocks do not end where it begins")
        first = read_header(source)
        source.seek(run.last_start)
        last = read_header(source)
        size = last.size if last.kind == layout.FILE else 0
        if source.position + size + padding(size) != run.end:
            raise Rejected("a run of shared blocks is not as long as it was in the earlier archive")
        self._witness.update(canonical_line(first) + canonical_line(last))
        source.seek(run.end)


def _digest_of(source: Source, member: Member, advance: Callable[[int], None]) -> str:
    """SHA-256 in hex of the data that comes next, which is read with its padding."""
    if member.size <= _SMALL:  # nearly all of them
        digest = hashlib.sha256(source.take(member.size))
        advance(member.size)
    else:
        digest = hashlib.sha256()
        for chunk in source.chunks(member.size):
            digest.update(chunk)
            advance(len(chunk))
    skip_padding(source, member)
    return digest.hexdigest()
