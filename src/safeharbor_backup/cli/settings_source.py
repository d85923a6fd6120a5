"""Where a command's settings come from: the environment, and inside Flask the app's configuration too."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from safeharbor_backup.cli.lazy import IN_FLASK, SOURCE_KEY
from safeharbor_backup.errors import SettingsInvalid
from safeharbor_backup.settings.load import load_settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flask.cli import ScriptInfo

    from safeharbor_backup.cli.output import Output
    from safeharbor_backup.settings.model import Settings


def log_format_before_the_app() -> str:
    """What the environment says of the log, before an app is loaded, whose code may print or fail."""
    return load_settings(os.environ).log_format


def read_settings(context: click.Context, output: Output, *, quiet: bool) -> Settings:
    """The settings of a command. If an app is named it is loaded, and its code runs.

    Raises SettingsInvalid if it cannot be loaded.
    """
    if context.meta.get(SOURCE_KEY) != IN_FLASK:
        return load_settings(os.environ)
    config = _app_config(context)
    if config is None and not quiet:
        output.line("No Flask app is named; settings come from the environment.")
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


def _app_config(context: click.Context) -> Mapping[str, object] | None:
    """Its configuration; None if there is none. Raises SettingsInvalid if it does not load."""
    info = _named_app(context)
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
