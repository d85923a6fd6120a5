"""The server and database that restores go to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safeharbor_backup.errors import SettingsInvalid
from safeharbor_backup.postgres.connection import bounded, connected
from safeharbor_backup.settings.model import Concern, Settings

if TYPE_CHECKING:
    from safeharbor_backup.settings.database_url import DatabaseUrl


def target_address(settings: Settings) -> tuple[DatabaseUrl, str]:
    """How to reach the server to restore to, and the name of the database there.

    Raises SettingsInvalid, and DatabaseUnavailable if only the server knows the name.
    """
    settings.require(Concern.DATABASE, Concern.RESTORE)
    wanted = bounded(settings.database_address(), settings)
    server = bounded(settings.restore_database, settings) if settings.restore_database is not None else wanted
    name = wanted.get("dbname")
    if not name and wanted.get("service"):
        with connected(wanted) as session:
            name = session.info.dbname
    name = name or wanted.get("user")
    if not name:
        raise SettingsInvalid(["BACKUP_DATABASE_URL: expected an address that names the database to restore"])
    if name in ("template0", "template1"):
        raise SettingsInvalid([f"BACKUP_DATABASE_URL: expected an application's database, not {name}"])
    return server, name


def names_beside(settings: Settings) -> dict[str, str]:
    """The databases beside the main one, by their names in archives.

    Raises DatabaseUnavailable if only the server can tell, SettingsInvalid.
    """
    settings.require(Concern.EXTRA_DATABASES)
    found = {}
    for each in settings.extra_databases:
        if each.address is None:
            continue
        name = each.database
        if not name:
            with connected(bounded(each.address, settings)) as session:
                name = session.info.dbname
        if name in ("template0", "template1"):
            raise SettingsInvalid([f"BACKUP_EXTRA_DATABASES: expected applications' databases, not {name}"])
        found[each.name] = name
    return found


def is_database_named(settings: Settings) -> bool:
    """Whether there is an address of the live database, be it a wrong one."""
    return "BACKUP_DATABASE_URL" in settings.origins or settings.database is not None
