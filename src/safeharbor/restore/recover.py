"""After a restore: finish one that was interrupted, go back, or delete what is kept."""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from safeharbor.errors import CannotRestore, Interrupted, RestorePending, one_line, translate_os_error
from safeharbor.journal import Journal, Phase, RestoreRecord, find_interrupted, side_database
from safeharbor.lock import directory_lock
from safeharbor.postgres.target import target_connected
from safeharbor.preflight import check_directory
from safeharbor.restore.in_place import is_committed
from safeharbor.restore.request import RestoreRequest, target_address
from safeharbor.restore.swap import (
    discard_kept,
    go_back,
    go_forward,
    is_restored_live,
    remove_stage,
    require_kept,
    settle,
    staged_uploads,
    swap_states,
)
from safeharbor.settings import Concern
from safeharbor.signals import signals_held
from safeharbor.uploads.staging import Leg, Side, find_staged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from safeharbor.postgres.target import Target
    from safeharbor.progress import Progress
    from safeharbor.settings import Settings


@dataclass(frozen=True, slots=True)
class Recovery:
    """What was done about a restore. `again`: what has to be restored anew to finish it, None if nothing."""

    id: str
    done: str
    can_be_undone: bool
    again: RestoreRequest | None = None


def resume_restore(settings: Settings, progress: Progress) -> Recovery:
    """Finish an interrupted restore; one that had not begun to swap is cleaned up, to be run again.

    Raises RestorePending if it still cannot be finished, CannotRestore if there is none.
    """
    with _recovering(settings) as (journal, find):
        record = _pending(settings, find)
        with _target_of(settings, record) as target, signals_held():
            if record.phase is Phase.STAGING:
                remove_stage(journal, record, target)
                return Recovery(record.id, "its unfinished stage was removed", False, again=_request_of(record))
            if record.in_place:
                return _end_in_place(journal, record, target)
            if _is_from_names(record) and not is_restored_live(record, target):
                return _go_back(journal, record, target)  # only the journal knows whether the stage is complete
            go_forward(record, target, progress.step)
            settle(journal, record)
            return Recovery(record.id, "the interrupted swap was finished", record.had_database)


def undo_restore(settings: Settings, restore_id: str, progress: Progress) -> Recovery:
    """Go back: an interrupted restore to the state before it, else the newest one that is not undone, or that of `id`.

    Raises CannotRestore if there is nothing to go back to, RestorePending if it cannot be done now.
    """
    with _recovering(settings) as (journal, find):
        record = find_interrupted(settings.backup_dir)
        if record is not None and restore_id not in ("", record.id):  # a swap would mix what it left half-way
            raise RestorePending(f"The restore {record.id} of {record.archive} was interrupted.")
        if record is None and not any(each.phase is Phase.KEPT for each in journal.read()):
            record = next((each for each in find() if restore_id in ("", each.id)), None)
        if record is not None:
            with _target_of(settings, record) as target, signals_held():
                return _undo_interrupted(journal, record, target, progress)
        record = _choose_kept(journal, restore_id)
        if record.in_place:
            raise CannotRestore(
                f"The restore {record.id} was done in place: its database has no way back.",
                hint="Restore an archive from before it. The uploads from before are still in "
                f"{record.uploads}/.safeharbor-restore-{record.id}/old.",
                intact="Nothing was changed.",
            )
        if not record.had_database and not record.is_undone:
            raise CannotRestore(
                f"Before the restore {record.id} there was no database {record.database!r} to go back to.",
                hint="Drop it by hand if it is to go.",
                intact="Nothing was changed.",
            )
        with _target_of(settings, record) as target, signals_held():
            require_kept(record, target)
            swap_states(journal, record, target, progress.step)
        what = "the restored state is live again" if record.is_undone else "the state before the restore is live again"
        return Recovery(record.id, what, True)


