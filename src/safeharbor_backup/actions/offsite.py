"""Copies of archives elsewhere: what jobs say of them, and which of them are too old."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from safeharbor_backup.actions.catalog.entries import find_candidates
from safeharbor_backup.archive.layout import time_in_name
from safeharbor_backup.errors import ArchiveNotFound, SettingsInvalid, translate_os_error
from safeharbor_backup.settings.model import Concern
from safeharbor_backup.state.offsite import NAME_PATTERN, forget_copy, read_copies, remember_copy, remember_drill
from safeharbor_backup.text import ascii_safe, typed

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from safeharbor_backup.settings.model import Settings
    from safeharbor_backup.state.offsite import OffsiteCopy

OLD_AFTER = timedelta(days=2)


def note_copy(name: str, archive: str | None, settings: Settings) -> str | None:
    """Record that a copy was made now. Returns its newest archive, by default the newest here; None if there is none.

    Raises SettingsInvalid for an invalid name, StorageUnavailable.
    """
    require_name(name)
    settings.require(Concern.DIRECTORY)
    if archive is not None and time_in_name(archive) is None:
        raise SettingsInvalid([f"--archive: expected the name of an archive, not {ascii_safe(archive)!r}"])
    directory = settings.backup_dir
    try:
        newest = archive or newest_here(directory)
        remember_copy(directory, name, _now(), newest)
    except OSError as error:
        raise translate_os_error(error, "remembering the copy") from error
    return newest


def newest_here(directory: Path) -> str | None:
    """The name of the newest archive in the backup directory, if there is any. Raises OSError, StorageUnavailable."""
    return max((each.name for each in find_candidates(directory)), default=None)


def note_drill(name: str, settings: Settings) -> None:
    """An archive that was fetched from this copy restored. Raises StorageUnavailable."""
    try:
        remember_drill(settings.backup_dir, name, _now())
    except OSError as error:
        raise translate_os_error(error, "remembering the drill") from error


def give_up_copy(name: str, settings: Settings) -> None:
    """Forget a copy that no longer exists. Raises ArchiveNotFound, SettingsInvalid, StorageUnavailable."""
    require_name(name)
    settings.require(Concern.DIRECTORY)
    try:
        was_known = forget_copy(settings.backup_dir, name)
    except OSError as error:
        raise translate_os_error(error, "forgetting the copy") from error
    if not was_known:
        known = ", ".join(each.name for each in read_copies(settings.backup_dir)) or "none"
        raise ArchiveNotFound(f"No off-site copy is called {name}.", hint=f"Known: {known}.")


def require_name(name: str) -> None:
    """Raises SettingsInvalid for what is not a name of a copy."""
    if not re.fullmatch(NAME_PATTERN, name):
        raise SettingsInvalid(
            [
                f"{ascii_safe(name)!r} is not a name for a copy: expected 1 to 50 letters, digits, dots, dashes, "
                "underscores"
            ]
        )


def find_copies(directory: Path, offsite: str) -> tuple[OffsiteCopy, ...] | None:
    """What is known of copies elsewhere; None where there are none on purpose, which BACKUP_OFFSITE says."""
    return None if offsite == "none" else read_copies(directory)


def fresh_as_of(copy: OffsiteCopy, taken: Iterable[datetime]) -> datetime | None:
    """When a copy was last up to date: when it was made, unless its newest archive was an old one by then.

    `taken` is when each archive here was taken. One that is more than two days newer, and was here when the copy was
    made, is missing there: then it is as old as the archive that it has.
    """
    newest = time_in_name(copy.archive or "")
    if copy.copied_at is None or newest is None:
        return copy.copied_at
    lags = any(newest + OLD_AFTER < each <= copy.copied_at for each in taken)
    return newest if lags else copy.copied_at


def describe_old_copy(copy: OffsiteCopy, taken: Iterable[datetime], now: datetime) -> str:
    """That it is too old, and what to do; "" if it is not, or was never seen to be made. `taken`: see fresh_as_of."""
    fresh = fresh_as_of(copy, taken)
    if fresh is None or now - fresh <= OLD_AFTER:
        return ""
    forget = typed(f"offsite-done {copy.name} --forget")
    days = (now - fresh).days
    was = f"was last made {days} days ago" if fresh == copy.copied_at else f"has no archive of the last {days} days"
    return f"the off-site copy {copy.name} {was}; look at its job, or if there is no such copy any more: {forget}"


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)
