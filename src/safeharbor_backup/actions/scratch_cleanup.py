"""What drills that were killed left behind, and its removal; what a living drill works in is never among it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg

from safeharbor_backup.errors import SafeHarborError, one_line
from safeharbor_backup.postgres.addresses import is_database_named, target_address
from safeharbor_backup.postgres.connection import bounded
from safeharbor_backup.postgres.create_drop import drop_database
from safeharbor_backup.postgres.scratch_database import find_left_scratch
from safeharbor_backup.postgres.target import target_connected
from safeharbor_backup.uploads.drill_directory import find_left_directories, remove_left_directory

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from safeharbor_backup.postgres.target import Target
    from safeharbor_backup.settings.model import Settings


@dataclass(frozen=True, slots=True)
class Leftovers:
    """The names of scratch databases, and scratch directories, that nobody works in any more."""

    databases: tuple[str, ...]
    directories: tuple[Path, ...]


def find_leftovers(settings: Settings) -> Leftovers:
    """Those on the server that drills go to, and where drills have their directories; changes nothing.

    Raises SafeHarborError if the server cannot be asked, OSError.
    """
    directories = tuple(find_left_directories(settings.scratch_dir))
    if settings.drill_database is not None:
        url, name = bounded(settings.drill_database, settings), "archive"
    elif is_database_named(settings):
        url, name = target_address(settings)
    else:
        return Leftovers((), directories)
    with target_connected(url, name) as target:
        return Leftovers(tuple(find_left_scratch(target.session)), directories)


def remove_left_directories(parent: Path, note: Callable[[str], None]) -> None:
    """Remove the directories in `parent`; `note` gets a line for each, removed or not."""
    try:
        left = find_left_directories(parent)
    except OSError:
        return
    for path in left:
        try:
            remove_left_directory(path)
            note(f"removed {path}, left behind by a drill that was killed")
        except OSError as error:
            note(f"{path}, left behind by a drill that was killed, cannot be removed: {error.strerror}")


def remove_left_databases(target: Target, note: Callable[[str], None]) -> None:
    """Drop the databases; `note` gets a line for each, dropped or not. Raises psycopg.Error if the server is lost."""
    for name in find_left_scratch(target.session):
        try:
            drop_database(target, name)
            note(f'dropped the database "{name}", left behind by a drill that was killed')
        except SafeHarborError as error:
            note(f"a drill that was killed left something behind: {error.message}")


def sweep_leftovers(settings: Settings, session: psycopg.Connection[Any], note: Callable[[str], None]) -> None:
    """Remove all that there is, asking in a session that is open anyway; what prevents that is only reported."""
    remove_left_directories(settings.scratch_dir, note)
    try:
        if find_left_scratch(session):
            url, name = target_address(settings)
            with target_connected(url, name) as target:
                remove_left_databases(target, note)
    except (SafeHarborError, psycopg.Error) as error:
        note(f"what a drill left behind could not be removed: {one_line(error)}")
