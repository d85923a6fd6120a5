"""What restores keep, reached under the lock of their journal; and deleting it.

A deletion that was begun is gone on with by whatever comes next. Where it cannot be ended it hinders nothing else.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import psycopg

from safeharbor_backup.actions.preflight import check_directory
from safeharbor_backup.actions.restore.lost_stage import NOTHING, Abandoned, dead_mount, way_around
from safeharbor_backup.actions.restore.recorded_server import target_of, target_reached
from safeharbor_backup.actions.restore.swap import Swap, finish_removal
from safeharbor_backup.actions.restore.unrecorded import Unrecorded, find_unrecorded
from safeharbor_backup.actions.restore.upload_stages import opened_stages
from safeharbor_backup.actions.restore.uploads_alone import without_database
from safeharbor_backup.errors import (
    CannotRestore,
    Interrupted,
    RestorePending,
    SafeHarborError,
    one_line,
    translate_os_error,
)
from safeharbor_backup.postgres.create_drop import drop_database
from safeharbor_backup.settings.model import Concern
from safeharbor_backup.state.journal import Journal, find_interrupted
from safeharbor_backup.state.restore_parts import Side
from safeharbor_backup.state.restore_record import Phase, RestoreRecord
from safeharbor_backup.system.lock import directory_lock
from safeharbor_backup.text import typed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from safeharbor_backup.postgres.target import Target
    from safeharbor_backup.progress import Progress
    from safeharbor_backup.settings.model import Settings
    from safeharbor_backup.state.restore_parts import UploadsPart
    from safeharbor_backup.uploads.staging import StageReplaced


def list_kept(settings: Settings) -> tuple[RestoreRecord, ...]:
    """The restores that keep a state, oldest first. Raises JournalBroken, OSError."""
    return tuple(record for record in Journal(settings.backup_dir).read() if not record.is_interrupted)


def discard_previous(
    settings: Settings,
    restore_id: str,
    abandoned: Abandoned = NOTHING,
    warn: Callable[[str], None] = lambda _: None,
) -> list[RestoreRecord]:
    """Delete what finished restores keep (all, or that of `restore_id`); their records. Raises SafeHarborError.

    `abandoned`: where a stage is not ours any more, a database is lost, or the server is another one, delete the rest
    and leave that. `warn` gets each database that is left, and what deletes it.
    """
    with recovering(settings) as journal:
        pending = find_interrupted(settings.backup_dir)
        if pending is not None:
            raise pending.pending_error()
        records = [record for record in journal.read() if restore_id in ("", record.id)]
        for record in records:
            try:
                _delete(settings, journal, record, abandoned, warn)
            except OSError as error:
                failure = translate_os_error(error, f"deleting what restore {record.id} keeps")
                failure.intact = (
                    "It is partly deleted and cannot be brought back. What is live is untouched. "
                    f"`{typed(f'restore --discard-previous --id {record.id}')}` goes on."
                )
                raise failure from error
        return records


def _delete(
    settings: Settings,
    journal: Journal,
    record: RestoreRecord,
    abandoned: Abandoned = NOTHING,
    warn: Callable[[str], None] = lambda _: None,
) -> None:
    left: tuple[str, ...] = ()
    if abandoned.database:
        alone = without_database(settings, record)
        record, left = (record, alone.left_by_discard) if alone.may_discard else (alone.record, alone.left)
    _delete_all(settings, journal, record, abandoned)
    for warning in left:
        warn(warning)


def _delete_all(settings: Settings, journal: Journal, record: RestoreRecord, abandoned: Abandoned) -> None:
    if record.is_being_deleted:
        with target_of(settings, record) as target:
            finish_removal(journal, record, target, abandons=abandoned.uploads)
        return
    with opened(settings, journal, record, replace(abandoned, database=False)) as (swap, _):
        gone = [part.path for part in swap.record.uploads if part.stage is not None and part.path not in swap.stages]
        if gone:
            raise CannotRestore(
                f"What restore {record.id} keeps in {' and '.join(gone)} is gone.",
                hint=f"First see that the filesystem of the uploads is mounted. {way_around(record)}",
                intact="Nothing was deleted.",
            )
        swap.discard(leaves_renamed=abandoned.database)


def list_unrecorded(settings: Settings) -> list[Unrecorded]:
    """What names show and the journal does not know, newest first. Raises SafeHarborError, OSError."""
    return find_unrecorded(settings, Journal(settings.backup_dir))


def discard_unrecorded(settings: Settings, found: Unrecorded) -> list[str]:
    """Delete the databases that names say a restore has kept, as the operator was shown; their names.

    Nothing in the uploads is deleted: a name there proves nothing. Raises SafeHarborError.
    """
    found.require_all_known()
    with recovering(settings) as journal:
        if journal.find(found.id) is not None or find_interrupted(settings.backup_dir) is not None:
            raise CannotRestore(f"The journal knows restore {found.id} now.", intact="Nothing was changed.")
        with target_reached(settings, replace(found.record(Side.OLD), database=found.database)) as target:
            for name in found.databases:
                drop_database(target, name)
    return list(found.databases)


def finish_removals(settings: Settings, journal: Journal) -> list[str]:
    """Go on with the deletions that a crash or an error interrupted; they had been decided.

    What still cannot be deleted, in words: it hinders nothing but its own deletion. Raises JournalBroken, OSError.
    """
    left = []
    for record in journal.read():
        try:
            if record.is_being_deleted:
                _delete(settings, journal, record)
        except (SafeHarborError, psycopg.Error, OSError) as error:
            again = f"; `{typed(f'restore --discard-previous --id {record.id}')}` tries again"
            is_over = journal.find(record.id) is None  # what is in the place of its stage is not ours
            failure = translate_os_error(error, "deleting it") if isinstance(error, OSError) else error
            left.append(
                f"what restore {record.id} has left is still there: {one_line(failure)}{'' if is_over else again}"
            )
    return left


@contextmanager
def recovering(settings: Settings, progress: Progress | None = None) -> Iterator[Journal]:
    """The journal under its lock. With `progress`: deletions that were interrupted are finished first.

    What goes wrong inside is raised as SafeHarborError.
    """
    settings.require(Concern.DIRECTORY)
    check_directory(settings.backup_dir)
    journal = Journal(settings.backup_dir)
    with directory_lock(settings.backup_dir):
        try:
            journal.sweep()
            if progress is not None:
                for warning in finish_removals(settings, journal):
                    progress.warn(warning)
            yield journal
        except Interrupted as interruption:
            interruption.left = (
                f"An exchange that had begun was finished first; `{typed('status')}` shows what is kept."
            )
            raise
        except psycopg.Error as error:
            raise RestorePending(
                f"The database answered: {one_line(error)}.", hint="Try again when the server works."
            ) from error
        except OSError as error:
            raise translate_os_error(error, "moving uploads") from error


@contextmanager
def opened(
    settings: Settings, journal: Journal, record: RestoreRecord, abandoned: Abandoned = NOTHING
) -> Iterator[tuple[Swap, Target | None]]:
    """Both halves of a restore, and the server.

    `abandoned`: a directory of uploads whose stage is gone, or not ours any more, is no part of the record; so it is
    anyway while nothing had been exchanged. If a database is gone, or the server another one, it is that of the uploads
    alone. Raises StageReplaced, OSError, DatabaseUnavailable, CannotRestore.
    """
    left: tuple[str, ...] = ()
    if abandoned.database:
        alone = without_database(settings, record)
        record, left = alone.record, alone.left
    with target_of(settings, record) as target, ExitStack() as stack:
        replaced: dict[str, StageReplaced] = {}
        dead: dict[str, OSError] = {}
        stages = stack.enter_context(opened_stages(record, replaced, dead))
        for path, failure in dead.items():
            if not abandoned.uploads:
                raise dead_mount(record, path, failure) from failure
        for error in replaced.values():
            if not (abandoned.uploads or record.phase is Phase.STAGING):
                error.hint = f"{error.hint} {way_around(record)}"
                raise error
        gone = {part.path for part in record.uploads if part.path not in stages}
        record = record.without_uploads(gone if abandoned.uploads else replaced)

        def known(part: UploadsPart) -> UploadsPart:
            """A record of the first version: from now on the journal knows its stage."""
            stage = stages.get(part.path)
            return part if stage is None or part.stage is not None else replace(part, stage=stage.identity)

        swap = Swap(journal, record.with_parts(known), target, stages)
        swap.left = left
        yield swap, target
