"""Every setting, read once at the edge from the environment and, inside an app, its configuration.

An empty variable is an unset one: Compose passes empties. Loading never fails; what is wrong is kept as
problems, and each verb asks for what it needs with `Settings.require`, so that all problems of a run are
reported together and a broken retention setting does not cost anybody the night's archive.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from safeharbor_backup.errors import Unusable
from safeharbor_backup.settings.database_url import merge_connect_args
from safeharbor_backup.settings.model import Concern, Problem, Settings
from safeharbor_backup.settings.table import SETTINGS, Setting

_NAMES = {each.name for each in SETTINGS}
_RETENTION = ("BACKUP_RETENTION_DAILY", "BACKUP_RETENTION_WEEKLY")


def load_settings(environ: Mapping[str, str], app_config: Mapping[str, object] | None = None) -> Settings:
    """The settings of a run, each from the environment, else from an app's configuration, else its default."""
    reader = _Reader(environ, app_config or {})
    values = {each.field: reader.value(each) for each in SETTINGS}
    if values["sentinel"] is not None:
        values["sentinel"] = values["backup_dir"] / values["sentinel"]
    return Settings(
        **values,
        problems=(*reader.problems, *reader.problems_together(values)),
        unknown=tuple(sorted(name for name in environ if name.startswith("BACKUP_") and name not in _NAMES)),
        origins=reader.origins,
    )


class _Reader:
    """Looks settings up, remembers where each came from, and collects problems."""

    def __init__(self, environ: Mapping[str, str], app_config: Mapping[str, object]) -> None:
        self._environ = environ
        self._app_config = app_config
        self.problems: list[Problem] = []
        self.origins: dict[str, str] = {}

    def value(self, setting: Setting) -> Any:
        """What the setting is, in any case: its default if what was given cannot be used."""
        if setting.name == "BACKUP_DATABASE_URL":
            return self._database(setting)
        text = self._upload_dir() if setting.name == "BACKUP_UPLOAD_DIR" else self._text(setting.name)
        return self._parsed(setting, setting.name, text)

    def problems_together(self, values: Mapping[str, Any]) -> list[Problem]:
        """What is wrong with settings that are right each by itself."""
        found = []
        if all(re.fullmatch(r"0{1,6}", self._text(name)) for name in _RETENTION):
            expected = f"more than 0 here or in {_RETENTION[1]}: with both 0 every archive would go"
            found.append(Problem(Concern.RETENTION, _RETENTION[0], "0", expected))
        for name in sorted(self._environ):
            if name.startswith("BACKUP_RETENTION_") and name not in _RETENTION:
                expected = "no such setting; there are _DAILY and _WEEKLY"
                found.append(Problem(Concern.RETENTION, name, self._environ[name], expected))
        if values["database"] is None and not any(each.concern is Concern.DATABASE for each in self.problems):
            expected = "the address of the database; it is not set, nor is DATABASE_URL"
            found.append(Problem(Concern.DATABASE, "BACKUP_DATABASE_URL", "", expected))
        return found

    def _parsed(self, setting: Setting, name: str, text: str) -> Any:
        try:
            return setting.parse(text or setting.default)
        except Unusable as error:
            self.problems.append(Problem(setting.concern, name, "" if setting.is_secret else text, str(error)))
            return setting.parse(setting.default) if error.instead is None else error.instead

    def _text(self, name: str) -> str:
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

    def _database(self, setting: Setting) -> Any:
        name, text, options = self._database_source(setting.name)
        url = self._parsed(setting, name, text)
        if url is None or not options:
            return url
        try:
            return merge_connect_args(url, options)
        except Unusable as error:
            self.problems.append(Problem(setting.concern, name, "", str(error)))
            return None

    def _database_source(self, ours: str) -> tuple[str, str, Mapping[str, object]]:
        """The variable, its value, and what the app adds to it when it connects."""
        text = self._text(ours)
        if text:
            return ours, text, {}
        configured = self._app_config.get("SQLALCHEMY_DATABASE_URI")
        if configured:
            self.origins[ours] = "the app's SQLALCHEMY_DATABASE_URI"
            render = getattr(configured, "render_as_string", None)  # a sqlalchemy.URL hides its password from str()
            text = render(hide_password=False) if render is not None else str(configured)
            options = self._app_config.get("SQLALCHEMY_ENGINE_OPTIONS")
            connect_args = options.get("connect_args") if isinstance(options, Mapping) else None
            return "SQLALCHEMY_DATABASE_URI", text, connect_args if isinstance(connect_args, Mapping) else {}
        text = self._text("DATABASE_URL")
        if text:
            self.origins[ours] = f"DATABASE_URL in {self.origins['DATABASE_URL']}"
        return "DATABASE_URL", text, {}

    def _upload_dir(self) -> str:
        configured = {name: str(self._app_config.get(name) or "").strip() for name in ("UPLOAD_DIR", "UPLOAD_FOLDER")}
        if ours := self._text("BACKUP_UPLOAD_DIR"):
            return ours
        for name, value in (
            ("the app's UPLOAD_DIR", configured["UPLOAD_DIR"]),
            ("the app's UPLOAD_FOLDER", configured["UPLOAD_FOLDER"]),
            ("UPLOAD_DIR in the environment", self._environ.get("UPLOAD_DIR", "").strip()),
        ):
            if value:
                self.origins["BACKUP_UPLOAD_DIR"] = name
                return value
        return ""
