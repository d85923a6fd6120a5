"""After a restore: finish one that was interrupted, go back, or delete what is kept.

A command that is typed again after a crash goes on with what it began. Where the journal is lost, nothing is decided by
names alone: what was found is shown, the operator is asked, and nothing is deleted.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from safeharbor_backup.actions.restore.by_names import adopt, choose_unrecorded
from safeharbor_backup.actions.restore.interrupted import end_uploads, resume_interrupted, undo_interrupted
from safeharbor_backup.actions.restore.kept import finish_removals, opened, recovering
from safeharbor_backup.actions.restore.lost_stage import NOTHING, Abandoned, left_as_they_are, refuse_whole_stages
from safeharbor_backup.actions.restore.recovered import Recovery, settled, try_swap
from safeharbor_backup.errors import CannotRestore
from safeharbor_backup.settings.extra_databases import ExtraDatabase
from safeharbor_backup.settings.model import Concern
from safeharbor_backup.state.journal import find_interrupted
from safeharbor_backup.state.restore_parts import Side
from safeharbor_backup.state.restore_record import Phase, RestoreRecord
from safeharbor_backup.system.signals import signals_held
from safeharbor_backup.text import typed
from safeharbor_backup.uploads.collect import make_filter

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from safeharbor_backup.actions.restore.request import RestoreRequest
    from safeharbor_backup.progress import Progress
    from safeharbor_backup.settings.model import Settings
    from safeharbor_backup.state.journal import Journal


def resume_restore(
    settings: Settings,
    progress: Progress,
    restore_id: str = "",
    confirm: Callable[[str], bool] = lambda _: False,
    abandoned: Abandoned = NOTHING,
) -> Recovery:
    """Finish what the last command began; a restore that had not begun to swap is cleaned up, to be run again.

    Raises RestorePending if it still cannot be finished, CannotRestore if there is none. `confirm` is asked before
    anything is done with what only names tell of. `abandoned`: what stays as it is, where it is lost.
    """
    with recovering(settings, progress) as journal:
        record = _pending(settings.backup_dir, restore_id)
        if record is None:
            found = choose_unrecorded(settings, journal, restore_id, "--resume")
            return adopt(settings, journal, found, Side.NEW, confirm, progress, abandoned)
        with opened(settings, journal, record, abandoned) as (swap, target), signals_held():
            refuse_whole_stages(swap.stages, record, abandoned)
            done = (
                end_uploads(swap, progress)
                if record.database and not swap.record.database
                else resume_interrupted(swap, record, target, progress)
            )
            return replace(done, warnings=swap.changes + left_as_they_are(record, swap.record) + swap.left)


def undo_restore(
    settings: Settings,
    restore_id: str,
    progress: Progress,
    confirm: Callable[[str], bool] = lambda _: False,
    abandoned: Abandoned = NOTHING,
) -> Recovery:
    """Go back: an interrupted restore to the previous state, otherwise the newest that is not undone, or that of `id`.

    An undo that was interrupted is finished. Raises CannotRestore if there is nothing to go back to, RestorePending if
    it cannot be done now. `confirm` is asked before anything is done with what only names tell of. `abandoned`:
    what stays as it is, where it is lost.
    """
    with recovering(settings) as journal:
        removed = _finish_removal(settings, journal, restore_id, progress)
        record = _pending(settings.backup_dir, restore_id)
        if record is None and removed is not None:
            return removed
        if record is not None:
            asked = replace(record, towards=Side.OLD) if abandoned.database else record
            with opened(settings, journal, asked, abandoned) as (swap, target), signals_held():
                refuse_whole_stages(swap.stages, record, abandoned)
                if record.database and not swap.record.database:
                    done = end_uploads(swap, progress)
                else:
                    done = undo_interrupted(swap, target, progress)
                return replace(done, warnings=swap.changes + left_as_they_are(record, swap.record) + swap.left)
        kept = [each for each in journal.read() if each.phase is Phase.KEPT]
        if not kept or (restore_id and all(each.id != restore_id for each in kept)):
            found = choose_unrecorded(settings, journal, restore_id, "--undo")
            return adopt(settings, journal, found, Side.OLD, confirm, progress, abandoned)
        return _undo_kept(settings, journal, _choose_kept(kept, restore_id), progress, abandoned)


def _undo_kept(
    settings: Settings, journal: Journal, record: RestoreRecord, progress: Progress, abandoned: Abandoned
) -> Recovery:
    """Exchange what is live for what that restore has kept. Raises CannotRestore, RestorePending."""
    _require_way_back(record)
    with opened(settings, journal, record, abandoned) as (swap, _), signals_held():
        refuse_whole_stages(swap.stages, record, abandoned)
        at_rest = swap.record
        if not (at_rest.database or at_rest.uploads):
            raise CannotRestore(
                f"Of what restore {record.id} keeps, nothing is left to go back to.",
                hint=f"`{typed(f'restore --discard-previous --id {record.id} --abandon-database')}` forgets it.",
                intact="Nothing was changed.",
            )
        swap.record = replace(at_rest, towards=at_rest.live.other)
        swap.require_both()
        swap.find_what_stays(make_filter(settings.exclude))
        swap.begin(record.live.other, by_undo=True)
        progress.step("swapping")
        try_swap(swap, progress, at_rest=record)
        recovery = settled(swap)
        progress.step("settled")
        return replace(recovery, warnings=swap.changes + left_as_they_are(record, swap.record) + swap.left)


def _finish_removal(settings: Settings, journal: Journal, restore_id: str, progress: Progress) -> Recovery | None:
    """Finish deletions that were interrupted, first of all; the recovery, if one is of a restore that was never live.

    An undo that ends so is done: to go on would undo another restore, which nobody has asked for. Raises CannotRestore
    if what that one had prepared is still there, and no id says that another is meant.
    """
    begun = [each for each in journal.read() if each.phase is Phase.REMOVING and restore_id in ("", each.id)]
    warnings = finish_removals(settings, journal)
    if begun and (left := journal.find(begun[-1].id)) is not None:
        raise CannotRestore(
            f"What restore {left.id} had prepared is being removed, and cannot be: {'; '.join(warnings)}",
            hint=f"To go back by another restore, name it: `{typed('restore --undo --id')} ID`.",
            intact="The live database and uploads are as they were.",
        )
    for warning in warnings:
        progress.warn(warning)
    if not begun:
        return None
    return Recovery(begun[-1].id, "what it had prepared was removed; the live data is as it was", False)


def retargeted(settings: Settings, request: RestoreRequest) -> Settings:
    """The settings with which an interrupted restore is run again: to where it went the first time."""
    uploads = request.uploads if request.uploads is not None else settings.upload_dirs
    database = settings.database
    if database is not None and request.database:
        database = database.with_database(request.database)
    extras = settings.extra_databases
    known = [Concern.UPLOADS] if request.uploads is not None else []  # whatever the settings say by now
    if database is not None and request.others is not None:
        extras = tuple(ExtraDatabase(name, database.with_database(beside)) for name, beside in request.others.items())
        known.append(Concern.EXTRA_DATABASES)
    problems = tuple(each for each in settings.problems if each.concern not in known)
    return replace(settings, upload_dirs=uploads, database=database, extra_databases=extras, problems=problems)


def _pending(directory: Path, restore_id: str) -> RestoreRecord | None:
    """The restore that was interrupted. Raises RestorePending if it is another one than `restore_id`."""
    record = find_interrupted(directory)
    if record is not None and restore_id not in ("", record.id):  # a swap would mix what it left half-way
        raise record.pending_error()
    return record


def _choose_kept(kept: list[RestoreRecord], restore_id: str) -> RestoreRecord:
    if restore_id:
        return next(record for record in kept if record.id == restore_id)
    return ([record for record in kept if not record.is_undone] or kept)[-1]


def _require_way_back(record: RestoreRecord) -> None:
    if record.in_place:
        raise CannotRestore(
            f"The restore {record.id} was done in place: its database has no way back.",
            hint=f"Restore an archive from before it.{_previous_uploads(record)}",
            intact="Nothing was changed.",
        )
    if not record.had_database and not record.is_undone:
        raise CannotRestore(
            f"Before the restore {record.id} there was no database {record.database!r} to go back to.",
            hint="Drop it by hand if it is to go.",
            intact="Nothing was changed.",
        )


def _previous_uploads(record: RestoreRecord) -> str:
    kept = " and ".join(f"{part.path}/.safeharbor-restore-{record.id}/old" for part in record.uploads)
    return f" The uploads from before are still in {kept}." if kept else ""
