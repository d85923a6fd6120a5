"""Where a copy may go: to no configured database or directory, by whatever name, and over nothing unless asked."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from safeharbor_backup.actions.copy.uploads import find_entries
from safeharbor_backup.errors import CannotRestore, DatabaseUnavailable, SettingsInvalid, translate_os_error
from safeharbor_backup.postgres.addresses import is_database_named
from safeharbor_backup.postgres.connection import bounded, connected
from safeharbor_backup.postgres.query import one_row, system_identifier
from safeharbor_backup.postgres.rows import list_tables
from safeharbor_backup.settings.model import Concern
from safeharbor_backup.system.filesystem import mounts_below
from safeharbor_backup.text import plural

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import psycopg

    from safeharbor_backup.postgres.target import Target, TargetDatabase
    from safeharbor_backup.settings.database_url import DatabaseUrl
    from safeharbor_backup.settings.model import Settings

_NOBODYS = ("template0", "template1", "postgres")
_INTACT = "Nothing was changed."
# what somebody has made in a database without tables: what pg_dump would dump of it, but for extensions
_OTHERS = """
    WITH made AS (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'),
    of_extensions AS (SELECT classid, objid FROM pg_catalog.pg_depend WHERE deptype = 'e')
    SELECT (SELECT count(*) FROM pg_catalog.pg_class c WHERE c.relnamespace IN (SELECT oid FROM made)
              AND c.relkind = ANY ('{v,m,S,f,p}')
              AND ('pg_catalog.pg_class'::pg_catalog.regclass, c.oid) NOT IN (SELECT * FROM of_extensions))
         + (SELECT count(*) FROM pg_catalog.pg_proc p WHERE p.pronamespace IN (SELECT oid FROM made)
              AND ('pg_catalog.pg_proc'::pg_catalog.regclass, p.oid) NOT IN (SELECT * FROM of_extensions))
         + (SELECT count(*) FROM pg_catalog.pg_largeobject_metadata)
"""


@dataclass(frozen=True, slots=True)
class _Server:
    """What identifies a server. Either is enough: a managed one may hide its own number."""

    identifier: str
    started: str

    def is_same(self, other: _Server) -> bool:
        return self.started == other.started or (bool(self.identifier) and self.identifier == other.identifier)


def name_of_target(url: DatabaseUrl) -> str:
    """The database to copy into. Raises SettingsInvalid if the address names none, or one that belongs to no app."""
    name = url.get("dbname")
    if not name:
        raise SettingsInvalid(["--to-database: expected an address that names the database to copy into"])
    if name in _NOBODYS:
        raise SettingsInvalid([f"--to-database: expected an application's database, not {name}"])
    return name


def require_another_database(target: Target, settings: Settings) -> None:
    """Raises CannotRestore if the target is a configured database, under any name and address, or that cannot be
    told; SettingsInvalid if one is configured by an invalid address.
    """
    if is_database_named(settings):
        settings.require(Concern.DATABASE, Concern.RESTORE)
    here = _server_of(target.session)
    for what, url in _configured(settings):
        try:
            with connected(bounded(url, settings)) as session:
                there, name = _server_of(session), str(one_row(session, "SELECT current_database()::text")[0])
        except DatabaseUnavailable as error:
            raise CannotRestore(
                f"{what} did not say whether it is the database to copy into. {error.message}",
                hint=f"If it is not meant here, run this without {what}.",
                intact=_INTACT,
            ) from error
        if there.is_same(here) and name == target.name:
            raise CannotRestore(
                f"{target.url.describe()} is the database of {what}: a copy never goes there.",
                hint="Name another database in --to-database.",
                intact=_INTACT,
            )


def require_free_database(target: Target, live: TargetDatabase | None, *, replaces: bool) -> None:
    """Raises CannotRestore if there is a database with something in it, and it is not to be replaced, or not ours."""
    if live is None:
        return
    if not (live.is_ours or target.is_superuser):
        raise CannotRestore(
            f'The database "{live.name}" belongs to "{live.owner}".',
            hint="Connect as its owner, or name a database that does not exist.",
            intact=_INTACT,
        )
    if replaces:
        return
    with connected(target.url) as session:
        tables = len(list_tables(session))
        others = 0 if tables else int(one_row(session, _OTHERS)[0])
    if tables or others:
        raise CannotRestore(
            f'There is a database "{live.name}" with {plural(tables or others, "table" if tables else "object")}.',
            hint="--replace deletes it for ever when the copy is complete. Or name one that does not exist.",
            intact=_INTACT,
        )


def require_another_directory(directory: Path, archive: Path, settings: Settings) -> None:
    """Raises CannotRestore if uploads would go into, or over, a configured directory or the archive; StorageUnavailable
    if that is unknown; SettingsInvalid.
    """
    settings.require(Concern.UPLOADS, Concern.DIRECTORY)
    try:
        around = set(_identities(directory))
        for each in settings.upload_dirs:
            _require_apart(directory, around, each.path, "the configured uploads")
        _require_apart(directory, around, settings.backup_dir, "the archives")
        identity = _identity(directory)
        if identity is not None and identity in set(_identities(archive)):
            raise _in_the_way(directory, archive, "the archive")
    except OSError as error:
        raise translate_os_error(error, "looking at the directory to copy into") from error


def require_free_directory(directory: Path, *, replaces: bool) -> None:
    """Raises CannotRestore if something is in it that is not to be replaced, or cannot be; StorageUnavailable."""
    try:
        if find_entries(directory) and not replaces:
            raise CannotRestore(
                f"{directory} is not empty.",
                hint="--replace deletes what is in it for ever when the copy is complete. Or name another directory.",
                intact=_INTACT,
            )
        if mounts := mounts_below(directory):
            raise CannotRestore(f"Something is mounted in {directory}: {os.fsdecode(mounts[0])}.", intact=_INTACT)
    except FileNotFoundError:
        return
    except OSError as error:
        raise translate_os_error(error, "looking at the directory to copy into") from error


def _configured(settings: Settings) -> Iterator[tuple[str, DatabaseUrl]]:
    database = settings.database
    if database is not None:
        yield "BACKUP_DATABASE_URL", database
        if settings.restore_database is not None and settings.database_name:
            yield "RESTORE_DATABASE_URL", settings.restore_database.with_database(settings.database_name)
    for extra in settings.extra_databases:
        if extra.address is not None:
            yield f"BACKUP_EXTRA_DATABASES ({extra.name})", extra.address
    for bind in settings.binds:
        if bind.address is not None:
            yield f"the app's database {bind.name}", bind.address


def _server_of(session: psycopg.Connection) -> _Server:
    started = one_row(session, "SELECT pg_catalog.pg_postmaster_start_time()::text")[0]
    return _Server(system_identifier(session), str(started))


def _require_apart(directory: Path, around: set[tuple[int, int]], other: Path, what: str) -> None:
    """Neither is the other, nor in it."""
    identity = _identity(other)
    own = _identity(directory)
    if (identity is not None and identity in around) or (own is not None and own in set(_identities(other))):
        raise _in_the_way(directory, other, what)
    if identity is None and os.path.realpath(other) == os.path.realpath(directory):
        raise _in_the_way(directory, other, what)


def _in_the_way(directory: Path, other: Path, what: str) -> CannotRestore:
    return CannotRestore(
        f"{directory} and {what} in {other} overlap: a copy never goes there.",
        hint="Name another directory in --to-uploads.",
        intact=_INTACT,
    )


def _identities(path: Path) -> Iterator[tuple[int, int]]:
    """Of it, as far as it is there, and of all that it is in. Raises OSError."""
    real = os.path.realpath(path)
    while True:
        identity = _identity(real)
        if identity is not None:
            yield identity
        if real == os.path.dirname(real):
            return
        real = os.path.dirname(real)


def _identity(path: str | Path) -> tuple[int, int] | None:
    """Device and inode; None if there is nothing. Raises OSError."""
    try:
        about = os.stat(path)
    except FileNotFoundError:
        return None
    return about.st_dev, about.st_ino
