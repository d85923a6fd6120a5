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
from safeharbor_backup.actions.drill.database_check import check_database
from safeharbor_backup.actions.drill.evidence import write_down
from safeharbor_backup.actions.drill.failure import told_of, verdict_on_load
from safeharbor_backup.actions.drill.place import create_copy, dropped_at_the_end, find_server
from safeharbor_backup.actions.drill.report import Report
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
    SafeHarborError,
    StorageUnavailable,
)
from safeharbor_backup.postgres.scratch_database import mark_scratch, scratch_name
from safeharbor_backup.postgres.side_names import new_id
from safeharbor_backup.settings.min_free import show_room
from safeharbor_backup.settings.model import Concern
from safeharbor_backup.state.directory import drill_lock
from safeharbor_backup.state.evidence import free_evidence
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
            failure = told_of(error)
            failure.intact = failure.intact or _INTACT
            report.give_up(failure)
            write_down(evidence, report, settings.evidence_key, progress)
            raise failure from error
        write_down(evidence, report, settings.evidence_key, progress)
        if offsite is not None and not report.problems:
            note_drill(offsite, settings)
        return report.result()


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
                raise verdict_on_load(error, archive, target.url.with_database(names[0])) from error
        self.steps.progress.step("restored")
        self.report.judge_time()
        self.report.warnings += staged.warnings
        self.report.describe_staged(staged)
        with self.steps.phase("compare"):
            for copy, (_, comparison) in zip(copies, self.comparisons, strict=True):
                check_database(copy, comparison, self.settings.drill_hash_seconds, self.steps.progress)
            self._check_references(copies[0], archive, uploads)
            self._read_back(archive, uploads)
        self.steps.progress.step("compared")
        for database, comparison in self.comparisons:
            self.report.describe_comparison(comparison, database, staged.other_rows)
        if self.settings.drill_command:
            with self.steps.phase("check"):
                self._check(target, names[0], uploads)
            self.steps.progress.step("checked")

    def _judge_rows(self, counts: Mapping[str, int], manifest: Manifest) -> int:
        comparison = next(found for each, found in self.comparisons if each.manifest is manifest)
        return comparison.judge_rows(counts, manifest)

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
