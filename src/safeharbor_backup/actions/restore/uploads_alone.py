"""A restore whose databases the operator abandons: what goes on is that of the uploads alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from safeharbor_backup.actions.restore.left_databases import find_left, missing_live, say_elsewhere, say_left
from safeharbor_backup.actions.restore.lost_database import missing_database
from safeharbor_backup.actions.restore.recorded_server import AnotherServer, target_of
from safeharbor_backup.actions.restore.swap import Swap
from safeharbor_backup.actions.restore.upload_stages import UploadStages
from safeharbor_backup.errors import CannotRestore, DatabaseUnavailable
from safeharbor_backup.postgres.database_swap import open_database
from safeharbor_backup.state.journal import Journal
from safeharbor_backup.state.restore_parts import Side
from safeharbor_backup.state.restore_record import Phase, RestoreRecord

if TYPE_CHECKING:
    from safeharbor_backup.settings.model import Settings


@dataclass(frozen=True, slots=True)
class UploadsAlone:
    """A restore without its databases, and warnings that name those that stay on the server.

    `may_discard`: it is the server that the restore went to, and it has the live databases. `left_by_discard`: the
    warnings if those are deleted that are where the journal knows them.
    """

    record: RestoreRecord
    may_discard: bool
    left: tuple[str, ...] = ()
    left_by_discard: tuple[str, ...] = ()


def without_database(settings: Settings, record: RestoreRecord) -> UploadsAlone:
    """That restore as one of the uploads alone, which are to follow the database that is live, where that is known.

    While nothing had been exchanged it is the whole: what was built is deleted, as far as it is there. Raises
    CannotRestore if both databases are there, DatabaseUnavailable.
    """
    try:
        with target_of(settings, record) as target:
            swap = Swap(Journal(settings.backup_dir), record, target, UploadStages())
            live = swap.live_database if record.phase is Phase.SWAPPING and not record.in_place else record.live
            is_there = target is not None and target.find(record.database) is not None
            if is_there and not any(missing_database(target, record, side, live) for side in Side):
                raise CannotRestore(
                    f"Both databases of restore {record.id} are there.",
                    hint="Run this again without --abandon-database.",
                    intact="Nothing was changed.",
                )
            if target is not None:
                for part in record.databases:
                    open_database(target, part.database)
            if target is None or record.phase is Phase.STAGING:
                return UploadsAlone(record, may_discard=True)
            found = find_left(target, record, live)
            left = say_left(found), say_left(each for each in found if each.name not in record.kept_databases)
            may_discard = record.is_being_deleted or not missing_live(target, record)
            if record.phase is Phase.SWAPPING and not missing_database(target, record, live, live):
                follows = replace(record.without_database(), towards=live, by_undo=live is Side.OLD)
                return UploadsAlone(follows, may_discard, *left)
            return UploadsAlone(_without_numbers(record), may_discard, *left)
    except AnotherServer:
        elsewhere = say_elsewhere(record)
        return UploadsAlone(_without_numbers(record), False, elsewhere, elsewhere)
    except DatabaseUnavailable as error:
        error.hint = (
            f"{error.hint} If that server is gone for good, name any other PostgreSQL server, with --database-url or "
            "RESTORE_DATABASE_URL: nothing is changed there."
        ).lstrip()
        raise


def _without_numbers(record: RestoreRecord) -> RestoreRecord:
    return replace(record.without_database(), old_oid=0, new_oid=0)
