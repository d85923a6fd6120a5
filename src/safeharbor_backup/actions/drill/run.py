"""One drill from beginning to end: find a server, restore into a scratch copy, compare, check, remove, write it down.

The copy is staged by the code that stages a restore. Nothing live is touched, and neither the lock of the directory nor
that of the database is taken: a backup can run meanwhile.
"""

from __future__ import annotations

import os
import time
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import psycopg

from safeharbor_backup.actions.drill.app_check import TIMEOUT_SECONDS, check_app
from safeharbor_backup.actions.drill.compare import Comparison
from safeharbor_backup.actions.drill.content_check import compare_content
from safeharbor_backup.actions.drill.result import Report
from safeharbor_backup.actions.drill.server import Kind, drill_server, furnish, private_drill_server
from safeharbor_backup.actions.drill.uploads_check import read_back
from safeharbor_backup.actions.preflight import check_directory
from safeharbor_backup.actions.references import check_copy, recorded_columns
from safeharbor_backup.actions.restore.database_plan import choose_entries, read_dump
from safeharbor_backup.actions.restore.findings import Findings
from safeharbor_backup.actions.restore.request import opened_for_restore
from safeharbor_backup.actions.restore.server_checks import bound_extensions
from safeharbor_backup.actions.restore.stage import Places, Staging
from safeharbor_backup.actions.scratch_cleanup import remove_left_databases, remove_left_directories, scratch_parent
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
from safeharbor_backup.postgres.contents import without_subscriptions
from safeharbor_backup.postgres.errors import FULL
from safeharbor_backup.postgres.load import ServerFull
from safeharbor_backup.postgres.scratch_database import hold_scratch, is_disk_full, mark_scratch, scratch_name
from safeharbor_backup.postgres.sessions import end_backend
from safeharbor_backup.postgres.side_names import new_id
from safeharbor_backup.postgres.structure import read_structure
from safeharbor_backup.postgres.target import drop_database, target_connected
from safeharbor_backup.settings.min_free import show_room
from safeharbor_backup.settings.model import Concern
from safeharbor_backup.state.directory import drill_lock
from safeharbor_backup.state.evidence import free_evidence, publish_evidence
from safeharbor_backup.system.signals import signals_held
from safeharbor_backup.uploads.drill_directory import scratch_directory

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from safeharbor_backup.actions.drill.result import DrillResult
    from safeharbor_backup.actions.drill.server import DrillServer
    from safeharbor_backup.actions.restore.database_plan import DatabasePlan
    from safeharbor_backup.actions.restore.request import OpenArchive
    from safeharbor_backup.archive.manifest import Manifest
    from safeharbor_backup.postgres.properties import Properties
    from safeharbor_backup.postgres.target import Target
    from safeharbor_backup.progress import Progress
    from safeharbor_backup.settings.model import Settings

_SHOWN = 5
_INTACT = "The live database and uploads were not touched, and nothing of the copy is left."


def drill_archive(
    path: Path, settings: Settings, *, jobs: int, progress: Progress, notices: Sequence[str] = ()
) -> DrillResult:
    """How the restore of an archive into a scratch copy went; its evidence is beside the archives. `notices` are
    warnings of whoever chose it.

    An archive that does not restore, or differs, is a result with problems. Raises SafeHarborError if the drill itself
    cannot be done here, after that was written down too.
    """
    settings.require(Concern.DIRECTORY, Concern.DRILL)
    check_directory(settings.backup_dir)
    with drill_lock(settings.backup_dir):
        evidence, begun_at = free_evidence(settings.backup_dir)
        report = Report(path, begun_at)
        report.warnings += notices
        run = _Run(settings, report, jobs, progress)
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
            _write_down(evidence, report, progress)
            raise failure from error
        _write_down(evidence, report, progress)
        return report.result()


def _write_down(path: Path, report: Report, progress: Progress) -> None:
    """Evidence that cannot be written is missing from a drill that was done: a warning, and no failure."""
    try:
        publish_evidence(path, report.document())
        report.evidence = path
    except (SafeHarborError, OSError) as error:
        failure = translate_os_error(error, "writing it") if isinstance(error, OSError) else error
        report.warnings.append(f"the evidence {path} could not be written: {failure.message}")
        progress.warn(report.warnings[-1])


def _translated(error: SafeHarborError | psycopg.Error | OSError) -> SafeHarborError:
    if isinstance(error, SafeHarborError):
        return error
    if isinstance(error, OSError):
        return translate_os_error(error, "drilling")
    return DatabaseUnavailable(f"The database server answered: {one_line(error)}.")


