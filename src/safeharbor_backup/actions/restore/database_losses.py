"""What of the live database a restore would take away: tables, rows, and how far its migrations are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from safeharbor_backup.actions.restore.needs_checks import report_missing
from safeharbor_backup.errors import SafeHarborError
from safeharbor_backup.postgres.connection import connected
from safeharbor_backup.postgres.rows import count_table_rows, list_tables
from safeharbor_backup.postgres.snapshot import read_revision
from safeharbor_backup.text import ascii_safe

if TYPE_CHECKING:
    from safeharbor_backup.actions.restore.database_plan import DatabasePlan
    from safeharbor_backup.actions.restore.findings import Findings
    from safeharbor_backup.actions.restore.request import OpenArchive
    from safeharbor_backup.archive.manifest import Manifest
    from safeharbor_backup.postgres.rows import Table

_SHOWN = 10
_COUNT_MILLISECONDS = 30_000
_ESTIMATES = """
    SELECT n.nspname, c.relname, greatest(c.reltuples, 0)::bigint FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r'
"""


def compare_database(plan: DatabasePlan, archive: OpenArchive, findings: Findings, *, exact: bool) -> None:
    """What of the live database would be lost, and how its revision compares."""
    manifest = archive.manifest
    if plan.live is None or manifest is None:
        return
    if not plan.live.is_open:
        findings.losses.append("everything in the live database, which is closed now and cannot be read")
        return
    try:
        with connected(plan.target.url) as session:
            tables = _without_left_out(list_tables(session), manifest, findings)
            live, revision, is_exact = _read_live(session, tables, exact=exact)
    except SafeHarborError as error:
        findings.losses.append(f"everything in the live database, which cannot be read: {error.message}")
        return
    newer = sorted(set(live) - set(manifest.tables) - set(manifest.about_database.tables_without_data))
    if newer:
        names = ", ".join(map(ascii_safe, newer[:_SHOWN])) + (" …" if len(newer) > _SHOWN else "")
        findings.losses.append(f"{len(newer):,} table{_s(len(newer))} made since this backup: {names}")
    more = {name: live[name] - rows for name, rows in manifest.tables.items() if live.get(name, 0) > rows}
    if more:
        most = sorted(more, key=lambda name: -more[name])[:_SHOWN]
        lost = ", ".join(f"{ascii_safe(name)} ({more[name]:,})" for name in most)
        count = sum(more.values())
        about = "" if is_exact else "about "
        findings.losses.append(f"{about}{count:,} row{_s(count)} added since this backup: {lost}")
    then = manifest.about_database.alembic_revision
    if revision != then:
        findings.facts.append(
            f"migrations: the archive is at {then or 'none'}, the database now at {revision or 'none'}; "
            "after the restore run the app's migrations, e.g. `flask db upgrade`"
        )


def _without_left_out(tables: list[Table], manifest: Manifest, findings: Findings) -> list[Table]:
    """All tables but those that the backup left out on purpose, which the role may not even be allowed to read.

    Those are a problem: the live database would lose them.
    """
    left_out = set(manifest.about_database.tables_left_out)
    report_missing(
        findings,
        [ascii_safe(table.quoted) for table in tables if table.quoted in left_out],
        "The archive leaves out {}, which the live database has and would lose.",
        "Save {} with `pg_dump --table` and drop it first; or restore into another database with --database-url.",
    )
    return [table for table in tables if table.quoted not in left_out]


def _read_live(
    session: psycopg.Connection, tables: list[Table], *, exact: bool
) -> tuple[dict[str, int], str | None, bool]:
    """Rows by table, the schema's revision, and whether the rows were counted, not estimated.

    Each query that counts has `_COUNT_MILLISECONDS`: whoever waits at the prompt must not wait for a large database.
    """
    session.execute("SET default_transaction_read_only = on")
    session.execute(sql.SQL("SET statement_timeout = {}").format(_COUNT_MILLISECONDS))
    try:
        if exact:
            with session.transaction():
                return count_table_rows(session, tables), read_revision(session), True
    except psycopg.errors.QueryCanceled:
        pass
    about = {(row[0], row[1]): int(row[2]) for row in session.execute(_ESTIMATES).fetchall()}
    counts = {table.quoted: about.get((table.schema, table.name), 0) for table in tables}
    return counts, read_revision(session), False


def _s(count: int) -> str:
    return "" if count == 1 else "s"
