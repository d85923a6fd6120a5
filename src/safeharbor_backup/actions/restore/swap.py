"""Puts one state in the place of the other, in either direction, with one commit point; and says which is live.

The journal says where the last command goes to and how far the uploads have come; the names of the databases say
whether the one transaction was committed. So everything here may be done again after a crash at any point.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from safeharbor_backup.actions.restore.lost_database import (
    missing_database,
    numbers_of_both,
    require_own_name,
    way_around_database,
)
from safeharbor_backup.actions.restore.lost_stage import changes_of, way_around
from safeharbor_backup.errors import CannotRestore, RestorePending, SafeHarborError, one_line, translate_os_error
from safeharbor_backup.postgres.database_swap import close_database, exchange_databases, open_database
from safeharbor_backup.postgres.target import drop_database
from safeharbor_backup.state.restore_record import Leg, Mark, Phase, RestoreRecord, Side
from safeharbor_backup.text import typed
from safeharbor_backup.uploads.frontier import Frontier, find_frontier
from safeharbor_backup.uploads.staging import Stage, StageReplaced, open_stage, remove_unfinished, stage_path
from safeharbor_backup.uploads.walk import count_entries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from safeharbor_backup.postgres.target import Target
    from safeharbor_backup.state.journal import Journal


@contextmanager
def opened_stage(record: RestoreRecord) -> Iterator[Stage | None]:
    """The stage of a restore, held open; None if uploads were no part of it, or it is gone.

    Raises StageReplaced if what is in its place is not ours, OSError.
    """
    if not record.uploads or (record.stage is None and record.mark is not None):
        yield None
        return
    try:
        stage = open_stage(Path(record.uploads), record.id, record.stage)
    except FileNotFoundError:  # the uploads themselves are gone
        stage = None
    try:
        yield stage
    finally:
        if stage is not None:
            stage.close()


class Swap:
    """The two states of one restore. `record` is what the journal says of it now, `is_gone` that nothing is left.

    `stage` is held open: what anybody does meanwhile with its name in the uploads leads nowhere. `changes` is what to
    say of the uploads that come in, once they were looked at.
    """

    def __init__(self, journal: Journal, record: RestoreRecord, target: Target | None, stage: Stage | None) -> None:
        self._journal = journal
        self.record = record
        self._target = target
        self.stage = stage
        self.is_gone = False
        self.changes: tuple[str, ...] = ()

    def begin(self, towards: Side, *, by_undo: bool) -> None:
        """Write down where this goes to, so that a command that is typed again goes on. Raises OSError."""
        numbers: dict[str, int] = {}
        if self.record.phase is not Phase.SWAPPING:
            numbers = numbers_of_both(self._target, self.record)
            self.record = self._counted(towards)
        self._write(phase=Phase.SWAPPING, towards=towards, by_undo=by_undo, **numbers)

    def find_what_stays(self, is_excluded: Callable[[str], bool] | None) -> None:
        """Add what has come since that an exchange is to leave where it is. Raises CannotRestore, OSError."""
        record = self.record
        if self.stage is None:
            return
        found = find_frontier(Path(record.uploads), self.stage.side(record.towards), is_excluded)
        if set(found.stays) <= set(record.stays):
            return
        directories = sorted({*record.frontier, *found.directories})
        self.step_around(Frontier(tuple(directories), tuple(sorted({*record.stays, *found.stays}))))

    def step_around(self, frontier: Frontier) -> None:
        """Write down which directories are exchanged entry by entry, and what stays. Raises OSError."""
        self._write(frontier=frontier.directories, stays=frontier.stays)

    def begin_in_place(self, transaction: str) -> None:
        """The same for a restore in place, whose one transaction this is. Raises OSError."""
        if self.stage is not None:
            self.stage.note_transaction(transaction)
        self._write(phase=Phase.SWAPPING, towards=Side.NEW, transaction=transaction)

    @property
    def live_database(self) -> Side:
        """Which side's database is live: whether the one transaction was committed. Raises psycopg.Error."""
        record = self.record
        if self._target is None or not record.database:
            return record.towards if self._mark == Mark(record.towards, Leg.AT_REST) else record.towards.other
        if record.had_database:
            found = self._target.find(record.database)
            for side in Side:
                if found is not None and found.oid == record.oid(side):
                    return side
            return Side.NEW if self._target.find(record.previous_database) is not None else Side.OLD
        is_new = self._target.find(record.staged_database) is None and self._target.find(record.database) is not None
        return Side.NEW if is_new else Side.OLD

    def require_both(self) -> None:
        """Both halves of the state to bring in are there, before anything is closed. Raises CannotRestore."""
        record, to = self.record, self.record.towards
        gone = []
        hint = ""
        live = record.live if record.phase is Phase.KEPT else self.live_database  # at rest the journal knows
        lost = missing_database(self._target, record, to, live)
        if lost:
            gone.append(lost)
            hint = way_around_database(record, to, other=missing_database(self._target, record, to.other, live))
        if record.uploads and self.stage is None and self._mark != Mark(to, Leg.AT_REST):
            gone.append(str(stage_path(Path(record.uploads), record.id)))
            hint = f"First see that the filesystem of the uploads is mounted. {way_around(record)}"
        if gone:
            raise CannotRestore(
                f"Of the state that restore {record.id} would bring in, {' and '.join(gone)} is gone: "
                "only the rest would come.",
                hint=hint,
                intact="Nothing was changed.",
            )
        self.changes = changes_of(self.stage, record, self._mark) if self.stage is not None else ()

    def go(self, step: Callable[[str], None]) -> None:
        """To the side that `begin` named, from wherever this has come to. May be repeated.

        Raises OSError, psycopg.Error, SafeHarborError; then the journal still says what to do.
        """
        record, to, target = self.record, self.record.towards, self._target
        has_database = target is not None and bool(record.database)
        is_committed = not has_database or self.live_database is to
        has_live = target is not None and record.had_database and target.find(record.database) is not None
        if target is not None and not is_committed and has_live:
            close_database(target, record.database)
            step("closed")
        self._bring_in(to)
        if record.uploads:
            step("uploads swapped")
        if target is not None and has_database and not is_committed:
            previous, restored = record.previous_database, record.staged_database
            outgoing, incoming = (previous, restored) if to is Side.NEW else (restored, previous)
            exchange_databases(target, record.database, outgoing=outgoing if has_live else "", incoming=incoming)
            step("committed")
        elif target is not None and has_database:
            open_database(target, record.database)

    def go_or_return(self, step: Callable[[str], None]) -> None:
        """The same; if it fails before the commit, everything is put back as it was, and the error is raised.

        Raises RestorePending if it could not be put back at once.
        """
        try:
            self.go(step)
        except BaseException as error:
            if not self._put_back(error):
                return  # the answer to COMMIT was lost, not the commit
            raise

    def settle(self) -> None:
        """Write down that the swap is done. Raises RestorePending if that fails: the new state is live all the same."""
        live = self.record.towards
        done = replace(
            self._counted(live.other),
            phase=Phase.KEPT,
            live=live,
            by_undo=False,
            has_been_live=self.record.has_been_live or live is Side.NEW,
            mark=Mark(live, Leg.AT_REST) if self.record.uploads else self.record.mark,
        )
        try:
            if self.stage is not None:
                self.stage.give_to_owner()
            self.record = self._journal.write(done)
        except (SafeHarborError, OSError) as error:
            if _says(self._journal, done):  # all but the last fsync was done: a power cut would leave it to `--resume`
                self.record = done
                return
            raise RestorePending(
                f"The swap is done. Live is: {done.describe(live)}. But the journal {self._journal.path} cannot be "
                f"written: {error}",
                hint=f"Free some space there, then type `{typed('restore --resume')}`.",
            ) from error

    def rest(self, record: RestoreRecord) -> None:
        """Write down that the swap was put back to where it was at rest. Raises OSError, SafeHarborError."""
        mark = Mark(record.live, Leg.AT_REST) if record.uploads else record.mark
        self.record = self._journal.write(replace(record, mark=mark))

    def remove_stage(self) -> None:
        """Delete what was staged and is not live, nor was it ever. Raises OSError, SafeHarborError, psycopg.Error."""
        if self._mark != Mark(Side.OLD, Leg.AT_REST):  # it would delete what was live
            raise RestorePending(f"The stage of restore {self.record.id} holds uploads that were live before it.")
        self._write(phase=Phase.REMOVING)
        if self._target is not None and self.record.staged_database:
            drop_database(self._target, self.record.staged_database)
        self._remove_uploads()
        self.forget()

    def forget(self) -> None:
        """Take a restore of which nothing is kept out of the journal. Raises OSError, StorageUnavailable."""
        self._journal.remove(self.record.id)
        self.is_gone = True

    def discard(self) -> None:
        """Delete the state that is kept. Raises OSError, SafeHarborError, psycopg.Error."""
        if self.record.phase is Phase.KEPT:
            require_own_name(self._target, self.record)
        if self.record.phase is not Phase.REMOVING:
            self._write(phase=Phase.DISCARDING)
        if self._target is not None and self.record.kept_database:
            try:
                drop_database(self._target, self.record.kept_database)
            except CannotRestore:
                if self.record.phase is Phase.DISCARDING:
                    self._write(phase=Phase.KEPT)  # nothing is gone yet: it can still be brought back
                raise
        self._remove_uploads()
        self._journal.remove(self.record.id)

    def bring_in_uploads(self, side: Side) -> None:
        """Only the uploads, for a restore in place: its transaction has decided, or will. Raises OSError."""
        self._bring_in(side)

    def _counted(self, side: Side) -> RestoreRecord:
        """The record with the number of entries that this side of the stage has now, while it is whole."""
        return self.record.with_entries(side, count_entries(self.stage.side(side))) if self.stage else self.record

    @property
    def _mark(self) -> Mark:
        if self.record.mark is not None:
            return self.record.mark
        found = self.stage.read_marker()[0] if self.stage is not None else None
        if found is None and self.stage is not None:
            raise RestorePending(f"The marker in {self.stage.path} cannot be read: it says how far the restore came.")
        return found or Mark(Side.OLD, Leg.AT_REST)

    def _bring_in(self, side: Side) -> None:
        if not self.record.uploads or self._mark == Mark(side, Leg.AT_REST):
            return
        if self.stage is None:
            raise CannotRestore(f"The stage of restore {self.record.id} in {self.record.uploads} is gone.")

        def note(mark: Mark) -> None:
            self._write(mark=mark)

        self.stage.bring_in(side, self._mark, note, frontier=self.record.frontier, stays=self.record.stays)

    def _put_back(self, error: BaseException) -> bool:
        """Go back unless the commit has happened: then False. Raises RestorePending if neither can be done now."""
        record = self.record
        back = record.towards.other
        try:
            if self._target is not None and record.database and self.live_database is record.towards:
                self._bring_in(record.towards)
                return False
            if self.stage is not None:
                self._bring_in(back)
            if self._target is not None and record.database:
                open_database(self._target, record.database)
        except Exception as second:  # nothing that nobody foresaw may hide what is to be typed now
            raise interrupted(error, second, self.record) from error
        return True

    def _remove_uploads(self) -> None:
        if self.stage is not None:
            self.stage.remove()
        elif self.record.uploads and self.record.stage is None:
            remove_unfinished(Path(self.record.uploads), self.record.id)

    def _write(self, **changes: object) -> None:
        self.record = self._journal.write(replace(self.record, **changes))  # type: ignore[arg-type] # names of fields


def finish_removal(journal: Journal, record: RestoreRecord, target: Target | None) -> None:
    """Go on with the deletion of a restore's other state, which a crash interrupted.

    What is in the place of its stage and not ours is left there. Raises SafeHarborError, OSError, psycopg.Error.
    """
    try:
        with opened_stage(record) as stage:
            Swap(journal, record, target, stage).discard()
    except StageReplaced:  # or the crash came when next to nothing was left of it
        is_gone = remove_unfinished(Path(record.uploads), record.id)
        Swap(journal, record.without_uploads(), target, None).discard()
        if not is_gone:
            raise


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


def _says(journal: Journal, record: RestoreRecord) -> bool:
    try:
        return journal.find(record.id) == record
    except (SafeHarborError, OSError):
        return False
