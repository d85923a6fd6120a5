"""After a restore: finish one that was interrupted, go back, or delete what is kept.

A command that is typed again after a crash goes on with what it began. Where the journal is lost, nothing is decided by
names alone: what was found is shown, the operator is asked, and nothing is deleted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from safeharbor_backup.actions.restore.in_place import is_committed
from safeharbor_backup.actions.restore.kept import opened, recovering, target_of
from safeharbor_backup.actions.restore.lost_stage import left_as_they_are, refuse_whole_stage
from safeharbor_backup.actions.restore.request import RestoreRequest
from safeharbor_backup.actions.restore.swap import Swap, opened_stage, translated
from safeharbor_backup.actions.restore.unrecorded import Unrecorded, find_unrecorded
from safeharbor_backup.errors import CannotRestore, RestorePending, SafeHarborError
from safeharbor_backup.state.journal import Journal, Mark, Phase, RestoreRecord, Side, find_interrupted
from safeharbor_backup.system.signals import signals_held
from safeharbor_backup.uploads.collect import make_filter

if TYPE_CHECKING:
    from collections.abc import Callable

    from safeharbor_backup.postgres.target import Target
    from safeharbor_backup.progress import Progress
    from safeharbor_backup.settings.model import Settings


@dataclass(frozen=True, slots=True)
class Recovery:
    """What was done about a restore. `again`: what has to be restored anew to finish it, None if nothing.

    `warnings` say what was left as it is.
    """

    id: str
    done: str
    can_be_undone: bool
    again: RestoreRequest | None = None
    warnings: tuple[str, ...] = ()


def resume_restore(
    settings: Settings,
    progress: Progress,
    restore_id: str = "",
    confirm: Callable[[str], bool] = lambda _: False,
    *,
    abandons_uploads: bool = False,
) -> Recovery:
    """Finish what the last command began; a restore that had not begun to swap is cleaned up, to be run again.

    Raises RestorePending if it still cannot be finished, CannotRestore if there is none. `confirm` is asked before
    anything is done with what only names tell of. `abandons_uploads`: where the stage is lost, the uploads stay as they
    are.
    """
    with recovering(settings, progress) as journal:
        record = _pending(settings, restore_id)
        if record is None:
            found = _choose_unrecorded(settings, journal, restore_id, "--resume")
            return _adopt(settings, journal, found, Side.NEW, confirm, progress, abandons_uploads=abandons_uploads)
        with opened(settings, journal, record, abandons_uploads=abandons_uploads) as (swap, target), signals_held():
            refuse_whole_stage(swap.stage, record, abandons_uploads=abandons_uploads)
            return replace(_resume(swap, record, target, progress), warnings=left_as_they_are(record, swap.record))


def _resume(swap: Swap, record: RestoreRecord, target: Target | None, progress: Progress) -> Recovery:
    if record.phase is Phase.STAGING:
        swap.remove_stage()
        return Recovery(record.id, "what it had prepared was removed", False, again=_request_of(record))
    if record.in_place:
        return _end_in_place(swap, target, _request_of(record))
    swap.require_both()
    _try(swap, progress)
    return _settled(swap)


def undo_restore(
    settings: Settings,
    restore_id: str,
    progress: Progress,
    confirm: Callable[[str], bool] = lambda _: False,
    *,
    abandons_uploads: bool = False,
) -> Recovery:
    """Go back: an interrupted restore to the state before it, else the newest one that is not undone, or that of `id`.

    An undo that was interrupted is finished. Raises CannotRestore if there is nothing to go back to, RestorePending if
    it cannot be done now. `confirm` is asked before anything is done with what only names tell of. `abandons_uploads`:
    where the stage is lost, the uploads stay as they are.
    """
    with recovering(settings, progress) as journal:
        record = _pending(settings, restore_id)
        if record is not None:
            with opened(settings, journal, record, abandons_uploads=abandons_uploads) as (swap, target), signals_held():
                refuse_whole_stage(swap.stage, record, abandons_uploads=abandons_uploads)
                return replace(
                    _undo_interrupted(swap, target, progress), warnings=left_as_they_are(record, swap.record)
                )
        kept = [each for each in journal.read() if each.phase is Phase.KEPT]
        if not kept or (restore_id and all(each.id != restore_id for each in kept)):
            found = _choose_unrecorded(settings, journal, restore_id, "--undo")
            return _adopt(settings, journal, found, Side.OLD, confirm, progress, abandons_uploads=abandons_uploads)
        record = _choose_kept(kept, restore_id)
        _require_way_back(record)
        with opened(settings, journal, record, abandons_uploads=abandons_uploads) as (swap, _), signals_held():
            refuse_whole_stage(swap.stage, record, abandons_uploads=abandons_uploads)
            at_rest = swap.record
            swap.record = replace(at_rest, towards=at_rest.live.other)
            swap.require_both()
            swap.find_what_stays(make_filter(settings.exclude))
            swap.begin(record.live.other, by_undo=True)
            progress.step("swapping")
            _try(swap, progress, at_rest=at_rest)
            recovery = _settled(swap)
            progress.step("settled")
            return replace(recovery, warnings=left_as_they_are(record, swap.record))


def retargeted(settings: Settings, request: RestoreRequest) -> Settings:
    """The settings with which an interrupted restore is run again: to where it went the first time."""
    uploads = request.uploads if request.uploads is not None else settings.upload_dir
    database = settings.database
    if database is not None and request.database:
        database = database.with_database(request.database)
    return replace(settings, upload_dir=uploads, database=database)


def _pending(settings: Settings, restore_id: str) -> RestoreRecord | None:
    """The restore that was interrupted. Raises RestorePending if it is another one than `restore_id`."""
    record = find_interrupted(settings.backup_dir)
    if record is not None and restore_id not in ("", record.id):  # a swap would mix what it left half-way
        raise record.pending_error()
    return record


def _try(swap: Swap, progress: Progress, *, at_rest: RestoreRecord | None = None) -> None:
    """Go on with a swap. If it fails it is put back as it was, and the journal says so if that was `at_rest`."""
    try:
        swap.go_or_return(progress.step)
    except BaseException as error:
        if at_rest is not None and not isinstance(error, RestorePending):
            swap.rest(at_rest)
        raised = translated(error, "moving uploads")
        if at_rest is None and isinstance(raised, SafeHarborError) and not isinstance(raised, RestorePending):
            raised.intact = f"Live is: {swap.record.describe(swap.live_database)}."
        raise raised from error


def _settled(swap: Swap) -> Recovery:
    """Write down the end of a swap; a state that was staged only, and is not live, is removed."""
    record = swap.record
    if record.towards is Side.OLD and not record.has_been_live:
        swap.remove_stage()
        return Recovery(record.id, f"it was taken back. Live is: {record.describe(Side.OLD)}", False)
    done = f"Live is: {record.describe(record.towards)}"
    if not record.keeps_anything:
        swap.forget()
        return Recovery(record.id, done, False)
    swap.settle()
    return Recovery(record.id, done, record.had_database or not record.database)


def _choose_kept(kept: list[RestoreRecord], restore_id: str) -> RestoreRecord:
    if restore_id:
        return next(record for record in kept if record.id == restore_id)
    return ([record for record in kept if not record.is_undone] or kept)[-1]


def _require_way_back(record: RestoreRecord) -> None:
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


def _undo_interrupted(swap: Swap, target: Target | None, progress: Progress) -> Recovery:
    record = swap.record
    if record.phase is Phase.STAGING:
        swap.remove_stage()
        return Recovery(record.id, "what it had prepared was removed; the live data is as it was", False)
    if record.in_place:
        return _end_in_place(swap, target, _request_of(record))
    if not record.by_undo:  # a restore: back; an undo goes on
        if swap.live_database is Side.NEW and not record.had_database:
            swap.require_both()
            _try(swap, progress)
            _settled(swap)
            return Recovery(record.id, "it had been committed and was finished: there was no database before", False)
        swap.record = replace(record, towards=Side.OLD, by_undo=True)
    swap.require_both()
    swap.begin(Side.OLD, by_undo=True)
    _try(swap, progress)
    return _settled(swap)


def _end_in_place(swap: Swap, target: Target | None, again: RestoreRequest | None) -> Recovery:
    """The one transaction has decided; the uploads follow it. `again`: what a resume does if it was rolled back."""
    record = swap.record
    if target is not None and is_committed(target, record):
        swap.require_both()
        swap.bring_in_uploads(Side.NEW)
        _settled(swap)
        return Recovery(record.id, "its transaction had been committed; the uploads were finished", False)
    swap.record = replace(record, towards=Side.OLD)
    swap.require_both()
    swap.bring_in_uploads(Side.OLD)
    swap.remove_stage()
    return Recovery(record.id, "its transaction had not been committed; the old state is live", False, again)


def _choose_unrecorded(settings: Settings, journal: Journal, restore_id: str, option: str) -> Unrecorded:
    """What names tell of the restore of that id. Raises CannotRestore naming what there is."""
    what = "no interrupted restore" if option == "--resume" else "no kept state to go back to"
    found = find_unrecorded(settings, journal)
    chosen = next((each for each in found if each.id == restore_id), None)
    if chosen is not None:
        return chosen
    hint = ""
    if found:
        listed = "; ".join(f"{each.id}: {each.describe()}" for each in found)
        hint = (
            f"Names of databases and uploads speak of restores that the journal does not know: {listed}. Anybody who "
            "can write there can make such names. "
            f"`safeharbor restore {option} --id ID` shows what it would move, and asks."
        )
    which = f" of id {restore_id}" if restore_id else ""
    raise CannotRestore(f"There is {what}{which}.", hint=hint, intact="Nothing was changed.")


def _adopt(
    settings: Settings,
    journal: Journal,
    found: Unrecorded,
    to: Side,
    confirm: Callable[[str], bool],
    progress: Progress,
    *,
    abandons_uploads: bool,
) -> Recovery:
    """Do by names what the operator says yes to, and delete nothing. Raises CannotRestore."""
    if abandons_uploads:
        found = replace(found, uploads="")
    record = found.record(to)
    with opened_stage(replace(record, mark=None)) as stage:
        mark: Mark | None = None
        if stage is not None:
            mark, transaction = stage.read_marker()
            if mark is None:
                raise CannotRestore(
                    f"The marker in {stage.path} does not say how far the restore came.",
                    hint="Look at what is in it, and move by hand what is to be live.",
                    intact="Nothing was changed.",
                )
            if transaction:
                record = replace(record, in_place=True, transaction=transaction, database=found.database)
            record = replace(record, stage=stage.identity, mark=mark)
        with target_of(settings, record) as target, signals_held():
            swap = Swap(journal, record, target, stage)
            _require_known(swap, target, to)
            swap.require_both()
            if not confirm(found.plan(to, stage.path if stage is not None else None)):
                raise SafeHarborError("Not confirmed.", intact="Nothing was changed.")
            swap.begin(to, by_undo=to is Side.OLD)
            if record.in_place:
                swap.bring_in_uploads(to)
            else:
                _try(swap, progress)
            swap.settle()
    return Recovery(record.id, f"done by its names. Live is: {record.describe(to)}", not record.in_place)


def _require_known(swap: Swap, target: Target | None, to: Side) -> None:
    """The side to go to is whole, as far as can be known without the journal. Raises CannotRestore."""
    record = swap.record
    if record.in_place and target is not None:
        decided = Side.NEW if is_committed(target, record) else Side.OLD
        if decided is not to:
            word = "was" if decided is Side.NEW else "was not"
            option = "--resume" if decided is Side.NEW else "--undo"
            raise CannotRestore(
                f"By its marker, restore {record.id} was done in place, and its transaction {word} committed: its "
                "database cannot go elsewhere.",
                hint=f"`safeharbor restore {option} --id {record.id}` brings the uploads to the same state.",
                intact="Nothing was changed.",
            )
    elif to is Side.NEW and swap.live_database is Side.OLD:
        raise CannotRestore(
            f"Only the journal knew whether what restore {record.id} had prepared is complete.",
            hint="Restore the archive again.",
            intact="Nothing was changed.",
        )


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
        accepts_broken=record.accepts_broken,
        accepts_open=record.accepts_open,
    )
