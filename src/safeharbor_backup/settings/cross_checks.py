"""What is wrong with settings that are right each by itself, and names that look like ours and are none."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from safeharbor_backup.settings.extra_databases import is_same_database
from safeharbor_backup.settings.model import Concern, Problem
from safeharbor_backup.settings.table import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_NAMES = {each.name for each in SETTINGS}
_FILES = {f"{each.name}_FILE" for each in SETTINGS if each.is_secret}
_RETENTION = tuple(f"BACKUP_RETENTION_{each}" for each in ("DAILY", "WEEKLY", "HOURLY", "MONTHLY", "YEARLY"))


def is_unknown(name: object) -> bool:
    """Whether it looks like the name of a setting, and there is none of that name."""
    is_ours = isinstance(name, str) and name.startswith(("BACKUP_", "RESTORE_"))
    return is_ours and name not in _NAMES and name not in _FILES


def problems_together(
    values: Mapping[str, Any], given: Mapping[str, object], found_alone: Iterable[Problem]
) -> list[Problem]:
    """What is wrong with the values together. `given` is all that was read, `found_alone` what is wrong with each."""
    return [
        *_problems_of_retention(values, given),
        *_problems_of_databases(values, found_alone),
    ]


def _problems_of_retention(values: Mapping[str, Any], given: Mapping[str, object]) -> list[Problem]:
    found = []
    if not any(values[name.removeprefix("BACKUP_").lower()] for name in _RETENTION):
        expected = f"more than 0 here or in {_RETENTION[1]}: with both 0 every archive would be deleted"
        found.append(Problem(Concern.RETENTION, _RETENTION[0], "0", expected))
    for name in sorted(filter(is_unknown, given)):
        if name.startswith("BACKUP_RETENTION_"):
            near = get_close_matches(name, _RETENTION, 1, 0)[0]
            tiers = ", ".join(f"_{each.rpartition('_')[2]}" for each in _RETENTION)
            expected = f"no such setting; did you mean {near}? There are {tiers}"
            found.append(Problem(Concern.RETENTION, name, str(given[name]), expected))
    return found


def _problems_of_databases(values: Mapping[str, Any], found_alone: Iterable[Problem]) -> list[Problem]:
    found = []
    if values["database"] is None and not any(each.concern is Concern.DATABASE for each in found_alone):
        expected = "the address of the database; it is not set, nor is DATABASE_URL"
        found.append(Problem(Concern.DATABASE, "BACKUP_DATABASE_URL", "", expected))
    for extra in values["extra_databases"]:
        if values["database"] is not None and is_same_database(extra, values["database"]):
            expected = f"databases beside the main one; {extra.name!r} is that of BACKUP_DATABASE_URL"
            found.append(Problem(Concern.EXTRA_DATABASES, "BACKUP_EXTRA_DATABASES", "", expected))
    return found
