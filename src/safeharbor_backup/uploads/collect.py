"""Puts the uploads tree into an archive: unchanged parts as blocks of an earlier one, the rest by reading it."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from safeharbor_backup.archive import layout
from safeharbor_backup.archive.checksums import folder_of
from safeharbor_backup.archive.index_records import FACTS_SIZE, IndexEntry
from safeharbor_backup.archive.layout import Member, canonical_line
from safeharbor_backup.archive.splice import SharingRefused
from safeharbor_backup.errors import translate_os_error
from safeharbor_backup.uploads.omissions import Omissions
from safeharbor_backup.uploads.previous_index import IndexLookup
from safeharbor_backup.uploads.read import UploadReader, directory_member
from safeharbor_backup.uploads.readahead import NOT_OPEN, read_ahead
from safeharbor_backup.uploads.reuse import Counts, ReusePlanner, chunk_segment, entry_segment
from safeharbor_backup.uploads.stat_signature import pack_facts, tells_changes
from safeharbor_backup.uploads.tree_entries import Batch
from safeharbor_backup.uploads.walk import opened_tree, walk_batches

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from safeharbor_backup.archive.index_records import Chunk
    from safeharbor_backup.archive.writer import ArchiveWriter
    from safeharbor_backup.progress import Progress
    from safeharbor_backup.settings.upload_dirs import UploadDirs
    from safeharbor_backup.uploads.previous_index import Previous, Recorder
    from safeharbor_backup.uploads.reuse import Segment
    from safeharbor_backup.uploads.tree_entries import Entry
    from safeharbor_backup.uploads.walk import Roots

UNRELIABLE = "the uploads are on a filesystem that does not show every change (NFS, CIFS, FUSE, an overlay or the like)"
_TOP = Member(layout.UPLOADS_NAME, layout.DIRECTORY, 0o755, 0, 0, 0, 0)  # where it is not a directory of an app
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
    """A function that says whether a path is excluded, patterns as in a .gitignore; None if there are none."""
    if not patterns:
        return None
    from pathspec import GitIgnoreSpec

    return GitIgnoreSpec.from_lines(patterns).match_file


def write_uploads(
    writer: ArchiveWriter,
    dirs: UploadDirs,
    is_excluded: Callable[[str], bool] | None,
    progress: Progress,
    previous: Previous | None = None,
    recorder: Recorder | None = None,
) -> Collected:
    """Write `uploads/` and everything in these directories.

    With `previous`, what is unchanged since is taken from there or, if that is not to be, compared with it. What was
    written is remembered in `recorder`. Raises OSError if one of them cannot be read or the archive cannot be written.
    """
    if previous is None or not previous.may_share:
        return _Collector(writer, progress, previous, recorder).collect(dirs, is_excluded)
    mark = writer.mark()
    try:
        return _Collector(writer, progress, previous, recorder).collect(dirs, is_excluded)
    except SharingRefused as refused:
        writer.go_back(mark)
        if recorder is not None:
            recorder.restart()
        again = _Collector(writer, progress, replace(previous, may_share=False), recorder).collect(dirs, is_excluded)
        return replace(again, refused=str(refused))


class _Collector:
    def __init__(
        self, writer: ArchiveWriter, progress: Progress, previous: Previous | None, recorder: Recorder | None
    ) -> None:
        self._writer = writer
        self._progress = progress
        self._previous = previous
        self._recorder = recorder
        self._lookup: IndexLookup | None = None
        self._planner: ReusePlanner | None = None
        self._omissions = Omissions()
        self._reader = UploadReader(writer, self._omissions, self._report_bytes)
        self._refused = ""
        self._owners: set[tuple[int, int]] = set()
        self._items = 0
        self._reported = writer.position

    def collect(self, dirs: UploadDirs, is_excluded: Callable[[str], bool] | None) -> Collected:
        if not dirs:
            if self._recorder is not None:
                self._recorder.is_wanted = False
            self._writer.write_member(_TOP)
            return Collected(self._omissions)
        with ExitStack() as stack:
            try:
                roots = stack.enter_context(opened_tree(dirs))
            except OSError as error:
                raise translate_os_error(error, "opening the uploads directory") from error
            self._collect(roots, is_excluded)
        if self._recorder is not None:
            self._recorder.flush()
        self._report()
        shared = self._planner.members if self._planner is not None else 0
        return Collected(self._omissions, shared, self._refused, frozenset(self._owners))

    def _collect(self, roots: Roots, is_excluded: Callable[[str], bool] | None) -> None:
        try:
            self._reader.has_names = bool(roots[0][0])
            self._recollect(roots)
            self._add_top(roots)
            for found in walk_batches(roots, is_excluded, self._omissions):
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
            if self._planner is not None:
                self._planner.close()

    def _recollect(self, roots: Roots) -> None:
        """Go by what is remembered, unless a filesystem of the tree does not show every change."""
        if not all(tells_changes(root) for _, root in roots):
            if self._recorder is not None:
                self._recorder.is_wanted = False
            self._recorder = None
            self._refused = UNRELIABLE if self._previous is not None else ""
        elif self._previous is not None:
            self._lookup = IndexLookup(self._previous)
            if self._previous.may_share:
                self._planner = ReusePlanner(self._writer, self._previous)

    def _add_top(self, roots: Roots) -> None:
        """`uploads/` itself: as the one directory is, or, if there are several, as none of them."""
        prefix, root = roots[0]
        self._add(b"", _TOP if prefix else directory_member(b"", os.fstat(root)))

    def _add_directory(self, path: bytes, status: os.stat_result) -> None:
        self._note_owners((status,))
        self._add(path, directory_member(path + b"/", status))

    def _add(self, path: bytes, member: Member) -> None:
        if self._lookup is not None:
            # nothing to trust here: a directory is its header, and an equal line makes an equal header
            known = self._lookup.directory(path, canonical_line(member))
            if known is not None and self._planner is not None:
                self._planner.add(self._directory_segment(path, member, known))
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
        lookup, planner = self._lookup, self._planner
        if lookup is None or not batch.is_home:
            self._settle()
            self._read_batch(batch, None)
            return
        facts = pack_facts(batch.statuses)
        if planner is None:
            self._read_batch(batch, facts)
            return
        found = lookup.chunk(batch, facts)
        if found is not None:
            self._note_owners(batch.statuses)
            planner.add(self._chunk_segment(batch, *found))
            self._items += len(batch.names)
        else:
            for number in range(len(batch.names)):
                self._add_entry(batch, batch.entry(number), _facts_of(number, facts))
        planner.leave(batch)

    def _read_batch(self, batch: Batch, facts: bytes | None) -> None:
        """Read all of it from the source, and compare it with what is remembered if there are facts."""
        with read_ahead(batch) as opened:
            for number, descriptor in enumerate(opened):
                entry = batch.entry(number)
                known = self._known(entry, _facts_of(number, facts)) if facts is not None else None
                self._read(batch, entry, known, descriptor)

    def _known(self, entry: Entry, facts: bytes) -> IndexEntry | None:
        """What is remembered of it, if it is unchanged by its facts."""
        known = self._lookup.entry(entry) if self._lookup is not None else None
        return known if known is not None and known.facts == facts else None

    def _add_entry(self, batch: Batch, entry: Entry, facts: bytes) -> None:
        known = self._known(entry, facts)
        if known is not None and self._planner is not None:
            self._note_owners((entry.status,))
            self._planner.add(self._entry_segment(batch, entry, known))
            self._items += 1
            return
        self._settle()
        self._read(batch, entry, known)

    def _read(self, batch: Batch, entry: Entry, known: IndexEntry | None, opened: int = NOT_OPEN) -> None:
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

    def _directory_segment(self, path: bytes, member: Member, known: IndexEntry) -> Segment:
        def record(shift: int) -> None:
            if self._recorder is not None:
                self._recorder.add_directory(path, known.line, known.start + shift, known.end + shift)

        counts = Counts(0, 1, 0, 0, folder_of(path + b"/"))
        return entry_segment(known, counts, None, record, partial(self._read_directory, path, member))

    def _entry_segment(self, batch: Batch, entry: Entry, known: IndexEntry) -> Segment:
        def record(shift: int) -> None:
            if self._recorder is not None:
                moved = known._replace(start=known.start + shift, end=known.end + shift)
                self._recorder.add(batch, entry.name, moved)

        def read() -> None:
            self._read(batch, entry._replace(directory=batch.directory), known)

        folder = folder_of(entry.path)
        counts = Counts(1, 0, 0, entry.status.st_size, folder) if known.sums else Counts(0, 0, 1, 0, folder)
        return entry_segment(known, counts, batch, record, read)

    def _chunk_segment(self, batch: Batch, ordinal: int, chunk: Chunk) -> Segment:
        def record(shift: int) -> None:
            if self._recorder is not None:
                self._recorder.add_chunk(chunk, shift)

        def read() -> None:
            known = chunk.entries(ordinal)
            for number, name in enumerate(batch.names):
                self._read(batch, batch.entry(number), known[name])

        return chunk_segment(ordinal, chunk, batch, record, read)

    def _note_owners(self, statuses: Iterable[os.stat_result]) -> None:
        self._owners.update((status.st_uid, status.st_gid) for status in statuses)

    def _settle(self) -> None:
        if self._planner is not None:
            self._planner.flush()

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
