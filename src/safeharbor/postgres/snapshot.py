"""One moment of a database: an exported snapshot, and everything the manifest says about it, read in that snapshot."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg
from psycopg import sql

from safeharbor.postgres.connection import begin_unlimited, connected
from safeharbor.postgres.patterns import matches_any
from safeharbor.postgres.references import read_values
from safeharbor.postgres.structure import Structure, read_structure

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from safeharbor.database_url import DatabaseUrl

_TABLES_PER_QUERY = 50

ORDINARY_TABLES = """
    SELECT n.nspname, c.relname, format('%I.%I', n.nspname, c.relname)
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND c.relpersistence <> 't'
      AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                      WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
    ORDER BY 1, 2
"""

_DATABASE = """
    SELECT d.datname, pg_catalog.pg_encoding_to_char(d.encoding), d.datcollate, d.datctype, d.datlocprovider::text,
           {locale}, t.spcname, pg_catalog.pg_get_userbyid(d.datdba), d.datacl::text[], d.datconnlimit,
           pg_catalog.shobj_description(d.oid, 'pg_database'), pg_catalog.pg_database_size(d.oid)
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


@dataclass(frozen=True, slots=True)
class DatabaseProperties:
    """What a restore needs to create the database anew, and what tells it from others. Sizes in bytes."""

    name: str
    system_identifier: str
    server_version: str
    server_major: int
    size_bytes: int
    document: dict[str, object] = field(default_factory=dict)


class Snapshot:
    """An open REPEATABLE READ transaction whose snapshot pg_dump will use."""

    def __init__(self, session: psycopg.Connection, snapshot_id: str) -> None:
        self._session = session
        self.id = snapshot_id

    def properties(self) -> DatabaseProperties:
        """The database as the manifest describes it. Raises psycopg.Error."""
        version = self._session.info.server_version
        major = version // 10000
        locale = {15: "d.daticulocale", 16: "d.daticulocale"}.get(major, "d.datlocale")
        row = self._one(_DATABASE.format(locale=locale))
        settings = [
            {"role": role, "settings": list(values)}
            for role, values in self._session.execute(_DATABASE_SETTINGS).fetchall()
        ]
        extensions = [
            {"name": name, "version": installed, "schema": schema}
            for name, installed, schema in self._session.execute(_EXTENSIONS).fetchall()
        ]
        return DatabaseProperties(
            name=row[0],
            system_identifier=self._system_identifier(),
            server_version=str(self._one("SHOW server_version")[0]).split(" ")[0],
            server_major=major,
            size_bytes=row[11],
            document={
                "encoding": row[1],
                "collate": row[2],
                "ctype": row[3],
                "locale_provider": row[4],
                "locale": row[5],
                "tablespace": row[6],
                "owner": row[7],
                "acl": row[8],
                "connection_limit": row[9],
                "comment": row[10],
                "settings": settings,
                "extensions": extensions,
                "alembic_revision": self._alembic_revision(),
            },
        )

    def count_rows(self, without_data: tuple[str, ...]) -> tuple[dict[str, int], list[str]]:
        """The exact row count of every ordinary table, by quoted `schema.table`; and the tables left out.

        Raises psycopg.Error.
        """
        left_out: list[str] = []
        tables = []
        for table in list_tables(self._session):
            if without_data and matches_any(table.schema, table.name, without_data):
                left_out.append(table.quoted)
            else:
                tables.append(table)
        return count_table_rows(self._session, tables), left_out

    def structure(self) -> Structure:
        """Where its sequences stand, and how many constraints and indexes there are. Raises psycopg.Error."""
        return read_structure(self._session)

    def values(self, reference: str) -> Iterator[str]:
        """The values of a column that holds paths of uploads. Raises UnknownReference, psycopg.Error."""
        return read_values(self._session, reference)

    def _alembic_revision(self) -> str | None:
        """The revision that Alembic's table names (several heads: joined by a comma); None without such a table."""
        if self._one("SELECT to_regclass('alembic_version')")[0] is None:
            return None
        rows = self._tolerantly("SELECT version_num FROM alembic_version ORDER BY 1")
        return ",".join(str(row[0]) for row in rows) or None

    def _system_identifier(self) -> str:
        rows = self._tolerantly("SELECT system_identifier::text FROM pg_catalog.pg_control_system()")
        return str(rows[0][0]) if rows else ""  # managed servers may not tell

    def _tolerantly(self, query: str) -> list[tuple[Any, ...]]:
        self._session.execute("SAVEPOINT optional")
        try:
            rows = self._session.execute(query).fetchall()
        except psycopg.errors.InsufficientPrivilege:
            rows = []
        self._session.execute("ROLLBACK TO SAVEPOINT optional")
        return rows

    def _one(self, query: str) -> tuple[Any, ...]:
        row = self._session.execute(query).fetchone()
        assert row is not None  # noqa: S101 - these queries always give a row
        return row


class Table(NamedTuple):
    """An ordinary table; `quoted` is its name as SQL spells it."""

    schema: str
    name: str
    quoted: str


def list_tables(session: psycopg.Connection) -> list[Table]:
    """Every ordinary table that belongs to no extension. Raises psycopg.Error."""
    return [Table(*row) for row in session.execute(ORDINARY_TABLES).fetchall()]


def count_table_rows(session: psycopg.Connection, tables: Sequence[Table]) -> dict[str, int]:
    """The exact row counts by quoted `schema.table`, within the session's open transaction.

    Each batch runs in a savepoint that is rolled back, which gives its table locks back and keeps the
    snapshot: 10,000 tables would otherwise fill the server's lock table. Raises psycopg.Error.
    """
    counts: dict[str, int] = {}
    for start in range(0, len(tables), _TABLES_PER_QUERY):
        batch = tables[start : start + _TABLES_PER_QUERY]
        query = sql.SQL(" UNION ALL ").join(
            sql.SQL("SELECT {}::int, count(*) FROM ONLY {}").format(
                sql.Literal(number), sql.Identifier(table.schema, table.name)
            )
            for number, table in enumerate(batch)
        )
        session.execute("SAVEPOINT batch")
        for number, rows in session.execute(query).fetchall():
            counts[batch[number].quoted] = rows
        session.execute("ROLLBACK TO SAVEPOINT batch")
    return counts


@contextmanager
def open_snapshot(url: DatabaseUrl, lock_timeout_seconds: float) -> Iterator[Snapshot]:
    """A snapshot that lives as long as the block. Raises DatabaseUnavailable, SafeHarborError."""
    with connected(url) as session:
        settings = {
            "lock_timeout": str(int(lock_timeout_seconds * 1000)),
            "row_security": "off",  # fail, as pg_dump does, rather than count only the visible rows
        }
        begin_unlimited(session, "REPEATABLE READ READ ONLY", settings)
        row = session.execute("SELECT pg_catalog.pg_export_snapshot()").fetchone()
        assert row is not None  # noqa: S101 - the function returns or raises
        yield Snapshot(session, row[0])
