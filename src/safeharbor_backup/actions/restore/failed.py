"""A restore that failed, or was interrupted, before its end: its stage is removed, and the error says what is left."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg

from safeharbor_backup.errors import SafeHarborError, one_line
from safeharbor_backup.state.restore_record import Phase
from safeharbor_backup.system.signals import signals_held
from safeharbor_backup.text import typed

if TYPE_CHECKING:
    from safeharbor_backup.actions.restore.swap import Swap


def remove_stage(swap: Swap, error: BaseException) -> None:
    """Remove what was staged, and have the error say what is left. Raises nothing."""
    try:
        with signals_held():
            swap.remove_stage()
    except (SafeHarborError, psycopg.Error, OSError) as second:
        if isinstance(error, SafeHarborError):
            error.intact = f"{intact_after(swap)} It could not be removed: {one_line(second)}."
    else:
        if isinstance(error, SafeHarborError):
            error.intact = intact_after(swap)


def intact_after(swap: Swap) -> str:
    """What is intact once it was tried to remove a stage that was never live, and what removes what is left of it."""
    if swap.is_gone:
        return "The live database and uploads are as they were; what was staged is gone."
    return (
        f"Nothing live was changed, but what restore {swap.record.id} had prepared is left; "
        f"`{typed(f'restore --undo --id {swap.record.id}')}` removes it."
    )


def what_is_left(swap: Swap) -> str:
    """What an interruption leaves, before the swap or after it, and what to type."""
    if swap.record.phase is Phase.KEPT:
        return f"The restore is done. To go back: {typed(f'restore --undo --id {swap.record.id}')}"
    return intact_after(swap)
