"""The errors for a swap that failed: taken back, or neither finished nor taken back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg

from safeharbor_backup.errors import CannotRestore, RestorePending, SafeHarborError, one_line, translate_os_error

if TYPE_CHECKING:
    from safeharbor_backup.state.restore_record import RestoreRecord


def translated(error: BaseException, doing: str) -> BaseException:
    """The error to raise for one that came while a swap was tried and taken back."""
    if isinstance(error, OSError):
        return translate_os_error(error, doing)
    if isinstance(error, psycopg.Error):
        return CannotRestore(f"The swap failed and was taken back: {one_line(error)}")
    return error


def interrupted(error: BaseException, second: BaseException, record: RestoreRecord) -> SafeHarborError:
    """The error for a swap that could neither be finished nor taken back."""
    pending = record.pending_error()
    return RestorePending(
        f"The swap failed ({one_line(error)}), and could not be taken back at once ({one_line(second)}).",
        hint=pending.hint,
    )
