"""Every setting, read once at the edge from the environment and, inside an app, its configuration.

An empty variable is an unset one: Compose passes empties. Loading never fails; what is wrong is kept as
problems, and each verb asks for what it needs with `Settings.require`, so that all problems of a run are
reported together and a broken retention setting does not cost anybody the night's archive.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from safeharbor_backup.settings.alerts import (
    NotifyOn,
    judge_notify_urls,
    judge_ping_url,
    split_notify_urls,
    usable_ping_url,
)
from safeharbor_backup.settings.database_url import (
    DatabaseUrl,
    UnusableDatabaseUrl,
    merge_connect_args,
    parse_database_url,
)
from safeharbor_backup.settings.min_free import MinFree, parse_min_free
from safeharbor_backup.settings.model import Concern, Problem, Settings
from safeharbor_backup.settings.schedule import (
    DEFAULT_DRILL_SCHEDULE,
    DEFAULT_SCHEDULE,
    DEFAULT_VERIFY_SCHEDULE,
    UnusableSchedule,
    UnusableZone,
    find_zone,
    parse_schedule,
)
from safeharbor_backup.settings.table import VARIABLES


def load_settings(environ: Mapping[str, str], app_config: Mapping[str, object] | None = None) -> Settings:
    """The settings of a run, each from the environment, else from an app's configuration, else its default."""
    reader = _Reader(environ, app_config or {})
    # in the order of the fields above, so that problems come in the order of the documentation
    return Settings(
        database=reader.database(),
        upload_dir=reader.upload_dir(),
        backup_dir=reader.directory("BACKUP_DIR", Path("/backups")),
        schedule=reader.schedule("BACKUP_SCHEDULE", DEFAULT_SCHEDULE),
        verify_schedule=reader.optional_schedule("BACKUP_VERIFY_SCHEDULE", DEFAULT_VERIFY_SCHEDULE),
        drill_schedule=reader.optional_schedule("BACKUP_DRILL_SCHEDULE", DEFAULT_DRILL_SCHEDULE),
        timezone=reader.timezone(),
        retention_daily=reader.count("BACKUP_RETENTION_DAILY", 7, Concern.RETENTION),
        retention_weekly=reader.count("BACKUP_RETENTION_WEEKLY", 4, Concern.RETENTION),
        dump_compression=reader.compression(),
        pg_bin=tuple(Path(part) for part in reader.text("BACKUP_PG_BIN").split(":") if part),
        exclude=reader.patterns("BACKUP_EXCLUDE"),
        exclude_schema=reader.patterns("BACKUP_EXCLUDE_SCHEMA"),
        exclude_table=reader.patterns("BACKUP_EXCLUDE_TABLE"),
        exclude_table_data=reader.patterns("BACKUP_EXCLUDE_TABLE_DATA"),
        upload_references=reader.patterns("BACKUP_UPLOAD_REFERENCES"),
        sentinel=reader.sentinel(),
        full_read_days=reader.count("BACKUP_FULL_READ_DAYS", 7, Concern.SHARING),
        min_free=reader.min_free("BACKUP_MIN_FREE"),
        max_age_seconds=reader.duration("BACKUP_MAX_AGE", 26 * 3600.0, Concern.MONITORING),
        status_file=reader.published_file("BACKUP_STATUS_FILE", ".json"),
        metrics_file=reader.published_file("BACKUP_METRICS_FILE", ".prom"),
        log_format=reader.choice("BACKUP_LOG_FORMAT", ("human", "json")),
        notify_urls=split_notify_urls(reader.secret("BACKUP_NOTIFY_URLS", judge_notify_urls)),
        notify_on=NotifyOn(reader.choice("BACKUP_NOTIFY_ON", list(NotifyOn))),
        ping_url=usable_ping_url(reader.secret("BACKUP_PING_URL", judge_ping_url)),
        connect_timeout_seconds=reader.duration("BACKUP_CONNECT_TIMEOUT", 10.0, Concern.DATABASE),
        lock_timeout_seconds=reader.duration("BACKUP_LOCK_TIMEOUT", 60.0, Concern.DATABASE),
        network_timeout_seconds=reader.duration("BACKUP_NETWORK_TIMEOUT", 30.0, Concern.DATABASE),
        restore_database=reader.other_database("RESTORE_DATABASE_URL", Concern.RESTORE),
        tmp_dir=reader.optional_path("BACKUP_TMP_DIR"),
        drill_database=reader.other_database("BACKUP_DRILL_DATABASE_URL", Concern.DRILL),
        drill_command=reader.command("BACKUP_DRILL_COMMAND", Concern.DRILL),
        secret_key=reader.text("SECRET_KEY") or None,
        problems=reader.all_problems(),
        unknown=tuple(sorted(name for name in environ if name.startswith("BACKUP_") and name not in _NAMES)),
        origins=reader.origins,
    )


