"""Writes an archive: rows looked at, dump and uploads in turn or at the same time, references, manifest."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from safeharbor_backup.actions.backup.dump_part import DumpPart
from safeharbor_backup.actions.backup.inventory import take_inventory
from safeharbor_backup.actions.backup.manifest_content import OtherRecord, SharedRecord, manifest_document
from safeharbor_backup.actions.backup.own_restore import find_refusals
from safeharbor_backup.actions.backup.self_check import ArchiveWritten, prove_uploads_in_parallel
from safeharbor_backup.actions.references import Gathered
from safeharbor_backup.archive.layout import dump_name
from safeharbor_backup.archive.manifest_json import encode_manifest
from safeharbor_backup.archive.parallel_dump import reserve_dump_region
from safeharbor_backup.archive.runs import block_size_of
from safeharbor_backup.archive.writer import ArchiveWriter
from safeharbor_backup.postgres.connection import answering
from safeharbor_backup.postgres.dump import NOTHING, LeftOut
from safeharbor_backup.settings.min_free import Floor
from safeharbor_backup.settings.upload_dirs import describe_dirs
from safeharbor_backup.system.signals import signals_held
from safeharbor_backup.uploads.collect import write_uploads

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from safeharbor_backup.actions.backup.manifest_content import DumpRecord
    from safeharbor_backup.actions.backup.plan import BackupPlan
    from safeharbor_backup.actions.backup.sources import OtherSource, Sources
    from safeharbor_backup.actions.steps import Steps
    from safeharbor_backup.archive.parallel_dump import DumpRegion
    from safeharbor_backup.progress import Progress
    from safeharbor_backup.system.atomic_file import Draft
    from safeharbor_backup.uploads.collect import Collected
    from safeharbor_backup.uploads.next_index import Recording
    from safeharbor_backup.uploads.reference_paths import References


def write_archive(
    plan: BackupPlan, sources: Sources, draft: Draft, taken_at: datetime, index: Recording | None, steps: Steps
) -> ArchiveWritten:
    """Everything, from the front to the end. `index` takes what the next backup is to know of the uploads.

    Raises SafeHarborError, OSError, psycopg.Error.
    """
    with ExitStack() as until_written:
        with signals_held():  # one that came in between would leave the writer's own file open
            floor = Floor(draft.descriptor, plan.directory, plan.settings.min_free)
            writer = ArchiveWriter(draft.descriptor, plan.directory, int(taken_at.timestamp()), floor.require)
            until_written.callback(writer.close)
            references = Gathered(plan.directory)
            until_written.callback(references.close)
        return _Writing(plan, sources, draft, index, steps, writer, references).write(taken_at)


@dataclass(frozen=True, slots=True)
class _Writing:
    """An archive being written."""

    plan: BackupPlan
    sources: Sources
    draft: Draft
    index: Recording | None
    steps: Steps
    writer: ArchiveWriter
    gathered: Gathered
    others: list[OtherRecord] = field(default_factory=list)  # as they are dumped

    def write(self, taken_at: datetime) -> ArchiveWritten:
        steps, writer, sharing = self.steps, self.writer, self.sources.sharing
        dump, collected, shared = self._write_parts()
        writer.flush()
        source, settings = self.sources.dump.session, self.plan.settings
        steps.warn(*find_refusals(self.draft.descriptor, dump, source, settings, steps.progress.note))
        for other, record in zip(self.sources.others, self.others, strict=True):
            beside = other.dump.session
            found = find_refusals(self.draft.descriptor, record.dump, beside, settings, steps.progress.note)
            steps.warn(*(f"{other.name}: {each}" for each in found))
        omissions = collected.omissions
        steps.warn(*omissions.warnings())
        if not (dump.tables or writer.tally.files or any(each.dump.tables for each in self.others)):
            steps.warn(self._say_empty(dump))
        references = self._check_references()
        block_size = block_size_of(os.fstatvfs(self.draft.descriptor).f_bsize)

        def manifest_for(sums_sha256: str, list_sha256: str, sums_offset: int) -> bytes:
            return encode_manifest(
                manifest_document(
                    taken_at,
                    self.plan.settings,
                    dump,
                    writer.tally,
                    omissions,
                    steps.warnings,
                    block_size=block_size,
                    digests=(sums_sha256, list_sha256, sums_offset),
                    shared=shared,
                    references=references,
                    owners=collected.owners,
                    app_data=self.sources.app_data,
                    others=self.others,
                )
            )

        manifest = writer.finish(manifest_for)
        basis = sharing.front if shared is not None else None
        digests = {dump_name(""): dump.sha256} | {dump_name(each.name): each.dump.sha256 for each in self.others}
        return ArchiveWritten(manifest, digests, writer.runs, writer.witness_sha256, shared, basis, writer.moved_bytes)

    def _say_empty(self, dump: DumpRecord) -> str:
        """That there is nothing to back up, as before an app's first migration, or in a database that nobody meant."""
        return (
            f'this archive has no table and no upload: the database "{dump.properties.name}" and the uploads '
            f"({describe_dirs(self.plan.settings.upload_dirs)}) are empty, or the settings name the wrong ones"
        )

    def _write_parts(self) -> tuple[DumpRecord, Collected, SharedRecord | None]:
        """The dump and the uploads, at the same time where that is possible and worth it."""
        plan, source, steps = self.plan, self.sources.dump, self.steps
        with steps.phase("rows"):
            among = 1 + len(self.sources.others)
            inventory = take_inventory(source.snapshot, among)
            self.gathered.gather(plan.settings.upload_references, source.snapshot.values)
        if inventory.warning:
            steps.warn(inventory.warning)
        if self.sources.sharing.note:
            steps.progress.note(self.sources.sharing.note)
        left_out = LeftOut(plan.settings.exclude_schema, plan.settings.exclude_table, plan.settings.exclude_table_data)
        part = DumpPart(source, inventory, left_out, plan.settings.lock_timeout_seconds, steps.progress)
        gap = None
        if not self.sources.sharing.may_share and plan.uploads and not self.sources.others:
            gap = reserve_dump_region(self.draft.descriptor, source.properties.size_bytes)
        return self._write_in_turn(part) if gap is None else self._write_beside(part, gap)

    def _write_in_turn(self, part: DumpPart) -> tuple[DumpRecord, Collected, SharedRecord | None]:
        with self.steps.phase("dump", self.plan.dump_bytes or self.sources.dump_bytes):
            dump = part.write(self.writer)
        self.sources.until_dumped.close()  # a snapshot that nobody needs holds back vacuum
        for other in self.sources.others:
            self.others.append(self._write_other(other))
        with self.steps.phase("uploads", self.sources.upload_bytes):
            return dump, *self._write_uploads(self.steps.progress)

    def _write_other(self, other: OtherSource) -> OtherRecord:
        """The dump of a database beside the main one, whole: what is excluded is excluded from that alone."""
        source, steps = other.dump, self.steps
        with answering(source.session, source.url):
            with steps.phase("rows"):
                inventory = take_inventory(source.snapshot, 1 + len(self.sources.others))
            if inventory.warning:
                steps.warn(f"{other.name}: {inventory.warning}")
            part = DumpPart(source, inventory, NOTHING, self.plan.settings.lock_timeout_seconds, steps.progress)
            with steps.phase("dump", other.dump_bytes(self.plan.previous)):
                record = part.write(self.writer, other.name)
            other.until_dumped.close()
        return OtherRecord(other.name, other.snapshot_at, record)

    def _write_beside(self, part: DumpPart, gap: DumpRegion) -> tuple[DumpRecord, Collected, SharedRecord | None]:
        writer, steps = self.writer, self.steps
        dump_bytes = self.plan.dump_bytes or self.sources.dump_bytes
        steps.progress.phase("dump and uploads", dump_bytes + self.sources.upload_bytes)
        with part.beside(self.draft.descriptor, gap, self.sources.until_dumped.close, writer.require_room) as beside:
            with signals_held():  # it opens a file, as the writer itself
                writer.begin_parallel(gap.start)
            with steps.timed("uploads"):
                collected, shared = self._write_uploads(beside)
                writer.flush()
            self._prove_apart(gap.start, lambda: beside.advance(0))
            gap.uploads_are_written()
            dump = beside.finish()
        steps.seconds["dump"] = round(beside.seconds, 3)
        with steps.timed("sync"):
            writer.join_dump(dump.size, dump.sha256, gap)
        return dump, collected, shared

    def _prove_apart(self, start: int, look_up: Callable[[], None]) -> None:
        """Prove the uploads where they stand, while the dump is on its way. Raises SafeHarborError, OSError."""
        with self.steps.timed("sync"):
            os.fsync(self.draft.descriptor)
        with self.steps.timed("verify"):
            prove_uploads_in_parallel(self.draft, start, self.writer, look_up)

    def _write_uploads(self, progress: Progress) -> tuple[Collected, SharedRecord | None]:
        previous, writer = self.sources.sharing.previous, self.writer
        recorder = self.index.begin() if self.index is not None else None
        collected = write_uploads(writer, self.plan.uploads, self.plan.is_excluded, progress, previous, recorder)
        if collected.refused:
            self.steps.progress.note(f"everything was read: {collected.refused}")
        if previous is None or not writer.cloned_bytes:
            return collected, None
        return collected, SharedRecord(previous.name, collected.shared_members, writer.cloned_bytes)

    def _check_references(self) -> References | None:
        """What columns name, and what is not among the uploads that were written."""
        if not self.plan.settings.upload_references:
            return None
        tally = self.writer.tally
        with self.steps.phase("references"):
            found = self.gathered.check(tally.lines(), self.plan.uploads, has_links=tally.links > 0)
        self.steps.warn(*found.warnings("this archive"))
        return found
