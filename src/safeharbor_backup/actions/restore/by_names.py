"""Restores of which the journal knows nothing and only names speak: shown, asked for, and done without deleting."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from safeharbor_backup.actions.restore.in_place import is_committed
from safeharbor_backup.actions.restore.kept import target_of
from safeharbor_backup.actions.restore.recovered import Recovery, try_swap
from safeharbor_backup.actions.restore.swap import Swap, opened_stage
from safeharbor_backup.actions.restore.unrecorded import Unrecorded, find_unrecorded
from safeharbor_backup.errors import CannotRestore, SafeHarborError
from safeharbor_backup.state.restore_record import Mark, Side
from safeharbor_backup.system.signals import signals_held
from safeharbor_backup.text import typed

if TYPE_CHECKING:
    from collections.abc import Callable

    from safeharbor_backup.actions.restore.lost_stage import Abandoned
    from safeharbor_backup.postgres.target import Target
    from safeharbor_backup.progress import Progress
    from safeharbor_backup.settings.model import Settings
    from safeharbor_backup.state.journal import Journal


def choose_unrecorded(settings: Settings, journal: Journal, restore_id: str, option: str) -> Unrecorded:
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
            f"`{typed(f'restore {option} --id ID')}` shows what it would move, and asks."
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
    if abandoned.uploads:
        found = replace(found, uploads="")
    if abandoned.database:
        found = replace(found, databases=())
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
            if transaction and not abandoned.database:
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
                try_swap(swap, progress)
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
                hint=f"`{typed(f'restore {option} --id {record.id}')}` brings the uploads to the same state.",
                intact="Nothing was changed.",
            )
    elif to is Side.NEW and swap.live_database is Side.OLD:
        raise CannotRestore(
            f"Only the journal knew whether what restore {record.id} had prepared is complete.",
            hint="Restore the archive again.",
            intact="Nothing was changed.",
        )
