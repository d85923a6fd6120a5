"""What `init` writes: the file of settings, and where things are for what starts the runs."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

from safeharbor_backup.actions.schedule_files import Places
from safeharbor_backup.cli.env_file import OF_THE_HOST, VARIABLE, env_line, own_file
from safeharbor_backup.settings.load import load_settings
from safeharbor_backup.settings.table import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from safeharbor_backup.settings.app_config import AppConfig
    from safeharbor_backup.settings.model import Settings
    from safeharbor_backup.settings.upload_dirs import UploadDirs

_HEAD = """\
# Settings of Safe Harbor, one per line, as in Compose's .env. docs/reference/settings.md lists all of them.
# This file holds passwords: keep its mode 0600.
"""
_NAME = "safeharbor"
_DATABASE = "BACKUP_DATABASE_URL"
# how this run was typed; and the app's own secret, of which archives have a fingerprint only where the app is loaded
_LEFT_OUT = ("BACKUP_COMMAND", "SECRET_KEY")


def default_file() -> str:
    """Where the file goes if nobody says otherwise."""
    return OF_THE_HOST if os.geteuid() == 0 else own_file(os.environ)


def named_file(path: Path) -> list[str]:
    """The option that names the file, if it would not be found by itself."""
    is_found = str(path) == default_file() and not os.environ.get(VARIABLE)
    return [] if is_found else ["--env-file", str(path)]


def settings_from(app: AppConfig | None, answers: Mapping[str, str]) -> Settings:
    """The settings with these answers, which count for the first run whatever the environment has."""
    os.environ.update(answers)
    return load_settings(os.environ, app)


def settings_text(settings: Settings, app: AppConfig | None) -> str:
    """The lines for everything that was given: by the environment, the app and the answers."""
    lines = [_HEAD]
    for setting in SETTINGS:
        name = setting.name
        if name in _LEFT_OUT:
            continue
        if setting.is_secret and (file := os.environ.get(f"{name}_FILE", "").strip()):
            lines.append(env_line(f"{name}_FILE", file))
        elif text := _secret(settings, app, name) if setting.is_secret else settings.given.get(name, ""):
            lines.append(env_line(name, text))
    return "".join(lines)


def _secret(settings: Settings, app: AppConfig | None, name: str) -> str:
    if given := os.environ.get(name, "").strip():
        return given
    if name == _DATABASE:  # wherever it was found
        return settings.database_address().with_password()
    said = app.values.get(name) if app is not None else None
    return "\n".join(map(str, said)) if isinstance(said, list | tuple) else str(said or "").strip()


def places_of(backup_dir: Path, uploads: UploadDirs, settings_file: Path) -> Places:
    """Who runs it, with what: us, or for root the owner of the uploads."""
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0 and uploads:
        owner = os.stat(uploads[0].path)
        uid, gid = owner.st_uid, owner.st_gid
    return Places(
        program=_program(),
        settings_file=settings_file,
        backup_dir=backup_dir,
        uploads=uploads,
        user=_user(uid),
        group=_group(gid),
        owner=f"{uid}:{gid}",
    )


def typed_program() -> str:
    """The program as a shell here finds it: by its name, otherwise by its path."""
    program, found = _program(), shutil.which(_NAME)
    is_found = found is not None and os.path.realpath(found) == os.path.realpath(program)
    return _NAME if is_found else program


def _program() -> str:
    """The program by its path: what starts runs has another PATH. The scripts of a system's Python are elsewhere."""
    beside = str(Path(sys.executable).parent / _NAME)
    places = (beside, sys.argv[0], shutil.which(_NAME) or "", os.path.join(sysconfig.get_path("scripts"), _NAME))
    there = (each for each in places if os.path.basename(each) == _NAME and os.access(each, os.X_OK))
    return os.path.abspath(next(there, beside))


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
