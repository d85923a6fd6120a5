"""How a restore ends that was interrupted: it is finished, or taken back, from wherever it has come to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from safeharbor_backup.actions.restore.in_place import is_committed
from safeharbor_backup.actions.restore.recovered import Recovery, settled, try_swap
from safeharbor_backup.actions.restore.request import RestoreRequest
from safeharbor_backup.errors import CannotRestore
from safeharbor_backup.state.restore_parts import Side
from safeharbor_backup.state.restore_record import Phase, RestoreRecord
from safeharbor_backup.text import typed

if TYPE_CHECKING:
    from safeharbor_backup.actions.restore.swap import Swap
    from safeharbor_backup.postgres.target import Target
    from safeharbor_backup.progress import Progress


def resume_interrupted(swap: Swap, record: RestoreRecord, target: Target | None, progress: Progress) -> Recovery:
    """Finish what that command began, or clean up a restore that had not begun to swap.

    Raises CannotRestore, RestorePending if neither can be done now.
    """
    if record.phase is Phase.STAGING:
        gone = [part.path for part in swap.record.uploads if part.stage is not None and part.path not in swap.stages]
        if gone:  # it would begin again in what may be the empty place of a filesystem that is not mounted
            raise CannotRestore(
                f"What restore {record.id} had begun in {' and '.join(gone)} is gone.",
                hint="First see that the filesystem of the uploads is mounted. "
                f"`{typed('restore --undo')}` removes the rest.",
                intact="Nothing was changed.",
            )
        swap.remove_stage()
        return Recovery(record.id, "what it had prepared was removed", False, again=_request_of(record))
    if record.in_place:
        return _end_in_place(swap, target, _request_of(record))
    swap.require_both()
    try_swap(swap, progress)
    return settled(swap)


def undo_interrupted(swap: Swap, target: Target | None, progress: Progress) -> Recovery:
    """Take a restore back, or finish it if it was committed and there is nothing to go back to; an undo goes on.

    Raises CannotRestore, RestorePending if that cannot be done now.
    """
    record = swap.record
    if record.phase is Phase.STAGING:
        swap.remove_stage()
        return Recovery(record.id, "what it had prepared was removed; the live data is as it was", False)
    if record.in_place:
        return _end_in_place(swap, target, _request_of(record))
    if not record.by_undo:  # a restore: back; an undo goes on
        if swap.live_database is Side.NEW and not record.had_database:
            swap.require_both()
            try_swap(swap, progress)
            settled(swap)
            return Recovery(record.id, "it had been committed and was finished: there was no database before", False)
        swap.record = replace(record, towards=Side.OLD)
    swap.require_both()
    swap.begin(swap.record.towards, by_undo=True)
    try_swap(swap, progress)
    return settled(swap)


def end_uploads(swap: Swap, progress: Progress) -> Recovery:
    """Finish, or take back, what is left of a restore whose databases are abandoned."""
    if swap.record.phase is Phase.STAGING:
        swap.remove_stage()
        return Recovery(swap.record.id, "what it had prepared was removed", False)
    if not swap.record.uploads:
        swap.forget()
        return Recovery(swap.record.id, "nothing else was part of it", False)
    swap.require_both()
    swap.begin(swap.record.towards, by_undo=swap.record.towards is Side.OLD)
    try_swap(swap, progress)
    return settled(swap)


def _end_in_place(swap: Swap, target: Target | None, again: RestoreRequest | None) -> Recovery:
    """The one transaction has decided; the uploads follow it. `again`: what a resume does if it was rolled back."""
    record = swap.record
    if target is not None and is_committed(target, record):
        swap.require_both()
        swap.bring_in_uploads(Side.NEW)
        settled(swap)
        return Recovery(record.id, "its transaction had been committed; the uploads were finished", False)
    swap.record = replace(record, towards=Side.OLD)
    swap.require_both()
    swap.bring_in_uploads(Side.OLD)
    swap.remove_stage()
    return Recovery(record.id, "its transaction had not been committed; the old state is live", False, again)


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
        without_others=not record.others,
        others={part.name: part.database for part in record.others},
        uploads=tuple(part.directory for part in record.uploads) if record.uploads else None,
        from_another=True,  # it was accepted when that restore began
        accepts_broken=record.accepts_broken,
        accepts_open=record.accepts_open,
    )
