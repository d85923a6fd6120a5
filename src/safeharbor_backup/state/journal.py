"""What restores have done and left behind: one small file beside the archives, fsynced at each phase.

Only the journal says which directory in the uploads is a stage of ours, and how far a swap has come. Names and markers
elsewhere prove nothing: whoever can write to the uploads, or into the database, can make them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

from safeharbor_backup.errors import CannotRestore, SafeHarborError
from safeharbor_backup.state.restore_parts import Side, UploadsPart
from safeharbor_backup.state.restore_record import Phase, RestoreRecord
from safeharbor_backup.state.whole_journal import WholeJournal
from safeharbor_backup.system.atomic_file import fsync_directory, published_whole, sweep_drafts, write_all
from safeharbor_backup.system.documents import convert_exactly, dump_document, load_json
from safeharbor_backup.system.small_file import NotSmallFile, read_small_file
from safeharbor_backup.text import typed

if TYPE_CHECKING:
    from pathlib import Path

JOURNAL_NAME = ".safeharbor-restore.json"
_LIMIT_BYTES = 64 * 1024 * 1024  # the paths of entries that stay are in it: up to 100,000 of each directory
CURRENT_SCHEMA = 4


class JournalBroken(SafeHarborError):
    """The journal cannot be read as one."""

    def _usual_hint(self) -> str:
        undo = typed("restore --undo")
        return f"Move it away. `{undo}` then lists what it finds by names, and decides nothing by itself."


@dataclass(frozen=True, slots=True)
class JournalDocument:
    """The whole file: restores that were interrupted or that keep a previous state, the oldest first."""

    schema: int
    restores: tuple[RestoreRecord, ...]


@dataclass(frozen=True, slots=True)
class _Version:
    schema: int = 1


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
        uploads = (UploadsPart(self.uploads, mark=None),) if self.uploads else ()
        return RestoreRecord(
            **same, live=live, towards=live.other, by_undo=self.was_live, has_been_live=self.was_live, uploads=uploads
        )


_OF_SCHEMA_1 = ("is_undone", "was_live", "uploads")
# what schema 2 had in the record itself: there was one directory of uploads, whose path was `uploads`, or none
_OF_UPLOADS = ("stage", "mark", "frontier", "stays", "old_entries", "new_entries")


def _upgraded(document: object, schema: int) -> object:
    """A document of schema 2 or 3 as it is written today; what is none comes back as it is."""
    records = document.get("restores") if isinstance(document, dict) else None
    if schema == CURRENT_SCHEMA or not isinstance(records, list):
        return document
    if not all(isinstance(each, dict) for each in records):
        return document
    if schema == 2:
        records = [_with_parts(each) for each in records]
    return {"schema": CURRENT_SCHEMA, "restores": [{**each, "others": []} for each in records]}


def _with_parts(record: dict[str, object]) -> dict[str, object]:
    part = {name: record[name] for name in _OF_UPLOADS if name in record}
    path = record.get("uploads")
    return {**record, "uploads": [{"path": path, "name": "", **part}] if path else []}


@dataclass(frozen=True, slots=True)
class _JournalOfSchema1:
    restores: tuple[_RecordOfSchema1, ...]


class Journal:
    """The restores that `directory` knows of, in the order in which they were done."""

    def __init__(self, directory: Path, limit_bytes: int = _LIMIT_BYTES) -> None:
        self.path = directory / JOURNAL_NAME
        self._limit = limit_bytes

    def read(self) -> tuple[RestoreRecord, ...]:
        """All records. Raises JournalBroken, OSError."""
        try:
            data = read_small_file(self.path, self._limit)
        except FileNotFoundError:
            return ()
        except NotSmallFile as error:
            raise JournalBroken(f"{self.path} is damaged: {error.strerror}.") from None
        try:
            document = load_json(data)
            schema = convert_exactly(document, _Version).schema
            if schema == 1:
                return tuple(record.upgraded() for record in convert_exactly(document, _JournalOfSchema1).restores)
            if schema > CURRENT_SCHEMA:
                raise JournalBroken(
                    f"{self.path} was written by a newer Safe Harbor, as schema {schema}.",
                    hint=f"Run this with that version. This one reads schemas up to {CURRENT_SCHEMA}.",
                    intact="Nothing was changed.",
                )
            document = _upgraded(document, schema)
            convert_exactly(document, WholeJournal)
            return convert_exactly(document, JournalDocument).restores
        except ValueError:
            raise JournalBroken(f"{self.path} is damaged.") from None

    def find(self, restore_id: str) -> RestoreRecord | None:
        """The record of a restore. Raises JournalBroken, OSError."""
        return next((record for record in self.read() if record.id == restore_id), None)

    def write(self, record: RestoreRecord) -> RestoreRecord:
        """Add or replace this record, on the disk when this returns.

        Raises CannotRestore if it would become too large to be read again, OSError, StorageUnavailable.

        A new one comes last, whatever its id: ids are of a clock that may have been set back.
        """
        records = list(self.read())
        at = next((number for number, each in enumerate(records) if each.id == record.id), len(records))
        records[at : at + 1] = [record]
        self._publish(records)
        return record

    def advance(self, record: RestoreRecord, phase: Phase) -> RestoreRecord:
        """The record in another phase, written."""
        return self.write(replace(record, phase=phase))

    def remove(self, restore_id: str) -> None:
        """Forget a restore of which nothing is left, for good when this returns. Raises OSError, StorageUnavailable."""
        left = [record for record in self.read() if record.id != restore_id]
        if left:
            self._publish(left)
        else:
            self.path.unlink(missing_ok=True)
            fsync_directory(self.path.parent)  # a power cut must not bring it back

    def sweep(self) -> None:
        """Remove what a killed run left of it; the caller holds the directory's lock. Raises OSError."""
        sweep_drafts(self.path.parent, re.compile(re.escape(self.path.name)))

    def _publish(self, records: list[RestoreRecord]) -> None:
        data = dump_document(JournalDocument(CURRENT_SCHEMA, tuple(records)), indent=1).encode() + b"\n"
        staging = any(record.phase is Phase.STAGING for record in records)
        if len(data) > self._limit - staging * self._limit // 64:  # the exchange that is to come adds to it
            raise CannotRestore(
                f"{self.path} would become too large to be read again ({len(data):,} bytes): it has the path of each "
                "entry that is left out of backups and stays in the uploads.",
                hint="In BACKUP_EXCLUDE, give patterns of whole directories, not of the files in them. What kept "
                f"states have in it goes with `{typed('restore --discard-previous')}`.",
                intact="The journal is as it was.",
            )
        with published_whole(self.path, replace=True) as draft:  # `sweep` is for whoever has the lock
            write_all(draft.descriptor, data)


def find_interrupted(directory: Path) -> RestoreRecord | None:
    """The restore in `directory` that was interrupted, or is running now. Raises JournalBroken, OSError."""
    return next((record for record in Journal(directory).read() if record.is_interrupted), None)
