"""The server that a restore went to, as the journal's record has it, and no other one."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from safeharbor_backup.errors import CannotRestore
from safeharbor_backup.postgres.addresses import target_address
from safeharbor_backup.postgres.target import target_connected

if TYPE_CHECKING:
    from collections.abc import Iterator

    from safeharbor_backup.postgres.target import Target
    from safeharbor_backup.settings.model import Settings
    from safeharbor_backup.state.restore_record import RestoreRecord

_LOCK_SECONDS = 10.0  # the server may still be at work for the one that died


class AnotherServer(CannotRestore):
    """The server is not the one that a restore went to, by its system identifier."""

    hint = (
        "Give the address it had, with --database-url or RESTORE_DATABASE_URL. If that server is gone, or was set up "
        "again (pg_upgrade does that too), `--abandon-database` goes on with the uploads alone."
    )
    intact = "Nothing was changed."


@contextmanager
def target_of(settings: Settings, record: RestoreRecord) -> Iterator[Target | None]:
    """The server of a restore's database; None if it had none. Raises DatabaseUnavailable, CannotRestore."""
    if record.database:
        with target_reached(settings, record) as target:
            yield target
    else:
        yield None


@contextmanager
def target_reached(settings: Settings, record: RestoreRecord) -> Iterator[Target]:
    """The server of the database that a restore was of. Raises DatabaseUnavailable, CannotRestore."""
    url, _ = target_address(settings)
    with target_connected(url, record.database, [part.database for part in record.others]) as target:
        if record.server and record.server != (target.system_identifier() or record.server):
            raise AnotherServer(f"The restore {record.id} went to another server than {target.url.describe()}.")
        if not target.is_pooled:
            for part in record.databases:
                target.beside(part.database).hold_restore_lock(wait_seconds=_LOCK_SECONDS)
        yield target
