"""One restore as the journal has it: how far it came, which side is live, and what it keeps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from safeharbor_backup.errors import RestorePending
from safeharbor_backup.postgres.side_names import side_database
from safeharbor_backup.state.restore_parts import DatabasePart, Side, UploadsPart
from safeharbor_backup.text import typed

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence


class Phase(StrEnum):
    """How far a restore has come."""

    STAGING = "staging"  # nothing live has changed
    SWAPPING = "swapping"  # the database may be closed, uploads may be on their way
    KEPT = "kept"  # finished; the other state is kept and can be brought back
    REMOVING = "removing"  # a stage that never became live is being deleted
    DISCARDING = "discarding"  # the other state is being deleted


@dataclass(frozen=True, slots=True)
class RestoreRecord:
    """One restore. Names of databases are "" and `uploads` is empty where that part was not restored. Sizes in bytes.

    `live`: the side that was live when last at rest. `towards`: the side that the last command goes to, `by_undo` if
    that command was an undo. `has_been_live`: the restored state has been live at some time. `accepts_broken` and
    `accepts_open`: so that a resume accepts what the restore did. `had_database`: there was one to keep. `old_oid` and
    `new_oid`: the numbers of both databases, which they keep under any name; 0 before the swap began. `transaction`:
    the id of the one transaction of a restore in place, "" before it began or if there is none. `uploads`: the
    directories, all of which go to the same side. `others`: the databases beside the main one, which are exchanged in
    the same transaction.
    """

    id: str
    started_at: str
    archive: str
    phase: Phase
    in_place: bool = False
    live: Side = Side.OLD
    towards: Side = Side.NEW
    by_undo: bool = False
    has_been_live: bool = False
    keep_previous: bool = True
    accepts_broken: bool = False
    accepts_open: bool = False
    jobs: int = 1
    server: str = ""
    database: str = ""
    had_database: bool = True
    old_oid: int = 0
    new_oid: int = 0
    transaction: str = ""
    others: tuple[DatabasePart, ...] = ()
    uploads: tuple[UploadsPart, ...] = ()
    kept_database_bytes: int = 0
    kept_uploads_bytes: int = 0
    slots: int = 0

    @property
    def databases(self) -> tuple[DatabasePart, ...]:
        """All databases, the main one first."""
        main = DatabasePart(self.database, "", self.had_database, self.old_oid, self.new_oid)
        return (main, *self.others) if self.database else ()

    @property
    def exchanged(self) -> tuple[DatabasePart, ...]:
        """The same, if they are exchanged with others; none of a restore in place."""
        return () if self.in_place else self.databases

    def with_databases(self, parts: Sequence[DatabasePart]) -> RestoreRecord:
        """The same with other numbers of its databases."""
        main, *others = parts
        return replace(self, old_oid=main.old_oid, new_oid=main.new_oid, others=tuple(others))

    def beside(self, part: DatabasePart, side: Side) -> str:
        """The name that one side's database has while it is not live.

        Of the new one that is before the swap, and after an undo; of the old one after the swap.
        """
        return side_database(part.database, "restore" if side is Side.NEW else "before", self.id)

    @property
    def staged_database(self) -> str:
        """That of the new main database; "" if there is none."""
        return self.beside(self.exchanged[0], Side.NEW) if self.exchanged else ""

    @property
    def previous_database(self) -> str:
        """That of the old main database; "" if there is none."""
        return self.beside(self.exchanged[0], Side.OLD) if self.exchanged else ""

    @property
    def kept_databases(self) -> tuple[str, ...]:
        """The names of the databases beside the live ones, when at rest: what a discard deletes."""
        side = self.live.other
        return tuple(self.beside(part, side) for part in self.exchanged if part.had_database or side is Side.NEW)

    def oid(self, side: Side) -> int:
        """The number of that side's main database; 0 if it is not known."""
        return self.new_oid if side is Side.NEW else self.old_oid

    @property
    def keeps_anything(self) -> bool:
        """Whether there is a state beside the live one, when at rest."""
        return bool(self.uploads) or any(part.had_database for part in self.exchanged)

    def with_parts(self, change: Callable[[UploadsPart], UploadsPart]) -> RestoreRecord:
        """The same with each directory of uploads changed."""
        return replace(self, uploads=tuple(map(change, self.uploads)))

    def with_part(self, part: UploadsPart) -> RestoreRecord:
        """The same with another state of one directory of uploads."""
        return self.with_parts(lambda each: part if each.path == part.path else each)

    def without_uploads(self, paths: Collection[str]) -> RestoreRecord:
        """As if these directories had been no part of it: their stages are lost, and they stay as they are."""
        left = tuple(part for part in self.uploads if part.path not in paths)
        return replace(self, uploads=left, kept_uploads_bytes=self.kept_uploads_bytes if left else 0)

    def without_database(self) -> RestoreRecord:
        """As if it had been of the uploads alone: its databases stay as they are."""
        return replace(self, database="", server="", in_place=False, transaction="", others=(), kept_database_bytes=0)

    @property
    def is_undone(self) -> bool:
        """Whether the restored state is the one that is kept beside the live one."""
        return self.live is Side.OLD

    @property
    def is_interrupted(self) -> bool:
        """Whether it waits for `--resume` or `--undo`, if nobody is at work on it."""
        return self.phase in (Phase.STAGING, Phase.SWAPPING)

    @property
    def is_being_deleted(self) -> bool:
        """Whether what it has left is being deleted; any restore goes on with that."""
        return self.phase in (Phase.REMOVING, Phase.DISCARDING)

    def describe(self, side: Side) -> str:
        """One of its states, in words for the operator."""
        if side is Side.NEW:
            return f"the restored data, of {self.archive}"
        return f"the data from before the restore of {self.started_at}"

    def pending_error(self) -> RestorePending:
        """The error that says what was interrupted, whether anything changed, and what each choice ends in."""
        if self.phase is Phase.STAGING:
            return RestorePending(
                f"The restore {self.id} of {self.archive} was interrupted while it was still preparing. "
                "The live database and uploads are as they were.",
                hint=f"`{typed('restore --undo')}` removes what it had prepared. "
                f"`{typed('restore --resume')}` does the restore again.",
            )
        if self.in_place:
            return RestorePending(
                f"The restore {self.id} of {self.archive}, in place, was interrupted. Its one transaction was "
                "committed or rolled back as a whole.",
                hint=f"`{typed('restore --resume')}` asks the server whether it was committed, brings the uploads to "
                f"the same state, and does the restore again if it was not. `{typed('restore --undo')}` does the same "
                "without doing it again.",
            )
        if self.by_undo:
            return RestorePending(
                f"The undo of restore {self.id} was interrupted while it exchanged the data.",
                hint=f"`{typed('restore --undo')}`, typed again, finishes it, and so does `--resume`. "
                f"Live will be: {self.describe(self.towards)}.",
            )
        return RestorePending(
            f"The restore {self.id} of {self.archive} was interrupted while it exchanged the data.",
            hint=f"`{typed('restore --resume')}` finishes it; live will be: {self.describe(Side.NEW)}. "
            f"`{typed('restore --undo')}` goes back; live will be: {self.describe(Side.OLD)}.",
        )
