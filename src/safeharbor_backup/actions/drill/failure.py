"""How a drill reports the error that ended it: the archive does not restore, or nothing is known about it here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safeharbor_backup.errors import (
    ArchiveRejected,
    DatabaseUnavailable,
    SafeHarborError,
    StorageUnavailable,
    one_line,
    translate_os_error,
)
from safeharbor_backup.postgres.errors import FULL
from safeharbor_backup.postgres.load_failures import ServerFull
from safeharbor_backup.postgres.scratch_database import is_disk_full

if TYPE_CHECKING:
    import psycopg

    from safeharbor_backup.actions.restore.request import OpenArchive
    from safeharbor_backup.errors import CannotRestore
    from safeharbor_backup.settings.database_url import DatabaseUrl


def told_of(error: SafeHarborError | psycopg.Error | OSError) -> SafeHarborError:
    """How a drill reports an error that says nothing about the archive."""
    if isinstance(error, SafeHarborError):
        return error
    if isinstance(error, OSError):
        return translate_os_error(error, "drilling")
    return DatabaseUnavailable(f"The database server answered: {one_line(error)}.")


def verdict_on_load(error: CannotRestore, archive: OpenArchive, copy: DatabaseUrl) -> SafeHarborError:
    """What a load into the database `copy` that failed says of the archive; a full disk says nothing of it."""
    if isinstance(error, ServerFull) or is_disk_full(copy, archive.dump.size):
        return StorageUnavailable(error.message, hint=FULL)
    return ArchiveRejected(f"{archive.path} does not restore. {error.message}", hint=error.hint)