def parse_duration(text: str) -> float:
    """Seconds of a duration such as `26h`, `90m`, `1d 12h` or `45` (seconds). Raises ValueError."""
    parts = _DURATION_PART.findall(text)
    if not parts or _DURATION_PART.sub("", text):
        raise ValueError(text)
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([smhdw]?)\s*")
_NAMES = {variable.name for variable in VARIABLES}
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_COMPRESSION = re.compile(r"auto|none|[0-9]|(?:gzip|lz4|zstd)(?::[A-Za-z0-9=,]+)?")


class _Reader:
    """Looks settings up, remembers where each came from, and collects problems."""

    def __init__(self, environ: Mapping[str, str], app_config: Mapping[str, object]) -> None:
        self._environ = environ
        self._app_config = app_config
        self._problems: list[Problem] = []
        self.origins: dict[str, str] = {}

    def text(self, name: str) -> str:
        value = self._environ.get(name, "").strip()
        if value:
            self.origins[name] = "the environment"
            return value
        configured = self._app_config.get(name)
        if configured is None or not str(configured).strip():
            return ""
        self.origins[name] = "the app's configuration"
        if isinstance(configured, list | tuple):
            return "\n".join(str(item) for item in configured)
        return str(configured).strip()

    def all_problems(self) -> tuple[Problem, ...]:
        daily_and_weekly = {"BACKUP_RETENTION_DAILY", "BACKUP_RETENTION_WEEKLY"}
        if all(re.fullmatch(r"0{1,6}", self.text(name)) for name in daily_and_weekly):
            self._add(
                Concern.RETENTION,
                "BACKUP_RETENTION_DAILY",
                "0",
                "more than 0 here or in BACKUP_RETENTION_WEEKLY: with both 0 every archive would go",
            )
        unknown = sorted(
            name for name in self._environ if name.startswith("BACKUP_RETENTION_") and name not in daily_and_weekly
        )
        for name in unknown:
            self._add(Concern.RETENTION, name, self._environ[name], "no such setting; there are _DAILY and _WEEKLY")
        return tuple(self._problems)

    def database(self) -> DatabaseUrl | None:
        name, text, options = self._database_source()
        if not text:
            self._add(
                Concern.DATABASE,
                "BACKUP_DATABASE_URL",
                "",
                "the address of the database; it is not set, nor is DATABASE_URL",
            )
            return None
        try:
            url = parse_database_url(text)
            return merge_connect_args(url, options) if options else url
        except UnusableDatabaseUrl as error:
            self._add(Concern.DATABASE, name, "", str(error))
            return None

    def _database_source(self) -> tuple[str, str, Mapping[str, object]]:
        """The variable, its value, and what the app adds to it when it connects."""
        text = self.text("BACKUP_DATABASE_URL")
        if text:
            return "BACKUP_DATABASE_URL", text, {}
        configured = self._app_config.get("SQLALCHEMY_DATABASE_URI")
        if configured:
            self.origins["BACKUP_DATABASE_URL"] = "the app's SQLALCHEMY_DATABASE_URI"
            render = getattr(configured, "render_as_string", None)  # a sqlalchemy.URL hides its password from str()
            text = render(hide_password=False) if render is not None else str(configured)
            options = self._app_config.get("SQLALCHEMY_ENGINE_OPTIONS")
            connect_args = options.get("connect_args") if isinstance(options, Mapping) else None
            return "SQLALCHEMY_DATABASE_URI", text, connect_args if isinstance(connect_args, Mapping) else {}
        text = self.text("DATABASE_URL")
        if text:
            self.origins["BACKUP_DATABASE_URL"] = f"DATABASE_URL in {self.origins['DATABASE_URL']}"
        return "DATABASE_URL", text, {}

    def upload_dir(self) -> Path | None:
        for name, value in self._upload_sources():
            if value:
                if name != "BACKUP_UPLOAD_DIR":  # else it is known already whose
                    self.origins["BACKUP_UPLOAD_DIR"] = name
                return None if value.lower() == "none" else Path(value).expanduser().absolute()
        return Path("/data/uploads")

    def _upload_sources(self) -> list[tuple[str, str]]:
        configured = {name: str(self._app_config.get(name) or "").strip() for name in ("UPLOAD_DIR", "UPLOAD_FOLDER")}
        return [
            ("BACKUP_UPLOAD_DIR", self.text("BACKUP_UPLOAD_DIR")),
            ("the app's UPLOAD_DIR", configured["UPLOAD_DIR"]),
            ("the app's UPLOAD_FOLDER", configured["UPLOAD_FOLDER"]),
            ("UPLOAD_DIR in the environment", self._environ.get("UPLOAD_DIR", "").strip()),
        ]

    def other_database(self, name: str, concern: Concern) -> DatabaseUrl | None:
        text = self.text(name)
        if not text:
            return None
        try:
            return parse_database_url(text)
        except UnusableDatabaseUrl as error:
            self._add(concern, name, "", str(error))
            return None

    def command(self, name: str, concern: Concern) -> tuple[str, ...]:
        try:
            return tuple(shlex.split(self.text(name)))
        except ValueError:
            self._add(concern, name, "", "a command as a shell takes it apart; a quotation mark is not closed")
            return ()

    def directory(self, name: str, default: Path) -> Path:
        return self.optional_path(name) or default

    def optional_path(self, name: str) -> Path | None:
        text = self.text(name)
        return Path(text).expanduser().absolute() if text else None

    def schedule(self, name: str, default: str) -> str:
        text = self.text(name)
        try:
            return parse_schedule(text) if text else default
        except UnusableSchedule as error:
            self._add(Concern.SCHEDULE, name, text, str(error))
            return default

    def optional_schedule(self, name: str, default: str) -> str | None:
        return None if self.text(name).lower() == "none" else self.schedule(name, default)

    def timezone(self) -> str:
        text = self.text("BACKUP_TIMEZONE") or "UTC"
        try:
            find_zone(text)
        except UnusableZone as error:
            self._add(Concern.SCHEDULE, "BACKUP_TIMEZONE", text, str(error))
            return "UTC"
        return text

    def count(self, name: str, default: int, concern: Concern) -> int:
        text = self.text(name)
        if not text:
            return default
        if not re.fullmatch(r"[0-9]{1,6}", text):
            self._add(concern, name, text, "a whole number, 0 or more")
            return default
        return int(text)

    def min_free(self, name: str) -> MinFree:
        text = self.text(name)
        try:
            return parse_min_free(text) if text else MinFree()
        except ValueError:
            self._add(Concern.DIRECTORY, name, text, "a size such as 2GiB, a part such as 5%, or 0")
            return MinFree()

    def compression(self) -> str:
        text = self.text("BACKUP_DUMP_COMPRESSION").lower()
        if text and not _COMPRESSION.fullmatch(text):
            self._add(
                Concern.DUMP,
                "BACKUP_DUMP_COMPRESSION",
                text,
                "auto, none, a level 0-9, or gzip, lz4 or zstd with an optional :level",
            )
            return "auto"
        return text or "auto"

    def patterns(self, name: str) -> tuple[str, ...]:
        return tuple(part.strip() for part in re.split(r"[,\n]", self.text(name)) if part.strip())

    def sentinel(self) -> Path | None:
        text = self.text("BACKUP_SENTINEL")
        if not text:
            return None
        return self.directory("BACKUP_DIR", Path("/backups")) / Path(text).expanduser()

    def published_file(self, name: str, suffix: str) -> Path | None:
        path = self.optional_path(name)
        if path is None or (path.suffix == suffix and not path.name.startswith(".")):
            return path
        # it is replaced at each run: it must not be an archive, the lock or the journal by mistake
        expected = f"a file whose name ends with {suffix} and begins with no dot"
        self._add(Concern.MONITORING, name, str(path), expected)
        return None

    def secret(self, name: str, judge: Callable[[str], str]) -> str:
        """A text that no problem shows; `judge` tells what was expected instead."""
        text = self.text(name)
        if text and (expected := judge(text)):
            self._add(Concern.MONITORING, name, "", expected)
        return text

    def choice(self, name: str, choices: Sequence[str]) -> str:
        """One of them; the first is the default."""
        text = self.text(name).lower()
        if not text or text in choices:
            return text or choices[0]
        self._add(Concern.MONITORING, name, text, f"one of {', '.join(choices)}")
        return choices[0]

    def duration(self, name: str, default: float, concern: Concern) -> float:
        text = self.text(name)
        if not text:
            return default
        try:
            seconds = parse_duration(text)
        except ValueError:
            seconds = 0.0
        if seconds <= 0:
            self._add(concern, name, text, "a duration such as 45s, 90m, 26h or 2d")
            return default
        return seconds

    def _add(self, concern: Concern, variable: str, value: str, expected: str) -> None:
        self._problems.append(Problem(concern, variable, value, expected))


__all__ = ["VARIABLES", "load_settings", "parse_duration"]
