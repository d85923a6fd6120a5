"""The settings of a command whose app cannot be loaded: the environment, then those of the last good backup."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from safeharbor_backup.settings.load import load_settings
from safeharbor_backup.settings.model import Concern, Problem
from safeharbor_backup.state.known_settings import read_known_settings
from safeharbor_backup.text import hide_passwords, typed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from safeharbor_backup.cli.app_loading import AppNotLoaded
    from safeharbor_backup.settings.database_url import DatabaseUrl

_PLACEHOLDERS = {
    "BACKUP_DATABASE_URL": "postgresql://USER:PASSWORD@HOST/DATABASE",
    "BACKUP_UPLOAD_DIR": "/path/of/uploads",
    "BACKUP_DIR": "/path/of/archives",
}
# an app may keep more than the defaults
_UNKNOWN_RETENTION = "the app's retention settings, which may keep more; `safeharbor …` uses the environment alone"


def find_fallback(failure: AppNotLoaded, environ: Mapping[str, str], named_in: Mapping[str, str]) -> None:
    """Give the failure what is known without the app, and as its hint the line that gives what is not."""
    ground = failure.ground = load_settings(environ, None, named_in)
    known = read_known_settings(ground.backup_dir)
    if known is None:
        lacking = [name for name in _PLACEHOLDERS if name not in ground.origins]
        words = " ".join(f"{name}={_PLACEHOLDERS[name]}" for name in lacking)
        failure.hint = f"Without the app, type its settings: {words} {_again()}".replace("  ", " ")
        if "BACKUP_DIR" in ground.origins:
            asked = f"the app's settings; type: {words} {_again()}"
            problems = [each for each in ground.problems if each.concern not in (Concern.DATABASE, Concern.UPLOADS)]
            problems.append(Problem(Concern.RETENTION, "BACKUP_RETENTION_DAILY", "", _UNKNOWN_RETENTION))
            if lacking:
                problems.append(Problem(Concern.DATABASE, lacking[0], "", asked))
            failure.fallback = replace(ground, problems=tuple(problems))
        return
    settings = load_settings(environ, known.config, named_in)
    lacks_password = (
        known.has_password
        and settings.database is not None
        and settings.origins.get("BACKUP_DATABASE_URL") == known.config.origin
        and settings.restore_database is None
        and not _has_password(environ)
    )
    if lacks_password and settings.database is not None:
        address = _with_password(settings.database)
        asked = f"its password, which is never stored; type: BACKUP_DATABASE_URL={address} {_again()}"
        asking = Problem(Concern.DATABASE, "BACKUP_DATABASE_URL", "", asked)
        settings = replace(settings, problems=(*settings.problems, asking))
    failure.fallback = settings
    failure.hint = ""


def describe_fallback(failure: AppNotLoaded, origins: Iterable[str]) -> str:
    """What goes in the place of the app, for the operator."""
    backups = {origin for origin in origins if origin.startswith("the backup of ")}
    by = f"what {backups.pop()} used, and the environment" if backups else "the environment alone"
    return f"{failure.problems[0]}. This uses {by}"


def _again() -> str:
    """The command of this run, to be typed again."""
    words = sys.argv[sys.argv.index("safeharbor") + 1 :] if "safeharbor" in sys.argv else sys.argv[1:]
    return hide_passwords(typed(shlex.join(words)))


def _has_password(environ: Mapping[str, str]) -> bool:
    """Whether libpq has one from elsewhere."""
    home = os.path.expanduser("~/.pgpass")
    return bool(environ.get("PGPASSWORD") or environ.get("PGPASSFILE")) or os.path.exists(home)


def _with_password(url: DatabaseUrl) -> str:
    """The address with a word where the password goes, ready for a shell."""
    rest = {key: value for key, value in url.parameters if key not in ("user", "dbname")}
    place = ""
    if "," not in rest.get("host", ",") and "/" not in rest["host"]:
        port = rest.pop("port", "")
        place = rest.pop("host") + (f":{port}" if port else "")
    query = f"?{urlencode(rest)}" if rest else ""
    user, name = quote(url.get("user"), safe=""), quote(url.get("dbname"), safe="")
    return shlex.quote(f"postgresql://{user}:PASSWORD@{place}/{name}{query}")
