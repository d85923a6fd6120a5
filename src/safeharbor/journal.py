"""What restores have done and left behind: one small file beside the archives, fsynced at each phase.

A restore that is neither kept nor gone from it was interrupted. Staging directories and databases bear the restore's
id, so that recovery works without this file too.
"""

from __future__ import annotations

import json
import os
import re
import time
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from safeharbor.errors import SafeHarborError
from safeharbor.publish import published_whole, sweep_drafts, write_all

if TYPE_CHECKING:
    from pathlib import Path

JOURNAL_NAME = ".safeharbor-restore.json"
_LIMIT_BYTES = 4 * 1024 * 1024


class Phase(StrEnum):
    """How far a restore has come."""

    STAGING = "staging"  # nothing live has changed
    SWAPPING = "swapping"  # the database may be closed, uploads may be on their way
    KEPT = "kept"  # finished; the other state is kept and can be brought back
    DISCARDING = "discarding"  # the other state is being deleted


class JournalBroken(SafeHarborError):
    """The journal cannot be read as one."""

    hint = "Move it away; `safeharbor restore --undo` then finds an interrupted restore by its names."


@dataclass(frozen=True, slots=True)
class RestoreRecord:
    """One restore. Names of databases are "" and `uploads` is "" where that part was not restored. Sizes in bytes.

    `is_undone`: when last at rest, the restored state was the one kept beside the live one, be it before the first
    swap or after an undo. `was_live`: it has been live at some time. `had_database`: there was one to keep.
    `transaction`: the id of the one transaction of a restore in place, "" before it began or if there is none.
    """

    id: str
    started_at: str
    archive: str
    phase: Phase
    in_place: bool = False
    is_undone: bool = True
    was_live: bool = True
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

    @property
    def staged_database(self) -> str:
        """The name of the new database before the swap, and of the restored one after an undo."""
        return side_database(self.database, "restore", self.id) if self.database and not self.in_place else ""

    @property
    def previous_database(self) -> str:
        """The name of the database that was live before the restore, after the swap."""
        return side_database(self.database, "before", self.id) if self.database and not self.in_place else ""

    @property
    def kept_database(self) -> str:
        """The name of the database that is kept, when at rest."""
        return self.staged_database if self.is_undone else self.previous_database

    @property
    def is_interrupted(self) -> bool:
        """Whether it waits for `--resume` or `--undo`, if nobody is at work on it."""
        return self.phase in (Phase.STAGING, Phase.SWAPPING)


def new_id() -> str:
    """An id for a restore: 12 hexadecimal digits that sort by time, to a tenth of a millisecond."""
    return f"{time.time_ns() // 100_000:012x}"


def side_database(live: str, side: str, restore_id: str) -> str:
    """The name of a database beside `live`, cut to PostgreSQL's 63 bytes, never in the middle of a character."""
    ending = f"_{side}_{restore_id}"
    base = live.encode()[: 63 - len("_restore_") - len(restore_id)].decode("utf-8", "ignore")
    return base + ending


class Journal:
    """The restores that `directory` knows of, oldest first."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / JOURNAL_NAME

    def read(self) -> tuple[RestoreRecord, ...]:
        """All records. Raises JournalBroken, OSError."""
        try:
            with open(os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
                data = file.read(_LIMIT_BYTES)
        except FileNotFoundError:
            return ()
        try:
            known = {field.name for field in fields(RestoreRecord)}
            return tuple(
                RestoreRecord(**{**{k: v for k, v in record.items() if k in known}, "phase": Phase(record["phase"])})
                for record in json.loads(data)["restores"]
            )
        except (ValueError, KeyError, TypeError, AttributeError):
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
        """Forget a restore of which nothing is left. Raises OSError, StorageUnavailable."""
        left = [record for record in self.read() if record.id != restore_id]
        if left:
            self._publish(left)
        elif os.path.lexists(self.path):
            os.unlink(self.path)

    def sweep(self) -> None:
        """Remove what a killed run left of it; the caller holds the directory's lock. Raises OSError."""
        sweep_drafts(self.path.parent, re.compile(re.escape(self.path.name)))

    def _publish(self, records: list[RestoreRecord]) -> None:
        document = {"schema": 1, "restores": [asdict(record) for record in records]}
        with published_whole(self.path, replace=True) as draft:
            write_all(draft.descriptor, json.dumps(document, indent=1).encode() + b"\n")


def find_interrupted(directory: Path) -> RestoreRecord | None:
    """The restore in `directory` that was interrupted, or is running now. Raises JournalBroken, OSError."""
    return next((record for record in Journal(directory).read() if record.is_interrupted), None)
