"""How much of a filesystem stays free, whatever we write: others live on it too, often the database itself."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from safeharbor_backup.errors import StorageUnavailable
from safeharbor_backup.text import typed

if TYPE_CHECKING:
    from pathlib import Path

_UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}
_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,3})?)\s*([kmgt]?)(?:i?b)?", re.IGNORECASE)
_PERCENT = re.compile(r"([0-9]{1,2}(?:\.[0-9]{1,3})?)\s*%")


_DEFAULT_BYTES, _DEFAULT_PERCENT, _MOST_PERCENT = 1024**3, 5.0, 10.0


def free_backups() -> str:
    """What to do where archives have no room."""
    return f"Free some space there, or keep fewer: lower BACKUP_RETENTION_DAILY, then `{typed('prune')}`."


def free_restores() -> str:
    """What to do where a restore has no room."""
    return f"Free some space there; `{typed('restore --discard-previous')}` deletes what earlier restores kept."


@dataclass(frozen=True, slots=True)
class MinFree:
    """BACKUP_MIN_FREE: so many bytes or so much of a filesystem. Both None is the default."""

    size: int | None = None
    percent: float | None = None

    def of(self, system: os.statvfs_result) -> int:
        """The bytes that stay free on a filesystem."""
        total = system.f_blocks * system.f_frsize
        if self.size is not None:
            return self.size
        if self.percent is not None:
            return int(total * self.percent / 100)
        return int(min(max(_DEFAULT_BYTES, total * _DEFAULT_PERCENT / 100), total * _MOST_PERCENT / 100))  # decision 78

    def room(self, system: os.statvfs_result) -> int | None:
        """The bytes that may be written; None for a filesystem that does not report it."""
        if not system.f_blocks:
            return None
        return max(system.f_bavail * system.f_frsize - self.of(system), 0)


def parse_min_free(text: str) -> MinFree:
    """`2GiB`, `500M`, `5%`, or `0` for none. Raises ValueError."""
    if found := _PERCENT.fullmatch(text):
        return MinFree(percent=float(found[1]))
    if found := _SIZE.fullmatch(text):
        return MinFree(size=int(float(found[1]) * _UNITS[found[2].lower()]))
    raise ValueError(text)


def show_room(directory: Path, system: os.statvfs_result, min_free: MinFree) -> str:
    """`/backups has 5,000 bytes free, of which 1,000 stay free (BACKUP_MIN_FREE)`."""
    free, floor = system.f_bavail * system.f_frsize, min_free.of(system)
    stays = f", of which {floor:,} stay free (BACKUP_MIN_FREE)" if floor else ""
    return f"{directory} has {free:,} bytes free{stays}"


@dataclass(frozen=True, slots=True)
class Floor:
    """Watches what is being written below `directory`, so that its filesystem is never filled up.

    `descriptor` is of anything on that filesystem. `hint` says how to get more room, if not as for archives.
    """

    descriptor: int
    directory: Path
    min_free: MinFree
    hint: str = ""

    def require(self, size: int) -> None:
        """So many bytes more may be written. Raises StorageUnavailable, OSError."""
        system = os.fstatvfs(self.descriptor)
        room = self.min_free.room(system)
        floor = self.min_free.of(system)
        if room is not None and floor and size > room:
            raise StorageUnavailable(
                f"{self.directory} is nearly full: {floor:,} bytes stay free there (BACKUP_MIN_FREE).",
                hint=self.hint or free_backups(),
            )
