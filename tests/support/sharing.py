"""Archives one after another, each sharing with the one before, as `backup` makes them but for the dump."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from safeharbor_backup.actions.backup.manifest_content import DumpRecord, SharedRecord, manifest_document
from safeharbor_backup.actions.backup.self_check import ArchiveWritten, prove_draft
from safeharbor_backup.archive.layout import DUMP_NAME, archive_name
from safeharbor_backup.archive.manifest import Manifest
from safeharbor_backup.archive.manifest_json import encode_manifest
from safeharbor_backup.archive.runs import block_size_of
from safeharbor_backup.archive.writer import ArchiveWriter
from safeharbor_backup.postgres.client_tools import ClientTools
from safeharbor_backup.postgres.snapshot import DatabaseProperties
from safeharbor_backup.progress import NoProgress, Progress
from safeharbor_backup.settings.upload_dirs import UploadDir
from safeharbor_backup.system.atomic_file import published_whole
from safeharbor_backup.uploads.collect import Collected, write_uploads
from safeharbor_backup.uploads.next_index import recording
from safeharbor_backup.uploads.sharing import remembered
from support.archives import DUMP, TAKEN_AT
from support.settings import settings_of

if TYPE_CHECKING:
    from collections.abc import Callable

SECOND_NS = 10**9


@dataclass(frozen=True)
class Taken:
    """An archive that was taken, proven and published."""

    path: Path
    manifest: Manifest
    collected: Collected
    cloned_bytes: int
    why_not: str
    notes: tuple[str, ...]
    written: ArchiveWritten


class Chain:
    """Backups of one tree into one directory; `clock` stands for the wall clock, in nanoseconds."""

    def __init__(self, place: Path, clock: Callable[[], int]) -> None:
        self.uploads = place / "uploads"
        self.backups = place / "backups"
        self.uploads.mkdir()
        self.backups.mkdir()
        self.settings = settings_of(upload_dirs=(UploadDir(self.uploads),), backup_dir=self.backups)
        self.clock = clock
        self.count = 0

    def take(self, *, full: bool = False, progress: Progress | None = None) -> Taken:
        """The next one, the dump excepted, in the steps of a backup."""
        self.count += 1
        path = self.backups / archive_name(TAKEN_AT + timedelta(seconds=self.count))
        notes: list[str] = []
        with (
            remembered(self.backups, self.settings, full=full, clock=self.clock) as sharing,
            recording(self.backups, notes.append, self.clock) as index,
            published_whole(path) as draft,
        ):
            assert index is not None, notes
            # every archive bears the same moment, so that two of one tree can be compared
            writer = ArchiveWriter(draft.descriptor, self.backups, int(TAKEN_AT.timestamp()))
            try:
                size, sha256 = writer.write_dump([DUMP])
                collected = write_uploads(
                    writer, self.settings.upload_dirs, None, progress or NoProgress(), sharing.previous, index.begin()
                )
                shared = None
                if sharing.previous is not None and writer.cloned_bytes:
                    members = collected.shared_members
                    shared = SharedRecord(sharing.previous.name, members, writer.cloned_bytes)
                block_size = block_size_of(os.fstatvfs(draft.descriptor).f_bsize)
                record = DumpRecord(
                    size,
                    sha256,
                    "none",
                    ClientTools(self.backups, 17, "17.5"),
                    DatabaseProperties("reef", "7", "17.5", 17, 8_000_000),
                    {},
                    [],
                )

                def manifest_for(sums_sha256: str, list_sha256: str, sums_offset: int) -> bytes:
                    digests = (sums_sha256, list_sha256, sums_offset)
                    document = manifest_document(
                        TAKEN_AT, self.settings, record, writer.tally, collected.omissions, [],
                        block_size=block_size, digests=digests, shared=shared,
                    )  # fmt: skip
                    return encode_manifest(document)

                manifest = writer.finish(manifest_for)
                basis = sharing.front if shared is not None else None
                digests = {DUMP_NAME: sha256}
                written = ArchiveWritten(manifest, digests, writer.runs, writer.witness_sha256, shared, basis)
                cloned = writer.cloned_bytes
            finally:
                writer.close()
            draft.settle()
            prove_draft(draft, written, self.settings, NoProgress())
            index.describe(os.fstat(draft.descriptor), path.name, self.settings.upload_dirs, block_size, basis)
        return Taken(path, manifest, collected, cloned, sharing.why_not, tuple(notes), written)


def settled_clock() -> int:
    """A clock that is so far ahead that nothing that exists counts as just changed."""
    return real_clock() + 3 * SECOND_NS


def real_clock() -> int:
    """The wall clock."""
    return int(datetime.now(UTC).timestamp() * SECOND_NS)
