"""A file appears under its name whole, or not at all.

It is written beside its place under a temporary name, fsynced, closed, checked by the caller and renamed; then the
directory is fsynced. After a power cut, ext4 may have an empty file under the final name without the first fsync, and
may have lost the rename without the second.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import secrets
import stat
import tempfile
import time
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

from safeharbor_backup.errors import translate_os_error
from safeharbor_backup.system.lock import give_to_owner_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_RENAME_NOREPLACE = 1
_AT_FDCWD = -100
_WHEN_CLOSED = (0.03, 0.06, 0.12, 0.25, 0.5, 1.0)
_HELD_BYTES = 256 * 1024
_libc = ctypes.CDLL(None, use_errno=True)


class Draft:
    """A file under its temporary name; once created, `descriptor` is open for reading and writing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.descriptor = -1
        self._may_exist = False
        self._settled = False

    def create(self) -> None:
        """Make the file, empty; never through a symlink, never over anything. Raises StorageUnavailable, OSError."""
        self._may_exist = True  # before it is there: a signal may come as soon as it is
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self.descriptor = os.open(self.path, flags, 0o600)
        except OSError as error:
            self._may_exist = False  # if there is one of that name, it is not ours
            if error.errno == errno.EMFILE:
                raise
            raise translate_os_error(error, f"creating a file in {self.path.parent}") from error
        try:
            os.fchmod(self.descriptor, 0o600)  # a umask can only take bits away, but a default ACL adds some
            give_to_owner_of(self.path.parent, self.descriptor)
        except OSError:
            pass  # filesystems without modes

    def settle(self) -> None:
        """Force everything onto the disk and reopen it for reading only.

        Closing matters: a quota may be refused only then. A failed fsync is never tried again, since the
        kernel drops the pages that it could not write. Raises OSError.
        """
        if self._settled:
            return
        os.fsync(self.descriptor)
        reader = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        writer, self.descriptor = self.descriptor, reader
        self._settled = True
        os.close(writer)

    def publish(self, path: Path, *, replace: bool) -> None:
        """Give it its name and close it. Raises FileExistsError without `replace`, OSError."""
        rename = os.replace if replace else rename_to_free_name
        try:
            rename(self.path, path)
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            self.close()  # some shares rename no open file; decision 47
            when_closed(lambda: rename(self.path, path))
        self.close()

    def close(self) -> None:
        """Close it, if it is open."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def discard(self) -> None:
        """Close and remove the temporary file."""
        if not self._may_exist:
            return
        try:
            self.close()  # first, since some shares remove no open file
        except OSError:
            pass  # a quota that is refused at this moment; the file goes anyway
        try:
            when_closed(lambda: os.unlink(self.path))
        except OSError:
            pass  # gone already, or a filesystem that refuses everything: the next run sweeps


@contextmanager
def published_whole(path: Path, *, replace: bool = False) -> Iterator[Draft]:
    """A draft that becomes `path` when the block ends well, and vanishes when it does not.

    Mode 0600, never through a symlink. Without `replace` an existing `path` is not touched and
    FileExistsError is raised. Raises StorageUnavailable and OSError.
    """
    draft = Draft(path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp"))  # decision 19
    try:
        draft.create()
        yield draft
        draft.settle()
        draft.publish(path, replace=replace)
    except BaseException:
        draft.discard()
        raise
    try:
        fsync_directory(path.parent)
    except OSError:
        if not replace:  # after a failure there must be no archive
            os.unlink(path)
        raise


def when_closed(action: Callable[[], None]) -> None:
    """Do what some shares refuse while a file is open, now that it is closed: FUSE lets them know a moment later.

    Raises OSError, EBUSY after two seconds.
    """
    for pause_seconds in _WHEN_CLOSED:
        try:
            return action()
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
        time.sleep(pause_seconds)
    return action()


def unnamed_file(directory: Path) -> IO[bytes]:
    """An empty file without a name in `directory`; in the system's temporary directory where that cannot be.

    Raises OSError.
    """
    try:
        return tempfile.TemporaryFile(dir=directory, buffering=_HELD_BYTES)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        name = error.filename
        when_closed(lambda: os.unlink(name))  # some shares take no name from an open file; Python has closed this one
    return tempfile.TemporaryFile(buffering=_HELD_BYTES)


def write_all(descriptor: int, data: bytes | memoryview | bytearray) -> None:
    """Write all of `data`; a raw write may take less than it was given."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def fsync_directory(directory: Path) -> None:
    """Make renames and removals in `directory` last; without this a power cut can undo them."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fsync_open_directory(descriptor)
    finally:
        os.close(descriptor)


def fsync_open_directory(descriptor: int) -> None:
    """The same for an open directory. Raises OSError."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EROFS):  # network filesystems that have no such call
            raise


def is_draft_of(name: str, published_name: re.Pattern[str]) -> bool:
    """Whether `name` is a temporary name of ours for a file whose name matches `published_name`."""
    found = re.fullmatch(r"(?P<published>.+)\.[0-9a-f]{8}\.tmp", name, re.DOTALL)
    return found is not None and published_name.fullmatch(found["published"]) is not None


def sweep_drafts(directory: Path, published_name: re.Pattern[str], *, older_than_seconds: float = 0.0) -> list[str]:
    """Remove what a killed run left behind; the names removed.

    The caller holds the directory's lock, or gives an age that no draft in use reaches.
    """
    swept = []
    with os.scandir(directory) as entries:
        names = [entry.name for entry in entries if is_draft_of(entry.name, published_name)]
    for name in names:
        try:
            found = os.lstat(directory / name)
            is_old = not older_than_seconds or time.time() - found.st_mtime > older_than_seconds
            if is_old and not stat.S_ISDIR(found.st_mode):
                os.unlink(directory / name)  # removes a planted symlink, not what it points to
                swept.append(name)
        except OSError:
            pass  # someone else's: our own name differs, so it is not in the way
    return swept


def rename_to_free_name(source: Path, target: Path) -> None:
    """Rename without replacing anything. Raises FileExistsError, OSError."""
    rename_between(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target))


def rename_between(source_directory: int, source: bytes, target_directory: int, target: bytes) -> None:
    """The same for names in two open directories. Raises FileExistsError, OSError."""
    number = _rename_noreplace(source_directory, source, target_directory, target)
    if number == 0:
        return
    shown = os.fsdecode(source), os.fsdecode(target)
    if number not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
        raise OSError(number, os.strerror(number), shown[0], None, shown[1])
    # the filesystem has no such rename; the lock is held
    to = None if target_directory == _AT_FDCWD else target_directory
    try:
        os.lstat(target, dir_fd=to)
    except FileNotFoundError:
        os.rename(source, target, src_dir_fd=None if source_directory == _AT_FDCWD else source_directory, dst_dir_fd=to)
        return
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), shown[1])


def _rename_noreplace(source_directory: int, source: bytes, target_directory: int, target: bytes) -> int:
    try:
        rename = _libc.renameat2
    except AttributeError:  # a C library without it
        return errno.ENOSYS
    done = rename(source_directory, source, target_directory, target, _RENAME_NOREPLACE)  # decision 72
    return 0 if done == 0 else ctypes.get_errno()
