"""What came of a recovery, and the swap that ends it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from safeharbor_backup.actions.restore.swap_errors import translated
from safeharbor_backup.errors import RestorePending, SafeHarborError
from safeharbor_backup.state.restore_parts import Side

if TYPE_CHECKING:
    from safeharbor_backup.actions.restore.request import RestoreRequest
    from safeharbor_backup.actions.restore.swap import Swap
    from safeharbor_backup.progress import Progress
    from safeharbor_backup.state.restore_record import RestoreRecord


@dataclass(frozen=True, slots=True)
class Recovery:
    """What was done about a restore. `again`: what has to be restored again to finish it, None if nothing.

    `warnings` say what was left as it is.
    """

    id: str
    done: str
    can_be_undone: bool
    again: RestoreRequest | None = None
    warnings: tuple[str, ...] = ()


def try_swap(swap: Swap, progress: Progress, *, at_rest: RestoreRecord | None = None) -> None:
    """Go on with a swap. If it fails it is put back as it was, and the journal says so if that was `at_rest`."""
    try:
        swap.go_or_return(progress.step)
    except BaseException as error:
        if at_rest is not None and not isinstance(error, RestorePending):
            swap.rest(at_rest)
        raised = translated(error, "moving uploads")
        if isinstance(raised, SafeHarborError) and not isinstance(raised, RestorePending):
            live = swap.live_database if at_rest is None else at_rest.live
            raised.intact = f"Now live: {swap.record.describe(live)}."
        raise raised from error


def settled(swap: Swap) -> Recovery:
    """Write down the end of a swap; a state that was staged only, and is not live, is removed."""
    record = swap.record
    if record.towards is Side.OLD and not record.has_been_live:
        swap.remove_stage()
        return Recovery(record.id, f"it was taken back. Now live: {record.describe(Side.OLD)}", False)
    done = f"Now live: {record.describe(record.towards)}"
    if not record.keeps_anything:
        swap.forget()
        return Recovery(record.id, done, False)
    swap.settle()
    return Recovery(record.id, done, record.had_database or not record.database)
