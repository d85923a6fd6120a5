"""The places: uploads, the backup directory, the sentinel; who else can get at them, and whether a restore waits."""

from __future__ import annotations

import os
import shlex
import stat
from typing import TYPE_CHECKING

from safeharbor_backup.actions.catalog.entries import find_candidates
from safeharbor_backup.actions.doctor.check import Check, Context, unreadable
from safeharbor_backup.actions.doctor.findings import Finding, failed, fine, warning
from safeharbor_backup.actions.doctor.write_probe import probe_directory
from safeharbor_backup.actions.hindrances import describe_unknown_stages
from safeharbor_backup.actions.preflight import (
    check_apart,
    check_directory,
    check_sentinel,
    check_uploads,
)
from safeharbor_backup.errors import SafeHarborError, translate_os_error
from safeharbor_backup.settings.upload_dirs import describe_dirs
from safeharbor_backup.state.journal import Journal
from safeharbor_backup.system.lock import is_locked
from safeharbor_backup.text import typed

if TYPE_CHECKING:
    from pathlib import Path

    from safeharbor_backup.actions.doctor.write_probe import Probed
    from safeharbor_backup.settings.upload_dirs import UploadDirs


def _check_uploads(context: Context) -> list[Finding]:
    """The uploads are there, can be listed, and are separate from the archives."""
    uploads = context.settings.upload_dirs
    if not uploads:
        return [fine("uploads", "the app has none (BACKUP_UPLOAD_DIR=none)")]
    check_uploads(context.settings)
    check_apart(uploads, context.settings.backup_dir)
    return [fine("uploads", f"{describe_dirs(uploads)} can be read")]


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
    if not probed.supports_locks:
        found.append(
            warning(
                "locks",
                f"{directory} is on a filesystem without locks: nothing prevents two runs at once there",
                "Make sure that no two runs start at once, or mount the share with locks.",
            )
        )
    return found, probed


def _check_mounted(context: Context) -> list[Finding]:
    """Whether the file that only the mounted share has is there."""
    if context.settings.sentinel is None:
        return [fine("sentinel", "not set; only needed if BACKUP_DIR is on a share")]
    check_sentinel(context.settings.sentinel)
    return [fine("sentinel", f"{context.settings.sentinel} is there")]


def check_access(directory: Path) -> list[Finding]:
    """Whether other users of this machine can delete or read archives."""
    mode = os.stat(directory).st_mode
    found = []
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        found.append(
            warning(
                "access",
                f"every user of this host can delete or replace what is in {directory}",
                f"chmod o-w {shlex.quote(str(directory))}",
            )
        )
    if mode & stat.S_IXOTH:
        names = [each.name for each in find_candidates(directory)]
        open_to_all = [name for name in names if _mode_of(directory / name) & stat.S_IROTH]
        if open_to_all:
            which = f"{open_to_all[0]} and {len(open_to_all) - 1} more" if len(open_to_all) > 1 else open_to_all[0]
            found.append(
                warning(
                    "access",
                    f"every user of this host can read all data in {which}",
                    f"chmod 0600 {shlex.quote(str(directory))}/safeharbor-backup-*.tar",
                )
            )
    return found or [fine("access", f"mode {stat.S_IMODE(mode):04o}; archives cannot be read by others")]


def _mode_of(path: Path) -> int:
    try:
        return os.lstat(path).st_mode
    except FileNotFoundError:
        return 0  # pruned meanwhile


def check_restores(directory: Path, upload_dirs: UploadDirs) -> list[Finding]:
    """Whether an interrupted restore waits, which stops all backups."""
    records = Journal(directory).read()
    pending = next((record for record in records if record.is_interrupted), None)
    if pending is not None:
        if is_locked(directory):
            return [fine("restores", f"the restore {pending.id} is at work at this moment")]
        raise pending.pending_error()
    unknown = describe_unknown_stages(upload_dirs, directory)
    if unknown:
        return [
            warning(
                "restores",
                unknown[0],
                f"If the journal was lost, `{typed('restore --undo --id ID')}` shows what it would move. If not, "
                "find out who can write to the uploads, and delete it.",
            )
        ]
    if records:
        keep = "keeps" if len(records) == 1 else "keep"
        return [
            fine("restores", f"none was interrupted; {len(records)} {keep} a state, which `{typed('status')}` shows")
        ]
    return [fine("restores", "none was interrupted")]


CHECKS: tuple[Check[Context], ...] = (
    Check(
        "uploads", "they exist, can be listed, and are not inside `BACKUP_DIR`, nor is it inside them", _check_uploads
    ),
    Check(
        "directory",
        "a file can be written in `BACKUP_DIR`, forced to the disk, renamed and removed. If not: the exact `chown` or "
        "`mount`",
        lambda context: context.directory,
    ),
    Check("locks", "shown only if the filesystem has none"),
    Check("sentinel", "the file that `BACKUP_SENTINEL` names is there", _check_mounted),
    Check(
        "access",
        "others on this machine can neither read archives nor replace them",
        lambda context: check_access(context.settings.backup_dir),
        blocked_by=unreadable,
    ),
    Check(
        "restores",
        "no restore is unfinished, which would stop all backups; nothing in the uploads has the name of a "
        "restore's directory without being one",
        lambda context: check_restores(context.settings.backup_dir, context.settings.upload_dirs),
        blocked_by=unreadable,
    ),
)
