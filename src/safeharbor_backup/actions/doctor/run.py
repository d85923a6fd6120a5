"""All checks, in the order in which runs would meet what they find."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from safeharbor_backup.actions.catalog.entries import newest_manifest
from safeharbor_backup.actions.doctor.alert_checks import check_alerts, check_metrics_file
from safeharbor_backup.actions.doctor.container_checks import check_engine_socket
from safeharbor_backup.actions.doctor.database_checks import UNREACHABLE, look_at_database
from safeharbor_backup.actions.doctor.findings import Diagnosis, Finding, attempt, fine, not_checked, warning
from safeharbor_backup.actions.doctor.restore_checks import check_tmp_dir, check_uploads_target, look_at_target
from safeharbor_backup.actions.doctor.settings_checks import (
    check_schedule,
    check_secret_key,
    check_settings,
    next_runs,
    show_settings,
)
from safeharbor_backup.actions.doctor.storage_checks import (
    check_access,
    check_archive_times,
    check_backup_dir,
    check_mounted,
    check_published,
    check_restores,
    check_retention,
    check_sharing,
    check_upload_dir,
)
from safeharbor_backup.actions.preflight import estimate_uploads, require_space
from safeharbor_backup.errors import SafeHarborError
from safeharbor_backup.settings.min_free import show_room
from safeharbor_backup.uploads.collect import make_filter
from safeharbor_backup.uploads.sharing import remembered

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from safeharbor_backup.actions.doctor.database_checks import Looked
    from safeharbor_backup.archive.manifest import Manifest
    from safeharbor_backup.settings.model import Settings

_NO_DIRECTORY = "BACKUP_DIR cannot be read"


def examine(settings: Settings, *, now: datetime | None = None, also: Sequence[Finding] = ()) -> Diagnosis:
    """What every check finds, and `also` what its caller has found; none stops another.

    Nothing is changed, and no lock is held.
    """
    now = now or datetime.now(UTC)
    directory = settings.backup_dir
    unreadable = "" if _can_list(directory) else _NO_DIRECTORY
    newest = _newest(directory)
    found = [
        *check_settings(settings),
        *check_schedule(settings, now),
        *attempt("uploads", lambda: check_upload_dir(settings)),
    ]
    of_directory, probed = check_backup_dir(directory)
    found += of_directory
    found += attempt("sentinel", lambda: check_mounted(settings))
    found += attempt("access", lambda: check_access(directory), blocked_by=unreadable)
    found += attempt("restores", lambda: check_restores(settings), blocked_by=unreadable)
    live = look_at_database(settings)
    found += live.findings
    found += attempt("space", lambda: check_room(settings, live, newest), blocked_by=unreadable)
    found += attempt("retention", lambda: check_retention(settings), blocked_by=unreadable)
    found += attempt("archive times", lambda: check_archive_times(directory, now), blocked_by=unreadable)
    if probed is None:
        found.append(not_checked("sharing", "no file can be written in BACKUP_DIR"))
    else:
        found += attempt("sharing", lambda: check_sharing(settings, probed))
    status_file = settings.status_file
    if status_file is not None:
        found += attempt("status file", lambda: check_published("status file", status_file))
    metrics_file = settings.metrics_file
    if metrics_file is not None:
        found += attempt("metrics file", lambda: check_metrics_file(metrics_file))
    found += attempt("alerts", lambda: check_alerts(settings))
    found += look_at_target(settings, live)
    found += attempt("restore uploads", lambda: check_uploads_target(settings, newest))
    found += attempt("restore speed", lambda: check_tmp_dir(settings, newest), blocked_by=unreadable)
    found += check_secret_key(settings, newest)
    found += attempt("engine socket", check_engine_socket)
    found += also
    return Diagnosis(tuple(found), show_settings(settings), next_runs(settings, now), settings.timezone)


def check_room(settings: Settings, live: Looked, newest: Manifest | None) -> list[Finding]:
    """Whether the next archive will find room. Raises StorageUnavailable if not."""
    directory = settings.backup_dir
    if live.size is None and newest is None:
        return [not_checked("space", "the database did not tell its size" if live.is_reachable else UNREACHABLE)]
    is_excluded = make_filter(settings.exclude)
    with remembered(directory, settings, full=False) as sharing:
        uploads = estimate_uploads(settings, is_excluded, sharing)
        _, despite = require_space(settings, directory, live.size or 0, newest, uploads, sharing)
    free = show_room(directory, os.statvfs(directory), settings.min_free)
    if despite:
        return [warning("space", f"{free}: {despite}", "Free some space there, or keep fewer archives.")]
    return [fine("space", f"{free}, enough for the next archive")]


def _can_list(directory: Path) -> bool:
    try:
        with os.scandir(directory):
            return True
    except OSError:
        return False


def _newest(directory: Path) -> Manifest | None:
    try:
        return newest_manifest(directory)
    except (SafeHarborError, OSError):
        return None  # whatever hinders it is a finding of its own
