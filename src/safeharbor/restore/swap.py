"""Puts one state in the place of the other, in either direction, with one commit point; and says which is live.

A restore's record tells which way it last was at rest; the names of the databases and the marker in the staging
directory tell how far a swap has come. So every function here may be called again after a crash at any point.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from safeharbor.errors import CannotRestore, RestorePending, SafeHarborError, one_line, translate_os_error
from safeharbor.journal import Journal, Phase, RestoreRecord
from safeharbor.postgres.swap import close_database, exchange_databases, open_database
from safeharbor.postgres.target import drop_database
from safeharbor.uploads.staging import Leg, Mark, Side, StagedUploads

if TYPE_CHECKING:
    from collections.abc import Callable

    from safeharbor.postgres.target import Target


def staged_uploads(record: RestoreRecord) -> StagedUploads | None:
    """The staging directory of a restore, if uploads were part of it."""
    return StagedUploads(Path(record.uploads), record.id) if record.uploads else None


def is_restored_live(record: RestoreRecord, target: Target | None) -> bool:
    """Whether the commit has happened: the restored state is the live one. Raises psycopg.Error."""
    if target is not None and record.database:
        if record.had_database:
            return target.find(record.previous_database) is not None
        return target.find(record.staged_database) is None and target.find(record.database) is not None
    staged = staged_uploads(record)
    mark = staged.read_mark() if staged is not None else Mark(Side.OLD, Leg.AT_REST)
    if mark.leg is not Leg.AT_REST:  # without a database, the last rename is the commit
        return not record.is_undone
    return mark.going is Side.NEW


def require_kept(record: RestoreRecord, target: Target | None) -> None:
    """The state that is kept is there as a whole: nobody has deleted a part of it by hand. Raises CannotRestore."""
    gone = []
    if target is not None and record.kept_database and target.find(record.kept_database) is None:
        gone.append(f'the database "{record.kept_database}"')
    staged = staged_uploads(record)
    if staged is not None and not staged.exists:
        gone.append(str(staged.path))
    if gone:
        raise CannotRestore(
            f"Of the state that restore {record.id} kept, {' and '.join(gone)} is gone: only the rest would come back.",
            hint=f"Restore an archive. `safeharbor restore --discard-previous --id {record.id}` removes what is left.",
            intact="Nothing was changed.",
        )


def swap_states(journal: Journal, record: RestoreRecord, target: Target | None, step: Callable[[str], None]) -> None:
    """Make the state that is kept the live one, and keep the live one.

    If this fails before the commit: everything is put back, and the error is raised. If the process dies: the journal
    says so, and `resume_restore` or `undo_restore` ends it.
    """
    try:
        record = journal.advance(record, Phase.SWAPPING)
        step("swapping")
        go_forward(record, target, step)
    except (SafeHarborError, psycopg.Error, OSError) as error:
        _after_failure(journal, record, target, error)
    settle(journal, record)
    step("settled")


def go_forward(record: RestoreRecord, target: Target | None, step: Callable[[str], None]) -> None:
    """Towards the state that was kept, from wherever the swap has come to. May be repeated."""
    to_restored = record.is_undone
    is_done = target is None or is_restored_live(record, target) == to_restored
    if target is not None and not is_done and record.had_database:
        close_database(target, record.database)
        step("closed")
    staged = staged_uploads(record)
    if staged is not None:
        staged.bring_in(Side.NEW if to_restored else Side.OLD)
        step("uploads swapped")
    if target is not None and not is_done:
        previous, restored = record.previous_database, record.staged_database
        outgoing, incoming = (previous, restored) if to_restored else (restored, previous)
        exchange_databases(target, record.database, outgoing=outgoing if record.had_database else "", incoming=incoming)
        step("committed")


def go_back(record: RestoreRecord, target: Target | None) -> None:
    """To the state that was live before this swap, which has not been committed. May be repeated.

    Raises OSError, psycopg.Error, SafeHarborError.
    """
    staged = staged_uploads(record)
    if staged is not None and staged.exists:
        staged.bring_in(Side.OLD if record.is_undone else Side.NEW)
    if target is not None and record.database:
        open_database(target, record.database)


def remove_stage(journal: Journal, record: RestoreRecord, target: Target | None) -> None:
    """Delete what was staged and never became live. Raises OSError, SafeHarborError, psycopg.Error."""
    staged = staged_uploads(record)
    if staged is not None and not staged.is_old_live:  # it would delete what was live
        raise RestorePending(f"In {staged.path} there are uploads that were live before the restore.")
    if target is not None and record.staged_database:
        drop_database(target, record.staged_database)
    if staged is not None:
        staged.remove()
    journal.remove(record.id)


def discard_kept(journal: Journal, record: RestoreRecord, target: Target | None) -> None:
    """Delete the state that a restore keeps. Raises OSError, SafeHarborError, psycopg.Error."""
    record = journal.advance(record, Phase.DISCARDING)
    if target is not None and record.kept_database:
        try:
            drop_database(target, record.kept_database)
        except CannotRestore:
            journal.advance(record, Phase.KEPT)  # nothing is gone yet: it can still be brought back
            raise
    staged = staged_uploads(record)
    if staged is not None:
        staged.remove()
    journal.remove(record.id)


def settle(journal: Journal, record: RestoreRecord) -> RestoreRecord:
    """Write down that the swap is done. Raises RestorePending if that fails: the new state is live all the same."""
    try:
        return journal.write(replace(record, phase=Phase.KEPT, is_undone=not record.is_undone, was_live=True))
    except (SafeHarborError, OSError) as error:
        raise RestorePending(
            f"The swap is done and the new state is live, but the journal {journal.path} cannot be written: {error}",
            hint="Free some space there, then `safeharbor restore --resume`.",
        ) from error


def _after_failure(journal: Journal, record: RestoreRecord, target: Target | None, error: Exception) -> None:
    """Go back if that is still the thing to do; returns if the commit has happened after all. Raises the error."""
    try:
        if target is not None and is_restored_live(record, target) == record.is_undone:
            return  # the answer to COMMIT was lost, not the commit
        go_back(record, target)
        if record.was_live:
            journal.advance(record, Phase.KEPT)
        else:
            remove_stage(journal, record, target)
    except (SafeHarborError, psycopg.Error, OSError) as second:
        raise interrupted(error, second) from error
    if isinstance(error, SafeHarborError):
        raise error
    if isinstance(error, OSError):
        raise translate_os_error(error, "swapping the uploads") from error
    raise CannotRestore(f"The swap failed and was taken back: {one_line(error)}") from error


def interrupted(error: BaseException, second: Exception) -> SafeHarborError:
    """The error for a swap that could neither be finished nor taken back."""
    return RestorePending(
        f"The swap failed ({one_line(error)}), and could not be taken back at once ({one_line(second)})."
    )
