"""Whether a missed backup is caught up: not on a new host, whose database does not hold yet what the archives do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from safeharbor_backup.errors import SafeHarborError
from safeharbor_backup.postgres.connection import bounded, connected
from safeharbor_backup.postgres.query import system_identifier
from safeharbor_backup.state.adopted import read_adopted

if TYPE_CHECKING:
    from safeharbor_backup.actions.catalog.entries import CatalogEntry
    from safeharbor_backup.settings.model import Settings

_TABLES = """
    SELECT n.nspname, c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND c.relpersistence <> 't'
        AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
"""


def why_not_to_catch_up(settings: Settings, newest: CatalogEntry) -> str:
    """Why the database does not look like the one of the newest archive; "" if it does, or cannot be looked at.

    Where it cannot be looked at, the run itself says why.
    """
    manifest = newest.manifest
    if manifest is None or settings.database is None:
        return ""
    try:
        with connected(bounded(settings.database, settings)) as session:
            identity = system_identifier(session), session.info.dbname
            is_empty = manifest.rows > 0 and not _holds_rows(session)
    except SafeHarborError:
        return ""
    if is_empty:
        return f"the database has no rows, and {newest.name} has {manifest.rows:,}"
    is_adopted = {identity, manifest.identity} <= read_adopted(settings.backup_dir).databases
    here, there = identity[0], manifest.system_identifier
    if "" not in (here, there) and here != there and not is_adopted:
        return f"the database is on another server than the one of {newest.name}"
    return ""


def _holds_rows(session: psycopg.Connection) -> bool:
    """Whether some table has a row; one that may not be read counts as if it had."""
    for schema, table in session.execute(_TABLES).fetchall():
        question = sql.SQL("SELECT 1 FROM ONLY {} LIMIT 1").format(sql.Identifier(schema, table))
        try:
            if session.execute(question).fetchone() is not None:
                return True
        except psycopg.errors.InsufficientPrivilege:
            return True
    return False
