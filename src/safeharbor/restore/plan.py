"""Looks at the archive and the target and tells what a restore would do; changes nothing."""

from __future__ import annotations

import os
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from safeharbor.archive.manifest import fingerprint_matches
from safeharbor.errors import RestorePending, SafeHarborError, SettingsInvalid, StorageUnavailable, translate_os_error
from safeharbor.journal import find_interrupted
from safeharbor.lock import is_locked
from safeharbor.postgres.target import target_connected
from safeharbor.preflight import check_apart, check_directory
from safeharbor.references import describe_recorded
from safeharbor.restore.database_plan import compare_database, look_at_database
from safeharbor.restore.findings import Findings, RestorePlan
from safeharbor.restore.request import OpenArchive, RestoreRequest, opened_for_restore, target_address
from safeharbor.restore.uploads_compared import UploadsCompared
from safeharbor.uploads.staging import find_immovable
from safeharbor.verify import verify_source

if TYPE_CHECKING:
    from pathlib import Path

    from safeharbor.progress import Progress
    from safeharbor.settings import Settings


def plan_restore(settings: Settings, request: RestoreRequest, progress: Progress, *, quick: bool) -> RestorePlan:
    """The plan, after proving the archive as far as asked. Raises ArchiveRejected, SettingsInvalid.

    Every other problem is in the plan, so that all are told.
    """
    with opened_for_restore(request.archive) as archive, ExitStack() as stack:
        findings = Findings()
        check_request(settings, request)
        compared = None
        if request.with_uploads and settings.upload_dir is not None and archive.front is not None and not quick:
            compared = stack.enter_context(UploadsCompared(settings.upload_dir))
        verification = verify_source(archive.source, settings, quick=quick, progress=progress, observer=compared)
        verification.require_sound()
        findings.warnings += verification.warnings
        if quick:
            findings.facts.append("its content was not verified (--quick); the restore itself proves every byte")
        look_at_archive(archive, settings, findings)
        tables = len(archive.manifest.tables) if archive.manifest is not None and request.with_database else 0
        database = uploads = ""
        try:
            check_directory(settings.backup_dir)  # the journal's place
            if not is_locked(settings.backup_dir):  # else it may be a restore at work
                require_nothing_pending(settings.backup_dir)
        except SafeHarborError as error:
            findings.problems.append(error)
        if request.with_database:
            url, name = target_address(settings)
            database = url.with_database(name).describe()
            try:
                with target_connected(url, name) as target:
                    plan = look_at_database(target, archive, settings, request, findings)
                    if plan is not None:
                        tables = tables if archive.manifest is not None else plan.contents.tables
                        compare_database(target, plan, archive, findings, exact=not quick)
            except SafeHarborError as error:
                findings.problems.append(error)
        if request.with_uploads:
            uploads = str(settings.upload_dir)
            look_at_uploads(archive, settings, findings)
            if compared is not None:
                findings.facts += compared.describe()
        return describe_plan(archive, findings, tables=tables, database=database, uploads=uploads)


def require_nothing_pending(directory: Path) -> None:
    """Raises RestorePending if a restore was interrupted; only to be asked while none is running."""
    pending = find_interrupted(directory)
    if pending is not None:
        raise RestorePending(f"The restore {pending.id} of {pending.archive} was interrupted ({pending.phase}).")


def describe_plan(archive: OpenArchive, findings: Findings, *, tables: int, database: str, uploads: str) -> RestorePlan:
    """The findings as a plan."""
    return RestorePlan(
        archive=archive.path,
        taken_at=archive.taken_at,
        tables=tables,
        upload_files=archive.upload_files,
        upload_bytes=archive.upload_bytes,
        database=database,
        uploads=uploads,
        facts=tuple(findings.facts),
        warnings=tuple(findings.warnings),
        problems=tuple(findings.problems),
    )


def check_request(settings: Settings, request: RestoreRequest) -> None:
    """What is asked for makes sense with these settings. Raises SettingsInvalid."""
    if request.with_uploads and settings.upload_dir is None and not request.with_database:
        raise SettingsInvalid(["BACKUP_UPLOAD_DIR=none: expected a directory to restore uploads into"])


def look_at_archive(archive: OpenArchive, settings: Settings, findings: Findings) -> None:
    """Age, origin, key: what the manifest alone tells."""
    if archive.taken_at is not None:
        findings.facts.append(f"taken at {archive.taken_at:%Y-%m-%d %H:%M:%S} UTC, {_ago(archive.taken_at)}")
    manifest = archive.manifest
    if manifest is None:
        return
    if manifest.warnings:
        findings.facts.append(f"when it was taken there were warnings: {'; '.join(manifest.warnings[:3])}")
    references = describe_recorded(manifest)
    if references:
        findings.facts.append(references)
    fingerprint = manifest.document.get("secret_key")
    if settings.secret_key is not None and isinstance(fingerprint, dict):
        try:
            same = fingerprint_matches(settings.secret_key, fingerprint)
        except (KeyError, ValueError, TypeError):
            return
        findings.facts.append(
            "SECRET_KEY is the one the app had then"
            if same
            else "SECRET_KEY is another one than the app had then: its sessions and signed links will not be valid"
        )


def _ago(moment: datetime) -> str:
    hours = int((datetime.now(UTC) - moment).total_seconds() // 3600)
    if hours < 1:
        return "less than an hour ago"
    if hours < 48:
        return f"{hours} hours ago"
    return f"{hours // 24} days ago"


def look_at_uploads(archive: OpenArchive, settings: Settings, findings: Findings) -> None:
    """What stands in the way on the uploads' side."""
    uploads = settings.upload_dir
    try:
        if uploads is None:
            if archive.upload_files:
                findings.warnings.append(
                    f"BACKUP_UPLOAD_DIR=none: the {archive.upload_files:,} uploads of the archive are left out"
                )
            return
        check_apart(uploads, settings.backup_dir)
        if not uploads.is_dir():
            raise StorageUnavailable(
                f"The uploads directory {uploads} does not exist.", hint=f"Create it, or mount it: mkdir -p {uploads}"
            )
        check_movable(uploads)
        findings.facts.append(check_upload_room(uploads, archive.upload_bytes, archive.upload_files))
    except SafeHarborError as error:
        findings.problems.append(error)
    except OSError as error:
        findings.problems.append(translate_os_error(error, "looking at the uploads"))


def check_movable(uploads: Path) -> None:
    """Everything in `uploads` can be moved aside. Raises StorageUnavailable, OSError."""
    for name, why in find_immovable(uploads)[:1]:
        what = str(uploads) if name == "." else str(uploads / name)
        raise StorageUnavailable(
            f"{what} cannot be moved aside: {why}.",
            hint=f"Run this as the owner of {uploads} and all in it, or as root. Unmount what is mounted in it.",
        )


def check_upload_room(uploads: Path, size: int, files: int) -> str:
    """How much room uploads of this size in bytes take beside those in `uploads`, and how much there is.

    Raises StorageUnavailable if that is too little, OSError.
    """
    system = os.statvfs(uploads)
    free, block = system.f_bavail * system.f_frsize, max(system.f_bsize, 512)
    needed = size + files * block
    if needed > free and system.f_blocks:
        raise StorageUnavailable(
            f"{uploads} has {free:,} bytes free; the restored uploads take about {needed:,} beside the present ones.",
            hint="Free some space there; `safeharbor restore --discard-previous` deletes what earlier restores kept.",
        )
    return f"{uploads} has {free:,} bytes free; the restored uploads take {needed:,}"
