"""Puts one state in the place of the other, in either direction, with one commit point; and says which is live.

The journal says where the last command goes to and how far the uploads have come; the names of the databases say
whether the one transaction was committed. So everything here may be done again after a crash at any point.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from safeharbor_backup.actions.restore.lost_database import (
    missing_database,
    require_own_name,
    way_around_database,
    with_numbers,
)
from safeharbor_backup.actions.restore.lost_stage import left_unseen, way_around
from safeharbor_backup.actions.restore.swap_errors import interrupted
from safeharbor_backup.actions.restore.upload_stages import UploadStages, opened_stages
from safeharbor_backup.errors import CannotRestore, RestorePending, SafeHarborError, one_line
from safeharbor_backup.postgres.create_drop import drop_database
from safeharbor_backup.postgres.database_swap import Exchange, close_database, exchange_databases, open_database
from safeharbor_backup.state.restore_parts import Mark, Side, SwapPhase, UploadsPart
from safeharbor_backup.state.restore_record import Phase, RestoreRecord
from safeharbor_backup.text import typed
from safeharbor_backup.uploads.frontier import find_frontier
from safeharbor_backup.uploads.staging import Stage, StageReplaced, stage_path
from safeharbor_backup.uploads.unfinished_stage import remove_unfinished

if TYPE_CHECKING:
    from collections.abc import Callable

    from safeharbor_backup.postgres.target import Target
    from safeharbor_backup.settings.upload_dirs import Excluded
    from safeharbor_backup.state.journal import Journal


class Swap:
    """The two states of one restore. `record` is what the journal says of it now, `is_gone` that nothing is left.

    `stages`, by the paths of their uploads, are held open: what anybody does meanwhile with their names in the uploads
    leads nowhere. `changes` is what to say of the uploads that come in, once they were looked at, `left` of databases
    that are no part of it any more.
    """

    def __init__(self, journal: Journal, record: RestoreRecord, target: Target | None, stages: UploadStages) -> None:
        self._journal = journal
        self.record = record
        self._target = target
        self.stages = stages
        self.is_gone = False
        self.changes: tuple[str, ...] = ()
        self.left: tuple[str, ...] = ()

    def begin(self, towards: Side, *, by_undo: bool) -> None:
        """Write down where this goes to, so that a command that is typed again goes on. Raises OSError."""
        if self.record.phase is not Phase.SWAPPING:
            self.record = self.stages.counted(with_numbers(self._target, self.record), towards)
        self._write(phase=Phase.SWAPPING, towards=towards, by_undo=by_undo)

    def hold(self, part: UploadsPart, stage: Stage) -> None:
        """Write down that this is the stage in that directory. Raises OSError."""
        self.stages[part.path] = stage
        self._write_part(replace(part, stage=stage.identity))

    def find_what_stays(self, is_excluded: Excluded | None) -> None:
        """Write down what an exchange is to leave where it is, as far as it is not. Raises CannotRestore, OSError."""
        found = self.record.with_parts(lambda part: self._with_what_stays(part, is_excluded))
        if found != self.record:
            self.record = self._journal.write(found)

    def begin_in_place(self, transaction: str) -> None:
        """The same for a restore in place, whose one transaction this is. Raises OSError."""
        for stage in self.stages.values():
            stage.note_transaction(transaction)
        self._write(phase=Phase.SWAPPING, towards=Side.NEW, transaction=transaction)

    @property
    def live_database(self) -> Side:
        """Which side's databases are live: whether the one transaction was committed.

        The main database shows it for all of them. Raises psycopg.Error.
        """
        record = self.record
        if self._target is None or not record.database:
            if not record.uploads:
                return Side.OLD
            return record.towards if self.stages.are_at(record, record.towards) else record.towards.other
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
        if lost := missing_database(self._target, record, to, live):
            gone.append(lost)
            hint = way_around_database(record, to, other=missing_database(self._target, record, to.other, live))
        for part in self.stages.lacking(record, to):
            gone.append(str(stage_path(Path(part.path), record.id)))
            hint = f"First see that the filesystem of the uploads is mounted. {way_around(record)}"
        if gone:
            raise CannotRestore(
                f"Of the state that restore {record.id} would make live, {' and '.join(gone)} is gone: only the rest "
                "would become live.",
                hint=hint,
                intact="Nothing was changed.",
            )
        self.changes = self.stages.changes(record)

    def go(self, step: Callable[[str], None]) -> None:
        """To the side that `begin` named, from wherever this has come to. May be repeated.

        Raises OSError, psycopg.Error, SafeHarborError; then the journal still says what to do.
        """
        record, to, target = self.record, self.record.towards, self._target
        is_committed = target is None or not record.database or self.live_database is to
        exchanges = self._exchanges(target) if target is not None and not is_committed else []
        for each in exchanges:
            if target is not None and each.outgoing:
                close_database(target, each.live)
                step("closed")
        for part in record.uploads:
            self._bring_in(part, to)
            step("uploads swapped")
        if target is not None and exchanges:
            exchange_databases(target, exchanges)
            step("committed")
        elif target is not None:
            self._open_databases(target)

    def _exchanges(self, target: Target) -> list[Exchange]:
        """What the one transaction is to do. Raises psycopg.Error."""
        record, to = self.record, self.record.towards
        exchanges = []
        for part in record.databases:
            is_there = (part.had_database or to is Side.OLD) and target.find(part.database) is not None
            incoming = record.beside(part, to) if part.had_database or to is Side.NEW else ""
            outgoing = record.beside(part, to.other) if is_there else ""
            exchanges.append(Exchange(part.database, outgoing, incoming))
        return exchanges

    def _open_databases(self, target: Target) -> None:
        for part in self.record.databases:
            open_database(target, part.database)

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
        """Write down that the swap is done. Raises RestorePending if that fails: the new state is live anyway."""
        live = self.record.towards
        done = replace(
            self.stages.counted(self.record, live.other),
            phase=Phase.KEPT,
            live=live,
            by_undo=False,
            has_been_live=self.record.has_been_live or live is Side.NEW,
        ).with_parts(lambda part: replace(part, mark=Mark(live, SwapPhase.AT_REST)))
        try:
            for stage in self.stages.values():
                stage.give_to_owner()
            self.record = self._journal.write(done)
        except (SafeHarborError, OSError) as error:
            if _says(self._journal, done):  # all but the last fsync was done: a power cut would leave it to `--resume`
                self.record = done
                return
            raise RestorePending(
                f"The swap is done. Now live: {done.describe(live)}. But the journal {self._journal.path} cannot be "
                f"written: {error}",
                hint=f"Free some space there, then type `{typed('restore --resume')}`.",
            ) from error

    def rest(self, record: RestoreRecord) -> None:
        """Write down that the swap was put back to where it was at rest. Raises OSError, SafeHarborError.

        What was found since is a part of it: what stays, of which the stage has traces, and the stage itself, where the
        record is of the first version.
        """
        mark = Mark(record.live, SwapPhase.AT_REST)
        now = {part.path: part for part in self.record.uploads}

        def at_rest(part: UploadsPart) -> UploadsPart:
            known = now.get(part.path, part)
            return replace(part, mark=mark, stage=known.stage, frontier=known.frontier, stays=known.stays)

        self.record = self._journal.write(record.with_parts(at_rest))

    def remove_stage(self) -> None:
        """Delete what was staged and is not live, nor was it ever; what cannot be seen stays in the journal, to go on.

        Raises OSError, SafeHarborError, psycopg.Error.
        """
        if not self.stages.are_at(self.record, Side.OLD):  # it would delete what was live
            raise RestorePending(f"The stage of restore {self.record.id} holds uploads that were live before it.")
        self._write(phase=Phase.REMOVING)
        if self._target is not None:
            for part in self.record.exchanged:
                drop_database(self._target, self.record.beside(part, Side.NEW))
        if unseen := self.stages.remove(self.record, self._journal.write):
            left = left_unseen(self.record, unseen)
            self.changes += (one_line(f"{left} {left.hint}"),)
        else:
            self.forget()

    def forget(self) -> None:
        """Take a restore of which nothing is kept out of the journal. Raises OSError, StorageUnavailable."""
        self._journal.remove(self.record.id)
        self.is_gone = True

    def discard(self, *, leaves_renamed: bool = False) -> None:
        """Delete what is kept; a renamed database may stay if told. Raises OSError, SafeHarborError, psycopg.Error."""
        if self.record.phase is Phase.KEPT and not leaves_renamed:
            require_own_name(self._target, self.record)
        if self.record.phase is not Phase.REMOVING:
            self._write(phase=Phase.DISCARDING)
        if self._target is not None:
            self._drop_kept(self._target)
        if unseen := self.stages.remove(self.record, self._journal.write):
            raise left_unseen(self.record, unseen)
        self._journal.remove(self.record.id)

    def _drop_kept(self, target: Target) -> None:
        kept = self.record.kept_databases
        is_whole = all(target.find(name) is not None for name in kept)
        for name in kept:
            try:
                drop_database(target, name)
            except CannotRestore:
                if self.record.phase is Phase.DISCARDING and is_whole and name == kept[0]:
                    self._write(phase=Phase.KEPT)  # nothing is gone yet: it can still be brought back
                raise

    def bring_in_uploads(self, side: Side) -> None:
        """Only the uploads, for a restore in place: its transaction has decided, or will. Raises OSError."""
        for part in self.record.uploads:
            self._bring_in(part, side)

    def _bring_in(self, part: UploadsPart, side: Side) -> None:
        self.stages.make_live(self.record, part, side, lambda mark: self._write_part(replace(part, mark=mark)))

    def _put_back(self, error: BaseException) -> bool:
        """Go back unless the commit has happened: then False. Raises RestorePending if neither can be done now."""
        record = self.record
        back = record.towards.other
        try:
            if self._target is not None and record.database and self.live_database is record.towards:
                self.bring_in_uploads(record.towards)
                return False
            for part in record.uploads:
                if part.path in self.stages:
                    self._bring_in(part, back)
            if self._target is not None and record.database:
                self._open_databases(self._target)
        except Exception as second:  # nothing that nobody foresaw may hide what is to be typed now
            raise interrupted(error, second, self.record) from error
        return True

    def _with_what_stays(self, part: UploadsPart, is_excluded: Excluded | None) -> UploadsPart:
        stage = self.stages.get(part.path)
        if stage is None:
            return part
        side = stage.side(self.record.towards)
        found = find_frontier(Path(part.path), side, part.directory.inside(is_excluded))
        frontier, stays = {*part.frontier, *found.directories}, {*part.stays, *found.stays}
        return replace(part, frontier=tuple(sorted(frontier)), stays=tuple(sorted(stays)))

    def _write_part(self, part: UploadsPart) -> None:
        """Write down how it is with one directory of uploads. Raises OSError."""
        self.record = self._journal.write(self.record.with_part(part))

    def _write(self, **changes: object) -> None:
        self.record = self._journal.write(replace(self.record, **changes))  # type: ignore[arg-type] # names of fields


def finish_removal(journal: Journal, record: RestoreRecord, target: Target | None, *, abandons: bool = False) -> None:
    """Go on with the deletion of a restore's other state, which a crash interrupted.

    What is in the place of its stage and not ours is left there; so is what cannot be seen, if it `abandons` that.
    Raises SafeHarborError, OSError, psycopg.Error.
    """
    replaced: dict[str, StageReplaced] = {}
    with opened_stages(record, replaced, {} if abandons else None) as stages:
        record = record.without_uploads(stages.unseen(record) if abandons else ())
        # or the crash came when next to nothing was left of it
        left = [error for path, error in replaced.items() if not remove_unfinished(Path(path), record.id)]
        swap = Swap(journal, record, target, stages)  # with those: if this fails, the next run reports them
        try:
            swap.discard()
        except StageReplaced as error:
            swap.forget()
            left.append(error)
    if left:
        raise left[0]


def _says(journal: Journal, record: RestoreRecord) -> bool:
    try:
        return journal.find(record.id) == record
    except (SafeHarborError, OSError):
        return False
