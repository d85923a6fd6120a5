"""Uploads written from an archive into an empty directory, relative to open directories and never through a link."""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING

from safeharbor_backup.archive import layout
from safeharbor_backup.archive.foreign_headers import HARD_LINK
from safeharbor_backup.system.atomic_file import write_all
from safeharbor_backup.system.filesystem import set_mode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from safeharbor_backup.archive.layout import Member

_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_ASK_BYTES = 1024 * 1024  # as often is asked whether there is room
ELSEWHERE = "Restore into a directory on another filesystem (--upload-dir), or only the database (--only database)."
LACKS_OWNERS = "the uploads belong to the user that runs this: their owners in the archive cannot be set here"
LACKS_MODES = "the uploads get the modes that their filesystem gives: those in the archive cannot be set there"
_libc = ctypes.CDLL(None, use_errno=True)


class Extraction:
    """Members of an archive as files below the open directory `root`, which it does not close.

    Give it members that a reader of ours has accepted. A directory's mode and times are set when nothing more is
    written into it. If the members are `in_order`, as in our own archives, that is when the next directory begins.
    Otherwise directories may come in any order or be missing, and it is at the end.
    """

    def __init__(self, root: int, *, in_order: bool, require_room: Callable[[int], None] | None = None) -> None:
        """`require_room` is asked before so many bytes are written; it raises if they may not be."""
        self._root = root
        self._in_order = in_order
        self._require_room = require_room or (lambda _: None)
        self._unasked = _ASK_BYTES  # before the first byte
        self._path: list[bytes] = []
        self._descriptors = [root]
        self._open_members: list[Member] = []
        self._late: dict[bytes, Member] = {}
        self.files = 0
        self.size_bytes = 0
        self.lacks_owners = False
        self.lacks_modes = False

    def add(self, member: Member, data: Iterable[bytes]) -> None:
        """Write one member below uploads/; all of `data` is taken. Raises OSError."""
        path = member.name[len(layout.UPLOADS_NAME) :].rstrip(b"/")
        if not path:
            return  # uploads/ itself: the live directory keeps its own owner and mode
        self._take_room(layout.BLOCK)
        parent, _, name = path.rpartition(b"/")
        directory = self._enter(parent)
        if member.kind == layout.DIRECTORY:
            self._make_directory(name, directory)
            if self._in_order:
                self._descriptors.append(os.open(name, _OPEN_DIRECTORY, dir_fd=directory))
                self._path.append(name)
                self._open_members.append(member)
            else:
                self._late[path] = member
        elif member.kind == layout.SYMLINK:
            os.symlink(member.link, name, dir_fd=directory)
            self._own(name, member, directory)
            os.utime(name, ns=_times(member), dir_fd=directory, follow_symlinks=False)
        elif member.kind == HARD_LINK:
            self._link(member, name, directory)
        else:
            self._write(member, name, directory, data)

    def _take_room(self, size: int) -> None:
        self._unasked += size
        if self._unasked >= _ASK_BYTES:
            self._require_room(size)
            self._unasked = 0

    def finish(self) -> None:
        """Set what is left to set and force everything onto the disk. Raises OSError."""
        self._leave(0)
        for path in sorted(self._late, key=lambda each: each.count(b"/"), reverse=True):
            descriptor = self._open(path)
            try:
                self._settle(descriptor, self._late[path])
            finally:
                os.close(descriptor)
        self._late.clear()
        if _libc.syncfs(self._root) != 0:  # one call for a hundred thousand files
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    def close(self) -> None:
        """Give the open directories back."""
        while len(self._descriptors) > 1:
            os.close(self._descriptors.pop())
        self._path.clear()

    def _enter(self, parent: bytes) -> int:
        parts = parent.split(b"/") if parent else []
        if parts == self._path:
            return self._descriptors[-1]
        same = 0
        while same < min(len(parts), len(self._path)) and parts[same] == self._path[same]:
            same += 1
        self._leave(same)
        for part in parts[same:]:
            directory = self._descriptors[-1]
            try:
                descriptor = os.open(part, _OPEN_DIRECTORY, dir_fd=directory)
            except FileNotFoundError:  # another implementation's archive need not name its directories
                os.mkdir(part, 0o700, dir_fd=directory)
                self._late_default(b"/".join([*self._path, part]))
                descriptor = os.open(part, _OPEN_DIRECTORY, dir_fd=directory)
            self._descriptors.append(descriptor)
            self._path.append(part)
        return self._descriptors[-1]

    def _late_default(self, path: bytes) -> None:
        implied = layout.Member(layout.UPLOADS_NAME + path + b"/", layout.DIRECTORY, 0o755, os.geteuid(), -1, -1, 0)
        self._late.setdefault(path, implied)

    def _leave(self, depth: int) -> None:
        while len(self._path) > depth:
            self._path.pop()
            descriptor = self._descriptors.pop()
            try:
                if self._in_order:
                    self._settle(descriptor, self._open_members.pop())
            finally:
                os.close(descriptor)

    def _make_directory(self, name: bytes, directory: int) -> None:
        try:
            os.mkdir(name, 0o700, dir_fd=directory)
        except FileExistsError:
            os.close(os.open(name, _OPEN_DIRECTORY, dir_fd=directory))  # implied by a member before; else it raises

    def _write(self, member: Member, name: bytes, directory: int, data: Iterable[bytes]) -> None:
        descriptor = os.open(name, _CREATE, 0o600, dir_fd=directory)
        try:
            for chunk in data:
                self._take_room(len(chunk))
                write_all(descriptor, chunk)
            self._own(descriptor, member)
            self._set_mode(descriptor, member.mode & layout.FILE_MODE)
            os.utime(descriptor, ns=_times(member))
        finally:
            os.close(descriptor)
        self.files += 1
        self.size_bytes += member.size

    def _link(self, member: Member, name: bytes, directory: int) -> None:
        """A hard link of another implementation's archive, as a link to the file written before."""
        target_parent, _, target = member.link[len(layout.UPLOADS_NAME) :].rpartition(b"/")
        above = self._open(target_parent)
        try:
            os.link(target, name, src_dir_fd=above, dst_dir_fd=directory, follow_symlinks=False)
        finally:
            os.close(above)
        self.files += 1

    def _open(self, path: bytes) -> int:
        """A directory below the root, opened step by step."""
        descriptor = os.dup(self._root)
        for part in path.split(b"/") if path else ():
            try:
                below = os.open(part, _OPEN_DIRECTORY, dir_fd=descriptor)
            finally:
                os.close(descriptor)
            descriptor = below
        return descriptor

    def _settle(self, descriptor: int, member: Member) -> None:
        self._own(descriptor, member)
        self._set_mode(descriptor, member.mode & layout.DIRECTORY_MODE)
        if member.gid >= 0:  # not one that was only implied
            os.utime(descriptor, ns=_times(member))

    def _set_mode(self, descriptor: int, mode: int) -> None:
        """Its mode, where the filesystem has such; some shares and those made for other systems do not."""
        if not set_mode(descriptor, mode):
            self.lacks_modes = True

    def _own(self, target: int | bytes, member: Member, directory: int | None = None) -> None:
        """Its owner and group, where we may set them; before the mode, since chown takes set-gid away."""
        if member.gid < 0 or (member.uid, member.gid) == (os.geteuid(), os.getegid()):
            return
        try:
            if isinstance(target, int):
                os.chown(target, member.uid, member.gid)
            else:
                os.chown(target, member.uid, member.gid, dir_fd=directory, follow_symlinks=False)
        except (OSError, OverflowError):
            self.lacks_owners = True


def _times(member: Member) -> tuple[int, int]:
    nanoseconds = max(min(member.mtime, 2**33), -(2**33)) * 1_000_000_000
    return nanoseconds, nanoseconds
