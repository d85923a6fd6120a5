"""What restores have done and left behind: one small file beside the archives, fsynced at each phase.

It alone says which directory in the uploads is a stage of ours, and how far a swap has come: whoever can write to the
uploads, or into the database, can make names and markers of any kind there.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from safeharbor_backup.errors import RestorePending, SafeHarborError
from safeharbor_backup.postgres.side_names import side_database
from safeharbor_backup.system.atomic_file import fsync_directory, published_whole, sweep_drafts, write_all
from safeharbor_backup.system.documents import convert_exactly, dump_document, load_json
from safeharbor_backup.system.small_file import NotSmallFile, read_small_file
from safeharbor_backup.text import typed

if TYPE_CHECKING:
    from pathlib import Path

JOURNAL_NAME = ".safeharbor-restore.json"
_LIMIT_BYTES = 64 * 1024 * 1024  # a hundred thousand entries that stay have their paths in it
CURRENT_SCHEMA = 2


class Phase(StrEnum):
    """How far a restore has come."""

    STAGING = "staging"  # nothing live has changed
    SWAPPING = "swapping"  # the database may be closed, uploads may be on their way
    KEPT = "kept"  # finished; the other state is kept and can be brought back
    REMOVING = "removing"  # a stage that never became live is being deleted
    DISCARDING = "discarding"  # the other state is being deleted


class Side(StrEnum):
    """One of the two states of a restore."""

    NEW = "new"  # what was restored
    OLD = "old"  # what was live before

    @property
    def other(self) -> Side:
        """The other one."""
        return Side.OLD if self is Side.NEW else Side.NEW


class Leg(StrEnum):
    """How far the last exchange of uploads has come."""

    AT_REST = "at rest"  # one side is live as a whole, the other one in the stage
    OUT = "out"  # live entries are being moved out
    IN = "in"  # the other side's entries are being moved in


@dataclass(frozen=True, slots=True)
class Mark:
    """`going` is the side that the last exchange of uploads brings in, or has brought in."""

    going: Side
    leg: Leg


@dataclass(frozen=True, slots=True)
class StageIdentity:
    """What tells the stage in the uploads from whatever somebody else puts in its place.

    `inode`, `new` and `old` are inode numbers of the stage and of its two sides; `device` and `owner` are those that
    it was made with. `secret_sha256` is the hash of the secret in its marker, in hexadecimal digits.
    """

    device: int
    inode: int
    new: int
    old: int
    owner: int
    secret_sha256: str


class JournalBroken(SafeHarborError):
    """The journal cannot be read as one."""

    def _usual_hint(self) -> str:
        undo = typed("restore --undo")
        return f"Move it away. `{undo}` then lists what it finds by names, and decides nothing by itself."


@dataclass(frozen=True, slots=True)
class RestoreRecord:
    """One restore. Names of databases are "" and `uploads` is "" where that part was not restored. Sizes in bytes.

    `live`: the side that was live when last at rest. `towards`: the side that the last command goes to, `by_undo` if
    that command was an undo. `has_been_live`: the restored state has been live at some time. `accepts_broken` and
    `accepts_open`: so that a resume accepts what the restore did. `had_database`: there was one to keep. `old_oid` and
    `new_oid`: the numbers of both databases, which they keep under any name; 0 before the swap began. `transaction`:
    the id of the one transaction of a restore in place, "" before it began or if there is none. `mark`: how far the
    exchange of uploads is; None in a record of the first version, whose stage has it. `frontier` and `stays` are paths
    below the uploads: directories whose entries are exchanged one by one, and entries that stay where they are.
    `old_entries` and `new_entries`: how many there were in each side of the stage when it was last whole; -1: unknown.
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
    uploads: str = ""
    stage: StageIdentity | None = None
    mark: Mark | None = Mark(Side.OLD, Leg.AT_REST)
    frontier: tuple[str, ...] = ()
    stays: tuple[str, ...] = ()
    old_entries: int = -1
    new_entries: int = -1
    kept_database_bytes: int = 0
    kept_uploads_bytes: int = 0
    slots: int = 0

    @property
    def staged_database(self) -> str:
        """The name of the new database before the swap, and of the restored one after an undo."""
        return side_database(self.database, "restore", self.id) if self.database and not self.in_place else ""

    @property
    def previous_database(self) -> str:
        """The name of the database that was live before the restore, after the swap."""
        return side_database(self.database, "before", self.id) if self.database and not self.in_place else ""

    def oid(self, side: Side) -> int:
        """The number of that side's database; 0 if it is not known."""
        return self.new_oid if side is Side.NEW else self.old_oid

    def entries(self, side: Side) -> int:
        """How many entries that side of the stage had when it was last whole; -1 if that is not known."""
        return self.new_entries if side is Side.NEW else self.old_entries

    def with_entries(self, side: Side, count: int) -> RestoreRecord:
        """The same with that many entries in that side of the stage."""
        return replace(self, new_entries=count) if side is Side.NEW else replace(self, old_entries=count)

    @property
    def kept_database(self) -> str:
        """The name of the database that is kept, when at rest."""
        return self.staged_database if self.live is Side.OLD else self.previous_database

    @property
    def keeps_anything(self) -> bool:
        """Whether there is a state beside the live one, when at rest."""
        return bool(self.uploads) or bool(self.database and not self.in_place and self.had_database)

    def without_uploads(self) -> RestoreRecord:
        """As if it had been of the database alone: its stage is lost, and the uploads stay as they are."""
        rest = Mark(Side.OLD, Leg.AT_REST)
        return replace(self, uploads="", stage=None, mark=rest, frontier=(), stays=(), kept_uploads_bytes=0)

    def without_database(self) -> RestoreRecord:
        """As if it had been of the uploads alone: its databases stay as they are."""
        return replace(self, database="", server="", in_place=False, transaction="", kept_database_bytes=0)

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
                f"The restore {self.id} of {self.archive}, in place, was interrupted. Its one transaction has decided.",
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


