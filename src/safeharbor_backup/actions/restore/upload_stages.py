"""The stages of one restore, one in each directory of its uploads: how far each is, and what is done with all."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from safeharbor_backup.actions.restore.lost_stage import changes_of
from safeharbor_backup.errors import CannotRestore, RestorePending
from safeharbor_backup.state.restore_parts import Mark, Side, SwapPhase
from safeharbor_backup.uploads.own_stage import open_stage
from safeharbor_backup.uploads.staging import StageReplaced, stage_path
from safeharbor_backup.uploads.unfinished_stage import remove_unfinished
from safeharbor_backup.uploads.walk import count_entries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from safeharbor_backup.state.restore_parts import UploadsPart
    from safeharbor_backup.state.restore_record import RestoreRecord
    from safeharbor_backup.uploads.staging import Stage

# what a mount says whose server, disk or program is gone
_DEAD = frozenset(
    {errno.ENOTCONN, errno.ESTALE, errno.EIO, errno.ENODEV, errno.ENXIO, errno.ETIMEDOUT}
    | {errno.ECONNABORTED, errno.ECONNREFUSED, errno.EHOSTDOWN, errno.EHOSTUNREACH}
)


class UploadStages(dict[str, "Stage"]):
    """Those that are there, by the paths of their uploads, held open."""

    def mark(self, part: UploadsPart) -> Mark:
        """How far the exchange of a directory is. Raises RestorePending if only its stage says so, unreadably."""
        if part.mark is not None:
            return part.mark
        stage = self.get(part.path)
        found = stage.read_marker()[0] if stage is not None else None
        if found is None and stage is not None:
            raise RestorePending(f"The marker in {stage.path} cannot be read: it says how far the restore came.")
        return found or Mark(Side.OLD, SwapPhase.AT_REST)

    def are_at(self, record: RestoreRecord, side: Side) -> bool:
        """Whether this side is live as a whole in every directory."""
        return all(self.mark(part) == Mark(side, SwapPhase.AT_REST) for part in record.uploads)

    def lacking(self, record: RestoreRecord, side: Side) -> list[UploadsPart]:
        """Those directories whose stage is gone, so that this side cannot be brought in there."""
        rest = Mark(side, SwapPhase.AT_REST)
        return [part for part in record.uploads if part.path not in self and self.mark(part) != rest]

    def make_live(self, record: RestoreRecord, part: UploadsPart, side: Side, note: Callable[[Mark], None]) -> None:
        """Make a side of one directory live, from wherever it is; `note` remembers each point.

        Raises CannotRestore if its stage is gone, OSError.
        """
        mark, stage = self.mark(part), self.get(part.path)
        if mark == Mark(side, SwapPhase.AT_REST):
            return
        if stage is None:
            raise CannotRestore(f"The stage of restore {record.id} in {part.path} is gone.")
        stage.make_live(side, mark, note, frontier=part.frontier, stays=part.stays)

    def counted(self, record: RestoreRecord, side: Side) -> RestoreRecord:
        """The record with the number of entries that this side of each stage has now, while it is whole."""

        def count(part: UploadsPart) -> UploadsPart:
            stage = self.get(part.path)
            return part if stage is None else part.with_entries(side, count_entries(stage.side(side)))

        return record.with_parts(count)

    def changes(self, record: RestoreRecord) -> tuple[str, ...]:
        """What to say of the side that the record goes to, where it is not as it was when it was put aside."""
        found: list[str] = []
        for part in record.uploads:
            if (stage := self.get(part.path)) is not None:
                found += changes_of(stage, part, self.mark(part), record.towards)
        return tuple(found)

    def require_in_place(self) -> None:
        """Raises StageReplaced if somebody has moved one."""
        for stage in self.values():
            stage.require_in_place()

    def unseen(self, record: RestoreRecord) -> list[str]:
        """The directories whose stage may still be there and cannot be seen: their filesystem is not mounted.

        A stage that is gone from the filesystem that it was made on is gone for good.
        """
        return [part.path for part in record.uploads if part.path not in self and _may_be_unseen(part, record.id)]

    def remove(self, record: RestoreRecord, note: Callable[[RestoreRecord], object]) -> list[str]:
        """Delete all that can be; the directories whose stage cannot be seen, which are still to be done.

        `note` remembers what is left after each one. Raises StageReplaced if one is not there any more, and there is
        nothing that cannot be seen; OSError, StorageUnavailable.
        """
        lost, unseen = [], self.unseen(record)
        for part in record.uploads:
            stage = self.get(part.path)
            try:
                if stage is not None:
                    stage.remove()
                    record = record.without_uploads({part.path})
                    if record.uploads:  # else the whole record is taken out of the journal
                        note(record)
                elif part.stage is None:
                    remove_unfinished(Path(part.path), record.id)
            except StageReplaced as error:
                lost.append(error)
        if lost and not unseen:
            raise lost[0]
        return unseen


def _may_be_unseen(part: UploadsPart, restore_id: str) -> bool:
    uploads = Path(part.path)
    if part.stage is None or os.path.lexists(stage_path(uploads, restore_id)):
        return False
    try:
        found = os.stat(uploads)
    except OSError:
        return True
    return not stat.S_ISDIR(found.st_mode) or found.st_dev != part.stage.device


@contextmanager
def opened_stages(
    record: RestoreRecord,
    replaced: dict[str, StageReplaced] | None = None,
    dead: dict[str, OSError] | None = None,
) -> Iterator[UploadStages]:
    """The stages of a restore, without those that are gone.

    Where what is in the place of one is not ours, that is raised, or put into `replaced`; the error of a mount that
    answers no more, into `dead`. Raises StageReplaced, OSError.
    """
    with ExitStack() as stack:
        stages = UploadStages()
        for part in record.uploads:
            if part.stage is None and part.mark is not None:
                continue  # it had not been made
            try:
                stage = open_stage(Path(part.path), record.id, part.stage)
            except (FileNotFoundError, NotADirectoryError):  # the uploads themselves are gone
                continue
            except StageReplaced as error:
                if replaced is None:
                    raise
                replaced[part.path] = error
                continue
            except OSError as error:
                if dead is None or error.errno not in _DEAD:
                    raise
                dead[part.path] = error
                continue
            if stage is not None:
                stack.callback(stage.close)
                stages[part.path] = stage
        yield stages
