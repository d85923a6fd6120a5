"""Puts the uploads tree into an archive: unchanged parts as blocks of an earlier one, the rest by reading it."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from safeharbor_backup.archive import layout
from safeharbor_backup.archive.checksums import folder_of
from safeharbor_backup.archive.index import FACTS_SIZE, Remembered
from safeharbor_backup.archive.layout import Member, canonical_line
from safeharbor_backup.archive.splice import SharingRefused
from safeharbor_backup.errors import translate_os_error
from safeharbor_backup.uploads.omissions import Omissions
from safeharbor_backup.uploads.previous_index import Recollection
from safeharbor_backup.uploads.read import UploadReader, directory_member
from safeharbor_backup.uploads.readahead import NOT_OPEN, opened_ahead
from safeharbor_backup.uploads.reuse import Counts, Weaver, chunk_piece, entry_piece
from safeharbor_backup.uploads.stat_signature import pack_facts, tells_changes
from safeharbor_backup.uploads.walk import Batch, open_root, walk_batches

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from safeharbor_backup.archive.index import Chunk
    from safeharbor_backup.archive.writer import ArchiveWriter
    from safeharbor_backup.progress import Progress
    from safeharbor_backup.uploads.previous_index import Previous, Recorder
    from safeharbor_backup.uploads.reuse import Piece
    from safeharbor_backup.uploads.walk import Entry

UNRELIABLE = "the uploads are on a filesystem that does not show every change (NFS, CIFS, FUSE, an overlay or the like)"
_REPORT_ITEMS = 512
_REPORT_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Collected:
    """What is not in the archive as it should be, and how many members are in blocks of an earlier one.

    `refused` is why nothing is shared although that was meant to be; "" otherwise. `owners` are user and group of each
    member, but for `uploads/` itself.
    """

    omissions: Omissions
    shared_members: int = 0
    refused: str = ""
    owners: frozenset[tuple[int, int]] = frozenset()


def make_filter(patterns: tuple[str, ...]) -> Callable[[str], bool] | None:
    """A function that tells whether a path is excluded, patterns as in a .gitignore; None if there are none."""
    if not patterns:
        return None
    from pathspec import GitIgnoreSpec

    return GitIgnoreSpec.from_lines(patterns).match_file


def write_uploads(
    writer: ArchiveWriter,
    root: Path | None,
    is_excluded: Callable[[str], bool] | None,
    progress: Progress,
    previous: Previous | None = None,
    recorder: Recorder | None = None,
) -> Collected:
    """Write `uploads/` and everything below `root` (None: nothing).

    With `previous`, what is unchanged since is taken from there or, if that is not to be, compared with it. What was
    written is remembered in `recorder`. Raises OSError if the root cannot be read or the archive cannot be written.
    """
    if previous is None or not previous.may_share:
        return _Collector(writer, progress, previous, recorder).collect(root, is_excluded)
    mark = writer.mark()
    try:
        return _Collector(writer, progress, previous, recorder).collect(root, is_excluded)
    except SharingRefused as refused:
        writer.go_back(mark)
        if recorder is not None:
            recorder.restart()
        again = _Collector(writer, progress, replace(previous, may_share=False), recorder).collect(root, is_excluded)
        return replace(again, refused=str(refused))


class _Collector:
    def __init__(
        self, writer: ArchiveWriter, progress: Progress, previous: Previous | None, recorder: Recorder | None
    ) -> None:
        self._writer = writer
        self._progress = progress
        self._previous = previous
        self._recorder = recorder
        self._recollection: Recollection | None = None
        self._weaver: Weaver | None = None
        self._omissions = Omissions()
        self._reader = UploadReader(writer, self._omissions, self._report_bytes)
        self._refused = ""
        self._owners: set[tuple[int, int]] = set()
        self._items = 0
        self._reported = writer.position

    def collect(self, root: Path | None, is_excluded: Callable[[str], bool] | None) -> Collected:
        if root is None:
            if self._recorder is not None:
                self._recorder.is_wanted = False
            self._writer.write_member(Member(layout.UPLOADS_NAME, layout.DIRECTORY, 0o755, 0, 0, 0, 0))
            return Collected(self._omissions)
        try:
            descriptor = open_root(root)
        except OSError as error:
            raise translate_os_error(error, "opening the uploads directory") from error
        try:
            self._recollect(descriptor)
            self._add_directory(b"", os.fstat(descriptor))
            for found in walk_batches(descriptor, is_excluded, self._omissions):
                if isinstance(found, Batch):
                    self._add_batch(found)
                else:
                    self._add_directory(found.path, found.status)
                if self._items >= _REPORT_ITEMS:
                    self._report()
            self._settle()
            for line in self._omissions.notes():
                self._progress.note(line)
        finally:
            if self._weaver is not None:
                self._weaver.close()
            os.close(descriptor)
        if self._recorder is not None:
            self._recorder.flush()
        self._report()
        shared = self._weaver.members if self._weaver is not None else 0
        return Collected(self._omissions, shared, self._refused, frozenset(self._owners))

    def _recollect(self, root: int) -> None:
        """Go by what is remembered, unless the tree's filesystem does not show every change."""
        if not tells_changes(root):
            if self._recorder is not None:
                self._recorder.is_wanted = False
            self._recorder = None
            self._refused = UNRELIABLE if self._previous is not None else ""
        elif self._previous is not None:
            self._recollection = Recollection(self._previous)
            if self._previous.may_share:
                self._weaver = Weaver(self._writer, self._previous)

    def _add_directory(self, path: bytes, status: os.stat_result) -> None:
        member = directory_member(path + b"/" if path else b"", status)
        self._note_owners((status,) if path else ())
        if self._recollection is not None:
            # nothing to trust here: a directory is its header, and an equal line makes an equal header
            known = self._recollection.directory(path, canonical_line(member))
            if known is not None and self._weaver is not None:
                self._weaver.offer(self._directory_piece(path, member, known))
                self._items += 1
                return
        self._settle()
        self._read_directory(path, member)

    def _read_directory(self, path: bytes, member: Member) -> None:
        written = self._writer.write_member(member)
        if self._recorder is not None:
            self._recorder.add_directory(path, written.line, written.start, written.end)
        self._items += 1

    def _add_batch(self, batch: Batch) -> None:
        recollection, weaver = self._recollection, self._weaver
        if recollection is None or not batch.is_home:
            self._settle()
            self._read_batch(batch, None)
            return
        facts = pack_facts(batch.statuses)
        if weaver is None:
            self._read_batch(batch, facts)
            return
        found = recollection.chunk(batch, facts)
        if found is not None:
            self._note_owners(batch.statuses)
            weaver.offer(self._chunk_piece(batch, *found))
            self._items += len(batch.names)
        else:
            for number in range(len(batch.names)):
                self._add_entry(batch, batch.entry(number), _facts_of(number, facts))
        weaver.leave(batch)

    def _read_batch(self, batch: Batch, facts: bytes | None) -> None:
        """Read all of it from the source, and compare it with what is remembered if there are facts."""
        with opened_ahead(batch) as opened:
            for number, descriptor in enumerate(opened):
                entry = batch.entry(number)
                known = self._known(entry, _facts_of(number, facts)) if facts is not None else None
                self._read(batch, entry, known, descriptor)

    def _known(self, entry: Entry, facts: bytes) -> Remembered | None:
        """What is remembered of it, if it is unchanged by its facts."""
        known = self._recollection.entry(entry) if self._recollection is not None else None
        return known if known is not None and known.facts == facts else None

    def _add_entry(self, batch: Batch, entry: Entry, facts: bytes) -> None:
        known = self._known(entry, facts)
        if known is not None and self._weaver is not None:
            self._note_owners((entry.status,))
            self._weaver.offer(self._entry_piece(batch, entry, known))
            self._items += 1
            return
        self._settle()
        self._read(batch, entry, known)

    def _read(self, batch: Batch, entry: Entry, known: Remembered | None, opened: int = NOT_OPEN) -> None:
        """Put an entry in from the source; `known` is what is remembered of one with the same facts."""
        kept = self._reader.read(entry, opened)
        self._items += 1
        self._report_bytes()
        if kept is None:
            return
        self._note_owners((kept.status,))
        if known is not None and kept.is_whole and kept.status is entry.status and kept.written.sums != known.sums:
            self._omissions.altered.add(
                entry.path, f"now {_digest_in(kept.written.sums)}, before {_digest_in(known.sums)}"
            )
        if self._recorder is not None:
            self._recorder.add_read(batch, entry, kept.written, kept.status, is_whole=kept.is_whole)

    def _directory_piece(self, path: bytes, member: Member, known: Remembered) -> Piece:
        def record(shift: int) -> None:
            if self._recorder is not None:
                self._recorder.add_directory(path, known.line, known.start + shift, known.end + shift)

        counts = Counts(0, 1, 0, 0, folder_of(path + b"/"))
        return entry_piece(known, counts, None, record, partial(self._read_directory, path, member))

    def _entry_piece(self, batch: Batch, entry: Entry, known: Remembered) -> Piece:
        def record(shift: int) -> None:
            if self._recorder is not None:
                moved = known._replace(start=known.start + shift, end=known.end + shift)
                self._recorder.add(batch, entry.name, moved)

        def read() -> None:
            self._read(batch, entry._replace(directory=batch.directory), known)

        folder = folder_of(entry.path)
        counts = Counts(1, 0, 0, entry.status.st_size, folder) if known.sums else Counts(0, 0, 1, 0, folder)
        return entry_piece(known, counts, batch, record, read)

    def _chunk_piece(self, batch: Batch, ordinal: int, chunk: Chunk) -> Piece:
        def record(shift: int) -> None:
            if self._recorder is not None:
                self._recorder.add_chunk(chunk, shift)

        def read() -> None:
            known = chunk.entries(ordinal)
            for number, name in enumerate(batch.names):
                self._read(batch, batch.entry(number), known[name])

        return chunk_piece(ordinal, chunk, batch, record, read)

    def _note_owners(self, statuses: Iterable[os.stat_result]) -> None:
        self._owners.update((status.st_uid, status.st_gid) for status in statuses)

    def _settle(self) -> None:
        if self._weaver is not None:
            self._weaver.settle()

    def _report_bytes(self) -> None:
        if self._writer.position - self._reported >= _REPORT_BYTES:
            self._report()

    def _report(self) -> None:
        done = self._writer.position - self._reported
        self._progress.advance(max(done, 0), self._items)
        self._items = 0
        self._reported += done


def _facts_of(number: int, facts: bytes) -> bytes:
    return facts[number * FACTS_SIZE : (number + 1) * FACTS_SIZE]


def _digest_in(sums: bytes) -> str:
    """The digest that a line of SHA256SUMS states."""
    return sums.removeprefix(b"\\")[:64].decode()
