"""Checks that the uploads that columns name exist: in the archive that is being written, or in a drill's copy."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from safeharbor_backup.archive.checksums import parse_sums
from safeharbor_backup.postgres.reference_values import UnknownReference, read_values
from safeharbor_backup.settings.upload_dirs import UploadDir
from safeharbor_backup.system.atomic_file import unnamed_file
from safeharbor_backup.uploads.reference_paths import ArchivedPaths, References

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import psycopg

    from safeharbor_backup.archive.manifest import Manifest
    from safeharbor_backup.settings.upload_dirs import UploadDirs

_END = b"\0"  # which no text of PostgreSQL has
_CHUNK = 1024 * 1024


class Gathered:
    """The values of all columns in a file without a name: they are of the snapshot, which ends with the dump."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._opened: IO[bytes] | None = None
        self._columns: list[tuple[str, int, int]] = []
        self.found = References()

    def gather(self, columns: Iterable[str], read: Callable[[str], Iterator[str]]) -> None:
        """Keep the values of columns, or why there are none. Raises OSError, psycopg.Error."""
        for column in columns:
            begins = self._file.tell()
            try:
                for value in read(column):
                    self._file.write(value.encode("utf-8", "surrogateescape") + _END)
            except UnknownReference as error:
                self._file.seek(begins)
                self._file.truncate()
                self.found.unknown.append(str(error))
            else:
                self._columns.append((column, begins, self._file.tell()))

    def check(self, sums: Iterable[bytes], uploads: UploadDirs, *, has_links: bool) -> References:
        """The values that no file in these lines of SHA256SUMS has, and no link leads to. Raises OSError."""
        paths = ArchivedPaths(name for name, _ in parse_sums(sums))

        def is_there(path: bytes) -> bool:
            return path in paths or (has_links and paths.lead_to(path, uploads))

        for column, begins, ends in self._columns:
            self.found.columns[column] = 0
            for value in self._values(begins, ends):
                self.found.judge(column, value.decode("utf-8", "surrogateescape"), uploads, is_there)
        return self.found

    def close(self) -> None:
        """Close the file of values."""
        if self._opened is not None:
            self._opened.close()

    @property
    def _file(self) -> IO[bytes]:
        """Made when it is needed: most have no such columns."""
        if self._opened is None:
            self._opened = unnamed_file(self._directory)
        return self._opened

    def _values(self, begins: int, ends: int) -> Iterator[bytes]:
        self._file.seek(begins)
        rest = b""
        while begins < ends:
            chunk = self._file.read(min(_CHUNK, ends - begins))
            begins += len(chunk)
            *values, rest = (rest + chunk).split(_END)
            yield from values


def check_copy(session: psycopg.Connection[Any], columns: Iterable[str], live: UploadDirs, uploads: Path) -> References:
    """What of the columns' values has no file in `uploads`, a whole copy, within the session's open transaction.

    `live` is where the app has its uploads: values may begin with that. Raises OSError, psycopg.Error.
    """
    found = References()
    descriptor = os.open(uploads, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def is_there(path: bytes) -> bool:
        try:
            return stat.S_ISREG(os.stat(path, dir_fd=descriptor).st_mode)  # its links stay inside, as the format has it
        except OSError:
            return False

    try:
        for column in columns:
            found.columns[column] = 0
            try:
                for value in read_values(session, column):
                    found.judge(column, value, live, is_there)
            except UnknownReference as error:
                del found.columns[column]
                found.unknown.append(str(error))
    finally:
        os.close(descriptor)
    return found


def recorded_dirs(manifest: Manifest | None) -> UploadDirs:
    """Where the uploads were when the archive was taken, if they were in several directories."""
    recorded = manifest.directories if manifest is not None else ()
    return tuple(UploadDir(Path(each.path), each.name) for each in recorded)


def recorded_columns(manifest: Manifest | None) -> tuple[str, ...]:
    """The columns that were checked when the archive was taken."""
    recorded = manifest.references if manifest is not None else None
    return tuple(recorded.columns) if recorded is not None else ()


def recorded_missing(manifest: Manifest | None) -> int:
    """How many values had no file, or led out of the tree, when the archive was taken."""
    recorded = manifest.references if manifest is not None else None
    return recorded.missing.count + recorded.outside.count if recorded is not None else 0


def describe_recorded(manifest: Manifest) -> str:
    """What the manifest says of references, for an operator; "" if nothing was checked."""
    columns = recorded_columns(manifest)
    if not columns:
        return ""
    missing = recorded_missing(manifest)
    told = f"{missing:,} had no file" if missing else "each had its file"
    return f"references to uploads in {', '.join(columns)} were checked when it was taken: {told}"
