"""What a restore would meet here: room beside the live uploads, room for a copy of the dump, the same SECRET_KEY.

And whether the evidence of drills can be signed.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from safeharbor_backup.actions.doctor.check import Check, Context, unreadable
from safeharbor_backup.actions.doctor.findings import Finding, fine, not_checked, warning
from safeharbor_backup.actions.restore.dump_copy import lives_in_memory
from safeharbor_backup.actions.restore.uploads_target import check_movable, check_rooms
from safeharbor_backup.archive.manifest import fingerprint_matches
from safeharbor_backup.errors import SafeHarborError, StorageUnavailable, one_line
from safeharbor_backup.settings.min_free import show_room
from safeharbor_backup.settings.upload_dirs import describe_dirs
from safeharbor_backup.system.signature import sign
from safeharbor_backup.text import typed
from safeharbor_backup.uploads.collect import make_filter

if TYPE_CHECKING:
    from pathlib import Path

    from safeharbor_backup.archive.manifest import Manifest

# a key as short as that can be guessed by trying
_SHORTEST_KEY = 20


def _check_uploads(context: Context) -> list[Finding]:
    """Whether uploads could be put beside the present ones and exchanged; what fails there can be corrected before."""
    settings, newest = context.settings, context.newest
    uploads = settings.upload_dirs
    if not uploads:
        return [fine("restore uploads", "the app has none")]
    if not all(each.path.is_dir() for each in uploads):
        return [not_checked("restore uploads", "the uploads directory is missing")]
    is_excluded = make_filter(settings.exclude)
    try:
        for each in uploads:
            check_movable(each.path, each.inside(is_excluded))
        if newest is None:
            text = f"{describe_dirs(uploads)} can be exchanged; there is no archive to estimate their size from"
            return [fine("restore uploads", text)]
        folders = (
            {each.name: (each.files, each.bytes) for each in newest.folders} if newest.folders is not None else None
        )
        whole = (newest.upload_files, newest.upload_bytes)
        return [fine("restore uploads", text) for text in check_rooms(uploads, folders, whole, settings.min_free)]
    except StorageUnavailable as error:
        return [warning("restore uploads", one_line(error.message), error.hint)]


def _check_tmp_dir(context: Context) -> list[Finding]:
    """Whether several jobs can load a dump: they need a copy of it in a file."""
    settings, newest = context.settings, context.newest
    directory = settings.scratch_dir
    why = ""
    is_writable = os.access(directory, os.W_OK | os.X_OK)
    if not is_writable and settings.tmp_dir is None:
        return [not_checked("restore speed", "no file can be written in BACKUP_DIR")]
    if not is_writable:
        why = f"{directory} cannot be written"
    elif lives_in_memory(directory):
        why = f"{directory} is in memory"
    else:
        system = os.statvfs(directory)
        room = settings.min_free.room(system)
        if newest is not None and room is not None and room < newest.dump_size:
            free = show_room(directory, system, settings.min_free)
            why = f"{free}; a copy of the dump takes {newest.dump_size:,}"
    if why:
        return [
            warning(
                "restore speed",
                f"{why}: one job would load the dump, not several",
                "Set BACKUP_TMP_DIR to a directory on a disk with space for the dump.",
            )
        ]
    return [fine("restore speed", f"several jobs can load the dump; its copy goes to {directory}")]


def check_secret_key(key: str | None, newest: Manifest | None) -> list[Finding]:
    """Whether it is the one of the newest archive, and not one that can be guessed."""
    if key is None:
        return [fine("SECRET_KEY", "not known here; a restore cannot tell whether sessions will stay valid")]
    fingerprint = newest.secret_key if newest is not None else None
    if fingerprint is not None:
        try:
            if not fingerprint_matches(key, fingerprint):
                return [
                    warning(
                        "SECRET_KEY",
                        "it is not the key that the newest archive was taken with: after a restore of that archive, "
                        "its sessions and signed links are not valid",
                        f"If the change was meant, take a backup: {typed('backup')}",
                    )
                ]
        except ValueError:
            pass  # a fingerprint of a kind that we do not know
    if len(key) < _SHORTEST_KEY:
        return [
            warning(
                "SECRET_KEY",
                f"it has fewer than {_SHORTEST_KEY} characters and can be guessed",
                "Set it, for the app and for Safe Harbor, to the output of: openssl rand -hex 32",
            )
        ]
    return [fine("SECRET_KEY", "set; archives hold a fingerprint of it, never the key")]


def check_evidence_key(key: Path | None) -> list[Finding]:
    """Whether a drill could sign its evidence; nothing to find if it is not to. It signs nothing at all, to see."""
    if key is None:
        return []
    try:
        sign(b"", key)
    except SafeHarborError as error:
        return [warning("evidence key", f"drills would end with 3: {one_line(error.message)}", error.hint)]
    return [fine("evidence key", f"drills sign their evidence with {key}")]


CHECKS: tuple[Check[Context], ...] = (
    Check(
        "restore uploads",
        "they can be exchanged: nothing is mounted inside them that backups read, nothing is immutable; and there is "
        "disk space for a second copy",
        _check_uploads,
    ),
    Check(
        "restore speed",
        "there is disk space for a copy of the dump, which several jobs need (`BACKUP_TMP_DIR`)",
        _check_tmp_dir,
        blocked_by=unreadable,
    ),
    Check(
        "evidence key",
        "drills can sign their evidence with the key of `BACKUP_EVIDENCE_KEY`, if it is set",
        lambda context: check_evidence_key(context.settings.evidence_key),
    ),
    Check(
        "SECRET_KEY",
        "it is the key of the newest archive, and cannot be guessed",
        lambda context: check_secret_key(context.settings.secret_key, context.newest),
    ),
)
