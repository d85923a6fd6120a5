"""The settings of a run, as values; what of them cannot be used is kept as problems."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from safeharbor_backup.errors import SettingsInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from safeharbor_backup.settings.alerts import NotifyOn
    from safeharbor_backup.settings.app_config import Bind
    from safeharbor_backup.settings.database_url import DatabaseUrl
    from safeharbor_backup.settings.extra_databases import ExtraDatabase
    from safeharbor_backup.settings.min_free import MinFree
    from safeharbor_backup.settings.upload_dirs import UploadDirs


class Concern(StrEnum):
    """What a setting is for; a verb requires only the concerns that it has."""

    DATABASE = "database"
    EXTRA_DATABASES = "extra databases"
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
    """What a run works with. Times in seconds, paths absolute; defaults are in `table.SETTINGS`."""

    database: DatabaseUrl | None
    extra_databases: tuple[ExtraDatabase, ...]
    upload_dirs: UploadDirs
    backup_dir: Path
    schedule: str
    verify_schedule: str | None
    drill_schedule: str | None
    timezone: str
    retention_daily: int
    retention_weekly: int
    retention_hourly: int
    retention_monthly: int
    retention_yearly: int
    dump_compression: str
    pg_bin: tuple[Path, ...]
    exclude: tuple[str, ...]
    ignore: tuple[str, ...]
    exclude_schema: tuple[str, ...]
    exclude_table: tuple[str, ...]
    exclude_table_data: tuple[str, ...]
    upload_references: tuple[str, ...]
    sentinel: Path | None
    full_read_days: int
    min_free: MinFree
    max_age_seconds: float
    offsite: str
    status_file: Path | None
    metrics_file: Path | None
    notify_urls: tuple[str, ...] = field(repr=False)
    notify_on: NotifyOn
    ping_url: str | None = field(repr=False)
    log_format: str
    command: str
    connect_timeout_seconds: float
    lock_timeout_seconds: float
    network_timeout_seconds: float
    max_runtime_seconds: float | None
    restore_database: DatabaseUrl | None
    tmp_dir: Path | None
    drill_database: DatabaseUrl | None
    drill_command: tuple[str, ...] = field(repr=False)  # it may hold a token
    drill_hash_seconds: int
    drill_max_seconds: float | None
    drill_after_backup: bool
    evidence_key: Path | None
    secret_key: str | None = field(repr=False)
    problems: tuple[Problem, ...] = ()
    unknown: tuple[str, ...] = ()
    origins: Mapping[str, str] = field(default_factory=dict)
    given: Mapping[str, str] = field(
        default_factory=dict, compare=False
    )  # texts of those that are no secret, paths absolute
    ignored_zone: str = ""  # what TZ says, where the schedules are read in another zone
    folders: tuple[tuple[str, Path], ...] = ()  # that the app's configuration mentions: setting and path
    binds: tuple[Bind, ...] = ()  # the app's databases beside the one that is backed up

    @property
    def database_name(self) -> str:
        """The name of the database, as far as its address tells it; else ""."""
        if self.database is None:
            return ""
        by_default = "" if self.database.get("service") else self.database.get("user")
        return self.database.get("dbname") or by_default

    @property
    def scratch_dir(self) -> Path:
        """Where copies are made: BACKUP_TMP_DIR, otherwise beside the archives."""
        return self.tmp_dir or self.backup_dir

    def database_address(self) -> DatabaseUrl:
        """The address of the database that is backed up. Raises SettingsInvalid."""
        if self.database is None:
            raise SettingsInvalid([str(problem) for problem in self.problems_in(Concern.DATABASE)])
        return self.database

    def extra_database(self, name: str) -> ExtraDatabase | None:
        """The database beside the main one that has this name in archives, if it is set."""
        return next((each for each in self.extra_databases if each.name == name), None)

    def require(self, *concerns: Concern) -> None:
        """Raises SettingsInvalid, naming every problem in these concerns."""
        found = self.problems_in(*concerns)
        if found:
            raise SettingsInvalid([str(problem) for problem in found])

    def problems_in(self, *concerns: Concern) -> tuple[Problem, ...]:
        """The problems in these concerns."""
        return tuple(problem for problem in self.problems if problem.concern in concerns)
