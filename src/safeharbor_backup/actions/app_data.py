"""What an app has by its configuration and an archive lacks: databases beside the main one, and other folders."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from safeharbor_backup.archive.manifest_sections import AppSection
from safeharbor_backup.errors import SafeHarborError, one_line
from safeharbor_backup.postgres.connection import bounded, connected
from safeharbor_backup.postgres.query import system_identifier
from safeharbor_backup.text import ascii_safe, plural

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import psycopg

    from safeharbor_backup.archive.manifest import Manifest
    from safeharbor_backup.settings.app_config import Bind
    from safeharbor_backup.settings.model import Settings

_MOST_ENTRIES = 2000  # that are looked at in a folder, to see whether it holds a file
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class MissingDatabase:
    """A database of the app that is not in the archive, or of which that is not known."""

    name: str
    text: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.text}. {self.remedy}"


@dataclass(frozen=True, slots=True)
class AppData:
    """What an app has and the archive lacks. Each folder comes with the name of its setting."""

    databases: tuple[MissingDatabase, ...] = ()
    folders: tuple[tuple[str, Path], ...] = ()

    def recorded(self) -> AppSection:
        """The section `app` of a manifest."""
        return AppSection(
            missing_databases=tuple(each.name for each in self.databases),
            missing_folders=tuple(ascii_safe(str(path)) for _, path in self.folders),
        )

    def news(self, previous: Manifest | None) -> str:
        """One line about the folders if they are not those that the previous backup recorded; else ""."""
        known = previous.app.missing_folders if previous is not None and previous.app is not None else ()
        return "" if known == self.recorded().missing_folders or not self.folders else describe_folders(self.folders)


def find_missing(settings: Settings, session: psycopg.Connection) -> AppData:
    """The missing databases and folders. Raises psycopg.Error if the session is lost."""
    return AppData(tuple(find_missing_databases(settings, session)), tuple(find_missing_folders(settings)))


def find_missing_databases(settings: Settings, session: psycopg.Connection) -> list[MissingDatabase]:
    """Each database of the app that is not the session's own, nor named in BACKUP_IGNORE.

    One that cannot be reached counts as another. Raises psycopg.Error if the session is lost.
    """
    included = {each.address for each in settings.extra_databases if each.address is not None}
    binds = [bind for bind in settings.binds if bind.label not in settings.ignore and bind.address not in included]
    if not binds:
        return []
    own = {_identity(session), *_identities(settings)}
    return [found for bind in binds if (found := _judge(bind, settings, own)) is not None]


def find_missing_folders(settings: Settings) -> list[tuple[str, Path]]:
    """The folders (and files with keys) of the app that hold something and are in no archive: setting and path.

    These are guesses, by the names of settings. Nothing that BACKUP_IGNORE names.
    """
    ours = (*(each.path for each in settings.upload_dirs), settings.backup_dir)
    inside = [os.path.realpath(each) for each in ours]
    found: dict[str, tuple[str, Path]] = {}
    for name, path in settings.folders:
        real = os.path.realpath(path)
        is_known = any(_is_below(real, each) for each in inside)
        if is_known or {name, str(path), real} & set(settings.ignore) or not _holds_something(real, inside):
            continue
        found.setdefault(real, (name, path))
    return list(found.values())


def describe_folders(found: Sequence[tuple[str, Path]]) -> str:
    """The missing folders in one line, for a warning."""
    shown = ", ".join(f"{ascii_safe(str(path))} ({name})" for name, path in found[:_SHOWN])
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    one = len(found) == 1
    return (
        f"the app's configuration names {plural(len(found), 'place')} with files that {'is' if one else 'are'} in no "
        f"archive: {shown}{more}. If the app's users fill {'it' if one else 'them'}, back {'it' if one else 'them'} up "
        "too; BACKUP_IGNORE silences this"
    )


def _identity(session: psycopg.Connection) -> tuple[str, str]:
    """Which cluster and database; where the server does not show its number, its address counts instead."""
    info = session.info
    return system_identifier(session) or f"{info.hostaddr or info.host}:{info.port}", info.dbname


def _identities(settings: Settings) -> Iterator[tuple[str, str]]:
    """Those of the databases beside the main one, as far as they can be reached."""
    for each in settings.extra_databases:
        try:
            if each.address is not None:
                with connected(bounded(each.address, settings)) as session:
                    yield _identity(session)
        except SafeHarborError:
            continue


def _judge(bind: Bind, settings: Settings, own: set[tuple[str, str]]) -> MissingDatabase | None:
    """None if it is in the archive. A replica has the number and the name of what it copies."""
    what = f'the app\'s database "{ascii_safe(bind.name)}"'
    remedy = f"Back it up by itself, or set BACKUP_IGNORE={ascii_safe(bind.label)}"
    if bind.address is not None:
        remedy = (
            f"BACKUP_EXTRA_DATABASES={ascii_safe(bind.label)} includes it; BACKUP_IGNORE={ascii_safe(bind.label)} "
            "silences this"
        )
    if bind.address is None:
        return MissingDatabase(bind.name, f"{what} is not in this archive: it is not a PostgreSQL database", remedy)
    where = bind.address.describe()
    try:
        with connected(bounded(bind.address, settings)) as other:
            if _identity(other) in own:
                return None
    except SafeHarborError as error:
        unknown = f"whether {what} is in this archive is unknown: {one_line(error)}"
        return MissingDatabase(bind.name, unknown, remedy)
    return MissingDatabase(bind.name, f"{what} ({where}) is not in this archive", remedy)


def _is_below(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def _holds_something(path: str, apart_from: list[str]) -> bool:
    """Whether it is a file, or a directory with one somewhere; not behind links, nor on other places that are known."""
    try:
        status = os.lstat(path)
        if not stat.S_ISDIR(status.st_mode):
            return stat.S_ISREG(status.st_mode)
        return any(True for _ in _files_below(path, apart_from))
    except OSError:
        return False


def _files_below(directory: str, apart_from: list[str]) -> Iterator[str]:
    """Files below it, as long as not too many entries were looked at."""
    waiting, seen = [directory], 0
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                seen += 1
                if seen > _MOST_ENTRIES:
                    return
                if entry.is_dir(follow_symlinks=False):
                    if entry.path not in apart_from:
                        waiting.append(entry.path)
                elif entry.is_file(follow_symlinks=False):
                    yield entry.path
