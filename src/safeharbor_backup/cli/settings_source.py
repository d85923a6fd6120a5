"""Where a command's settings come from: the environment, and inside Flask the app's configuration too."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from safeharbor_backup.cli.command import SafeHarborCommand
from safeharbor_backup.cli.json_log import begin_log, show_warning
from safeharbor_backup.cli.lazy import IN_FLASK, SOURCE_KEY
from safeharbor_backup.errors import SafeHarborError, SettingsInvalid
from safeharbor_backup.settings.load import load_settings
from safeharbor_backup.state.journal import find_interrupted
from safeharbor_backup.system.lock import is_locked

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flask.cli import ScriptInfo

    from safeharbor_backup.settings.model import Settings


def current_settings(*, quiet: bool = False, notice_restore: bool = True) -> Settings:
    """The settings of this command; an interrupted restore is told, unless the command itself is about restores.

    Raises SettingsInvalid if an app is named that cannot be loaded.
    """
    context = click.get_current_context()
    begin_log(context, load_settings(os.environ).log_format)  # before an app is loaded, whose code may print or fail
    settings = _load(quiet=quiet)
    if isinstance(context.command, SafeHarborCommand):
        context.command.begin(context, settings)
    if notice_restore:
        _notice_restore(settings)
    return settings


def settings_for_parsing() -> Settings:
    """The settings while a command line is parsed, before its run has begun. Raises SettingsInvalid."""
    return _load(quiet=True)


def _notice_restore(settings: Settings) -> None:
    try:
        pending = find_interrupted(settings.backup_dir)
    except (SafeHarborError, OSError):
        return
    if pending is None or is_locked(settings.backup_dir):  # one that is running is not interrupted
        return
    error = pending.pending_error()
    show_warning(f"{error.message} {error.hint}")


def _load(*, quiet: bool) -> Settings:
    if click.get_current_context().meta.get(SOURCE_KEY) != IN_FLASK:
        return load_settings(os.environ)
    config = _app_config()
    if config is None and not quiet:
        click.echo("No Flask app is named; settings come from the environment.", err=True)
    return load_settings(os.environ, config)


def commands_of_the_app(context: click.Context) -> dict[str, click.Command]:
    """What an app that is named, and loads, has in a command group `safeharbor` of its own."""
    info = _named_app(context)
    try:
        group = info.load_app().cli.commands.get("safeharbor") if info is not None else None
    except (Exception, SystemExit):  # a command of ours that needs the app says what is wrong with it
        return {}
    return dict(group.commands) if isinstance(group, click.Group) else {}


def _named_app(context: click.Context) -> ScriptInfo | None:
    """The app that `flask` was told to use; None if it was told none."""
    from flask.cli import ScriptInfo

    info = context.find_object(ScriptInfo)
    if info is None:
        return None
    is_named = info.app_import_path is not None or info.create_app is not None
    if not is_named and not any(Path(name).is_file() for name in ("wsgi.py", "app.py")):
        return None
    return info


def _app_config() -> Mapping[str, object] | None:
    """Its configuration; None if there is none. Raises SettingsInvalid if it does not load."""
    info = _named_app(click.get_current_context())
    if info is None:
        return None
    try:
        return info.load_app().config
    except (Exception, SystemExit) as error:  # whatever the app's own code raises
        name = info.app_import_path or "in this directory"
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        said = lines[0] if len(lines) == 1 else f"{lines[0]} {lines[-1]}"  # what is between is a traceback
        raise SettingsInvalid(
            [f"the Flask app {name} cannot be loaded: {type(error).__name__}: {said}"],
            hint="`safeharbor …` works without the app, with settings from the environment.",
        ) from error
