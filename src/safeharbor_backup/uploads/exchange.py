"""Moves the entries of the live uploads out of them, and those of the other side in, between open directories.

The root's entries are exchanged one by one: it may be a mount point. So are those of each directory of the `frontier`,
which holds something that stays where it is (excluded, a mount, a pipe). Such a directory stays too, and gets the mode,
owner and times of the side that is live. A directory that cannot be renamed (overlayfs, mergerfs: EXDEV) is
emptied into a new one instead. Every function may be called again after a crash.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from safeharbor_backup.errors import StorageUnavailable
from safeharbor_backup.system.atomic_file import fsync_open_directory, rename_between
from safeharbor_backup.system.filesystem import is_inode, mount_of, names_in, set_mode
from safeharbor_backup.text import typed
from safeharbor_backup.uploads.movable import is_left_alone
from safeharbor_backup.uploads.removal import open_own_directory

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

_ROUNDS = 1000
_ASIDE = b"strays"
_HALVES = b"halves"


def _stop_the_app() -> str:
    return f"Stop the app, then `{typed('restore --resume')}` or `--undo`."


class Exchange:
    """Live uploads and a stage, both open. `frontier` and `stays` are paths below the uploads, parents first."""

    def __init__(self, uploads: int, stage: int, shown: str, frontier: Collection[bytes], stays: Collection[bytes]):
        self._uploads = uploads
        self._stage = stage
        self._shown = shown
        self._frontier = (b"", *sorted(frontier))
        self._fixed = frozenset(frontier) | frozenset(stays)

    def move_out(self, side: int, *, keep_attributes: bool) -> None:
        """Everything live that moves goes into the open directory `side`.

        What the app makes again under a name that is there already steps aside. `keep_attributes`: the directories of
        the frontier still have the mode, owner and times of what is moved out. Raises OSError, StorageUnavailable.
        """
        attributes: list[tuple[bytes, os.stat_result]] = []
        for path in self._frontier:
            with self._opened(self._uploads, path) as live:
                if live is None:
                    continue
                attributes.append((path, os.fstat(live)))
                with self._made(side, path, os.fstat(live)) as target:
                    self._empty(live, target, path)
                    fsync_open_directory(target)
                fsync_open_directory(live)
        if keep_attributes:
            self._settle(side, attributes)

    def move_in(self, side: int) -> None:
        """Everything in the open directory `side` becomes live; what is in its way steps aside.

        Raises OSError, StorageUnavailable.
        """
        attributes: list[tuple[bytes, os.stat_result]] = []
        for path in self._frontier:
            with self._opened(side, path) as source:
                if source is None:
                    continue
                attributes.append((path, os.fstat(source)))
                with self._made(self._uploads, path, os.fstat(source)) as live:
                    self._fill(source, live, path)
                    fsync_open_directory(live)
                fsync_open_directory(source)
        self._settle(self._uploads, attributes)

    def _settle(self, root: int, attributes: list[tuple[bytes, os.stat_result]]) -> None:
        """Give directories of the frontier their mode, owner and times, the deepest first.

        Whoever can write above one can have given its name to another's directory: then root gives nothing away.
        """
        for path, status in reversed(attributes):
            with self._opened(root, path) as descriptor:
                if descriptor is None or not path:
                    continue
                # decision 101
                if self._is_the_apps(descriptor, status) or self._only_root_writes(root, path.rpartition(b"/")[0]):
                    _give_attributes(descriptor, status)
                else:
                    _give_times(descriptor, status)

    def _is_the_apps(self, descriptor: int, status: os.stat_result) -> bool:
        """Whether it belongs to the owner of the uploads, and stays so; or we are no other user than that owner."""
        owner = os.fstat(self._uploads).st_uid
        return os.geteuid() != 0 or owner == os.fstat(descriptor).st_uid == status.st_uid != 0

    def _only_root_writes(self, root: int, path: bytes) -> bool:
        """Whether nobody else can rename what is in the directory at `path`, or that directory itself."""
        while True:
            with self._opened(root, path) as descriptor:
                if descriptor is None:
                    return False
                status = os.fstat(descriptor)
            if status.st_uid != 0 or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                return False
            if not path:
                return True
            path = path.rpartition(b"/")[0]

    def _empty(self, live: int, target: int, path: bytes) -> None:
        for _ in range(_ROUNDS):
            names = self._moving(live, path)
            if not names:
                return
            for name in names:
                self._move_or_clear(live, name, target, _join(path, name))
        raise StorageUnavailable(f"{self._show(path)} fills up as fast as it is emptied.", hint=_stop_the_app())

    def _fill(self, source: int, live: int, path: bytes) -> None:
        for name in self._moving(source, path):
            for _ in range(_ROUNDS):
                try:
                    self._move(source, name, live, _join(path, name))
                    break
                except FileExistsError:
                    self._step_aside(live, name)
            else:
                raise StorageUnavailable(
                    f"{self._show(_join(path, name))} comes back as fast as it is moved away.", hint=_stop_the_app()
                )

    def _move_or_clear(self, source: int, name: bytes, target: int, path: bytes) -> None:
        """Move it; what the app has removed is gone, what it has made again steps aside."""
        try:
            self._move(source, name, target, path)
        except FileNotFoundError:
            if _exists(source, name):
                raise  # then it is the target that is gone
        except FileExistsError:
            if _is_empty_directory(source, name):  # a crash came between emptying and removing it
                os.rmdir(name, dir_fd=source)
            else:
                self._step_aside(source, name)

    def _moving(self, directory: int, path: bytes) -> list[bytes]:
        names = [name for name in names_in(directory) if _join(path, name) not in self._fixed]  # decision 71
        if path:
            return names
        stage = os.fstat(self._stage).st_ino  # never the stage itself, whatever name somebody has given it
        return [name for name in names if not (is_left_alone(directory, name) or is_inode(directory, name, stage))]

    def _move(self, source: int, name: bytes, target: int, path: bytes) -> None:
        try:
            _rename(source, name, target)
        except OSError as error:
            if error.errno == errno.EXDEV:
                self._move_by_entries(source, name, target, path)
                return
            raise OSError(error.errno, error.strerror, self._show(path)) from None

    def _move_by_entries(self, source: int, name: bytes, target: int, path: bytes) -> None:
        """A directory that the filesystem does not rename: its entries, into a new one that then takes its name."""
        half = hashlib.sha256(path).hexdigest().encode()
        descriptor = open_own_directory(source, name)
        try:
            if mount_of(descriptor) != mount_of(source):
                raise OSError(errno.EBUSY, "it is a mount point", self._show(path))
            before = os.fstat(descriptor)
            with self._made(self._stage, _HALVES) as halves:
                with self._made(halves, half) as new:
                    for each in names_in(descriptor):
                        self._move_or_clear(descriptor, each, new, _join(path, each))
                    _give_attributes(new, before)
                    fsync_open_directory(new)
                rename_between(halves, half, target, name)
            os.rmdir(name, dir_fd=source)
        finally:
            os.close(descriptor)

    def _step_aside(self, directory: int, name: bytes) -> None:
        with self._made(self._stage, _ASIDE) as strays, suppress(FileNotFoundError):
            _rename(directory, name, strays, secrets.token_hex(8).encode())

    def _clear(self, root: int, above: int, name: bytes) -> None:
        """Replace what is not a directory with one, whoever put it there."""
        if root != self._stage:
            self._step_aside(above, name)
            return
        with suppress(FileNotFoundError):  # or what steps aside would need itself
            _rename(above, name, self._stage, secrets.token_hex(8).encode())

    @contextmanager
    def _opened(self, root: int, path: bytes) -> Iterator[int | None]:
        """The directory at `path` below an open one, step by step and never through a link; None if there is none."""
        descriptor = os.dup(root)
        try:
            for part in path.split(b"/") if path else ():
                try:
                    below = open_own_directory(descriptor, part)
                except (FileNotFoundError, NotADirectoryError):
                    yield None
                    return
                os.close(descriptor)
                descriptor = below
            yield descriptor
        finally:
            os.close(descriptor)

    @contextmanager
    def _made(self, root: int, path: bytes, like: os.stat_result | None = None) -> Iterator[int]:
        """The same, made if it is not there. Raises OSError.

        An empty one of ours, as a new one is, gets the mode and owner of `like`: a crash may come before all is moved.
        """
        parent, _, name = path.rpartition(b"/")
        with self._opened(root, parent) as above:
            if above is None:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self._show(parent))
            if not name:
                yield above
                return
            descriptor = self._make(root, above, name)
            try:
                if like is not None and os.geteuid() == os.fstat(descriptor).st_uid and not names_in(descriptor):
                    _give_attributes(descriptor, like)
                yield descriptor
            finally:
                os.close(descriptor)

    def _make(self, root: int, above: int, name: bytes) -> int:
        for _ in range(_ROUNDS):
            with suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=above)
            try:
                return open_own_directory(above, name)
            except (FileNotFoundError, NotADirectoryError):
                self._clear(root, above, name)
        raise StorageUnavailable(
            f"{os.fsdecode(name)} in {self._shown} is replaced as fast as it is made.", hint=_stop_the_app()
        )

    def _show(self, path: bytes) -> str:
        return f"{self._shown}/{os.fsdecode(path)}" if path else self._shown


def _rename(source: int, name: bytes, target: int, to: bytes = b"") -> None:
    """Rename to a free name. Raises FileExistsError, FileNotFoundError, OSError.

    A directory's ".." changes with it, so the kernel asks for write permission on the directory itself; one of ours
    without it gets it for that moment.
    """
    try:
        rename_between(source, name, target, to or name)
    except PermissionError:
        held = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=source)
        try:
            status = os.fstat(held)
            if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
                raise
            mode = stat.S_IMODE(status.st_mode)
            os.chmod(f"/proc/self/fd/{held}", mode | stat.S_IWUSR)
            try:
                rename_between(source, name, target, to or name)
            finally:
                os.chmod(f"/proc/self/fd/{held}", mode)
        finally:
            os.close(held)


def _give_attributes(descriptor: int, status: os.stat_result) -> None:
    mine = os.fstat(descriptor)
    if (mine.st_uid, mine.st_gid) != (status.st_uid, status.st_gid):
        try:
            os.fchown(descriptor, status.st_uid, status.st_gid)
        except PermissionError:
            pass  # as with every restored upload, then: they belong to whoever runs this
    set_mode(descriptor, stat.S_IMODE(status.st_mode))
    _give_times(descriptor, status)


def _give_times(descriptor: int, status: os.stat_result) -> None:
    os.utime(descriptor, ns=(status.st_atime_ns, status.st_mtime_ns))


def _is_empty_directory(parent: int, name: bytes) -> bool:
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    except OSError:
        return False
    try:
        return not os.listdir(descriptor)
    finally:
        os.close(descriptor)


def _exists(parent: int, name: bytes) -> bool:
    try:
        os.lstat(name, dir_fd=parent)
    except FileNotFoundError:
        return False
    return True


def _join(path: bytes, name: bytes) -> bytes:
    return path + b"/" + name if path else name
