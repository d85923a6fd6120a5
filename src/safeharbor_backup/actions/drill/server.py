"""Where a drill makes its scratch database.

The first of these: the server of BACKUP_DRILL_DATABASE_URL, if that is set; the server that restores go to, if the
role may create databases there; a private server of our own, if its programs are here.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from psycopg import sql

from safeharbor_backup.errors import CannotRestore, DatabaseUnavailable, StorageUnavailable, ToolFailed
from safeharbor_backup.postgres.addresses import is_database_named, target_address
from safeharbor_backup.postgres.connection import bounded
from safeharbor_backup.postgres.private_cluster import find_server_bins, private_server
from safeharbor_backup.postgres.target import target_connected
from safeharbor_backup.settings.address_parsing import parse_database_url
from safeharbor_backup.settings.model import Concern

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from safeharbor_backup.archive.manifest import Manifest
    from safeharbor_backup.postgres.contents import Needs
    from safeharbor_backup.postgres.target import Target, TargetDatabase
    from safeharbor_backup.progress import Progress
    from safeharbor_backup.settings.model import Settings

# a tablespace of the dump is made inside the private cluster, by its name
_PRIVATE = {"allow_in_place_tablespaces": "on"}
_EMPTY_SERVER_BYTES = 128 << 20  # its catalogs, and WAL


class Kind(StrEnum):
    """Whose server it is."""

    NAMED = "BACKUP_DRILL_DATABASE_URL"
    OWN = "the server that restores go to"
    PRIVATE = "a private server"
    COPY = "the server of a copy"


@dataclass(frozen=True, slots=True)
class DrillServer:
    """A server to drill on. `live` is the database that a restore would replace, None if that is not there.

    `settings` know the programs of a private server too.
    """

    kind: Kind
    target: Target
    live: TargetDatabase | None
    settings: Settings


@contextmanager
def drill_server(settings: Settings, manifest: Manifest | None, progress: Progress) -> Iterator[DrillServer]:
    """The server for a drill of the archive with this manifest.

    Raises DatabaseUnavailable if one that is named does not serve, or none is available; SettingsInvalid.
    """
    settings.require(Concern.DRILL)
    base = manifest.database if manifest is not None else ""
    with ExitStack() as stack:
        if settings.drill_database is not None:
            url = bounded(settings.drill_database, settings)
            target = stack.enter_context(target_connected(url, base or "archive"))
            why_not = why_no_scratch(target)
            if why_not:
                raise DatabaseUnavailable(
                    f"BACKUP_DRILL_DATABASE_URL cannot be used: {why_not}.", hint=_GRANT.format(role=target.role)
                )
            yield DrillServer(Kind.NAMED, target, None, settings)
            return
        why_not, hint = "there is no BACKUP_DATABASE_URL", "Set BACKUP_DRILL_DATABASE_URL to a server."
        if is_database_named(settings):
            url, name = target_address(settings)
            target = stack.enter_context(target_connected(url, name))
            why_not, hint = why_no_scratch(target), _GRANT.format(role=target.role)
            if not why_not:
                yield DrillServer(Kind.OWN, target, find_live(target), settings)
                return
        private = private_drill_server(settings, manifest)
        if private is None:
            major = _major_of(manifest)
            raise DatabaseUnavailable(
                f"There is no server to drill on: {why_not}, and the server programs of "
                f"PostgreSQL{f' {major}' if major else ''} are not installed here for a private one.",
                hint=hint,
            )
        progress.note(f"{why_not}: the drill uses a private server")
        yield stack.enter_context(private)


def private_drill_server(settings: Settings, manifest: Manifest | None) -> AbstractContextManager[DrillServer] | None:
    """A private server for an archive with this manifest, to be entered; None without programs that fit it."""
    bin_dir = _fitting_programs(_major_of(manifest))
    return _private_drill_server(bin_dir, settings, manifest) if bin_dir is not None else None


@contextmanager
def _private_drill_server(bin_dir: Path, settings: Settings, manifest: Manifest | None) -> Iterator[DrillServer]:
    base = manifest.database if manifest is not None else ""
    with _private_target(bin_dir, place_for_server(settings, manifest), settings, base or "archive") as target:
        yield DrillServer(Kind.PRIVATE, target, None, replace(settings, pg_bin=(*settings.pg_bin, bin_dir)))


_GRANT = 'ALTER ROLE "{role}" CREATEDB; or set BACKUP_DRILL_DATABASE_URL to a server and a role that may.'


def why_no_scratch(target: Target) -> str:
    """Why no scratch database can be made there; "" if one can."""
    if target.is_pooled:
        return f"{target.url.describe()} is reached through a connection pooler"
    if target.is_inside:
        return f'the role "{target.role}" may connect to no other database of the server'
    if not target.may_create:
        return f'the role "{target.role}" may not create databases'
    return ""


def find_live(target: Target) -> TargetDatabase | None:
    """The database that the scratch one is to be like; None if we may not act as its owner."""
    live = target.find(target.name)
    return live if live is not None and (live.is_ours or target.is_superuser) else None


def _major_of(manifest: Manifest | None) -> int:
    """The major version of the server that the dump is of; 0 if the archive does not tell."""
    return manifest.server_major if manifest is not None else 0


def _fitting_programs(major: int) -> Path | None:
    """The server programs of this major version, otherwise of the next newer one; the newest for 0."""
    found = find_server_bins()
    fitting = [each for each in sorted(found) if each >= major]
    if not fitting:
        return None
    return found[fitting[0] if major else fitting[-1]]


def place_for_server(settings: Settings, manifest: Manifest | None) -> Path | None:
    """Where a private server's files go: None is the system's own place, which in containers may be small."""
    if settings.tmp_dir is not None:
        return settings.tmp_dir
    size = manifest.about_database.size_bytes if manifest is not None else 0
    size += sum(each.database.size_bytes for each in manifest.databases) if manifest is not None else 0
    system = os.statvfs(tempfile.gettempdir())
    needed = _EMPTY_SERVER_BYTES + 2 * size
    return settings.backup_dir if system.f_blocks and system.f_bavail * system.f_frsize < needed else None


@contextmanager
def _private_target(bin_dir: Path, place: Path | None, settings: Settings, name: str) -> Iterator[Target]:
    try:
        with private_server(bin_dir, parent=place, options=_PRIVATE) as server:
            url = bounded(parse_database_url(server.url()), settings)
            with target_connected(url, name) as target:
                yield target
    except ToolFailed as error:
        hint = "Set BACKUP_TMP_DIR to a directory with space for it, or BACKUP_DRILL_DATABASE_URL to a server."
        if "No space left" in error.message:
            raise StorageUnavailable(error.message, hint=hint) from error
        raise CannotRestore(f"The private server cannot be started: {error.message}", hint=hint) from error


def create_roles_and_tablespaces(target: Target, needs: Needs) -> None:
    """Give a private server the roles and tablespaces that the dump names. Raises psycopg.Error.

    Superusers, so that each may own and grant what it did: none can log in.
    """
    for role in target.missing_roles(needs.owners | needs.grantees | needs.grantors | needs.subjects):
        target.session.execute(sql.SQL("CREATE ROLE {} NOLOGIN SUPERUSER").format(sql.Identifier(role)))
    for tablespace in target.missing_tablespaces(needs.tablespaces):
        target.session.execute(sql.SQL("CREATE TABLESPACE {} LOCATION ''").format(sql.Identifier(tablespace)))
