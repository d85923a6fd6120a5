"""Restores of which the journal knows nothing and only names speak: shown, asked for, and done without deleting."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from safeharbor_backup.actions.restore.in_place import is_committed
from safeharbor_backup.actions.restore.lost_stage import left_as_they_are, refuse_whole_stages
from safeharbor_backup.actions.restore.recorded_server import target_of
from safeharbor_backup.actions.restore.recovered import Recovery, try_swap
from safeharbor_backup.actions.restore.swap import Swap
from safeharbor_backup.actions.restore.unrecorded import Unrecorded, find_unrecorded
from safeharbor_backup.actions.restore.upload_stages import opened_stages
from safeharbor_backup.errors import CannotRestore, SafeHarborError
from safeharbor_backup.state.restore_parts import Side
from safeharbor_backup.system.signals import signals_held
from safeharbor_backup.text import typed
from safeharbor_backup.uploads.collect import make_filter
from safeharbor_backup.uploads.staging import stage_path

if TYPE_CHECKING:
    from collections.abc import Callable

    from safeharbor_backup.actions.restore.lost_stage import Abandoned
    from safeharbor_backup.actions.restore.upload_stages import UploadStages
    from safeharbor_backup.postgres.target import Target
    from safeharbor_backup.progress import Progress
    from safeharbor_backup.settings.model import Settings
    from safeharbor_backup.state.journal import Journal
    from safeharbor_backup.state.restore_record import RestoreRecord


def choose_unrecorded(settings: Settings, journal: Journal, restore_id: str, option: str) -> Unrecorded:
    """What names show of the restore of that id. Raises CannotRestore naming what there is."""
    what = "no interrupted restore" if option == "--resume" else "no kept state to go back to"
    found = find_unrecorded(settings, journal)
    chosen = next((each for each in found if each.id == restore_id), None)
    if chosen is not None:
        return chosen
    hint = ""
    if found:
        listed = "; ".join(f"{each.id}: {each.describe()}" for each in found)
        hint = (
            f"Databases or directories have names of restores that the journal does not know: {listed}. Anybody who "
            f"can write there can create such names. `{typed(f'restore {option} --id ID')}` shows what it would move, "
            "and asks."
        )
    which = f" of id {restore_id}" if restore_id else ""
    raise CannotRestore(f"There is {what}{which}.", hint=hint, intact="Nothing was changed.")


def adopt(
    settings: Settings,
    journal: Journal,
    found: Unrecorded,
    to: Side,
    confirm: Callable[[str], bool],
    progress: Progress,
    abandoned: Abandoned,
) -> Recovery:
    """Do by names what the operator says yes to, and delete nothing. Raises CannotRestore."""
    if abandoned.database:
        found = replace(found, databases=())
    found.require_all_known()
    found.require_one_side()
    whole = found.record(to)
    of_any_mark = whole.with_parts(lambda part: replace(part, mark=None))
    with opened_stages(of_any_mark, {} if abandoned.uploads else None) as stages:
        record = _as_marked(found, whole, stages, abandoned)
        others = tuple(each for each in settings.upload_dirs if str(each.path) not in stages)
        with target_of(settings, record) as target, signals_held():
            swap = Swap(journal, record, target, stages)
            _require_known(swap, target, to)
            swap.require_both()
            if not confirm(found.plan(to, [stage.path for stage in stages.values()], others)):
                raise SafeHarborError("Not confirmed.", intact="Nothing was changed.")
            swap.find_what_stays(make_filter(settings.exclude))
            swap.begin(to, by_undo=to is Side.OLD)
            if record.in_place:
                swap.bring_in_uploads(to)
            else:
                try_swap(swap, progress)
            swap.settle()
    done = f"done from names alone. Now live: {record.describe(to)}"
    return Recovery(record.id, done, not record.in_place, warnings=left_as_they_are(whole, record))


def _as_marked(found: Unrecorded, record: RestoreRecord, stages: UploadStages, abandoned: Abandoned) -> RestoreRecord:
    """The record with what the markers say, without the stages that are given up as of no use. Raises CannotRestore."""
    for part in record.uploads:
        stage = stages.get(part.path)
        mark, transaction = stage.read_marker() if stage is not None else (None, "")
        if stage is not None and mark is not None:
            if transaction and not abandoned.database:
                record = replace(record, in_place=True, transaction=transaction, database=found.database)
            entered = stage.find_entered(mark)
            record = record.with_part(replace(part, stage=stage.identity, mark=mark, frontier=entered))
        elif abandoned.uploads:
            stages.pop(part.path, None)
        else:
            raise CannotRestore(
                f"The marker in {stage_path(Path(part.path), record.id)} does not say how far the restore came.",
                hint="Look at what is in it, and move by hand what is to be live. `--abandon-uploads` leaves this "
                "directory as it is.",
                intact="Nothing was changed.",
            )
    refuse_whole_stages(stages, record, abandoned)
    record = record.without_uploads({part.path for part in record.uploads if part.path not in stages})
    if not (record.database or record.uploads):
        raise CannotRestore(
            f"Nothing with the id of restore {record.id} is left to bring in.", intact="Nothing was changed."
        )
    return record


def _require_known(swap: Swap, target: Target | None, to: Side) -> None:
    """The side to go to is whole, as far as can be known without the journal. Raises CannotRestore."""
    record = swap.record
    if record.in_place and target is not None:
        decided = Side.NEW if is_committed(target, record) else Side.OLD
        if decided is not to:
            word = "was" if decided is Side.NEW else "was not"
            option = "--resume" if decided is Side.NEW else "--undo"
            raise CannotRestore(
                f"Restore {record.id} was done in place, and its transaction {word} committed: its database has no "
                "other state.",
                hint=f"`{typed(f'restore {option} --id {record.id}')}` brings the uploads to the same state.",
                intact="Nothing was changed.",
            )
    elif to is Side.NEW and swap.live_database is Side.OLD:
        is_mixed = not swap.stages.are_at(record, Side.OLD)
        back = f" `{typed(f'restore --undo --id {record.id}')}` goes back to what was live before." if is_mixed else ""
        raise CannotRestore(
            f"Only the journal knew whether what restore {record.id} had prepared is complete.",
            hint=f"Restore the archive again.{back}",
            intact="Nothing was changed.",
        )
