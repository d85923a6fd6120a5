"""The uploads tree in the archive's order: depth first, each directory's entries in byte order of their names.

Everything is looked at relative to an open directory and never through a symlink, so a tree that changes
during the walk cannot lead out of itself. Memory: the names of the directories on the way down, and one batch.
"""

from __future__ import annotations

import os
import stat
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING
from zlib import crc32

from safeharbor_backup.archive import layout
from safeharbor_backup.errors import SafeHarborError, require_own_resources, translate_os_error
from safeharbor_backup.uploads.omissions import Omissions, has_attributes, note_failure
from safeharbor_backup.uploads.tree_entries import Batch, Entry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from safeharbor_backup.settings.upload_dirs import UploadDirs

    Roots = list[tuple[bytes, int]]

# A batch ends after one name in about a thousand, chosen by the name itself: so a new file moves no batch but its own.
_BATCH_MASK = 1023
_LARGEST_BATCH = 4096
_LARGEST_BATCH_BYTES = 1024 * 1024  # of paths: what is remembered of a batch is some times that
_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class _Level:
    """A directory on the way down."""

    __slots__ = ("directory", "names", "prefix")

    def __init__(self, directory: int, prefix: bytes, names: list[bytes]) -> None:
        self.directory = directory
        self.prefix = prefix
        self.names = iter(names)


@contextmanager
def opened_tree(dirs: UploadDirs) -> Iterator[Roots]:
    """The directories of a tree, each with what its paths in the tree begin with, held open. Raises OSError."""
    with ExitStack() as stack:
        roots = []
        for each in dirs:  # each may itself be a symlink
            descriptor = os.open(each.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, descriptor)
            roots.append((each.prefix, descriptor))
        yield roots


def walk_tree(roots: Roots, is_excluded: Callable[[str], bool] | None, omissions: Omissions) -> Iterator[Entry]:
    """Every entry of an open tree that can be archived; the others are noted in `omissions`.

    `is_excluded` gets a path in the tree, with a trailing slash for a directory. Raises SafeHarborError only if a root
    itself cannot be listed.
    """
    for found in walk_batches(roots, is_excluded, omissions):
        if isinstance(found, Batch):
            yield from map(found.entry, range(len(found.names)))
        else:
            yield found


def walk_batches(
    roots: Roots, is_excluded: Callable[[str], bool] | None, omissions: Omissions
) -> Iterator[Batch | Entry]:
    """The same: each directory as an entry, and what lies between directories in batches."""
    for prefix, root in roots:
        if prefix:
            name = prefix.rstrip(b"/")
            yield Entry(name, name, root, os.fstat(root))
        yield from _Walk(prefix, root, is_excluded, omissions).run()


def count_entries(root: int) -> int:
    """How many entries there are below the open directory `root`; -1 if it is unknown."""
    try:
        anew = os.open(b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=root)  # as `names_in` does, for Btrfs
    except OSError:
        return -1
    try:
        found = walk_batches([(b"", anew)], None, Omissions())
        return sum(len(each.names) if isinstance(each, Batch) else 1 for each in found)
    except (SafeHarborError, OSError):
        return -1
    finally:
        os.close(anew)