@dataclass(frozen=True, slots=True)
class JournalDocument:
    """The whole file."""

    schema: int
    restores: tuple[RestoreRecord, ...]


@dataclass(frozen=True, slots=True)
class _Version:
    schema: int = 1


@dataclass(frozen=True, slots=True)
class _WholeRecord:
    """What each record has that we have written: what has a default in the program must not be made up here."""

    live: Side
    towards: Side
    frontier: tuple[str, ...]
    stays: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _WholeJournal:
    restores: tuple[_WholeRecord, ...]


@dataclass(frozen=True, slots=True)
class _RecordOfSchema1:
    """A record of version 0.1.0's first journals: two booleans said which side was live, the stage how far it was."""

    id: str
    started_at: str
    archive: str
    phase: Phase
    in_place: bool = False
    keep_previous: bool = True
    jobs: int = 1
    server: str = ""
    database: str = ""
    had_database: bool = True
    transaction: str = ""
    uploads: str = ""
    kept_database_bytes: int = 0
    kept_uploads_bytes: int = 0
    slots: int = 0
    is_undone: bool = True
    was_live: bool = True

    def upgraded(self) -> RestoreRecord:
        """As it is written today."""
        live = Side.OLD if self.is_undone else Side.NEW
        same = {each.name: getattr(self, each.name) for each in fields(self) if each.name not in _OF_SCHEMA_1}
        return RestoreRecord(
            **same, live=live, towards=live.other, by_undo=self.was_live, has_been_live=self.was_live, mark=None
        )


_OF_SCHEMA_1 = ("is_undone", "was_live")


@dataclass(frozen=True, slots=True)
class _JournalOfSchema1:
    restores: tuple[_RecordOfSchema1, ...]


class Journal:
    """The restores that `directory` knows of, oldest first."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / JOURNAL_NAME

    def read(self) -> tuple[RestoreRecord, ...]:
        """All records. Raises JournalBroken, OSError."""
        try:
            data = read_small_file(self.path, _LIMIT_BYTES)
        except FileNotFoundError:
            return ()
        except NotSmallFile as error:
            raise JournalBroken(f"{self.path} is damaged: {error.strerror}.") from None
        try:
            document = load_json(data)
            if convert_exactly(document, _Version).schema == 1:
                return tuple(record.upgraded() for record in convert_exactly(document, _JournalOfSchema1).restores)
            convert_exactly(document, _WholeJournal)
            return convert_exactly(document, JournalDocument).restores
        except ValueError:
            raise JournalBroken(f"{self.path} is damaged.") from None

    def find(self, restore_id: str) -> RestoreRecord | None:
        """The record of a restore. Raises JournalBroken, OSError."""
        return next((record for record in self.read() if record.id == restore_id), None)

    def write(self, record: RestoreRecord) -> RestoreRecord:
        """Add or replace this record, on the disk when this returns. Raises OSError, StorageUnavailable."""
        others = [each for each in self.read() if each.id != record.id]
        self._publish(sorted([*others, record], key=lambda each: each.id))
        return record

    def advance(self, record: RestoreRecord, phase: Phase) -> RestoreRecord:
        """The record in another phase, written."""
        return self.write(replace(record, phase=phase))

    def remove(self, restore_id: str) -> None:
        """Forget a restore of which nothing is left, for good when this returns. Raises OSError, StorageUnavailable."""
        left = [record for record in self.read() if record.id != restore_id]
        if left:
            self._publish(left)
        elif os.path.lexists(self.path):
            os.unlink(self.path)
            fsync_directory(self.path.parent)  # a power cut must not bring it back

    def sweep(self) -> None:
        """Remove what a killed run left of it; the caller holds the directory's lock. Raises OSError."""
        sweep_drafts(self.path.parent, re.compile(re.escape(self.path.name)))

    def _publish(self, records: list[RestoreRecord]) -> None:
        data = dump_document(JournalDocument(CURRENT_SCHEMA, tuple(records)), indent=1).encode() + b"\n"
        with published_whole(self.path, replace=True) as draft:  # `sweep` is for whoever has the lock
            write_all(draft.descriptor, data)


def find_interrupted(directory: Path) -> RestoreRecord | None:
    """The restore in `directory` that was interrupted, or is running now. Raises JournalBroken, OSError."""
    return next((record for record in Journal(directory).read() if record.is_interrupted), None)
