"""What `--json` prints of commands that take something out of archives: `extract`, `copy`, `find`."""

from __future__ import annotations

from msgspec import Struct

from safeharbor_backup.cli.documents import Moment
from safeharbor_backup.system.documents import Count


class ExtractDocument(Struct, frozen=True, kw_only=True):
    """Files that were extracted; `kept` are paths of those that they replaced."""

    schema: int = 1
    archive: str
    target: str
    files: Count
    size_bytes: Count
    kept: tuple[str, ...]
    warnings: tuple[str, ...]


class ExtractTableDocument(Struct, frozen=True, kw_only=True):
    """A table that was extracted; of `--into-live`: how many of its rows are missing, the same, different, and the
    sequences that went on behind what was inserted, in words.
    """

    schema: int = 1
    archive: str
    table: str
    target: str
    rows: Count
    missing: Count | None
    same: Count | None
    different: Count | None
    sequences: tuple[str, ...] = ()
    warnings: tuple[str, ...]


class CopyDocument(Struct, frozen=True, kw_only=True):
    """A copy that was made; `uploads` is null without them, `rows` where they could not be counted."""

    schema: int = 1
    archive: str
    database: str
    uploads: str | None
    tables: Count
    rows: Count | None
    upload_files: Count
    upload_bytes: Count
    run_sql: str | None
    warnings: tuple[str, ...]


class FoundIn(Struct, frozen=True, kw_only=True):
    """An archive that has the version of a file."""

    name: str
    taken_at: Moment


class FoundVersion(Struct, frozen=True, kw_only=True):
    """One content of a file, the archives that have it newest first; no digest in archives by other programs."""

    sha256: str | None
    archives: tuple[FoundIn, ...]


class FoundPath(Struct, frozen=True, kw_only=True):
    """A file below uploads/, and the archives that have it."""

    path: str
    versions: tuple[FoundVersion, ...]


class FindDocument(Struct, frozen=True, kw_only=True):
    """The files that match, in how many archives was searched, and whether that is all."""

    schema: int = 1
    searched: Count
    files: tuple[FoundPath, ...]
    complete: bool
    warnings: tuple[str, ...]
