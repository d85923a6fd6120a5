"""Takes a backup: settings, locks, preflight, snapshot, dump, uploads, manifest, proof, publish, prune.

The archive exists under its name only after it has been read back and every digest compared. Whatever fails
before that leaves no archive, and the older ones untouched.
"""

from __future__ import annotations

import os
import re
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from safeharbor_backup.actions.backup.dump_part import DumpPart, DumpSource
from safeharbor_backup.actions.backup.manifest_content import DumpRecord, SharedRecord, manifest_document
from safeharbor_backup.actions.backup.own_restore import find_refusals
from safeharbor_backup.actions.backup.self_check import Written, prove_draft, prove_uploads_apart
from safeharbor_backup.actions.catalog.entries import find_candidates, newest_manifest
from safeharbor_backup.actions.diff import note_what_went
from safeharbor_backup.actions.preflight import (
    check_places,
    describe_hindrances,
    estimate_uploads,
    expected_upload_bytes,
    require_no_interrupted_restore,
    require_space,
)
from safeharbor_backup.actions.prune import PruneResult, prune_under_lock
from safeharbor_backup.actions.references import Gathered
from safeharbor_backup.actions.scratch_cleanup import sweep_leftovers
from safeharbor_backup.archive.layout import ARCHIVE_NAME, archive_name, time_in_name
from safeharbor_backup.archive.manifest import encode_manifest
from safeharbor_backup.archive.parallel_dump import plan_gap
from safeharbor_backup.archive.runs import block_size_of
from safeharbor_backup.archive.writer import ArchiveWriter
from safeharbor_backup.errors import SafeHarborError, translate_os_error
from safeharbor_backup.postgres.client_tools import choose_client_tools, find_client_tools, what_a_newer_client_costs
from safeharbor_backup.postgres.connection import backup_lock, bounded, pinned
from safeharbor_backup.postgres.dump import choose_compression
from safeharbor_backup.postgres.snapshot import open_snapshot
from safeharbor_backup.progress import NoProgress, Progress
from safeharbor_backup.settings.min_free import Floor
from safeharbor_backup.settings.model import Concern
from safeharbor_backup.system.atomic_file import published_whole, sweep_drafts
from safeharbor_backup.system.lock import directory_lock
from safeharbor_backup.system.signals import signals_held
from safeharbor_backup.uploads.collect import make_filter, write_uploads
from safeharbor_backup.uploads.sharing import Sharing, recording, remembered

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import psycopg

    from safeharbor_backup.archive.manifest import Manifest
    from safeharbor_backup.settings.model import Settings
    from safeharbor_backup.system.atomic_file import Draft
    from safeharbor_backup.uploads.collect import Collected
    from safeharbor_backup.uploads.reference_paths import References
    from safeharbor_backup.uploads.sharing import Recording


@dataclass(frozen=True, slots=True)
class BackupResult:
    """A backup that was taken, proven and published. Sizes in bytes.

    `seconds` has the time of each phase; phases can overlap, so `elapsed_seconds` may be less than their sum.
    """

    path: Path
    size: int
    taken_at: datetime
    tables: int
    rows: int
    upload_files: int
    upload_bytes: int
    seconds: dict[str, float]
    elapsed_seconds: float
    shared: SharedRecord | None
    warnings: tuple[str, ...]
    pruned: PruneResult | None
    notes: tuple[str, ...] = ()


def take_backup(
    settings: Settings,
    *,
    output: Path | None = None,
    prune: bool = True,
    full: bool = False,
    progress: Progress | None = None,
) -> BackupResult:
    """Take a backup into `output`, or under its own name into the backup directory; prune there if it went there.

    What has not changed since the archive before is shared with it where the filesystem can, unless `full`.
    Raises SafeHarborError; then there is no new archive and nothing else has changed.
    """
    settings.require(Concern.DATABASE, Concern.UPLOADS, Concern.DIRECTORY, Concern.DUMP)
    directory = output.absolute().parent if output is not None else settings.backup_dir
    try:
        check_places(settings, directory)
        with directory_lock(directory) as is_locked:
            require_no_interrupted_restore(settings)
            run = _Run(settings, output, directory, progress or NoProgress(), is_locked=is_locked)
            return run.take(prune=prune, full=full)
    except SafeHarborError as error:
        error.intact = _what_is_intact(directory)
        raise
    except OSError as error:
        failure = translate_os_error(error, "writing the archive")
        failure.intact = _what_is_intact(directory)
        raise failure from error