def discard_previous(settings: Settings, restore_id: str) -> list[RestoreRecord]:
    """Delete what finished restores keep (all, or that of `restore_id`); their records. Raises SafeHarborError."""
    with _recovering(settings) as (journal, _):
        pending = find_interrupted(settings.backup_dir)
        if pending is not None:
            raise RestorePending(f"The restore {pending.id} of {pending.archive} was interrupted.")
        records = [record for record in journal.read() if restore_id in ("", record.id)]
        for record in records:
            with _target_of(settings, record) as target:
                discard_kept(journal, record, target)
        return records


def retargeted(settings: Settings, request: RestoreRequest) -> Settings:
    """The settings with which an interrupted restore is run again: to where it went the first time."""
    uploads = request.uploads if request.uploads is not None else settings.upload_dir
    database = settings.database
    if database is not None and request.database:
        database = database.with_database(request.database)
    return replace(settings, upload_dir=uploads, database=database)


def list_kept(settings: Settings) -> tuple[RestoreRecord, ...]:
    """The restores that keep a state, oldest first. Raises JournalBroken, OSError."""
    return tuple(record for record in Journal(settings.backup_dir).read() if not record.is_interrupted)


@contextmanager
def _recovering(settings: Settings) -> Iterator[tuple[Journal, Callable[[], list[RestoreRecord]]]]:
    settings.require(Concern.DIRECTORY)
    check_directory(settings.backup_dir)
    journal = Journal(settings.backup_dir)
    with directory_lock(settings.backup_dir):
        try:
            journal.sweep()
            yield journal, lambda: find_unrecorded(settings, journal)
        except Interrupted as interruption:
            interruption.left = "An exchange that had begun was finished first; `safeharbor status` tells what is kept."
            raise
        except psycopg.Error as error:
            raise RestorePending(
                f"The database answered: {one_line(error)}.", hint="Try again when it is well."
            ) from error
        except OSError as error:
            raise translate_os_error(error, "moving uploads") from error


@contextmanager
def _target_of(settings: Settings, record: RestoreRecord) -> Iterator[Target | None]:
    """The server of a restore's database; None if it had none. Raises DatabaseUnavailable, CannotRestore."""
    if not record.database:
        yield None
        return
    url, _ = target_address(settings)
    with target_connected(url, record.database) as target:
        if record.server and record.server != (target.system_identifier() or record.server):
            raise CannotRestore(
                f"The restore {record.id} went to another server than {target.url.describe()}.",
                hint="Give the address it had, with --database-url or RESTORE_DATABASE_URL.",
            )
        if not target.is_pooled:  # the server may still be at work for the one that died
            target.hold_restore_lock(wait_seconds=10)
        yield target


def _pending(settings: Settings, find: Callable[[], list[RestoreRecord]]) -> RestoreRecord:
    record = find_interrupted(settings.backup_dir) or next(iter(find()), None)
    if record is None:
        raise CannotRestore("There is no interrupted restore.", hint="", intact="Nothing was changed.")
    return record


def _choose_kept(journal: Journal, restore_id: str) -> RestoreRecord:
    kept = [record for record in journal.read() if record.phase is Phase.KEPT]
    if restore_id:
        found = [record for record in kept if record.id == restore_id]
    else:
        found = [record for record in kept if not record.is_undone] or kept
    if not found:
        known = ", ".join(record.id for record in kept) or "none"
        raise CannotRestore(f"There is no kept state to go back to (kept: {known}).", intact="Nothing was changed.")
    return found[-1]


def _undo_interrupted(journal: Journal, record: RestoreRecord, target: Target | None, progress: Progress) -> Recovery:
    if record.phase is Phase.STAGING:
        remove_stage(journal, record, target)
        return Recovery(record.id, "its unfinished stage was removed; nothing live had changed", False)
    if record.in_place:
        return _end_in_place(journal, record, target)
    if is_restored_live(record, target) == record.is_undone:  # the commit has happened
        go_forward(record, target, progress.step)
        finished = settle(journal, record)
        if not finished.had_database:
            return Recovery(record.id, "it had been committed and was finished", False)
        swap_states(journal, finished, target, progress.step)
        return Recovery(record.id, "it had been committed and was swapped back", True)
    return _go_back(journal, record, target)


