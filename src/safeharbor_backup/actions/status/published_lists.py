"""What is in each archive, in a file for each beside the status file, for those who must not reach the archives.

A list is written once: it bears the time at which its archive was last touched, and is as good as new while it does.
"""

from __future__ import annotations

import errno
import gzip
import io
import os
import re
import stat
import time
from typing import TYPE_CHECKING

from msgspec.structs import replace

from safeharbor_backup.actions.status.list_schema import (
    LIST_SUFFIX,
    MOST_BYTES,
    MOST_FILES,
    MOST_TABLES,
    ArchiveList,
    ListedFile,
    archive_of_list,
    list_name,
    lists_directory,
)
from safeharbor_backup.actions.status.schema import ARCHIVES
from safeharbor_backup.archive.layout import FILE, UPLOADS_NAME
from safeharbor_backup.archive.listing import read_uploads
from safeharbor_backup.archive.reader import bears_leading_mark, read_front
from safeharbor_backup.archive.source import opened_archive
from safeharbor_backup.errors import ArchiveNotFound, ArchiveRejected, LockHeld, SafeHarborError, translate_os_error
from safeharbor_backup.system.documents import dump_document
from safeharbor_backup.system.lock import give_to_owner_of
from safeharbor_backup.system.small_file import replace_small_file
from safeharbor_backup.text import ascii_safe

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from safeharbor_backup.actions.catalog.entries import CatalogEntry

_SECONDS = 5.0  # a healthcheck has half a minute; what is left over, the next run lists
_DIRECTORY_MODE, _MODE = 0o755, 0o644  # as the status file
_CLOCK_TICK_NS = 2 * 10**9  # the times of some filesystems are no finer
_NAMES = re.compile(rf"safeharbor-backup-.*{re.escape(LIST_SUFFIX)}")
_DIGITS = 12
_LEVEL = 6


def publish_lists(archives: Sequence[CatalogEntry], status_file: Path) -> tuple[str, ...]:
    """Write the list of each archive that has none, newest first, until some seconds have passed; remove the others'.

    What hindered it, in words; the next run tries again.
    """
    until = time.monotonic() + _SECONDS
    hindrances = []
    try:
        directory = _make_directory(lists_directory(status_file))
        _remove_others(directory, archives)
        for entry in archives[:ARCHIVES]:
            path = directory / list_name(entry.name)
            if not entry.can_be_read or _is_listed(path, entry):
                continue
            if time.monotonic() > until:
                break
            try:
                data = read_list(entry)
            except (ArchiveNotFound, LockHeld):
                continue  # it was pruned meanwhile
            except (SafeHarborError, OSError) as error:
                hindrances.append(_describe_hindrance(error, f"{entry.name} was not listed for the page"))
                continue
            replace_small_file(path, data, mode=_MODE, names=_NAMES)
            os.utime(path, ns=(entry.ctime_ns,) * 2, follow_symlinks=False)  # decision 114
    except (SafeHarborError, OSError) as error:
        hindrances.append(_describe_hindrance(error, "the lists of what is in archives were not renewed"))
    return tuple(hindrances)


def _describe_hindrance(error: SafeHarborError | OSError, what: str) -> str:
    failure = translate_os_error(error, "writing it") if isinstance(error, OSError) else error
    return f"{what}: {failure.message}"


def _make_directory(directory: Path) -> Path:
    """The directory, for everybody to read, with the owner of the one that it is in. Raises OSError."""
    try:
        os.mkdir(directory)
    except FileExistsError:
        if not stat.S_ISDIR(os.lstat(directory).st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), os.fspath(directory)) from None
        return directory
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fchmod(descriptor, _DIRECTORY_MODE)
        give_to_owner_of(directory.parent, descriptor)
    finally:
        os.close(descriptor)
    return directory


def _remove_others(directory: Path, archives: Iterable[CatalogEntry]) -> None:
    there = {entry.name for entry in archives}
    for name in os.listdir(directory):
        archive = archive_of_list(name)
        if archive and archive not in there:
            (directory / name).unlink(missing_ok=True)  # another run may be at the same work


def _is_listed(path: Path, entry: CatalogEntry) -> bool:
    try:
        return abs(os.lstat(path).st_mtime_ns - entry.ctime_ns) < _CLOCK_TICK_NS
    except FileNotFoundError:
        return False


def read_list(entry: CatalogEntry) -> bytes:
    """The list of an archive, as it is published. Raises ArchiveNotFound, LockHeld, StorageUnavailable, OSError."""
    count, length, is_cut, problem = 0, 0, False, ""
    packed = io.BytesIO()
    with opened_archive(entry.path, follow_symlinks=False) as source, _packing(packed) as lines:
        try:
            front = read_front(source) if bears_leading_mark(source) else None
            for member, digest in read_uploads(source, front):
                if is_cut := count == MOST_FILES or length > MOST_BYTES:
                    break
                path = member.name[len(UPLOADS_NAME) :].decode("utf-8", "surrogateescape")
                size = member.size if member.kind == FILE else None
                line = dump_document(ListedFile(path=path, size_bytes=size, sha256=digest[:_DIGITS]), is_compact=True)
                count, length = count + 1, length + len(line)
                lines.write(line.encode() + b"\n")
        except ArchiveRejected as error:
            problem = ascii_safe(error.reason)
    first = replace(_describe(entry), files=count, is_cut=is_cut, problem=problem)
    head = io.BytesIO()
    with _packing(head) as line_of_head:
        line_of_head.write(dump_document(first, is_compact=True).encode() + b"\n")
    return head.getvalue() + packed.getvalue()


def _packing(target: io.BytesIO) -> gzip.GzipFile:
    return gzip.GzipFile(fileobj=target, mode="wb", compresslevel=_LEVEL, mtime=0)


def _describe(entry: CatalogEntry) -> ArchiveList:
    manifest = entry.manifest
    if manifest is None:
        return ArchiveList(archive=entry.name, taken_at=entry.taken_at, size_bytes=entry.size, files=0)
    return ArchiveList(
        archive=entry.name,
        taken_at=entry.taken_at,
        size_bytes=entry.size,
        database=manifest.database,
        rows=manifest.rows,
        table_count=len(manifest.tables),
        tables=tuple(sorted(manifest.tables.items())[:MOST_TABLES]),
        upload_files=manifest.upload_files,
        upload_bytes=manifest.upload_bytes,
        files=0,
    )
