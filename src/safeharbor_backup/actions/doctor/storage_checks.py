"""The places: uploads, the backup directory, the sentinel; what is in them, and who else can get at it."""

from __future__ import annotations

import os
import stat
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from safeharbor_backup.actions.catalog.entries import find_candidates
from safeharbor_backup.actions.doctor.findings import Finding, failed, fine, not_checked, warning
from safeharbor_backup.actions.doctor.write_probe import probe_directory
from safeharbor_backup.actions.preflight import (
    check_apart,
    check_directory,
    check_sentinel,
    check_uploads,
    describe_unknown_stages,
)
from safeharbor_backup.actions.prune import plan_prune
from safeharbor_backup.errors import SafeHarborError, translate_os_error
from safeharbor_backup.settings.model import Concern
from safeharbor_backup.state.journal import Journal
from safeharbor_backup.system.lock import is_locked
from safeharbor_backup.uploads.collect import UNRELIABLE
from safeharbor_backup.uploads.stat_signature import tells_changes
from safeharbor_backup.uploads.walk import open_root

if TYPE_CHECKING:
    from pathlib import Path

    from safeharbor_backup.actions.doctor.write_probe import Probed
    from safeharbor_backup.settings.model import Settings

_CLOCK_TOLERANCE = timedelta(minutes=1)


def check_upload_dir(settings: Settings) -> list[Finding]:
    """The uploads are there, can be listed, and lie apart from the archives."""
    uploads = settings.upload_dir
    if uploads is None:
        return [fine("uploads", "the app has none (BACKUP_UPLOAD_DIR=none)")]
    check_uploads(uploads)
    check_apart(uploads, settings.backup_dir)
    return [fine("uploads", f"{uploads} can be read")]


def check_backup_dir(directory: Path) -> tuple[list[Finding], Probed | None]:
    """Whether an archive could be written there, as a probe shows, and what the filesystem can do if so."""
    try:
        check_directory(directory)
        probed = probe_directory(directory)
    except SafeHarborError as error:
        return [failed("directory", error)], None
    except OSError as error:
        return [failed("directory", translate_os_error(error, f"writing a probe in {directory}"))], None
    found = [fine("directory", f"{directory}: a probe was written, fsynced, renamed and removed")]
    if not probed.has_locks:
        found.append(
            warning(
                "locks",
                f"{directory} is on a filesystem without locks: nothing keeps two runs apart there",
                "See that no two runs are started at once, or mount the share with locks.",
            )
        )
    return found, probed


def check_mounted(settings: Settings) -> list[Finding]:
    """The file that tells that the share is mounted."""
    if settings.sentinel is None:
        return [
            fine("sentinel", "none is named; if BACKUP_DIR is on a share, BACKUP_SENTINEL tells that it is mounted")
        ]
    check_sentinel(settings)
    return [fine("sentinel", f"{settings.sentinel} is there")]


def check_access(directory: Path) -> list[Finding]:
    """That nobody else on this machine can take archives away, or read what they hold."""
    mode = os.stat(directory).st_mode
    found = []
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        found.append(
            warning("access", f"everybody here can delete or replace what is in {directory}", f"chmod o-w {directory}")
        )
    if mode & stat.S_IXOTH:
        names = [each.name for each in find_candidates(directory)]
        open_to_all = [name for name in names if _mode_of(directory / name) & stat.S_IROTH]
        if open_to_all:
            which = f"{open_to_all[0]} and {len(open_to_all) - 1} more" if len(open_to_all) > 1 else open_to_all[0]
            found.append(
                warning(
                    "access",
                    f"everybody here can read all data in {which}",
                    f"chmod 0600 {directory}/safeharbor-backup-*.tar",
                )
            )
    return found or [fine("access", f"mode {stat.S_IMODE(mode):04o}; archives cannot be read by others")]


def _mode_of(path: Path) -> int:
    try:
        return os.lstat(path).st_mode
    except FileNotFoundError:
        return 0  # pruned meanwhile


def check_restores(settings: Settings) -> list[Finding]:
    """No restore waits half-way; then no backup would be taken."""
    directory = settings.backup_dir
    records = Journal(directory).read()
    pending = next((record for record in records if record.is_interrupted), None)
    if pending is not None:
        if is_locked(directory):
            return [fine("restores", f"the restore {pending.id} is at work at this moment")]
        raise pending.pending_error()
    unknown = describe_unknown_stages(settings)
    if unknown:
        return [
            warning(
                "restores",
                unknown[0],
                "If the journal was lost, `safeharbor restore --undo --id ID` shows what it would move. If not, "
                "look at who can write to the uploads, and delete it.",
            )
        ]
    if records:
        return [fine("restores", f"none was interrupted; {len(records)} keep a state, which `safeharbor status` shows")]
    return [fine("restores", "none was interrupted")]


def check_retention(settings: Settings) -> list[Finding]:
    """Retention can be applied, and no guard holds it back."""
    if settings.problems_in(Concern.RETENTION, Concern.SCHEDULE):
        return [not_checked("retention", "its settings or those of the schedule cannot be used")]
    plan = plan_prune(settings)
    if plan.warnings:
        return [warning("retention", text, "safeharbor prune --dry-run tells the rest.") for text in plan.warnings]
    kept = f"{settings.retention_daily} daily and {settings.retention_weekly} weekly archives stay"
    return [fine("retention", f"{kept}; of {len(plan.verdicts)} there, {len(plan.doomed)} would go now")]


def check_archive_times(directory: Path, now: datetime) -> list[Finding]:
    """No archive is from the future: it would be the newest for a long time."""
    candidates = find_candidates(directory)
    limit = now.astimezone(UTC) + _CLOCK_TOLERANCE
    ahead = sorted(each.name for each in candidates if max(each.named_at, each.modified_at) > limit)
    if ahead:
        return [
            warning(
                "archive times",
                f"{ahead[-1]} is from the future: the clock was wrong then, or is now",
                "If the clock is right now, move it out of BACKUP_DIR: until its time comes it counts as the newest.",
            )
        ]
    return [fine("archive times", "no archive is from the future")]


def check_sharing(settings: Settings, probed: Probed) -> list[Finding]:
    """Whether the next archive can share blocks with the one before. If not, it costs more and is as good."""
    if not probed.can_share:
        return [fine("sharing", "this filesystem cannot share blocks: each archive takes its full size")]
    uploads = settings.upload_dir
    if uploads is not None and uploads.is_dir():
        descriptor = open_root(uploads)
        try:
            if not tells_changes(descriptor):
                return [fine("sharing", f"blocks could be shared, but everything is read: {UNRELIABLE}")]
        finally:
            os.close(descriptor)
    return [fine("sharing", "archives share the blocks of what has not changed")]


def check_published(name: str, path: Path) -> list[Finding]:
    """Where the state is published can be written."""
    if os.access(path.parent, os.W_OK | os.X_OK):
        return [fine(name, f"{path} can be written")]
    user, group = os.geteuid(), os.getegid()
    return [
        warning(
            name,
            f"{path} cannot be written: {path.parent} does not exist, or uid {user} has no access to it",
            f"sudo install -d -m 0755 -o {user} -g {group} {path.parent}",
        )
    ]
