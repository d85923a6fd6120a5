"""How commands of ours are typed where this run was started, so that the commands in messages can be pasted."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from typing import TYPE_CHECKING

from safeharbor_backup.cli.lazy import DJANGO, IN_FLASK, SOURCE_KEY
from safeharbor_backup.settings.upload_dirs import describe_dirs
from safeharbor_backup.text import type_commands_as

if TYPE_CHECKING:
    from collections.abc import Mapping

    import click

    from safeharbor_backup.settings.model import Settings

_COMMAND = "BACKUP_COMMAND"
# by which a command finds what this run goes by, and which are no secret
_PLACES = {"BACKUP_DIR": "backup_dir", "BACKUP_UPLOAD_DIR": "upload_dirs", "BACKUP_PG_BIN": "pg_bin"}


def remember_how_typed(context: click.Context, environ: Mapping[str, str], settings: Settings | None = None) -> None:
    """Let `typed` write commands as this one was typed. Without `settings`, with as much as is known before them."""
    type_commands_as(describe_start(context, environ, sys.argv[0], settings))


def describe_start(
    context: click.Context, environ: Mapping[str, str], program: str, settings: Settings | None = None
) -> str:
    """What stands before the command and its arguments, ready for a shell."""
    if command := (settings.command if settings is not None else environ.get(_COMMAND, "").strip()):
        return command
    source = context.meta.get(SOURCE_KEY)
    words = [_program(program, str(context.find_root().info_name or "safeharbor"))]
    if source == IN_FLASK:
        words = [*_places(settings), *words, *_app(context), "safeharbor"]
    named = _env_file(context, environ)
    words += ["--env-file", shlex.quote(os.path.abspath(named))] if named else []
    if source == DJANGO:
        words = [f"DJANGO_SETTINGS_MODULE={shlex.quote(environ.get('DJANGO_SETTINGS_MODULE', ''))}", *words, "--django"]
    return " ".join(words)


def _program(path: str, name: str) -> str:
    """The program by its name, if a shell finds the same one, otherwise by its path."""
    if path.endswith("safeharbor_backup/__main__.py"):
        return f"{shlex.quote(sys.executable)} -m safeharbor_backup"
    if os.path.basename(path) != name or os.path.dirname(path) == "":
        return name
    found = shutil.which(name)
    return name if found is not None and os.path.realpath(found) == os.path.realpath(path) else shlex.quote(path)


def _app(context: click.Context) -> list[str]:
    """Which app `flask` was asked to load. An app's own program knows it by itself."""
    from flask.cli import ScriptInfo

    info = context.find_object(ScriptInfo)
    path = info.app_import_path if info is not None else None
    return ["--app", shlex.quote(path)] if path and info is not None and info.create_app is None else []


def _env_file(context: click.Context, environ: Mapping[str, str]) -> str:
    group: click.Context | None = context
    while group is not None:
        if named := group.params.get("env_file"):
            return str(named)
        group = group.parent if group.parent is not None and SOURCE_KEY in group.parent.meta else None
    return environ.get("SAFEHARBOR_ENV_FILE", "")


def _as_text(value: object) -> str:
    return ":".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _places(settings: Settings | None) -> list[str]:
    """What only the environment says, where an app says the rest."""
    if settings is None:
        return []
    found = []
    for name, field in _PLACES.items():
        if settings.origins.get(name, "").endswith("the environment"):
            value = getattr(settings, field)
            text = describe_dirs(value) if field == "upload_dirs" else _as_text(value)
            found.append(f"{name}={shlex.quote(text)}")
    return found
