"""The settings: where each came from, which cannot be used, and when the next backups are due by them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from typing import TYPE_CHECKING

from safeharbor_backup.actions.catalog.entries import find_candidates
from safeharbor_backup.actions.doctor.check import Check, Context
from safeharbor_backup.actions.doctor.findings import Finding, SettingShown, fine, not_checked, problem, remark, warning
from safeharbor_backup.actions.status.schedule_seen import (
    STOP_ONE,
    TWICE,
    Seen,
    has_second_scheduler,
    look_for_schedule,
)
from safeharbor_backup.archive.layout import time_in_name
from safeharbor_backup.errors import ExitStatus, SafeHarborError
from safeharbor_backup.settings.database_url import DatabaseUrl
from safeharbor_backup.settings.misspelt import find_misspelt
from safeharbor_backup.settings.model import Concern, Settings
from safeharbor_backup.settings.schedule import find_zone, upcoming_runs
from safeharbor_backup.settings.table import SETTINGS
from safeharbor_backup.state.history import read_history
from safeharbor_backup.text import plural

if TYPE_CHECKING:
    from pathlib import Path

    from safeharbor_backup.settings.setting import Setting

_RUNS = 5
_DEFAULT = "the default"
# what keeps a command from running; the others cost a backup no more than its status
_REFUSED = (
    Concern.DATABASE,
    Concern.UPLOADS,
    Concern.DIRECTORY,
    Concern.DUMP,
    Concern.RETENTION,
    Concern.SCHEDULE,
    Concern.RESTORE,
    Concern.DRILL,
)


def show_settings(settings: Settings) -> tuple[SettingShown, ...]:
    """Every setting with its value, if that may be shown, and where it came from."""
    return tuple(
        SettingShown(each.name, _show(each, getattr(settings, each.field)), settings.origins.get(each.name, _DEFAULT))
        for each in SETTINGS
    )


def _show(setting: Setting, value: object) -> str:
    if value is None or value == ():
        return "none"
    if isinstance(value, DatabaseUrl):
        return value.describe()
    parts = [str(each) for each in value] if isinstance(value, tuple) else [str(value)]
    if setting.is_secret or any("://" in part for part in parts):  # an address may hold a password
        return "set, and not shown"
    if isinstance(value, float):
        return f"{value:g}s" if value % 3600 else f"{value / 3600:g}h"
    return ", ".join(parts)


def describe_ignored_zone(ignored: str, used: str) -> str:
    """That TZ is not the zone of the schedules."""
    return f"TZ={ignored} is ignored: the schedules are read in {used}"


def check_settings(settings: Settings) -> list[Finding]:
    """Each setting that cannot be used, and each that looks like a misspelt one."""
    found = []
    for each in settings.problems:
        origin = settings.origins.get(each.variable, "the environment")
        remedy = f"Correct it in {origin}, or unset it." if each.value else f"Set {each.variable}."
        if each.concern in _REFUSED:
            found.append(problem("settings", str(each), remedy, ExitStatus.USAGE))
        else:
            found.append(warning("settings", str(each), remedy))
    told = {each.variable for each in settings.problems}
    for name, meant in find_misspelt(settings.unknown):
        if name not in told:
            found.append(warning("settings", f"{name} is not a setting and has no effect", f"Did you mean {meant}?"))
    if settings.ignored_zone:
        ignored = describe_ignored_zone(settings.ignored_zone, settings.timezone)
        found.append(warning("settings", ignored, "Set BACKUP_TIMEZONE, to that zone or to UTC."))
    if found:
        return found
    chosen = sum(each.origin != _DEFAULT for each in show_settings(settings))
    return [fine("settings", f"{plural(chosen, 'setting')} set, {len(SETTINGS) - chosen} at their defaults")]


def next_runs(settings: Settings, now: datetime) -> tuple[datetime, ...]:
    """When the next backups are due, in UTC; none if the schedule cannot be used."""
    if settings.problems_in(Concern.SCHEDULE):
        return ()
    local = now.astimezone(find_zone(settings.timezone))
    return tuple(moment.astimezone(UTC) for moment in islice(upcoming_runs(settings.schedule, local), _RUNS))


def check_schedule(settings: Settings, now: datetime) -> list[Finding]:
    """When the next backup is due, and whether `status` is patient enough for it."""
    runs = next_runs(settings, now)
    if not runs:
        return [not_checked("schedule", "it cannot be used")]
    apart = max(later - earlier for earlier, later in pairwise(runs))
    if apart > timedelta(seconds=settings.max_age_seconds):
        return [
            warning(
                "schedule",
                f"backups are up to {_hours(apart.total_seconds())} apart, and after "
                f"{_hours(settings.max_age_seconds)} `status` calls the newest archive too old",
                f"BACKUP_MAX_AGE={_hours(apart.total_seconds() + 7200)}",
            )
        ]
    history = read_history(settings.backup_dir)
    if has_second_scheduler(settings, history, now):
        return [warning("schedule", TWICE, STOP_ONE)]
    seen = look_for_schedule(settings, history, _taken(settings.backup_dir), now)
    if seen is Seen.NOTHING:
        return [
            warning(
                "schedule",
                f"no backup began at the last times of `{settings.schedule}` ({settings.timezone}), and no scheduler "
                "is running",
                "Start the scheduler or a timer (docs/scheduling.md). If backups run at other times, put those into "
                "BACKUP_SCHEDULE.",
            )
        ]
    verify = f"verify `{settings.verify_schedule}`" if settings.verify_schedule else "no verify"
    text = f"backup `{settings.schedule}`, {verify}, in {settings.timezone}"
    if seen is Seen.NOT_YET:
        return [remark("schedule", f"{text}; no run seen yet")]
    return [fine("schedule", text)]


def _taken(directory: Path) -> list[datetime]:
    """The moments of the archives, by their names."""
    try:
        moments = [time_in_name(candidate.name) for candidate in find_candidates(directory)]
    except (SafeHarborError, OSError):
        return []
    return [moment for moment in moments if moment is not None]


def _hours(seconds: float) -> str:
    return f"{-(-int(seconds) // 3600)}h"


CHECKS: tuple[Check[Context], ...] = (
    Check(
        "settings", "each can be used; none looks like a misspelt one", lambda context: check_settings(context.settings)
    ),
    Check(
        "schedule",
        "`BACKUP_MAX_AGE` is longer than the time between two backups. Backups have begun at the times of "
        "`BACKUP_SCHEDULE`, or a scheduler is running. Only one scheduler starts them",
        lambda context: check_schedule(context.settings, context.now),
    ),
)
