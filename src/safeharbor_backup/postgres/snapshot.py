"""One moment of a database: an exported snapshot, and everything the manifest says about it, read in that snapshot."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, LiteralString

from safeharbor_backup.postgres.connection import connected
from safeharbor_backup.postgres.damage import Damage, find_damage
from safeharbor_backup.postgres.query import one_row, rows_if_told, system_identifier
from safeharbor_backup.postgres.reference_values import read_values
from safeharbor_backup.postgres.row_hashes import read_printing
from safeharbor_backup.postgres.rows import Table, list_tables
from safeharbor_backup.postgres.session_settings import begin_unlimited
from safeharbor_backup.postgres.structure import Structure, read_structure
from safeharbor_backup.postgres.views import hash_views

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import psycopg

    from safeharbor_backup.settings.database_url import DatabaseUrl

_DATABASE = """
    SELECT d.datname, pg_catalog.pg_encoding_to_char(d.encoding), d.datcollate, d.datctype, d.datlocprovider::text,
           {locale}, t.spcname, pg_catalog.pg_get_userbyid(d.datdba), d.datacl::text[], d.datconnlimit,
           pg_catalog.shobj_description(d.oid, 'pg_database'), pg_catalog.pg_database_size(d.oid),
           d.datistemplate, {rules}
    FROM pg_catalog.pg_database d JOIN pg_catalog.pg_tablespace t ON t.oid = d.dattablespace
    WHERE d.datname = current_database()
"""

_DATABASE_SETTINGS = """
    SELECT coalesce(r.rolname, ''), s.setconfig
    FROM pg_catalog.pg_db_role_setting s
    JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase AND d.datname = current_database()
    LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole ORDER BY 1
"""

_EXTENSIONS = """
    SELECT e.extname, e.extversion, n.nspname
    FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace ORDER BY 1
"""


_HASH_SECONDS = 60.0  # for all materialized views: a decoration must not take the night


@dataclass(frozen=True, slots=True)
class DatabaseProperties:
    """What a restore needs to create the database again, and what identifies it. Size in bytes.

    `acl` is None for the default; `settings` are role ("" is everybody) and its `name=value`, `extensions` name,
    version and schema.
    """

    name: str
    system_identifier: str
    server_version: str
    server_major: int
    size_bytes: int
    encoding: str = ""
    collate: str = ""
    ctype: str = ""
    locale_provider: str = ""
    locale: str | None = None
    icu_rules: str | None = None
    tablespace: str = ""
    owner: str = ""
    acl: tuple[str, ...] | None = None
    connection_limit: int = -1
    comment: str | None = None
    is_template: bool = False
    settings: tuple[tuple[str, tuple[str, ...]], ...] = ()
    extensions: tuple[tuple[str, str, str], ...] = ()
    alembic_revision: str | None = None
    printing: Mapping[str, str] | None = None


class Snapshot:
    """An open REPEATABLE READ transaction whose snapshot pg_dump will use."""

    def __init__(self, session: psycopg.Connection, snapshot_id: str) -> None:
        self._session = session
        self.id = snapshot_id

    @property
    def session(self) -> psycopg.Connection:
        """The session of the snapshot's transaction."""
        return self._session

    def properties(self) -> DatabaseProperties:
        """The database as the manifest describes it. Raises psycopg.Error."""
        version = self._session.info.server_version
        major = version // 10000
        locale = {15: "d.daticulocale", 16: "d.daticulocale"}.get(major, "d.datlocale")
        rules = "NULL" if major < 16 else "d.daticurules"
        row = self._one(_DATABASE.format(locale=locale, rules=rules))
        settings = self._session.execute(_DATABASE_SETTINGS).fetchall()
        return DatabaseProperties(
            name=row[0],
            system_identifier=system_identifier(self._session),
            server_version=str(self._one("SHOW server_version")[0]).split(" ")[0],
            server_major=major,
            size_bytes=row[11],
            encoding=row[1],
            collate=row[2],
            ctype=row[3],
            locale_provider=row[4],
            locale=row[5],
            icu_rules=row[13],
            tablespace=row[6],
            owner=row[7],
            acl=tuple(row[8]) if row[8] is not None else None,
            connection_limit=row[9],
            comment=row[10],
            is_template=row[12],
            settings=tuple((role, tuple(lines)) for role, lines in settings),
            extensions=tuple(self._session.execute(_EXTENSIONS).fetchall()),
            alembic_revision=read_revision(self._session),
            printing=read_printing(self._session),
        )

    def damage(self, note: Callable[[str], None]) -> list[Damage]:
        """The damage that the server reports in the database. Raises psycopg.Error."""
        return find_damage(self._session, note)

    def tables(self) -> list[Table]:
        """Every ordinary table. Raises psycopg.Error."""
        return list_tables(self._session)

    def structure(self) -> Structure:
        """The values of its sequences, and how many constraints and indexes there are. Raises psycopg.Error."""
        hashes = hash_views(self._session, _HASH_SECONDS)
        return replace(read_structure(self._session), view_hashes=hashes)

    def values(self, reference: str) -> Iterator[str]:
        """The values of a column that holds paths of uploads. Raises UnknownReference, psycopg.Error."""
        return read_values(self._session, reference)

    def _one(self, query: LiteralString) -> tuple[Any, ...]:
        return one_row(self._session, query)


def read_revision(session: psycopg.Connection) -> str | None:
    """The revision that Alembic's table names (several heads: joined by a comma); None without a table of its kind."""
    rows = rows_if_told(session, "SELECT version_num FROM alembic_version ORDER BY 1")
    return ",".join(str(row[0]) for row in rows) or None


@contextmanager
def open_snapshot(url: DatabaseUrl, lock_timeout_seconds: float) -> Iterator[Snapshot]:
    """A snapshot that lives as long as the block. Raises DatabaseUnavailable, SafeHarborError."""
    with connected(url) as session:
        settings = {
            "lock_timeout": str(int(lock_timeout_seconds * 1000)),
            "row_security": "off",  # fail, as pg_dump does, rather than count only the visible rows
        }
        begin_unlimited(session, "REPEATABLE READ READ ONLY", settings)
        (exported,) = one_row(session, "SELECT pg_catalog.pg_export_snapshot()")
        yield Snapshot(session, exported)
