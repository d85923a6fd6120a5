"""Where a command's settings come from: the environment, and inside Flask the app's configuration too."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from safeharbor_backup.cli.app_loading import AppNotLoaded, cannot_load, django_config, prints_on_stderr
from safeharbor_backup.cli.lazy import DJANGO, FROM_FILE_KEY, IN_FLASK, SOURCE_KEY
from safeharbor_backup.cli.typed_as import remember_how_typed
from safeharbor_backup.cli.without_app import find_fallback
from safeharbor_backup.settings.app_config import AppConfig
from safeharbor_backup.settings.load import load_settings

if TYPE_CHECKING:
    from flask.cli import ScriptInfo

    from safeharbor_backup.cli.output import Output
    from safeharbor_backup.settings.model import Settings


def log_format_before_the_app() -> str:
    """What the environment says of the log, before an app is loaded, whose code may print or fail."""
    return load_settings(os.environ).log_format


def read_settings(context: click.Context, output: Output, *, quiet: bool) -> Settings:
    """The settings of a command. If an app is named it is loaded, and its code runs; of Django, its settings alone.

    Raises AppNotLoaded, with what is known without it.
    """
    source, from_file = context.meta.get(SOURCE_KEY), context.meta.get(FROM_FILE_KEY, {})
    if source not in (DJANGO, IN_FLASK):
        return load_settings(os.environ, None, from_file)
    try:
        app = django_config(os.environ) if source == DJANGO else _flask_config(_named_app(context))
    except AppNotLoaded as failure:
        remember_how_run(context, load_settings(os.environ, None, from_file))
        find_fallback(failure, os.environ, from_file)
        raise
    settings = load_settings(os.environ, app, from_file)
    if app is None and not quiet and settings.database is None:
        output.line("No Flask app is named; settings come from the environment.")
    return settings


def wants_no_color() -> bool:
    """Whether the environment says that nothing is to be coloured: https://no-color.org."""
    return bool(os.environ.get("NO_COLOR"))


def is_journal() -> bool:
    """Whether standard error goes to systemd's journal."""
    try:
        about = os.fstat(2)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{about.st_dev}:{about.st_ino}"


def remember_how_run(context: click.Context, settings: Settings | None = None) -> None:
    """From now on, write commands in messages as this run was typed."""
    remember_how_typed(context, os.environ, settings)


def commands_of_the_app(context: click.Context) -> dict[str, click.Command]:
    """What an app that is named, and loads, has in a command group `safeharbor` of its own."""
    group = command_of_the_app(context)
    return dict(group.commands) if isinstance(group, click.Group) else {}


def command_of_the_app(context: click.Context) -> click.Command | None:
    """The command or group of our name that an app has, if one is named and loads."""
    info = _named_app(context)
    try:
        with prints_on_stderr():
            return info.load_app().cli.commands.get("safeharbor") if info is not None else None
    except (Exception, SystemExit):  # a command of ours that needs the app says what is wrong with it
        return None


def find_app(context: click.Context) -> AppConfig | None:
    """The app of a command, or without one that which `flask` would find here; None if there is none.

    Raises SettingsInvalid, AppNotLoaded.
    """
    if context.meta.get(SOURCE_KEY) == DJANGO:
        return django_config(os.environ)
    if context.meta.get(SOURCE_KEY) == IN_FLASK:
        return _flask_config(_named_app(context))
    try:
        from flask.cli import ScriptInfo
    except ImportError:
        return None
    return _flask_config(_named(ScriptInfo(app_import_path=os.environ.get("FLASK_APP") or None)))


def _named_app(context: click.Context) -> ScriptInfo | None:
    """The app that `flask` was asked to use; None if there is none."""
    from flask.cli import ScriptInfo

    return _named(context.find_object(ScriptInfo))


def _named(info: ScriptInfo | None) -> ScriptInfo | None:
    if info is None:
        return None
    is_named = info.app_import_path is not None or info.create_app is not None
    if not is_named and not any(Path(name).is_file() for name in ("wsgi.py", "app.py")):
        return None
    return info


def _flask_config(info: ScriptInfo | None) -> AppConfig | None:
    """The app's configuration; None if there is no app. Raises AppNotLoaded."""
    if info is None:
        return None
    try:
        with prints_on_stderr():
            app = info.load_app()
    except (Exception, SystemExit) as error:  # whatever the app's own code raises
        raise cannot_load(f"the Flask app {info.app_import_path or 'in this directory'}", error) from error
    root = Path(app.root_path)
    above = (root.parent,) if (root / "__init__.py").is_file() else ()  # where the server of a package is started
    instance = Path(app.instance_path)
    return AppConfig(app.config, (root, instance, *above), instance=instance)
