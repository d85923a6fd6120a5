"""An app is loaded for its configuration, and what it does meanwhile does not get into what a command prints."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import ExitStack, contextmanager, redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from safeharbor_backup.errors import ExitStatus, SettingsInvalid
from safeharbor_backup.settings.app_config import AppConfig
from safeharbor_backup.text import hide_passwords

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from safeharbor_backup.settings.model import Settings

_MODULE = "DJANGO_SETTINGS_MODULE"


@contextmanager
def prints_on_stderr() -> Iterator[None]:
    """Inside the block everything that is printed goes to standard error, by programs that are started there too."""
    sys.stdout.flush()
    before = set(threading.enumerate())
    with redirect_stdout(sys.stderr), ExitStack() as until_loaded:
        try:
            kept = os.dup(1)
            until_loaded.callback(os.close, kept)
            os.dup2(2, 1)
            until_loaded.callback(os.dup2, kept, 1)
        except OSError:
            pass  # one of them is closed
        try:
            yield
        finally:
            _watch_threads(before)


class _End:
    """How this process ends if threads of an app would keep it: as after a bad command line, until more is known."""

    status = int(ExitStatus.USAGE)
    is_watched = False


def end_with(status: int) -> None:
    """The status with which this process is to end."""
    _End.status = int(status)


def _watch_threads(before: set[threading.Thread]) -> None:
    """Let this process not wait at its end for threads that an app has started while it was loaded."""
    started = [each for each in threading.enumerate() if each not in before and not each.daemon]
    if started and not _End.is_watched:
        _End.is_watched = True
        # the last one that is registered comes first: before an executor of the app waits for its workers
        threading._register_atexit(_end_now)  # type: ignore[attr-defined]  # noqa: SLF001 - there is no public way


def _end_now() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            pass
    os._exit(_End.status)


class AppNotLoaded(SettingsInvalid):
    """The app's own code failed. `fallback` is what is known without it, if that is enough to find the archives."""

    hint = "`safeharbor …` works without the app, with settings from the environment."
    fallback: Settings | None = None
    ground: Settings | None = None  # of the environment alone


def cannot_load(what: str, error: BaseException) -> AppNotLoaded:
    """The error for an app whose own code raised `error`."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    said = lines[0] if len(lines) == 1 else f"{lines[0]} {lines[-1]}"  # what is between is a traceback
    return AppNotLoaded(
        [f"{what} cannot be loaded: {type(error).__name__}: {hide_passwords(said)}"],
        hint=AppNotLoaded.hint,
    )


def django_config(environ: Mapping[str, str]) -> AppConfig:
    """The settings of a Django project, of which nothing else is imported. Raises SettingsInvalid."""
    module = environ.get(_MODULE, "")
    if not module:
        raise SettingsInvalid(
            [f"{_MODULE}: expected the project's settings module, as in `manage.py`, such as shop.settings"],
            hint="Run this in the directory of manage.py, with the Python that the project runs with.",
        )
    if "" not in sys.path:
        sys.path.insert(0, "")  # where manage.py is, as for manage.py itself
    try:
        with prints_on_stderr():
            settings = import_module("django.conf").settings
            values = {name: getattr(settings, name) for name in dir(settings) if name.isupper()}
            place = Path(str(import_module(module).__file__)).resolve().parent
    except (Exception, SystemExit) as error:  # whatever the project's own code raises
        raise cannot_load(f"the Django settings {module}", error) from error
    base = values.get("BASE_DIR")
    roots = (Path(base),) if isinstance(base, str | Path) and str(base) else (place.parent, place)
    return AppConfig(values, roots, is_django=True)
