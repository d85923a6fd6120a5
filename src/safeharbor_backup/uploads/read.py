"""Puts one upload into an archive while the app goes on writing to it.

A file is stat'ed before and after it is read; if it changed in between it is read again, up to five times, then
kept as it was read. Nothing that one upload does can lose the backup or leave a malformed archive.
"""

from __future__ import annotations

import os
import stat
import time
from typing import TYPE_CHECKING, NamedTuple

from safeharbor_backup.archive import layout
from safeharbor_backup.archive.layout import Member
from safeharbor_backup.uploads.omissions import has_attributes, note_failure
from safeharbor_backup.uploads.readahead import NOT_OPEN, READ_FLAGS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from safeharbor_backup.archive.writer import ArchiveWriter, Written
    from safeharbor_backup.uploads.omissions import Omissions
    from safeharbor_backup.uploads.tree_entries import Entry

_CHUNK = 1024 * 1024
_TRIES = 5


class Kept(NamedTuple):
    """An upload that is in the archive: where, the status it was read with, and whether it is what that says."""

    written: Written
    status: os.stat_result
    is_whole: bool


class _Unreadable(Exception):
    """Reading the source failed in the middle; distinct from a failure to write the archive."""

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.error = error


class UploadReader:
    """Reads uploads into an archive; `report` is called now and then while a large one is under way.

    `has_names`: what is at the top of the tree are directories of their own, which no link leaves.
    """

    def __init__(self, writer: ArchiveWriter, omissions: Omissions, report: Callable[[], None]) -> None:
        self._writer = writer
        self._omissions = omissions
        self._report = report
        self._last_with_attributes = b""
        self.has_names = False

    def read(self, entry: Entry, opened: int = NOT_OPEN) -> Kept | None:
        """Put in what is not a directory; None, and noted, if it is not in the archive. Raises OSError of the archive.

        `opened` is the descriptor of a file that has been opened ahead; it is closed here.
        """
        mode = entry.status.st_mode
        if stat.S_ISREG(mode):
            return self._read_file(entry, opened)
        if stat.S_ISLNK(mode):
            return self._read_symlink(entry)
        self._omissions.skipped.add(entry.path, _kind(mode))
        return None

    def _read_symlink(self, entry: Entry) -> Kept | None:
        try:
            target = os.fsencode(os.readlink(entry.name, dir_fd=entry.directory))
        except OSError as error:
            note_failure(error, entry.path, self._omissions)
            return None
        inside = entry.path.partition(b"/")[2] if self.has_names else entry.path
        if not layout.link_stays_inside(inside.rpartition(b"/")[0], target):
            self._omissions.skipped.add(entry.path, "a symlink that can leave the tree")
            return None
        member = member_of(entry.path, layout.SYMLINK, 0o777, entry.status, 0, target)
        # a target cannot be changed, but another link can have taken the place since the status was taken
        is_whole = _is_same(entry.status, _status_now(entry))
        return Kept(self._writer.write_member(member), entry.status, is_whole)

    def _read_file(self, entry: Entry, opened: int) -> Kept | None:
        for attempt in range(1, _TRIES + 1):
            try:
                kept = self._try_file(entry, opened if attempt == 1 else NOT_OPEN, insist=attempt == _TRIES)
                if kept is not None:
                    return kept
                time.sleep(0.02 * attempt)
                entry = entry._replace(status=os.stat(entry.name, dir_fd=entry.directory, follow_symlinks=False))
            except _Unreadable as error:
                note_failure(error.error, entry.path, self._omissions)
                return None
            except OSError as error:
                if error.filename != entry.name:  # the archive's trouble, not this file's
                    raise
                note_failure(error, entry.path, self._omissions)
                return None
            if not stat.S_ISREG(entry.status.st_mode):
                self._omissions.vanished.add(entry.path)
                return None
        return None

    def _try_file(self, entry: Entry, opened: int, *, insist: bool) -> Kept | None:
        """The file as it is in the archive now; None if it changed meanwhile. Raises _Unreadable, OSError."""
        before = entry.status
        descriptor = os.open(entry.name, READ_FLAGS, dir_fd=entry.directory) if opened == NOT_OPEN else opened
        try:
            if not insist and has_attributes(descriptor) and entry.path != self._last_with_attributes:
                self._last_with_attributes = entry.path
                self._omissions.attributes.add(entry.path)
            member = member_of(
                entry.path,
                layout.FILE,
                stat.S_IMODE(before.st_mode) & layout.FILE_MODE,
                before,
                before.st_size,
            )
            if before.st_size > _CHUNK:
                return self._stream(member, descriptor, entry, insist=insist)
            data = _read_small(descriptor, before.st_size)
            is_whole = len(data) == before.st_size and _is_same(before, os.fstat(descriptor))
            if not (is_whole or insist):
                return None
            if not is_whole:
                data = data[: before.st_size]
                member = member._replace(size=len(data))
                self._omissions.changed.add(entry.path)
            return Kept(self._writer.write_file(member, data), before, is_whole)
        finally:
            os.close(descriptor)

    def _stream(self, member: Member, descriptor: int, entry: Entry, *, insist: bool) -> Kept | None:
        changed = False

        def is_whole() -> bool:
            nonlocal changed
            changed = os.read(descriptor, 1) != b"" or not _is_same(entry.status, os.fstat(descriptor))
            return insist or not changed

        start = self._writer.position
        try:
            written = self._writer.write_stream(member, self._watched(_read_chunks(descriptor)), is_whole)
        except _Unreadable:
            self._writer.rewind(start)
            raise
        if written is None:
            return None
        if changed:
            self._omissions.changed.add(entry.path)
        return Kept(written, entry.status, not changed)

    def _watched(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self._report()
            yield chunk


def member_of(path: bytes, kind: bytes, mode: int, status: os.stat_result, size: int, link: bytes = b"") -> Member:
    """The archive member for an upload."""
    mtime = status.st_mtime_ns // 1_000_000_000
    return Member(layout.UPLOADS_NAME + path, kind, mode, status.st_uid, status.st_gid, mtime, size, link)


def directory_member(path: bytes, status: os.stat_result) -> Member:
    """The member of a directory; `path` ends with a slash but for the tree's root."""
    return member_of(path, layout.DIRECTORY, stat.S_IMODE(status.st_mode) & layout.DIRECTORY_MODE, status, 0)


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


def _is_same(before: os.stat_result, after: os.stat_result | None) -> bool:
    return after is not None and (before.st_ino, before.st_size, before.st_mtime_ns, before.st_ctime_ns) == (
        after.st_ino,
        after.st_size,
        after.st_mtime_ns,
        after.st_ctime_ns,
    )


def _status_now(entry: Entry) -> os.stat_result | None:
    try:
        return os.stat(entry.name, dir_fd=entry.directory, follow_symlinks=False)
    except OSError:
        return None


def _kind(mode: int) -> str:
    if stat.S_ISFIFO(mode):
        return "a FIFO"
    if stat.S_ISSOCK(mode):
        return "a socket"
    return "a device"
