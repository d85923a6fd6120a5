"""One side of a comparison: what an archive records of its content, or the database as it is now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from safeharbor_backup.postgres.connection import bounded
from safeharbor_backup.postgres.patterns import is_left_out
from safeharbor_backup.postgres.rows import count_table_rows, list_tables
from safeharbor_backup.postgres.snapshot import open_snapshot, read_revision
from safeharbor_backup.postgres.structure import read_columns

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from safeharbor_backup.archive.manifest import Manifest
    from safeharbor_backup.archive.manifest_sections import OtherDatabase
    from safeharbor_backup.settings.model import Settings

LIVE = "what is live"


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two. `tables` (rows by name), `columns` and `folders` (files and bytes by name) are None if unknown.

    `untold` are the tables that are there, and of which neither rows nor columns are known. `databases` are those that
    are beside the main one.
    """

    name: str
    taken_at: datetime | None = None
    tables: Mapping[str, int] | None = None
    columns: Mapping[str, str] | None = None
    untold: frozenset[str] = frozenset()
    revision: str | None = None
    upload_files: int | None = None
    upload_bytes: int | None = None
    folders: Mapping[str, tuple[int, int]] | None = None
    databases: tuple[OtherDatabase, ...] = ()


def side_of(name: str, manifest: Manifest) -> Side:
    """What this manifest of the archive `name` records."""
    database = manifest.about_database
    return Side(
        name,
        manifest.taken_at,
        manifest.tables if database.is_counted else None,
        database.columns,
        frozenset((*database.tables_without_data, *database.tables_left_out)),
        database.alembic_revision,
        manifest.upload_files,
        manifest.upload_bytes,
        {each.name: (each.files, each.bytes) for each in manifest.folders} if manifest.folders is not None else None,
        manifest.databases,
    )


def read_live_side(settings: Settings) -> Side:
    """The tables of the configured database. Raises SafeHarborError."""
    left_out = (settings.exclude_schema, settings.exclude_table)
    with open_snapshot(bounded(settings.database_address(), settings), settings.lock_timeout_seconds) as snapshot:
        session = snapshot.session
        tables = list_tables(session)
        kept = [table for table in tables if not is_left_out(table, *left_out)]
        told = [table for table in kept if not is_left_out(table, (), settings.exclude_table_data)]
        counted = count_table_rows(session, told)
        return Side(
            LIVE,
            None,
            counted,
            read_columns(session),
            frozenset(table.quoted for table in tables if table.quoted not in counted),
            read_revision(session),
        )
