"""All checks, in the order in which runs would meet what they find."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from safeharbor_backup.actions.catalog.entries import newest_manifest
from safeharbor_backup.actions.doctor import (
    alert_checks,
    archive_checks,
    container_checks,
    restore_checks,
    server_checks,
    settings_checks,
    storage_checks,
    target_checks,
)
from safeharbor_backup.actions.doctor.check import Check, Context
from safeharbor_backup.actions.doctor.findings import Diagnosis
from safeharbor_backup.errors import SafeHarborError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from safeharbor_backup.actions.doctor.findings import Finding
    from safeharbor_backup.archive.manifest import Manifest
    from safeharbor_backup.settings.model import Settings

# the first problem decides the exit status
CHECKS: tuple[Check[Context], ...] = (
    *settings_checks.CHECKS,
    *storage_checks.CHECKS,
    *server_checks.CHECKS,
    *archive_checks.CHECKS,
    *alert_checks.CHECKS,
    *target_checks.CHECKS,
    *restore_checks.CHECKS,
    *container_checks.CHECKS,
    Check(
        "commands", "inside an app that has a command or a group `safeharbor` of its own: which commands are the app's"
    ),
)


def examine(settings: Settings, *, now: datetime | None = None, also: Sequence[Finding] = ()) -> Diagnosis:
    """What every check finds, and `also` what its caller has found; none stops another.

    Nothing is changed, and no lock is held.
    """
    now = now or datetime.now(UTC)
    context = _look(settings, now)
    found = [finding for check in CHECKS for finding in check.run(context)]
    shown = settings_checks.show_settings(settings)
    return Diagnosis((*found, *also), shown, settings_checks.next_runs(settings, now), settings.timezone)


def _look(settings: Settings, now: datetime) -> Context:
    """What checks go by is looked at once, however many need it."""
    newest = _newest(settings.backup_dir)
    unreadable = "" if _can_list(settings.backup_dir) else "BACKUP_DIR cannot be read"
    directory, probed = storage_checks.check_backup_dir(settings.backup_dir)
    live = server_checks.inspect_database(settings)
    target = target_checks.inspect_target(settings, live)
    return Context(settings, now, newest, unreadable, directory, probed, live, target)


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
