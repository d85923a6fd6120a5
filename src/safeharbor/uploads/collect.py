"""Puts the uploads tree into an archive while the app goes on writing to it.

A file is stat'ed before and after it is read; if it changed in between it is read again, up to five times, then
kept as it was read. Nothing that one upload does can lose the backup or leave a malformed archive.
"""

from __future__ import annotations

import os
import stat
import time
from typing import TYPE_CHECKING

from safeharbor.archive import layout
from safeharbor.archive.layout import Member
from safeharbor.errors import translate_os_error
from safeharbor.uploads.omissions import Omissions
from safeharbor.uploads.walk import Entry, note_failure, open_root, walk_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from safeharbor.archive.writer import ArchiveWriter
    from safeharbor.progress import Progress

_CHUNK = 1024 * 1024
_TRIES = 5
_REPORT_ITEMS = 512
_REPORT_BYTES = 8 * 1024 * 1024


class _Unreadable(Exception):
    """Reading the source failed in the middle; distinct from a failure to write the archive."""

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.error = error


def make_filter(patterns: tuple[str, ...]) -> Callable[[str], bool] | None:
    """A function that tells whether a path is excluded, patterns as in a .gitignore; None if there are none."""
    if not patterns:
        return None
    from pathspec import GitIgnoreSpec

    return GitIgnoreSpec.from_lines(patterns).match_file


def write_uploads(
    writer: ArchiveWriter, root: Path | None, is_excluded: Callable[[str], bool] | None, progress: Progress
) -> Omissions:
    """Write `uploads/` and everything below `root` (None: nothing); what is not in it as it should be.

    Raises OSError if the root cannot be read or the archive cannot be written.
    """
    return _Collector(writer, progress).collect(root, is_excluded)


