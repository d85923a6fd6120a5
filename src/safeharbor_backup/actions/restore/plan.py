"""The one plan of a restore: what a dry run shows, what the prompt asks about, what is carried out. Changes nothing."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from safeharbor_backup.actions.preflight import check_directory
from safeharbor_backup.actions.restore.archive_facts import look_at_archive
from safeharbor_backup.actions.restore.database_losses import compare_database
from safeharbor_backup.actions.restore.database_plan import look_at_database
from safeharbor_backup.actions.restore.findings import Findings
from safeharbor_backup.actions.restore.origin import judge_origin
from safeharbor_backup.actions.restore.other_databases import PlannedDatabase, look_at_others, names_of_others
from safeharbor_backup.actions.restore.request import OpenArchive, RestoreRequest, opened_for_restore
from safeharbor_backup.actions.restore.server_checks import fit_jobs
from safeharbor_backup.actions.restore.uploads_plan import look_at_uploads
from safeharbor_backup.actions.restore.ways_back import describe_ways_back
from safeharbor_backup.actions.verify import verify_source
from safeharbor_backup.errors import (
    CannotRestore,
    ExitStatus,
    SafeHarborError,
    SettingsInvalid,
)
from safeharbor_backup.postgres.addresses import target_address
from safeharbor_backup.postgres.target import target_connected
from safeharbor_backup.progress import NoProgress
from safeharbor_backup.settings.model import Concern
from safeharbor_backup.settings.upload_dirs import describe_dirs
from safeharbor_backup.state.journal import find_interrupted
from safeharbor_backup.system.lock import is_locked

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from pathlib import Path

    from safeharbor_backup.actions.restore.database_plan import DatabasePlan
    from safeharbor_backup.postgres.target import Target
    from safeharbor_backup.progress import Progress
    from safeharbor_backup.settings.model import Settings
    from safeharbor_backup.settings.upload_dirs import UploadDirs


@dataclass(frozen=True, slots=True)
class RestorePlan:
    """What a restore would do, and how it would end. Sizes in bytes.

    `database_parts` is what the loads work with, of the main database first; none without a database, and where
    problems forbid it. `upload_dirs` are the directories that are exchanged, `uploads` those in words.
    """

    archive: Path
    taken_at: datetime | None
    tables: int
    upload_files: int
    upload_bytes: int
    database: str
    uploads: str
    jobs: int
    facts: tuple[str, ...]
    losses: tuple[str, ...]
    ways_back: tuple[str, ...]
    afterwards: tuple[str, ...]
    warnings: tuple[str, ...]
    problems: tuple[SafeHarborError, ...]
    database_parts: tuple[PlannedDatabase, ...] = ()
    upload_dirs: UploadDirs = ()

    @property
    def database_part(self) -> DatabasePlan | None:
        """What the load of the main database works with."""
        return self.database_parts[0].plan if self.database_parts else None

    @property
    def exit_status(self) -> ExitStatus:
        """The status that the restore would end with."""
        if self.problems:
            return self.problems[0].exit_status
        return ExitStatus.WARNINGS if self.warnings else ExitStatus.DONE


def plan_restore(
    settings: Settings, request: RestoreRequest, progress: Progress | None = None, *, quick: bool = False
) -> RestorePlan:
    """What a dry run shows, after proving the archive as far as asked. Raises ArchiveRejected, SettingsInvalid.

    Every other problem is in the plan, so that all of them are shown.
    """
    with opened_for_restore(request.archive) as archive, ExitStack() as stack:
        findings = Findings()
        check_request(request, settings)
        verification = verify_source(archive.source, settings, quick=quick, progress=progress or NoProgress())
        verification.require_sound()
        findings.warnings += dict.fromkeys((*verification.warnings, *archive.warnings))
        if quick:
            findings.facts.append("its content was not verified (--quick); the restore itself proves every byte")
        try:
            check_directory(settings.backup_dir)  # the journal's place
            if not is_locked(settings.backup_dir):  # else it may be a restore at work
                require_nothing_pending(settings.backup_dir)
        except SafeHarborError as error:
            findings.problems.append(error)
        target = None
        if request.with_database:
            try:
                others = names_of_others(settings, request)
                target = stack.enter_context(target_connected(*target_address(settings), others))
            except SafeHarborError as error:
                findings.problems.append(error)
        return draw_up_plan(archive, settings, request, target, findings, exact=not quick)


def draw_up_plan(
    archive: OpenArchive,
    settings: Settings,
    request: RestoreRequest,
    target: Target | None,
    findings: Findings,
    *,
    exact: bool = True,
) -> RestorePlan:
    """The plan that a dry run shows and that a restore asks about and carries out; changes nothing.

    `target` is None without a database to restore, or where it cannot be reached. Not `exact`: the live rows are
    estimated. Raises psycopg.Error if the server is lost.
    """
    look_at_archive(archive, settings.secret_key, findings)
    judge_origin(archive, settings, request, target, findings)
    parts, jobs = _look_at_databases(target, archive, settings, request, findings, exact=exact)
    dirs = look_at_uploads(archive, settings, findings) if request.with_uploads else ()
    if request.with_uploads and not (dirs or request.with_database):
        findings.problems.append(
            CannotRestore(
                f"{archive.path} has no uploads of {describe_dirs(settings.upload_dirs)}: nothing would be restored.",
                hint="Choose another archive.",
            )
        )
    describe_ways_back(dirs, request, parts, findings)
    return RestorePlan(
        archive=archive.path,
        taken_at=archive.taken_at,
        tables=_count_tables(archive, request, parts),
        upload_files=archive.upload_files,
        upload_bytes=archive.upload_bytes,
        database=_describe_databases(settings, target, parts) if request.with_database else "",
        uploads=describe_dirs(dirs) if request.with_uploads else "",
        upload_dirs=dirs,
        jobs=jobs,
        facts=tuple(findings.facts),
        losses=tuple(findings.losses),
        ways_back=tuple(findings.ways_back),
        afterwards=tuple(findings.afterwards),
        warnings=tuple(findings.warnings),
        problems=tuple(findings.problems),
        database_parts=parts,
    )


def _look_at_databases(
    target: Target | None,
    archive: OpenArchive,
    settings: Settings,
    request: RestoreRequest,
    findings: Findings,
    *,
    exact: bool,
) -> tuple[tuple[PlannedDatabase, ...], int]:
    """The plan of each, as far as they can be looked at, and how many jobs load them. Raises psycopg.Error."""
    parts: tuple[PlannedDatabase, ...] = ()
    if target is None:
        return parts, request.jobs
    try:
        plan = look_at_database(target, archive, settings.pg_bin, request, findings)
        parts = (PlannedDatabase(archive, plan),)
        compare_database(plan, archive, findings, exact=exact)
        parts += look_at_others(target, archive, settings, request, findings, exact=exact)
        return parts, fit_jobs(target, request, findings, len(parts) - 1)
    except SafeHarborError as error:
        findings.problems.append(error)
    return parts, request.jobs


def _describe_databases(settings: Settings, target: Target | None, parts: Sequence[PlannedDatabase]) -> str:
    """Those to restore, where they cannot be reached too. Raises SettingsInvalid, DatabaseUnavailable."""
    url, name = target_address(settings) if target is None else (target.url, target.name)
    others = [f"{each.archive.name}={each.plan.target.url.describe()}" for each in parts[1:]]
    return ", ".join([url.with_database(name).describe(), *others])


def _count_tables(archive: OpenArchive, request: RestoreRequest, parts: Sequence[PlannedDatabase]) -> int:
    """How many will be restored, as far as is known."""
    if request.with_database and archive.manifest is not None:
        return sum(
            len(each.manifest.tables) for each in (archive, *(part.archive for part in parts[1:])) if each.manifest
        )
    return parts[0].plan.contents.tables if parts else 0


def require_nothing_pending(directory: Path) -> None:
    """Raises RestorePending if a restore was interrupted; only to be asked while none is running."""
    pending = find_interrupted(directory)
    if pending is not None:
        raise pending.pending_error()


def check_request(request: RestoreRequest, settings: Settings) -> None:
    """What is asked for makes sense with these settings. Raises SettingsInvalid."""
    if request.with_uploads:
        settings.require(Concern.UPLOADS)
    if request.with_database and not request.without_others:
        settings.require(Concern.EXTRA_DATABASES)
    if request.with_uploads and not settings.upload_dirs and not request.with_database:
        raise SettingsInvalid(["BACKUP_UPLOAD_DIR=none: expected a directory to restore uploads into"])
