"""Proof of an archive that a backup has just written, before it gets its name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from safeharbor_backup.actions.verify import verify_source
from safeharbor_backup.archive.read_back import prove_uploads, prove_written
from safeharbor_backup.archive.source import Source
from safeharbor_backup.errors import SafeHarborError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from safeharbor_backup.actions.backup.manifest_content import SharedRecord
    from safeharbor_backup.archive.index import IndexFront
    from safeharbor_backup.archive.manifest import Manifest
    from safeharbor_backup.archive.runs import RunList
    from safeharbor_backup.archive.writer import ArchiveWriter
    from safeharbor_backup.progress import Progress
    from safeharbor_backup.settings.model import Settings
    from safeharbor_backup.system.atomic_file import Draft


_LOOK_UP_BYTES = 8 * 1024 * 1024
_READ_AHEAD = 32 * 1024  # of a run only two headers are read, and what stands between runs may be short


@dataclass(frozen=True, slots=True)
class ArchiveWritten:
    """What was written into a draft; `basis` is the front of the index that blocks were shared by, if any were.

    `dump_sha256`: of each dump, in hex, by the name of its member. `moved` is by how many bytes the uploads came
    forward after they were written.
    """

    manifest: Manifest
    dump_sha256: Mapping[bytes, str]
    runs: RunList
    witness_sha256: str
    shared: SharedRecord | None
    basis: IndexFront | None
    moved: int = 0


def prove_draft(draft: Draft, written: ArchiveWritten, settings: Settings, progress: Progress) -> tuple[str, ...]:
    """Warnings, after everything that this run wrote was read back and compared; the dump was decoded while it came.

    Raises SafeHarborError if the archive would not restore.
    """
    source = Source(draft.descriptor, draft.path)
    if len(written.runs):
        warnings: tuple[str, ...] = ()
        source = Source(draft.descriptor, draft.path, _READ_AHEAD)
        problems = prove_written(source, written.runs, written.witness_sha256, progress.advance)
    else:
        proof = verify_source(source, settings, progress=progress, decoded_sha256=written.dump_sha256)
        warnings, problems = proof.warnings, proof.problems
    _require_none(problems)
    return warnings


def prove_uploads_in_parallel(draft: Draft, start: int, writer: ArchiveWriter, look_up: Callable[[], None]) -> None:
    """Read back the uploads that stand behind the gap and were forced to the disk; `look_up` is called now and then.

    Raises SafeHarborError if they are not what was written.
    """
    source = Source(draft.descriptor, draft.path)
    unseen = 0

    def advance(size: int) -> None:
        nonlocal unseen
        unseen += size
        if unseen >= _LOOK_UP_BYTES:
            unseen = 0
            look_up()

    _require_none(prove_uploads(source, start, writer.position, writer.witness_sha256, advance))


def _require_none(problems: tuple[str, ...]) -> None:
    if problems:
        raise SafeHarborError(
            f"The archive was written, but it would not restore: {'; '.join(problems[:3])}.",
            hint="If this happens again, the disk, the memory or pg_dump is broken. Nothing was published.",
        )