def estimate_size(root: Path | None, is_excluded: Callable[[str], bool] | None) -> int:
    """How many bytes the tree will take in an archive, by a walk without reading. Raises OSError."""
    if root is None:
        return 0
    descriptor = open_root(root)
    try:
        return sum(
            layout.BLOCK
            + (-(-entry.status.st_size // layout.BLOCK) * layout.BLOCK if stat.S_ISREG(entry.status.st_mode) else 0)
            for entry in walk_tree(descriptor, is_excluded, Omissions())
        )
    finally:
        os.close(descriptor)


class _Collector:
    def __init__(self, writer: ArchiveWriter, progress: Progress) -> None:
        self._writer = writer
        self._progress = progress
        self._omissions = Omissions()
        self._items = 0
        self._reported = writer.position

    def collect(self, root: Path | None, is_excluded: Callable[[str], bool] | None) -> Omissions:
        if root is None:
            self._writer.write_member(Member(layout.UPLOADS_NAME, layout.DIRECTORY, 0o755, 0, 0, 0, 0))
            return self._omissions
        try:
            descriptor = open_root(root)
        except OSError as error:
            raise translate_os_error(error, "opening the uploads directory") from error
        try:
            self._writer.write_member(_directory_member(b"", os.fstat(descriptor)))
            for entry in walk_tree(descriptor, is_excluded, self._omissions):
                self._add(entry)
                self._items += 1
                if self._items >= _REPORT_ITEMS or self._writer.position - self._reported >= _REPORT_BYTES:
                    self._report()
        finally:
            os.close(descriptor)
        self._report()
        return self._omissions

    def _add(self, entry: Entry) -> None:
        mode = entry.status.st_mode
        if stat.S_ISREG(mode):
            self._add_file(entry)
        elif stat.S_ISDIR(mode):
            self._writer.write_member(_directory_member(entry.path + b"/", entry.status))
        elif stat.S_ISLNK(mode):
            self._add_symlink(entry)
        else:
            self._omissions.skipped.add(entry.path, _kind(mode))

    def _add_symlink(self, entry: Entry) -> None:
        try:
            target = os.fsencode(os.readlink(entry.name, dir_fd=entry.directory))
        except OSError as error:
            note_failure(error, entry.path, self._omissions)
            return
        if not layout.link_stays_inside(entry.path.rpartition(b"/")[0], target):
            self._omissions.skipped.add(entry.path, "a symlink that can leave the tree")
            return
        self._writer.write_member(_member(entry.path, layout.SYMLINK, 0o777, entry.status, 0, target))

    def _add_file(self, entry: Entry) -> None:
        for attempt in range(1, _TRIES + 1):
            try:
                if self._try_file(entry, insist=attempt == _TRIES):
                    return
                time.sleep(0.02 * attempt)
                entry = entry._replace(status=os.stat(entry.name, dir_fd=entry.directory, follow_symlinks=False))
            except _Unreadable as error:
                note_failure(error.error, entry.path, self._omissions)
                return
            except OSError as error:
                if error.filename != entry.name:  # the archive's trouble, not this file's
                    raise
                note_failure(error, entry.path, self._omissions)
                return
            if not stat.S_ISREG(entry.status.st_mode):
                self._omissions.vanished.add(entry.path)
                return

    def _try_file(self, entry: Entry, *, insist: bool) -> bool:
        """Whether the file is in the archive now. Raises _Unreadable, OSError."""
        before = entry.status
        # O_NONBLOCK: it may have become a FIFO since it was stat'ed
        descriptor = os.open(
            entry.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=entry.directory
        )
        try:
            member = _member(
                entry.path,
                layout.FILE,
                stat.S_IMODE(before.st_mode) & layout.FILE_MODE,
                before,
                before.st_size,
            )
            if before.st_size > _CHUNK:
                return self._stream(member, descriptor, entry, insist=insist)
            data = _read_small(descriptor, before.st_size)
            unchanged = len(data) == before.st_size and _is_same(before, os.fstat(descriptor))
            if not (unchanged or insist):
                return False
            if not unchanged:
                data = data[: before.st_size]
                member = member._replace(size=len(data))
                self._omissions.changed.add(entry.path)
            self._writer.write_file(member, data)
            return True
        finally:
            os.close(descriptor)

    def _stream(self, member: Member, descriptor: int, entry: Entry, *, insist: bool) -> bool:
        changed = False

        def is_whole() -> bool:
            nonlocal changed
            changed = os.read(descriptor, 1) != b"" or not _is_same(entry.status, os.fstat(descriptor))
            return insist or not changed

        start = self._writer.position
        try:
            kept = self._writer.write_stream(member, self._watched(_read_chunks(descriptor)), is_whole)
        except _Unreadable:
            self._writer.rewind(start)
            raise
        if kept and changed:
            self._omissions.changed.add(entry.path)
        return kept

    def _watched(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            if self._writer.position - self._reported >= _REPORT_BYTES:
                self._report()
            yield chunk

    def _report(self) -> None:
        done = self._writer.position - self._reported
        self._progress.advance(max(done, 0), self._items)
        self._items = 0
        self._reported += done


def _read_small(descriptor: int, size: int) -> bytes:
    """Up to one byte more than `size`, so that growth shows."""
    try:
        data = os.read(descriptor, size + 1)
        while 0 < len(data) < size:
            more = os.read(descriptor, size + 1 - len(data))
            if not more:
                break
            data += more
    except OSError as error:
        raise _Unreadable(error) from error
    return data


def _read_chunks(descriptor: int) -> Iterator[bytes]:
    try:
        while chunk := os.read(descriptor, _CHUNK):
            yield chunk
    except OSError as error:
        raise _Unreadable(error) from error


def _is_same(before: os.stat_result, after: os.stat_result) -> bool:
    return (before.st_ino, before.st_size, before.st_mtime_ns, before.st_ctime_ns) == (
        after.st_ino,
        after.st_size,
        after.st_mtime_ns,
        after.st_ctime_ns,
    )


def _directory_member(path: bytes, status: os.stat_result) -> Member:
    return _member(path, layout.DIRECTORY, stat.S_IMODE(status.st_mode) & layout.DIRECTORY_MODE, status, 0)


def _member(path: bytes, kind: bytes, mode: int, status: os.stat_result, size: int, link: bytes = b"") -> Member:
    mtime = status.st_mtime_ns // 1_000_000_000
    return Member(layout.UPLOADS_NAME + path, kind, mode, status.st_uid, status.st_gid, mtime, size, link)


def _kind(mode: int) -> str:
    if stat.S_ISFIFO(mode):
        return "a FIFO"
    if stat.S_ISSOCK(mode):
        return "a socket"
    return "a device"