class _Run:
    """One drill under its lock."""

    def __init__(self, settings: Settings, report: Report, jobs: int, progress: Progress) -> None:
        self._settings = settings
        self._report = report
        self._jobs = jobs
        self._progress = progress
        self._comparison = Comparison()
        self._id = new_id()

    def drill(self) -> None:
        """Raises ArchiveRejected if the archive does not restore, and other errors if that cannot be told here."""
        with opened_for_restore(self._report.archive) as archive, ExitStack() as stack:
            self._report.describe_archive(archive)
            remove_left_directories(self._settings, self._progress.note)
            self._check_space(archive)
            with self._phase("prepare"):
                server, plan = self._find_server(stack, archive)
                self._report.describe_server(server)
            uploads = stack.enter_context(
                scratch_directory(scratch_parent(self._settings), self._id, self._report.warnings.append)
            )
            self._progress.step("scratch directory")
            name = scratch_name(server.target.name, self._id)
            with self._scratch_database(server, name):
                self._restore(server, archive, plan, Places(name, uploads, self._jobs))
            self._progress.step("dropped")
        self._progress.step("removed")

    def _find_server(self, stack: ExitStack, archive: OpenArchive) -> tuple[DrillServer, DatabasePlan]:
        """Where the archive can be restored, and how: a private server if the restore's own needs another role.

        Raises CannotRestore, as the restore would, if neither will do.
        """
        server = stack.enter_context(drill_server(self._settings, archive.manifest, self._progress))
        remove_left_databases(server.target, self._progress.note)
        try:
            return server, self._plan(server, archive)
        except CannotRestore as refusal:
            private = private_drill_server(self._settings, archive.manifest)
            if server.kind is not Kind.OWN or private is None:
                raise
            self._progress.note(f"{refusal.message} The drill is on a private server")
            try:
                other = stack.enter_context(private)
                plan = self._plan(other, archive)
            except CannotRestore:
                raise refusal from None
            self._report.warnings.append(f"on the server itself it would not restore: {refusal.message}")
            return other, plan

    def _plan(self, server: DrillServer, archive: OpenArchive) -> DatabasePlan:
        """Raises what a restore there would meet."""
        findings = Findings()
        found = read_dump(server.target, archive, server.settings, findings)
        plan = None
        if found is not None:
            if server.kind is Kind.PRIVATE:
                furnish(server.target, found[1])
            bound = bound_extensions(found[0])
            findings.warnings += [f"left out: extension {name}, which can be in one database only" for name in bound]
            plan = choose_entries(server.target, *found, server.live, findings, without=bound, accepts_open=True)
        findings.require_none()
        assert plan is not None  # noqa: S101 - else there is a problem
        entries = without_subscriptions(plan.entries, plan.contents.toc)
        if len(entries) < len(plan.entries):
            findings.warnings.append("left out: subscriptions, which lead to another server")
        self._report.warnings += findings.warnings
        self._report.describe_plan(plan)
        if archive.front is None:
            self._report.warnings.append("it was written by another implementation and carries no checksums to compare")
        self._report.warnings += archive.warnings
        return replace(plan, entries=tuple(entries))

    def _restore(self, server: DrillServer, archive: OpenArchive, plan: DatabasePlan, places: Places) -> None:
        settings = server.settings
        staging = Staging(
            settings, archive, places, self._progress, judge_rows=self._comparison.judge_rows, adapt=_settings_only
        )
        with self._phase("restore"):
            self._prepare(staging, server, plan)
            self._progress.step("scratch database")
            mark_scratch(server.target, places.database, self._report.archive.name)
            self._progress.step("marked")
            try:
                staged = staging.run(server.target)
            except CannotRestore as error:
                raise self._refused(error, archive, server.target, places.database) from error
        self._progress.step("restored")
        self._report.warnings += staged.warnings
        self._report.describe_staged(staged)
        with self._phase("compare"):
            self._compare(staging, server, archive, plan)
            self._check_references(staging, archive, places)
            self._read_back(archive, places)
        self._progress.step("compared")
        self._report.describe_comparison(self._comparison)
        if self._settings.drill_command:
            with self._phase("check"):
                self._check(server.target, places)
            self._progress.step("checked")

    def _refused(self, error: CannotRestore, archive: OpenArchive, target: Target, database: str) -> SafeHarborError:
        """What a load that failed says of the archive; a full disk says nothing of it."""
        if isinstance(error, ServerFull) or is_disk_full(target.url.with_database(database), archive.dump.size):
            return StorageUnavailable(error.message, hint=FULL)
        return ArchiveRejected(f"{archive.path} does not restore. {error.message}", hint=error.hint)

    def _prepare(self, staging: Staging, server: DrillServer, plan: DatabasePlan) -> None:
        try:
            staging.prepare_database(server.target, plan)
        except CannotRestore as error:
            if server.kind is not Kind.PRIVATE:
                raise
            # this machine may lack the locale of the database's own
            like = replace(server.target.template(), owner="", tablespace="pg_default")
            staging.prepare_database(server.target, plan, like)
            self._report.warnings.append(f"it was restored with another locale: {error.message}")

    def _compare(self, staging: Staging, server: DrillServer, archive: OpenArchive, plan: DatabasePlan) -> None:
        manifest = archive.manifest
        if manifest is None:
            return
        same_major = plan.contents.server_version.partition(".")[0] == str(server.target.major)
        with staging.session() as session, session.transaction():
            self._comparison.judge_structure(read_structure(session), manifest, same_major=same_major)
            self._comparison.judge_revision(session, manifest)
        self._compare_content(staging, archive, plan, manifest, same_major=same_major)

    def _compare_content(
        self, staging: Staging, archive: OpenArchive, plan: DatabasePlan, manifest: Manifest, *, same_major: bool
    ) -> None:
        seconds = self._settings.drill_hash_seconds
        if not seconds:
            return
        if manifest.about_database.printing is None:
            self._comparison.not_recorded.append("content of tables")
            return
        with staging.session() as session:
            found = compare_content(session, archive.dump, plan.contents.tools, manifest, seconds)
        self._comparison.judge_content(found, same_major=same_major)
        if found.not_hashed:
            self._progress.note(f"not compared by content: {_some(found.not_hashed)}")

    def _check_references(self, staging: Staging, archive: OpenArchive, places: Places) -> None:
        assert places.uploads is not None  # noqa: S101 - a drill has them always
        if not (self._settings.upload_references or recorded_columns(archive.manifest)):
            return
        with staging.session() as session, session.transaction():
            found = check_copy(session, self._settings, archive.manifest, places.uploads)
        self._report.describe_references(found, archive.manifest)

    def _read_back(self, archive: OpenArchive, places: Places) -> None:
        front = archive.front
        if front is None:
            return
        assert places.uploads is not None  # noqa: S101 - a drill has them always
        found = read_back(places.uploads, archive.listed_files(), self._progress)
        self._report.describe_uploads(found, front.manifest.upload_files)

    def _check(self, target: Target, places: Places) -> None:
        assert places.uploads is not None  # noqa: S101 - a drill has them always
        done = check_app(self._settings, target, places.database, places.uploads)
        self._report.app_check = done
        if done.has_timed_out:
            self._report.problems.append(f"the app check {done.program} took longer than {TIMEOUT_SECONDS:g} s")
        elif done.exit_status:
            last = f": {done.output[-1]}" if done.output else ""
            self._report.problems.append(f"the app check {done.program} ended with {done.exit_status}{last}")

    @contextmanager
    def _scratch_database(self, server: DrillServer, name: str) -> Iterator[None]:
        """Whatever is created under this name in the block is gone after it, or told."""
        hold_scratch(server.target, name)
        try:
            yield
        finally:
            with signals_held():
                self._drop(server, name)

    def _drop(self, server: DrillServer, name: str) -> None:
        try:
            drop_database(server.target, name)
        except (SafeHarborError, psycopg.Error):
            try:  # the session may have been left in the middle of something, creating the database itself even
                with target_connected(server.target.url, server.target.name) as again:
                    end_backend(again.session, server.target.session.info.backend_pid)
                    drop_database(again, name)
            except (SafeHarborError, psycopg.Error) as error:
                self._report.warnings.append(
                    f'the scratch database "{name}" was not dropped: {one_line(error)}; the next drill tries again'
                )

    def _check_space(self, archive: OpenArchive) -> None:
        """Raises StorageUnavailable if the uploads do not fit where they are to go."""
        parent = scratch_parent(self._settings)
        check_directory(parent)
        system = os.statvfs(parent)
        room = self._settings.min_free.room(system)
        needed = archive.upload_bytes + archive.upload_files * max(system.f_bsize, 512)
        if room is not None and needed > room:
            there = show_room(parent, system, self._settings.min_free)
            raise StorageUnavailable(
                f"{there}; the drill's copy of the uploads takes about {needed:,}.",
                hint="Free some space there, or point BACKUP_TMP_DIR at a place that has it.",
            )

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        try:
            yield
        finally:
            self._report.seconds[name] = round(time.monotonic() - started, 3)


def _settings_only(properties: Properties) -> Properties:
    """The copy is nobody else's, bears our comment, and lives for minutes."""
    return replace(properties, grants=None, comment=None, connection_limit=-1, is_template=False)


def _some(items: list[str]) -> str:
    more = f"; and {len(items) - _SHOWN:,} more" if len(items) > _SHOWN else ""
    return "; ".join(items[:_SHOWN]) + more
