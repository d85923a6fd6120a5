"""One drill from beginning to end: find a server, restore into a scratch copy, compare, check, remove, write it down.

The copy is staged by the code that stages a restore. Nothing live is touched, and neither the lock of the directory nor
that of the database is taken: a backup can run meanwhile.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import psycopg

from safeharbor_backup.actions.drill.app_check import TIMEOUT_SECONDS, check_app
from safeharbor_backup.actions.drill.compare import Comparison
from safeharbor_backup.actions.drill.content_check import compare_content, compare_views
from safeharbor_backup.actions.drill.place import create_copy, dropped_at_the_end, find_server
from safeharbor_backup.actions.drill.result import Report
from safeharbor_backup.actions.drill.uploads_check import read_back
from safeharbor_backup.actions.offsite import note_drill
from safeharbor_backup.actions.preflight import check_directory
from safeharbor_backup.actions.references import check_copy, recorded_columns, recorded_dirs
from safeharbor_backup.actions.restore.dump_load import LoadOptions
from safeharbor_backup.actions.restore.request import opened_for_restore
from safeharbor_backup.actions.restore.stage import stage_archive
from safeharbor_backup.actions.restore.uploads_stage import UploadsPlace
from safeharbor_backup.actions.scratch_cleanup import remove_left_directories
from safeharbor_backup.actions.steps import Steps
from safeharbor_backup.errors import (
    ArchiveNotFound,
    ArchiveRejected,
    CannotRestore,
    DatabaseUnavailable,
    SafeHarborError,
    StorageUnavailable,
    one_line,
    translate_os_error,
)
from safeharbor_backup.postgres.behind_sequences import find_behind
from safeharbor_backup.postgres.errors import FULL
from safeharbor_backup.postgres.load_failures import ServerFull
from safeharbor_backup.postgres.scratch_database import is_disk_full, mark_scratch, scratch_name
from safeharbor_backup.postgres.side_names import new_id
from safeharbor_backup.postgres.structure import read_structure
from safeharbor_backup.settings.min_free import show_room
from safeharbor_backup.settings.model import Concern
from safeharbor_backup.state.directory import drill_lock
from safeharbor_backup.state.evidence import free_evidence, publish_evidence, signature_of, write_evidence
from safeharbor_backup.system.signature import sign
from safeharbor_backup.uploads.drill_directory import scratch_directory

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from safeharbor_backup.actions.drill.place import PlannedCopy
    from safeharbor_backup.actions.drill.result import DrillResult
    from safeharbor_backup.actions.restore.request import OpenArchive
    from safeharbor_backup.actions.restore.staged_database import StagedDatabase
    from safeharbor_backup.archive.manifest import Manifest
    from safeharbor_backup.postgres.target import Target
    from safeharbor_backup.progress import Progress
    from safeharbor_backup.settings.model import Settings

_SHOWN = 5
_INTACT = "The live database and uploads were not touched, and nothing of the copy is left."


def drill_archive(
    path: Path,
    settings: Settings,
    *,
    jobs: int,
    progress: Progress,
    notices: Sequence[str] = (),
    offsite: str | None = None,
) -> DrillResult:
    """How the restore of an archive into a scratch copy went; its evidence is beside the archives. `notices` are
    warnings of whoever chose it; `offsite` is the copy elsewhere that it was fetched from.

    An archive that does not restore, or differs, is a result with problems. Raises SafeHarborError if the drill itself
    cannot be done here, after that was written down too.
    """
    settings.require(Concern.DIRECTORY, Concern.DRILL)
    check_directory(settings.backup_dir)
    with drill_lock(settings.backup_dir):
        evidence, begun_at = free_evidence(settings.backup_dir)
        report = Report(path, begun_at, offsite, settings.drill_max_seconds)
        report.warnings += notices
        run = _Run(settings, report, jobs, Steps(progress, report.seconds, report.warnings))
        try:
            run.drill()
        except ArchiveNotFound:
            raise  # that says nothing of an archive, so there is no evidence
        except ArchiveRejected as error:
            report.problems += error.problems
        except (SafeHarborError, psycopg.Error, OSError) as error:
            failure = _translated(error)
            failure.intact = failure.intact or _INTACT
            report.give_up(failure)
            _write_down(evidence, report, settings, progress)
            raise failure from error
        _write_down(evidence, report, settings, progress)
        if offsite is not None and not report.problems:
            note_drill(offsite, settings)
        return report.result()


def _write_down(path: Path, report: Report, settings: Settings, progress: Progress) -> None:
    """Evidence that cannot be signed or written is missing from a drill that was done: a warning, and no failure."""

    def warn(what: str, why: str) -> None:
        report.warnings.append(f"the evidence {path} could not be {what}: {why}")
        progress.warn(report.warnings[-1])

    signature = None
    if settings.evidence_key is not None:
        try:
            signature = sign(write_evidence(report.document()), settings.evidence_key)
        except (SafeHarborError, OSError) as error:
            refusal = _translated(error)
            warn("signed", f"{refusal.message} {refusal.hint}".rstrip())  # which is part of what is written now
    failure = None
    try:
        publish_evidence(path, write_evidence(report.document()), signature)
    except (SafeHarborError, OSError) as error:
        failure = _translated(error)
    report.evidence = path if os.path.exists(path) else None
    report.signature = signature_of(path) if signature is not None and os.path.exists(signature_of(path)) else None
    if failure is not None:
        lacks_signature = signature is not None and report.evidence is not None and report.signature is None
        warn("signed" if lacks_signature else "written", failure.message)


def _translated(error: SafeHarborError | psycopg.Error | OSError) -> SafeHarborError:
    if isinstance(error, SafeHarborError):
        return error
    if isinstance(error, OSError):
        return translate_os_error(error, "drilling")
    return DatabaseUnavailable(f"The database server answered: {one_line(error)}.")


@dataclass(frozen=True, slots=True)
class _Run:
    """One drill under its lock."""

    settings: Settings
    report: Report
    jobs: int
    steps: Steps
    comparisons: list[tuple[OpenArchive, Comparison]] = field(default_factory=list)  # of each database

    def drill(self) -> None:
        """Raises ArchiveRejected if the archive does not restore, and other errors if that is unknown here."""
        with opened_for_restore(self.report.archive) as archive, ExitStack() as stack:
            self.report.describe_archive(archive)
            remove_left_directories(self.settings.scratch_dir, self.steps.progress.note)
            self._check_space(archive)
            with self.steps.phase("prepare"):
                plans = find_server(stack, self.settings, archive.databases(), self.report, self.steps.progress)
                self.report.describe_server(plans[0].server)
            drill_id = new_id()
            uploads = stack.enter_context(
                scratch_directory(self.settings.scratch_dir, drill_id, self.report.warnings.append)
            )
            self.steps.progress.step("scratch directory")
            with ExitStack() as until_dropped:
                names = []
                for number, each in enumerate(plans):
                    names.append(scratch_name(each.server.target.name, f"{int(drill_id, 16) + number:012x}"))
                    until_dropped.enter_context(
                        dropped_at_the_end(each.server.target, names[-1], self.report.warnings.append)
                    )
                self._restore(archive, plans, names, uploads)
            self.steps.progress.step("dropped")
        self.steps.progress.step("removed")

    def _restore(self, archive: OpenArchive, plans: list[PlannedCopy], names: list[str], uploads: Path) -> None:
        target = plans[0].server.target
        options = LoadOptions(
            jobs=self.jobs,
            scratch=self.settings.scratch_dir,
            mending=self.settings.backup_dir,
            min_free=self.settings.min_free,
            judge_rows=self._judge_rows,
        )
        with self.steps.timed("restore"):
            copies = []
            for each, name in zip(plans, names, strict=True):
                self.comparisons.append((each.archive, Comparison()))
                copies.append(create_copy(each.server, each.archive, each.plan, name, self.report.warnings.append))
                self.steps.progress.step("scratch database")
                mark_scratch(target, name, self.report.archive.name)
                self.steps.progress.step("marked")
            try:
                staged = stage_archive(archive, copies, [UploadsPlace(uploads)], options, self.steps.progress)
            except CannotRestore as error:
                raise self._refused(error, archive, target, names[0]) from error
        self.steps.progress.step("restored")
        self.report.judge_time()
        self.report.warnings += staged.warnings
        self.report.describe_staged(staged)
        with self.steps.phase("compare"):
            for copy, (_, comparison) in zip(copies, self.comparisons, strict=True):
                self._compare(copy, comparison)
            self._check_references(copies[0], archive, uploads)
            self._read_back(archive, uploads)
        self.steps.progress.step("compared")
        for database, comparison in self.comparisons:
            self.report.describe_comparison(comparison, database, staged.other_rows)
        if self.settings.drill_command:
            with self.steps.phase("check"):
                self._check(target, names[0], uploads)
            self.steps.progress.step("checked")

    def _refused(self, error: CannotRestore, archive: OpenArchive, target: Target, database: str) -> SafeHarborError:
        """What a load that failed says of the archive; a full disk says nothing of it."""
        if isinstance(error, ServerFull) or is_disk_full(target.url.with_database(database), archive.dump.size):
            return StorageUnavailable(error.message, hint=FULL)
        return ArchiveRejected(f"{archive.path} does not restore. {error.message}", hint=error.hint)

    def _judge_rows(self, counts: Mapping[str, int], manifest: Manifest) -> int:
        comparison = next(found for each, found in self.comparisons if each.manifest is manifest)
        return comparison.judge_rows(counts, manifest)

    def _compare(self, copy: StagedDatabase, comparison: Comparison) -> None:
        archive = copy.archive
        manifest = archive.manifest
        if manifest is None:
            return
        dumped_major = copy.loader.plan.contents.server_version.partition(".")[0]
        same_major = dumped_major == str(copy.target.major)
        with copy.session() as session, session.transaction():
            structure = read_structure(session)
            unpopulated = comparison.judge_structure(structure, manifest, same_major=same_major)
            comparison.judge_revision(session, manifest)
            comparison.judge_sequences_in_use(*find_behind(session))
        if unpopulated:  # decision 87
            self.steps.progress.note(
                f"not populated, as in the backup; refresh these after a restore: {_some(unpopulated)}"
            )
        self._compare_content(copy, comparison, manifest, structure.views, same_major=same_major)

    def _compare_content(
        self,
        copy: StagedDatabase,
        comparison: Comparison,
        manifest: Manifest,
        views: Mapping[str, int | None],
        *,
        same_major: bool,
    ) -> None:
        seconds = self.settings.drill_hash_seconds
        if not seconds:
            return
        if manifest.about_database.printing is None:
            comparison.not_recorded.append("content of tables")
            return
        tools = copy.loader.plan.contents.tools
        with copy.session() as session:
            found = compare_content(session, copy.archive.dump, tools, manifest, seconds)
        if same_major:
            with copy.session() as session:  # whose settings are those of the backup's
                found.views = compare_views(session, manifest, views, seconds - found.seconds)
        if found.views:  # decision 87
            self.steps.progress.note(_some(found.views))
        comparison.judge_content(found, same_major=same_major)
        if found.objects_are not in ("equal", "different"):
            found.not_hashed.append(f"large objects: {found.objects_are}")
        if found.not_hashed:
            self.steps.progress.note(f"not compared by content: {_some(found.not_hashed)}")

    def _check_references(self, copy: StagedDatabase, archive: OpenArchive, uploads: Path) -> None:
        columns = self.settings.upload_references or recorded_columns(archive.manifest)
        if not columns:
            return
        with copy.session() as session, session.transaction():
            live = recorded_dirs(archive.manifest) or self.settings.upload_dirs
            found = check_copy(session, columns, live, uploads)
        self.report.describe_references(found, archive.manifest)

    def _read_back(self, archive: OpenArchive, uploads: Path) -> None:
        front = archive.front
        if front is None:
            return
        found = read_back(uploads, archive.listed_files(), self.steps.progress)
        self.report.describe_uploads(found, front.manifest.upload_files)

    def _check(self, target: Target, database: str, uploads: Path) -> None:
        done = check_app(self.settings, target, database, uploads)
        self.report.app_check = done
        if done.has_timed_out:
            self.report.problems.append(f"the app check {done.program} took longer than {TIMEOUT_SECONDS:g} s")
        elif done.exit_status:
            last = f": {done.output[-1]}" if done.output else ""
            self.report.problems.append(f"the app check {done.program} ended with {done.exit_status}{last}")

    def _check_space(self, archive: OpenArchive) -> None:
        """Raises StorageUnavailable if the uploads do not fit where they are to go."""
        parent = self.settings.scratch_dir
        check_directory(parent)
        system = os.statvfs(parent)
        room = self.settings.min_free.room(system)
        needed = archive.upload_bytes + archive.upload_files * max(system.f_bsize, 512)
        if room is not None and needed > room:
            there = show_room(parent, system, self.settings.min_free)
            raise StorageUnavailable(
                f"{there}; the drill's copy of the uploads takes about {needed:,}.",
                hint="Free some space there, or point BACKUP_TMP_DIR at a place that has it.",
            )


def _some(items: list[str]) -> str:
    more = f"; and {len(items) - _SHOWN:,} more" if len(items) > _SHOWN else ""
    return "; ".join(items[:_SHOWN]) + more
