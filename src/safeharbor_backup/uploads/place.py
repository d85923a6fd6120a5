"""Uploads that were extracted beside a directory are moved into it: by open directories, never through a link.

What is there already stays, unless it is to be replaced; then it can be kept under another name.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from safeharbor_backup.errors import CannotRestore
from safeharbor_backup.system.atomic_file import rename_between
from safeharbor_backup.system.filesystem import names_in
from safeharbor_backup.system.signals import signals_held
from safeharbor_backup.text import ascii_safe
from safeharbor_backup.uploads.omissions import CappedList
from safeharbor_backup.uploads.removal import remove_below

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_LONGEST_NAME = 255  # bytes
_NO_LINKS = (errno.EPERM, errno.EMLINK, errno.ENOSYS, errno.EOPNOTSUPP)
_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


@contextmanager
def staged_beside(target: Path) -> Iterator[tuple[int, int]]:
    """Two open directories: `target`, made if it is not there, and an empty one in it, gone when the block ends.

    Its name is that of a restore's stage, which no backup takes for an upload. If the block fails, a `target` that was
    made for it and is empty is gone too. Raises OSError.
    """
    with ExitStack() as until_end:
        try:
            os.mkdir(target)
            until_end.enter_context(_gone_if_it_fails(target))
        except FileExistsError:
            pass
        root = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        until_end.callback(os.close, root)
        name = f".safeharbor-restore-{secrets.token_hex(8)}".encode()
        os.mkdir(name, 0o700, dir_fd=root)
        try:
            stage = os.open(name, _OPEN_DIRECTORY, dir_fd=root)
            try:
                yield root, stage
            finally:
                os.close(stage)
        finally:
            with signals_held():
                remove_below(root, name, str(target / os.fsdecode(name)))


@contextmanager
def _gone_if_it_fails(directory: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        with suppress(OSError):  # something is in it
            os.rmdir(directory)
        raise


class Placement:
    """Moves staged trees into open directories. `suffix`, if there is one, is the name's end of what is replaced."""

    def __init__(self, *, overwrite: bool, suffix: str = "") -> None:
        self._overwrite = overwrite
        self._suffix = os.fsencode(suffix)
        self.kept = CappedList()
        self.moved = CappedList()

    def place(self, staged: Sequence[tuple[int, int, bytes]]) -> None:
        """Move everything, after a look at all of it, and not half of it for a signal.

        Each is a staged tree, the open directory where it goes, and what its paths begin with in a message. Raises
        CannotRestore if something is in the way, OSError.
        """
        found = CappedList()
        for stage, target, prefix in staged:
            self._look(stage, target, prefix, found)
        if found.count:
            many = "exists" if found.count == 1 else "exist"
            raise CannotRestore(
                f"{found.first()} {many} there already.",
                hint="Extract into an empty directory, or add --overwrite. A directory never replaces a file, nor a "
                "file a directory.",
                intact="Nothing was changed.",
            )
        with signals_held():
            for stage, target, prefix in staged:
                self._move(stage, target, prefix)

    def describe_moved(self) -> str:
        """What had come to its place when something failed."""
        if not self.moved.count:
            return "Nothing was changed."
        return f"Already in place: {self.moved.first()}."

    def _look(self, stage: int, target: int, prefix: bytes, found: CappedList) -> None:
        for name in names_in(stage):
            try:
                there = os.lstat(name, dir_fd=target)
            except FileNotFoundError:
                continue
            here = os.lstat(name, dir_fd=stage)
            if stat.S_ISDIR(there.st_mode) and stat.S_ISDIR(here.st_mode):
                with _opened(name, stage) as below, _opened(name, target) as beside:
                    self._look(below, beside, prefix + name + b"/", found)
            elif not self._overwrite or stat.S_ISDIR(there.st_mode) or stat.S_ISDIR(here.st_mode):
                found.add(prefix + name)

    def _kept_name(self, name: bytes) -> bytes:
        if len(name) + len(self._suffix) > _LONGEST_NAME:
            name = name[: _LONGEST_NAME - len(self._suffix)].decode("utf-8", "ignore").encode()  # whole characters
        return name + self._suffix

    def _move(self, stage: int, target: int, prefix: bytes) -> None:
        for name in sorted(names_in(stage)):
            try:
                rename_between(stage, name, target, name)
                self.moved.add(prefix + name)
                continue
            except FileExistsError:
                pass
            if stat.S_ISDIR(os.lstat(name, dir_fd=stage).st_mode):
                with _opened(name, stage) as below, _opened(name, target) as beside:
                    self._move(below, beside, prefix + name + b"/")
                continue
            if not self._overwrite:  # it came since we looked
                shown = ascii_safe(os.fsdecode(prefix + name))
                raise CannotRestore(f"{shown} was made there meanwhile.", intact=self.describe_moved())
            if self._suffix:
                kept = self._kept_name(name)
                _replace_keeping(stage, target, name, kept)
                self.kept.add(prefix + kept)
            else:
                os.rename(name, name, src_dir_fd=stage, dst_dir_fd=target)
            self.moved.add(prefix + name)


def _replace_keeping(stage: int, target: int, name: bytes, kept: bytes) -> None:
    """Move a file over the one of its name, which stays as `kept`; there is one of that name at every moment.

    But for a moment where nothing can be linked: another user's file that we may not write (protected_hardlinks in
    proc_sys_fs(5)), and filesystems without links. Raises OSError; then the file is as it was.
    """
    try:
        os.link(name, kept, src_dir_fd=target, dst_dir_fd=target, follow_symlinks=False)
        is_linked = True
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        rename_between(target, name, target, kept)
        is_linked = False
    try:
        os.rename(name, name, src_dir_fd=stage, dst_dir_fd=target)
    except OSError:
        if is_linked:
            os.unlink(kept, dir_fd=target)
        else:
            rename_between(target, kept, target, name)
        raise


@contextmanager
def _opened(name: bytes, parent: int) -> Iterator[int]:
    descriptor = os.open(name, _OPEN_DIRECTORY, dir_fd=parent)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
