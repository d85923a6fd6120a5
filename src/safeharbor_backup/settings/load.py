"""Every setting, read once at the edge from the environment and, inside an app, its configuration.

An empty variable is an unset one: Compose passes empties. Loading never fails: what is wrong is kept as
problems. Each verb asks for what it needs with `Settings.require`. So all problems of a run are reported
together, and a broken retention setting does not cost anybody the night's archive.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safeharbor_backup.errors import Unusable
from safeharbor_backup.settings import parsing
from safeharbor_backup.settings.address_parsing import parse_database_url
from safeharbor_backup.settings.app_config import OF_AN_APP, AppConfig, app_config_of
from safeharbor_backup.settings.cross_checks import is_unknown, problems_together
from safeharbor_backup.settings.extra_databases import parse_extras
from safeharbor_backup.settings.model import Problem, Settings
from safeharbor_backup.settings.secret_file import read_secret
from safeharbor_backup.settings.table import SETTINGS
from safeharbor_backup.settings.upload_dirs import UploadDir, split_dirs

if TYPE_CHECKING:
    from collections.abc import Callable

    from safeharbor_backup.settings.database_url import DatabaseUrl
    from safeharbor_backup.settings.extra_databases import ExtraDatabase
    from safeharbor_backup.settings.setting import Setting

_PATHS = (parsing.parse_path, parsing.parse_json_file, parsing.parse_prom_file)
_SECRETS = frozenset({*(each.name for each in SETTINGS if each.is_secret), "DATABASE_URL"})
_UTC = ("", "UTC", "Etc/UTC", "UTC0", "/etc/localtime")


def load_settings(
    environ: Mapping[str, str],
    app_config: AppConfig | Mapping[str, object] | None = None,
    named_in: Mapping[str, str] | None = None,
) -> Settings:
    """The settings of a run, each from the environment, then from an app's configuration, then its default.

    A secret one may be in a file that `NAME_FILE` names. `named_in` says where what is in `environ` comes from, if not
    from the environment.
    """
    app = app_config if isinstance(app_config, AppConfig) else app_config_of(app_config or {})
    reader = _Reader(environ, app, named_in or {})
    values = {each.field: reader.value(each) for each in SETTINGS}
    if values["sentinel"] is not None:
        values["sentinel"] = values["backup_dir"] / values["sentinel"]
    all_given = {**app.values, **environ}
    return Settings(
        **values,
        problems=(*reader.problems, *problems_together(values, all_given, reader.problems)),
        unknown=tuple(sorted(filter(is_unknown, all_given))),
        ignored_zone=_ignored_zone(environ, reader.origins),
        origins=reader.origins,
        given=reader.given,
        folders=app.folders(),
        binds=app.binds(),
    )


def _ignored_zone(environ: Mapping[str, str], origins: Mapping[str, str]) -> str:
    """What TZ says, if the schedules are read in another zone that nobody has named."""
    zone = environ.get("TZ", "").strip()
    return "" if "BACKUP_TIMEZONE" in origins or zone.lstrip(":") in _UTC else zone


class _Reader:
    """Looks settings up, remembers where each came from, and collects problems."""

    def __init__(self, environ: Mapping[str, str], app: AppConfig, named_in: Mapping[str, str]) -> None:
        self._environ = environ
        self._named_in = named_in
        self._app = app
        self.problems: list[Problem] = []
        self.origins: dict[str, str] = {}
        self.given: dict[str, str] = {}

    def value(self, setting: Setting) -> Any:
        """What the setting is, in any case: its default if what was given cannot be used."""
        if setting.name == "BACKUP_DATABASE_URL":
            return self._database(setting)
        if setting.name == "BACKUP_UPLOAD_DIR":
            return self._uploads(setting)
        if setting.name == "BACKUP_EXTRA_DATABASES":
            return self._extra_databases(setting)
        try:
            text = self._text(setting.name)
        except Unusable as error:
            self.problems.append(Problem(setting.concern, setting.name, "", str(error)))
            return setting.parse(setting.default)
        if text and setting.parse in _PATHS and self.origins[setting.name] == self._app.origin:
            return self._parsed(setting, setting.name, self._folder(setting, setting.name, text))
        return self._parsed(setting, setting.name, text)

    def _parsed(self, setting: Setting, name: str, text: str) -> Any:
        try:
            value = setting.parse(text or setting.default)
            if text and not setting.is_secret:
                self.given[setting.name] = _as_given(value, text)
            return value
        except Unusable as error:
            self.problems.append(Problem(setting.concern, name, "" if setting.is_secret else text, str(error)))
            return setting.parse(setting.default) if error.instead is None else error.instead

    def _text(self, name: str) -> str:
        """What was given for it; "" if nothing was. Raises Unusable for a file that cannot be read."""
        value = self._environ.get(name, "").strip()
        if name in _SECRETS and (file := self._environ.get(f"{name}_FILE", "").strip()):
            if value:
                raise Unusable(f"one of {name} and {name}_FILE; both are set")
            self.origins[name] = f"the file {file}"
            return read_secret(name, file)
        if value:
            self.origins[name] = self._named_in.get(name, "the environment")
            return value
        configured = self._app.values.get(name)
        if configured is None or not str(configured).strip():
            return ""
        self.origins[name] = self._app.origin
        if isinstance(configured, Mapping):
            return ",".join(f"{key}={value}" for key, value in configured.items())
        if isinstance(configured, list | tuple):
            return "\n".join(str(item) for item in configured)
        return str(configured).strip()

    def _folder(self, setting: Setting, name: str, text: str) -> str:
        """An absolute path of what the app's configuration says; "" if it cannot be used."""
        try:
            return self._app.folder(text)
        except Unusable as error:
            self.problems.append(Problem(setting.concern, name, text, str(error)))
            return ""

    def _folders(self, setting: Setting, text: str) -> str:
        """The same of directories that may have names."""
        if text.lower() == "none":
            return text
        try:
            pairs = split_dirs(text)
        except Unusable:
            return text  # which says so again where it is parsed
        found = [(name, self._folder(setting, setting.name, path)) for name, path in pairs]
        return ",".join(f"{name}={path}" if name else path for name, path in found if path)

    def _database(self, setting: Setting) -> DatabaseUrl | None:
        try:
            return self._database_of(setting)
        except Unusable as error:  # a file; whatever comes after it must not take its place
            self.problems.append(Problem(setting.concern, setting.name, "", str(error)))
            return None

    def _database_of(self, setting: Setting) -> DatabaseUrl | None:
        if text := self._text(setting.name):
            return self._address(setting, setting.name, lambda: parse_database_url(text))
        configured = self._app.database()
        if configured is not None:
            name, said = configured
            is_apps = self._app.origin == OF_AN_APP
            self.origins[setting.name] = f"the app's {name}" if is_apps else self._app.origin
            return self._address(setting, name, lambda: self._app.address(said))
        if text := self._text("DATABASE_URL"):
            self.origins[setting.name] = f"DATABASE_URL in {self.origins['DATABASE_URL']}"
            return self._address(setting, "DATABASE_URL", lambda: parse_database_url(text))
        return None

    def _address(self, setting: Setting, name: str, parse: Callable[[], DatabaseUrl]) -> DatabaseUrl | None:
        try:
            return parse()
        except Unusable as error:
            self.problems.append(Problem(setting.concern, name, "", str(error)))
            return None

    def _extra_databases(self, setting: Setting) -> tuple[ExtraDatabase, ...]:
        try:
            text = self._text(setting.name)
            configured = self._app.values.get(setting.name)
            is_apps = bool(text) and self.origins[setting.name] == self._app.origin
            said = configured if is_apps and isinstance(configured, Mapping) else text
            return parse_extras(said, self._app.binds(), self._app.address)
        except Unusable as error:
            self.problems.append(Problem(setting.concern, setting.name, "", str(error)))
            return ()

    def _uploads(self, setting: Setting) -> Any:
        if text := self._text(setting.name):
            is_apps = self.origins[setting.name] == self._app.origin
            return self._parsed(setting, setting.name, self._folders(setting, text) if is_apps else text)
        found = {}
        for name in self._app.upload_names:
            if text := str(self._app.values.get(name) or "").strip():
                found[name] = self._folder(setting, name, text)
        there = [name for name, path in found.items() if path and Path(path).is_dir()]
        if len({os.path.realpath(found[name]) for name in there}) > 1:
            both = " and ".join(f"{name}={found[name]}" for name in there)
            expected = f"one directory; the app's configuration has both {both}. Set it to the directory of the uploads"
            self.problems.append(Problem(setting.concern, setting.name, "", expected))
        for name, path in found.items():  # the first one, be it there or not: it may only not be mounted
            self.origins[setting.name] = f"the app's {name}"
            return self._parsed(setting, name, path)
        text = self._environ.get("UPLOAD_DIR", "").strip()
        if text:
            self.origins[setting.name] = "UPLOAD_DIR in the environment"
        return self._parsed(setting, setting.name, text)


def _as_given(value: object, text: str) -> str:
    """The text of a setting with its paths absolute."""
    if isinstance(value, Path):
        return str(value)
    is_dirs = isinstance(value, tuple) and any(isinstance(each, UploadDir) for each in value)
    return ",".join(map(str, value)) if isinstance(value, tuple) and is_dirs else text
