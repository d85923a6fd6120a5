"""The existing archives and the next one: disk space, retention, times, shared blocks."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from safeharbor_backup.actions.archive_space import estimate_uploads, require_space
from safeharbor_backup.actions.catalog.entries import find_candidates
from safeharbor_backup.actions.catalog.retention import tiers_of
from safeharbor_backup.actions.doctor.check import UNREACHABLE, Check, Context, unreadable
from safeharbor_backup.actions.doctor.findings import Finding, fine, not_checked, remark, warning
from safeharbor_backup.actions.offsite import describe_old_copy, find_copies
from safeharbor_backup.actions.prune import plan_prune
from safeharbor_backup.settings.min_free import show_room
from safeharbor_backup.settings.model import Concern
from safeharbor_backup.text import typed
from safeharbor_backup.uploads.collect import UNRELIABLE, make_filter
from safeharbor_backup.uploads.sharing import remembered
from safeharbor_backup.uploads.stat_signature import tells_changes
from safeharbor_backup.uploads.walk import opened_tree

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from safeharbor_backup.actions.doctor.write_probe import Probed
    from safeharbor_backup.settings.upload_dirs import UploadDirs
    from safeharbor_backup.state.offsite import OffsiteCopy

_CLOCK_TOLERANCE = timedelta(minutes=1)


def _check_room(context: Context) -> list[Finding]:
    """Whether the next archive will find room. Raises StorageUnavailable if not."""
    settings, live, newest = context.settings, context.live, context.newest
    directory = settings.backup_dir
    if live.size is None and newest is None:
        return [not_checked("space", UNREACHABLE if live.unknown else "the size of the database is not known")]
    is_excluded = make_filter(settings.exclude)
    with remembered(directory, settings, full=False) as sharing:
        uploads = estimate_uploads(settings.upload_dirs, is_excluded, sharing)
        _, despite = require_space(settings.min_free, directory, live.size or 0, newest, uploads, sharing)
    free = show_room(directory, os.statvfs(directory), settings.min_free)
    if despite:
        return [warning("space", f"{free}: {despite}", "Free some space there, or keep fewer archives.")]
    return [fine("space", f"{free}, enough for the next archive")]


def _check_retention(context: Context) -> list[Finding]:
    """Retention can be applied, and no guard holds it back."""
    settings = context.settings
    if settings.problems_in(Concern.RETENTION, Concern.SCHEDULE):
        return [not_checked("retention", "its settings or those of the schedule cannot be used")]
    plan = plan_prune(settings)
    if plan.warnings:
        return [warning("retention", text, f"{typed('prune --dry-run')} shows the rest.") for text in plan.warnings]
    kept = f"{str(tiers_of(settings)).replace(', ', ' and ', 1)} archives stay"
    return [fine("retention", f"{kept}; {len(plan.to_delete)} of {len(plan.verdicts)} would be deleted now")]


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


def check_copies(copies: Sequence[OffsiteCopy] | None, directory: Path, now: datetime) -> list[Finding]:
    """Whether archives are copied elsewhere, as far as jobs say; None where there are no copies on purpose."""
    if copies is None:
        return [fine("off-site", "there is no copy elsewhere on purpose (BACKUP_OFFSITE=none)")]
    if not copies:
        remedy = (
            f"The jobs of docs/off-site.md record each copy; your own job does it with `{typed('offsite-done NAME')}`."
        )
        return [remark("off-site", "no off-site copy is known", f"{remedy} BACKUP_OFFSITE=none if you want none.")]
    taken = [each.named_at for each in find_candidates(directory)]
    old = [text for each in copies if (text := describe_old_copy(each, taken, now))]
    if old:
        forget = typed("offsite-done NAME --forget")
        return [
            warning("off-site", text, f"Look at its job. If that copy no longer exists: `{forget}`.") for text in old
        ]
    return [fine("off-site", f"copies: {', '.join(each.name for each in copies)}")]


def check_sharing(upload_dirs: UploadDirs, probed: Probed | None) -> list[Finding]:
    """Whether the next archive can share blocks with the previous one. If not, it takes its full size."""
    if probed is None:
        return [not_checked("sharing", "no file can be written in BACKUP_DIR")]
    if not probed.can_share:
        return [
            fine(
                "sharing", "this filesystem cannot share blocks as XFS and Btrfs can: each archive takes its full size"
            )
        ]
    if all(each.path.is_dir() for each in upload_dirs):
        with opened_tree(upload_dirs) as roots:
            if not all(tells_changes(root) for _, root in roots):
                return [fine("sharing", f"blocks could be shared, but everything is read: {UNRELIABLE}")]
    return [fine("sharing", "archives share the blocks of what has not changed")]


CHECKS: tuple[Check[Context], ...] = (
    Check(
        "space",
        "the next archive fits, estimated from the last dump or the size of the database and from the uploads; "
        "`BACKUP_MIN_FREE` stays free",
        _check_room,
        blocked_by=unreadable,
    ),
    Check("retention", "no [guard](prune.md) stops it", _check_retention, blocked_by=unreadable),
    Check(
        "archive times",
        "no archive is from the future",
        lambda context: check_archive_times(context.settings.backup_dir, context.now),
        blocked_by=unreadable,
    ),
    Check(
        "sharing",
        "whether archives can [share blocks](sharing.md) here. If not, that is not a warning",
        lambda context: check_sharing(context.settings.upload_dirs, context.probed),
    ),
    Check(
        "off-site",
        "when the archives were last [copied elsewhere](off-site.md); no known copy is a note, one older than two days "
        "a warning",
        lambda context: check_copies(
            find_copies(context.settings.backup_dir, context.settings.offsite), context.settings.backup_dir, context.now
        ),
    ),
)