def _go_back(journal: Journal, record: RestoreRecord, target: Target | None) -> Recovery:
    go_back(record, target)
    if record.was_live:
        journal.write(replace(record, phase=Phase.KEPT))
        return Recovery(record.id, "the interrupted swap was taken back", True)
    remove_stage(journal, record, target)
    return Recovery(record.id, "the interrupted restore was taken back", False)


def _end_in_place(journal: Journal, record: RestoreRecord, target: Target | None) -> Recovery:
    """The one transaction has decided; the uploads follow it."""
    staged = staged_uploads(record)
    if target is not None and is_committed(target, record):
        if staged is not None and staged.exists:
            staged.bring_in(Side.NEW)
        settle(journal, record)
        return Recovery(record.id, "its transaction had been committed; the uploads were finished", False)
    if staged is not None and staged.exists:
        staged.bring_in(Side.OLD)
        staged.remove()
    journal.remove(record.id)
    again = _request_of(record)
    return Recovery(record.id, "its transaction had not been committed; the old state is live", False, again)


def find_unrecorded(settings: Settings, journal: Journal) -> list[RestoreRecord]:
    """Restores that the journal does not know but whose stages are there: it was lost. Raises SafeHarborError."""
    known = {record.id for record in journal.read()}
    uploads = settings.upload_dir
    ids = {staged.id for staged in find_staged(uploads)} if uploads is not None and uploads.is_dir() else set[str]()
    url, name = target_address(settings)
    with target_connected(url, name) as target:
        base = side_database(name, "restore", "0" * 12).removesuffix("_restore_" + "0" * 12)
        beside = target.databases_beside(f"^{re.escape(base)}_(restore|before)_[0-9a-f]{{12}}$")
        ids |= {database[-12:] for database in beside}
        return [
            _from_names(restore_id, uploads, name, beside, target) for restore_id in sorted(ids - known, reverse=True)
        ]


def _from_names(
    restore_id: str, uploads: Path | None, database: str, beside: list[str], target: Target
) -> RestoreRecord:
    record = RestoreRecord(
        id=restore_id, started_at="", archive="", phase=Phase.STAGING, database=database, was_live=False,
        uploads=str(uploads) if uploads is not None else "",
    )  # fmt: skip
    staged = staged_uploads(record)
    if staged is not None and not staged.exists:
        staged, record = None, replace(record, uploads="")
    transaction = staged.read_transaction() if staged is not None else ""
    if transaction:
        return replace(record, phase=Phase.SWAPPING, in_place=True, transaction=transaction)
    has_side = {record.staged_database, record.previous_database} & set(beside)
    if not has_side:
        record = replace(record, database="")
    mark = staged.read_mark() if staged is not None else None
    is_swapping = mark is not None and (mark.leg is not Leg.AT_REST or mark.going is Side.NEW)
    live = target.find(database)
    is_closed = bool(has_side) and live is not None and not live.is_open
    if is_swapping or is_closed or live is None or record.previous_database in beside:
        record = replace(record, phase=Phase.SWAPPING)
    return record


def _request_of(record: RestoreRecord) -> RestoreRequest | None:
    if not record.archive:
        return None
    return RestoreRequest(
        archive=Path(record.archive),
        with_database=bool(record.database),
        with_uploads=bool(record.uploads),
        in_place=record.in_place,
        keep_previous=record.keep_previous,
        jobs=record.jobs,
        database=record.database,
        uploads=Path(record.uploads) if record.uploads else None,
        from_another=True,  # it was accepted when that restore began
    )


def _is_from_names(record: RestoreRecord) -> bool:
    return not record.started_at
