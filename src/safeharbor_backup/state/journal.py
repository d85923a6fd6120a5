"""What restores have done and left behind: one small file beside the archives, fsynced at each phase.

It alone says which directory in the uploads is a stage of ours, and how far a swap has come: whoever can write to the
uploads, or into the database, can make names and markers of any kind there.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

from safeharbor_backup.errors import SafeHarborError
from safeharbor_backup.state.restore_record import Phase, RestoreRecord, Side
from safeharbor_backup.system.atomic_file import fsync_directory, published_whole, sweep_drafts, write_all
from safeharbor_backup.system.documents import convert_exactly, dump_document, load_json
from safeharbor_backup.system.small_file import NotSmallFile, read_small_file
from safeharbor_backup.text import typed

if TYPE_CHECKING:
    from pathlib import Path

JOURNAL_NAME = ".safeharbor-restore.json"
_LIMIT_BYTES = 64 * 1024 * 1024  # a hundred thousand entries that stay have their paths in it
CURRENT_SCHEMA = 2


class JournalBroken(SafeHarborError):
    """The journal cannot be read as one."""

    def _usual_hint(self) -> str:
        undo = typed("restore --undo")
        return f"Move it away. `{undo}` then lists what it finds by names, and decides nothing by itself."


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