def plan_output(settings: Settings) -> str:
    """The first line of a run: what is backed up. Raises SettingsInvalid."""
    settings.require(Concern.DATABASE, Concern.UPLOADS, Concern.DIRECTORY, Concern.DUMP)
    uploads = settings.upload_dir if settings.upload_dir is not None else "none"
    return f"Backing up database {settings.database_address().describe()} and uploads {uploads}"


class _Run:
    """One run under the directory's lock."""

    def __init__(
        self, settings: Settings, output: Path | None, directory: Path, progress: Progress, *, is_locked: bool
    ) -> None:
        self._settings = settings
        self._url = bounded(settings.database_address(), settings)
        self._output = output.absolute() if output is not None else None
        self._directory = directory
        self._progress = progress
        self._is_excluded = make_filter(settings.exclude)
        self._warnings: list[str] = []
        self._seconds: dict[str, float] = {}
        self._started = time.monotonic()
        self._previous: Manifest | None = None
        self._sharing = Sharing()
        self._references = Gathered(directory)
        if not is_locked:
            self._warn(f"{directory} is on a filesystem without locks: nothing keeps two runs apart there")
        self._warn(*describe_hindrances(settings, self._is_excluded))

    def take(self, *, prune: bool, full: bool) -> BackupResult:
        names = re.compile(re.escape(self._output.name)) if self._output is not None else ARCHIVE_NAME
        for name in sweep_drafts(self._directory, names):
            self._progress.note(f"removed {name}, left behind by a run that was killed")
        with (
            backup_lock(self._url) as session,
            ExitStack() as until_dumped,
            ExitStack() as until_written,
        ):
            sweep_leftovers(self._settings, session, self._progress.note)
            path, taken_at = self._free_name()
            full = full or self._cannot_tell_age()
            self._sharing = until_written.enter_context(remembered(self._directory, self._settings, full=full))
            source = self._prepare(session, until_dumped)
            with (
                recording(self._directory, self._progress.note) as index,  # published after the archive that it is of
                published_whole(path, replace=self._output is not None) as draft,
            ):
                written = self._write(draft, taken_at, source, until_dumped, index)
                self._prove(draft, written)
                if index is not None:
                    block_size = written.manifest.block_size
                    status = os.fstat(draft.descriptor)
                    index.describe(status, path.name, self._settings, block_size, written.basis, written.moved)
                until_written.close()  # some shares replace no file that is open, as the index before is
        manifest = written.manifest
        is_in_backup_dir = os.path.realpath(path.parent) == os.path.realpath(self._settings.backup_dir)
        with self._phase("compare"):
            notes = note_what_went(path, self._progress) if is_in_backup_dir else ()
        pruned = self._prune(path.name) if prune and is_in_backup_dir else None
        return BackupResult(
            path=path,
            size=os.stat(path).st_size,
            taken_at=taken_at,
            tables=len(manifest.tables),
            rows=manifest.rows,
            upload_files=manifest.upload_files,
            upload_bytes=manifest.upload_bytes,
            seconds=self._seconds,
            elapsed_seconds=round(time.monotonic() - self._started, 3),
            shared=written.shared,
            warnings=tuple(self._warnings),
            pruned=pruned,
            notes=notes,
        )

    def _cannot_tell_age(self) -> bool:
        """Whether BACKUP_FULL_READ_DAYS cannot be used, which costs time and no backup."""
        problems = self._settings.problems_in(Concern.SHARING)
        self._warn(*(f"everything is read and written anew: {problem}" for problem in problems))
        return bool(problems)

    def _free_name(self) -> tuple[Path, datetime]:
        """Where the archive goes and the moment it is of; a second that is taken is waited out."""
        while True:
            now = datetime.now(UTC)
            taken_at = now.replace(microsecond=0)
            path = self._output or self._directory / archive_name(taken_at)
            if self._output is not None or not os.path.lexists(path):
                return path, taken_at
            time.sleep((taken_at + timedelta(seconds=1) - now).total_seconds())

    def _prepare(self, session: psycopg.Connection, until_dumped: ExitStack) -> DumpSource:
        """The snapshot, open until `until_dumped` is closed, and the tools for it; all that can fail before writing.

        Raises ToolFailed, StorageUnavailable, DatabaseUnavailable.
        """
        url = pinned(self._url, session)
        major = session.info.server_version // 10000
        tools = choose_client_tools(find_client_tools(self._settings.pg_bin), major)
        if costs := what_a_newer_client_costs(tools, major):
            self._warn(costs)
        compression = choose_compression(self._settings.dump_compression, tools)
        self._previous = newest_manifest(self._directory)
        uploads = estimate_uploads(self._settings, self._is_excluded, self._sharing)
        snapshot = until_dumped.enter_context(open_snapshot(url, self._settings.lock_timeout_seconds))
        properties = snapshot.properties()
        self._warn(*(f"{each.text}. {each.remedy}" for each in snapshot.damage(self._progress.note)))
        self._sharing, warning = require_space(
            self._settings, self._directory, properties.size_bytes, self._previous, uploads, self._sharing
        )
        if warning:
            self._warn(warning)
        return DumpSource(url, tools, compression, session, snapshot, properties)

    def _write(
        self, draft: Draft, taken_at: datetime, source: DumpSource, until_dumped: ExitStack, index: Recording | None
    ) -> Written:
        """Write everything."""
        with ExitStack() as until_written:
            with signals_held():  # one that came in between would leave the writer's own file open
                floor = Floor(draft.descriptor, self._directory, self._settings.min_free)
                writer = ArchiveWriter(draft.descriptor, self._directory, int(taken_at.timestamp()), floor.require)
                until_written.callback(writer.close)
                until_written.callback(self._references.close)
            dump, collected, shared = self._write_parts(draft, writer, source, until_dumped, index)
            writer.flush()
            self._warn(*find_refusals(self._settings, draft.descriptor, dump, source.session, self._progress.note))
            self._warn(*collected.omissions.warnings())
            references = self._check_references(writer)
            block_size = block_size_of(os.fstatvfs(draft.descriptor).f_bsize)

            def manifest_for(sums_sha256: str, list_sha256: str, sums_offset: int) -> bytes:
                return encode_manifest(
                    manifest_document(
                        taken_at,
                        self._settings,
                        dump,
                        writer.tally,
                        collected.omissions,
                        self._warnings,
                        block_size=block_size,
                        digests=(sums_sha256, list_sha256, sums_offset),
                        shared=shared,
                        references=references,
                        owners=collected.owners,
                    )
                )

            manifest = writer.finish(manifest_for)
            basis = self._sharing.front if shared is not None else None
            return Written(manifest, dump.sha256, writer.runs, writer.witness_sha256, shared, basis, writer.moved_bytes)

    def _write_parts(
        self,
        draft: Draft,
        writer: ArchiveWriter,
        source: DumpSource,
        until_dumped: ExitStack,
        index: Recording | None,
    ) -> tuple[DumpRecord, Collected, SharedRecord | None]:
        """The dump and the uploads, at the same time where that is possible and worth it."""
        part = DumpPart(self._settings, source, self._progress)
        with self._phase("rows"):
            warning = part.look()
            self._references.gather(self._settings.upload_references, source.snapshot.values)
        if warning:
            self._warn(warning)
        if self._sharing.note:
            self._progress.note(self._sharing.note)
        dump_bytes = self._previous.dump_size if self._previous is not None else None
        upload_bytes = expected_upload_bytes(self._previous)
        gap = None
        if not self._sharing.may_share and self._settings.upload_dir is not None:
            gap = plan_gap(draft.descriptor, source.properties.size_bytes)
        if gap is None:
            with self._phase("dump", dump_bytes):
                dump = part.write(writer)
            until_dumped.close()  # a snapshot that nobody needs holds back vacuum
            with self._phase("uploads", upload_bytes):
                return dump, *self._uploads(writer, self._progress, index)
        expected = None if dump_bytes is None or upload_bytes is None else dump_bytes + upload_bytes
        self._progress.phase("dump and uploads", expected)
        with part.beside(draft.descriptor, gap, until_dumped.close, writer.require_room) as beside:
            with signals_held():  # it opens a file, as the writer itself
                writer.begin_apart(gap.start)
            with self._timed("uploads"):
                collected, shared = self._uploads(writer, beside, index)
                writer.flush()
            self._prove_apart(draft, writer, gap.start, lambda: beside.advance(0))
            gap.uploads_are_written()
            dump = beside.finish()
        self._seconds["dump"] = round(beside.seconds, 3)
        with self._timed("sync"):
            writer.join_dump(dump.size, dump.sha256, gap)
        return dump, collected, shared

    def _prove_apart(self, draft: Draft, writer: ArchiveWriter, start: int, look_up: Callable[[], None]) -> None:
        """Prove the uploads where they stand, while the dump is on its way. Raises SafeHarborError, OSError."""
        with self._timed("sync"):
            os.fsync(draft.descriptor)
        with self._timed("verify"):
            prove_uploads_apart(draft, start, writer, look_up)

    def _uploads(
        self, writer: ArchiveWriter, progress: Progress, index: Recording | None
    ) -> tuple[Collected, SharedRecord | None]:
        sharing = self._sharing
        collected = write_uploads(
            writer,
            self._settings.upload_dir,
            self._is_excluded,
            progress,
            sharing.previous,
            index.begin() if index is not None else None,
        )
        if collected.refused:
            self._progress.note(f"everything was read: {collected.refused}")
        if sharing.previous is None or not writer.cloned_bytes:
            return collected, None
        return collected, SharedRecord(sharing.previous.name, collected.shared_members, writer.cloned_bytes)

    def _check_references(self, writer: ArchiveWriter) -> References | None:
        """What columns name, and what is not among the uploads that were written."""
        if not self._settings.upload_references:
            return None
        with self._phase("references"):
            has_links = writer.tally.links > 0
            found = self._references.check(writer.tally.lines(), self._settings.upload_dir, has_links=has_links)
        self._warn(*found.warnings("this archive"))
        return found

    def _prove(self, draft: Draft, written: Written) -> None:
        """Raises SafeHarborError if what is on the disk would not restore."""
        with self._phase("sync"):
            draft.settle()
        with self._phase("verify"):
            self._warn(*prove_draft(draft, written, self._settings, self._progress))

    def _prune(self, name: str) -> PruneResult | None:
        problems = self._settings.problems_in(Concern.RETENTION, Concern.SCHEDULE)
        if problems:
            self._warn(f"nothing was pruned: {'; '.join(map(str, problems))}")
            return None
        with self._phase("prune"):
            try:
                pruned = prune_under_lock(self._settings, just_written=name if time_in_name(name) is not None else "")
            except (SafeHarborError, OSError) as error:
                failure = translate_os_error(error, "deleting") if isinstance(error, OSError) else error
                self._warn(f"the backup is good, but pruning failed: {failure.message}")
                return None
        self._warn(*pruned.warnings)
        return pruned

    def _warn(self, *texts: str) -> None:
        for text in texts:
            self._warnings.append(text)
            self._progress.warn(text)

    @contextmanager
    def _phase(self, name: str, total_bytes: int | None = None) -> Iterator[None]:
        self._progress.phase(name, total_bytes)
        with self._timed(name):
            yield

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        try:
            yield
        finally:
            self._seconds[name] = round(self._seconds.get(name, 0.0) + time.monotonic() - started, 3)


def _what_is_intact(directory: Path) -> str:
    try:
        count = len(find_candidates(directory))
    except (SafeHarborError, OSError):
        count = 0
    if not count:
        return "No archive was written."
    return f"No archive was written; the {count} existing {'archive is' if count == 1 else 'archives are'} untouched."
