"""The list of what is in one archive, as it is published beside the status file: gzip, a JSON document a line.

The first line is an `ArchiveList`, each further one a `ListedFile`, in the order of the archive.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct, field

from safeharbor_backup.actions.status.schema_types import Moment, Name
from safeharbor_backup.archive.layout import time_in_name
from safeharbor_backup.system.documents import Count

if TYPE_CHECKING:
    from pathlib import Path

LIST_SCHEMA = 1
MOST_FILES = 100_000
MOST_TABLES = 10_000
MOST_BYTES = 32 << 20  # of the lines of files, before they are compressed
LIST_SUFFIX = ".jsonl.gz"


class ArchiveList(Struct, frozen=True, kw_only=True):
    """The archive. `tables` are names, quoted as in SQL, and rows; null if the archive does not tell.

    `files` is how many are listed; `cut`: there are more. `table_count` counts all tables. `problem` is what kept the
    rest from being read.
    """

    schema: Count = LIST_SCHEMA
    archive: Name
    taken_at: Moment
    size_bytes: Count
    database: str | None = None
    rows: Count | None = None
    table_count: Count | None = None
    tables: Annotated[tuple[tuple[str, Count], ...], Meta(max_length=MOST_TABLES)] | None = None
    upload_files: Count | None = None
    upload_bytes: Count | None = None
    files: Count
    is_cut: bool = field(name="cut", default=False)
    problem: str = ""


class ListedFile(Struct, frozen=True, kw_only=True):
    """An upload that is not a directory. `path` is below uploads/, bytes that are not UTF-8 as lone surrogates.

    `size_bytes` is null of a link; `sha256` are the first 12 digits, "" where the archive has none.
    """

    path: str
    size_bytes: Count | None
    sha256: str = ""


def lists_directory(status_file: Path) -> Path:
    """Where the lists are: beside the status file, under its name."""
    return status_file.with_name(f"{status_file.stem}-archives")


def list_name(archive: str) -> str:
    """The file name of an archive's list; "" if `archive` is not a name that backups give, whatever it holds."""
    return archive.removesuffix(".tar") + LIST_SUFFIX if time_in_name(archive) is not None else ""


def archive_of_list(name: str) -> str:
    """The archive whose list has this file name; "" if it is not such a name."""
    archive = name.removesuffix(LIST_SUFFIX) + ".tar"
    return archive if list_name(archive) == name else ""
