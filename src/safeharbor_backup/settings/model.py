"""The settings of a run, as values; what of them cannot be used is kept as problems."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from safeharbor_backup.errors import SettingsInvalid
from safeharbor_backup.settings.alerts import NotifyOn
from safeharbor_backup.settings.min_free import MinFree
from safeharbor_backup.settings.schedule import DEFAULT_DRILL_SCHEDULE, DEFAULT_SCHEDULE, DEFAULT_VERIFY_SCHEDULE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from safeharbor_backup.settings.database_url import DatabaseUrl


class Concern(StrEnum):
    """What a setting is for; a verb requires only the concerns that it has."""

    DATABASE = "database"
    UPLOADS = "uploads"
    DIRECTORY = "directory"
    DUMP = "dump"
    RETENTION = "retention"
    SCHEDULE = "schedule"
    SHARING = "sharing"
    MONITORING = "monitoring"
    RESTORE = "restore"
    DRILL = "drill"


@dataclass(frozen=True, slots=True)
class Problem:
    """A setting that cannot be used: its name, what it holds (unless secret) and what was expected."""

    concern: Concern
    variable: str
    value: str
    expected: str

    def __str__(self) -> str:
        shown = f"{self.variable}={self.value!r}" if self.value else self.variable
        return f"{shown}: expected {self.expected}"


@dataclass(frozen=True, slots=True)
class Settings:
    """What a run goes by. Times in seconds, paths absolute."""

    database: DatabaseUrl | None = None
    upload_dir: Path | None = None
    backup_dir: Path = Path("/backups")
    schedule: str = DEFAULT_SCHEDULE
    verify_schedule: str | None = DEFAULT_VERIFY_SCHEDULE
    drill_schedule: str | None = DEFAULT_DRILL_SCHEDULE
    timezone: str = "UTC"
    retention_daily: int = 7
    retention_weekly: int = 4
    dump_compression: str = "auto"
    pg_bin: tuple[Path, ...] = ()
    exclude: tuple[str, ...] = ()
    exclude_schema: tuple[str, ...] = ()
    exclude_table: tuple[str, ...] = ()
    exclude_table_data: tuple[str, ...] = ()
    upload_references: tuple[str, ...] = ()
    sentinel: Path | None = None
    full_read_days: int = 7
    min_free: MinFree = field(default_factory=MinFree)
    max_age_seconds: float = 26 * 3600.0
    status_file: Path | None = None
    metrics_file: Path | None = None
    log_format: str = "human"
    notify_urls: tuple[str, ...] = field(default=(), repr=False)
    notify_on: NotifyOn = NotifyOn.FAILURE
    ping_url: str | None = field(default=None, repr=False)
    connect_timeout_seconds: float = 10.0
    lock_timeout_seconds: float = 60.0
    network_timeout_seconds: float = 30.0
    restore_database: DatabaseUrl | None = None
    tmp_dir: Path | None = None
    drill_database: DatabaseUrl | None = None
    drill_command: tuple[str, ...] = field(default=(), repr=False)  # it may hold a token
    secret_key: str | None = field(default=None, repr=False)
    problems: tuple[Problem, ...] = ()
    unknown: tuple[str, ...] = ()
    origins: Mapping[str, str] = field(default_factory=dict)

    @property
    def database_name(self) -> str:
        """The name of the database, as far as its address tells it; else ""."""
        if self.database is None:
            return ""
        by_default = "" if self.database.get("service") else self.database.get("user")
        return self.database.get("dbname") or by_default

    def require(self, *concerns: Concern) -> None:
        """Raises SettingsInvalid, naming every problem in these concerns."""
        found = self.problems_in(*concerns)
        if found:
            raise SettingsInvalid([str(problem) for problem in found])

    def problems_in(self, *concerns: Concern) -> tuple[Problem, ...]:
        """The problems in these concerns."""
        return tuple(problem for problem in self.problems if problem.concern in concerns)