class _Walk:
    def __init__(
        self, prefix: bytes, root: int, is_excluded: Callable[[str], bool] | None, omissions: Omissions
    ) -> None:
        self._prefix = prefix
        self._above = prefix.count(b"/")
        self._root = root
        self._device = os.fstat(root).st_dev
        self._is_excluded = is_excluded
        self._omissions = omissions

    def run(self) -> Iterator[Batch | Entry]:
        try:
            stack = [_Level(self._root, self._prefix, _sorted_names(self._root))]
        except OSError as error:
            raise translate_os_error(error, "listing the uploads directory") from error
        try:
            while stack:
                level = stack[-1]
                batch, below = self._next(level, self._above + len(stack))
                if batch is not None:
                    yield batch
                if below is not None:
                    opened = _open_below(below, self._omissions)
                    if opened is not None:
                        descriptor, inside = opened
                        stack.append(_Level(descriptor, below.path + b"/", inside))
                        yield below._replace(status=os.fstat(descriptor))
                elif batch is None:
                    stack.pop()
                    if level.directory != self._root:
                        os.close(level.directory)
        finally:
            for level in stack:
                if level.directory != self._root:
                    os.close(level.directory)

    def _next(self, level: _Level, depth: int) -> tuple[Batch | None, Entry | None]:
        """The next batch of a directory, and the subdirectory that ends it; neither at its end."""
        directory, prefix = level.directory, level.prefix
        stat_it, is_directory = os.stat, stat.S_ISDIR
        longest = min(255, layout.PATH_LIMIT_BYTES - len(prefix)) if depth <= layout.DEPTH_LIMIT else -1
        most = min(_LARGEST_BATCH, _LARGEST_BATCH_BYTES // (len(prefix) + 1))
        names: list[bytes] = []
        statuses: list[os.stat_result] = []
        below = None
        is_home = True
        for name in level.names:
            try:
                status = stat_it(name, dir_fd=directory, follow_symlinks=False)
            except OSError as error:
                note_failure(error, prefix + name, self._omissions)
                continue
            is_below = is_directory(status.st_mode)
            if is_below or len(name) > longest or self._is_excluded is not None or directory == self._root:
                if self._is_left_out(level, name, status, too_long=len(name) > longest):
                    continue
                if is_below:
                    below = Entry(prefix + name, name, directory, status)
                    break
            if status.st_dev != self._device:
                is_home = False
            names.append(name)
            statuses.append(status)
            if crc32(name) & _BATCH_MASK == 0 or len(names) >= most:  # decision 50
                break
        return Batch(prefix, directory, names, statuses, is_home=is_home) if names else None, below

    def _is_left_out(self, level: _Level, name: bytes, status: os.stat_result, *, too_long: bool) -> bool:
        """Whether an entry is left out on purpose or because no archive can hold it; noted, if so."""
        path = level.prefix + name
        is_directory = stat.S_ISDIR(status.st_mode)
        if level.directory == self._root and _is_left_alone(name, status):
            self._omissions.excluded.add(path)
            return True
        if self._is_excluded is not None and self._is_excluded(os.fsdecode(path) + ("/" if is_directory else "")):
            self._omissions.excluded.add(path)
            return True
        if too_long:
            self._omissions.skipped.add(path, layout.refuse_path(path))
        return too_long


def _open_below(entry: Entry, omissions: Omissions) -> tuple[int, list[bytes]] | None:
    """A directory's descriptor and names; an unreadable one is archived empty, a vanished one not at all."""
    try:
        descriptor = os.open(entry.name, _OPEN_DIRECTORY, dir_fd=entry.directory)
    except PermissionError as error:
        _note_unreadable(entry, error, omissions)
        try:
            return os.open(entry.name, _OPEN_DIRECTORY | os.O_PATH, dir_fd=entry.directory), []
        except OSError as vanished:
            note_failure(vanished, entry.path, omissions)
            return None
    except OSError as error:
        note_failure(error, entry.path, omissions)
        return None
    if has_attributes(descriptor):
        omissions.attributes.add(entry.path + b"/")
    try:
        return descriptor, _sorted_names(descriptor)
    except OSError as error:
        _note_unreadable(entry, error, omissions)
        return descriptor, []


def _note_unreadable(directory: Entry, error: OSError, omissions: Omissions) -> None:
    require_own_resources(error, "reading the uploads")
    omissions.unreadable.add(directory.path + b"/", error.strerror or str(error))
    omissions.unreadable_directories += 1


def _sorted_names(descriptor: int) -> list[bytes]:
    return sorted(map(os.fsencode, os.listdir(descriptor)))


def _is_left_alone(name: bytes, status: os.stat_result) -> bool:
    """Whether an entry at the root is root's own lost+found, or has the name of a stage, whatever it is."""
    if name == b"lost+found":
        return stat.S_ISDIR(status.st_mode) and status.st_uid == 0
    return layout.is_staging_name(name)
