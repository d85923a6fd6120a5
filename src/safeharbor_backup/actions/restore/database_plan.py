"""What stands in the way of a restore on the database's side, and what it would take away; changes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from safeharbor_backup.actions.restore.left_out import (
    extensions_that_stay,
    report_privileges,
    without_followers,
)
from safeharbor_backup.actions.restore.server_checks import (
    check_bound_extensions,
    check_client,
    check_locks,
    check_writable,
    describe_subscriptions,
)
from safeharbor_backup.errors import ArchiveRejected, CannotRestore, DatabaseUnavailable, SafeHarborError, ToolFailed
from safeharbor_backup.postgres.client_tools import choose_restore_tools, find_client_tools, is_safe_for_foreign_dumps
from safeharbor_backup.postgres.connection import connected
from safeharbor_backup.postgres.contents import Needs, read_contents, read_needs, select_entries
from safeharbor_backup.postgres.in_place_load import find_strangers
from safeharbor_backup.postgres.privilege_entries import choose_privileges
from safeharbor_backup.postgres.remaining import is_extension
from safeharbor_backup.postgres.rows import count_table_rows, list_tables
from safeharbor_backup.postgres.sessions import count_clients
from safeharbor_backup.postgres.snapshot import read_revision
from safeharbor_backup.text import ascii_safe

if TYPE_CHECKING:
    from collections.abc import Collection

    from safeharbor_backup.actions.restore.findings import Findings
    from safeharbor_backup.actions.restore.request import OpenArchive, RestoreRequest
    from safeharbor_backup.archive.manifest import Manifest
    from safeharbor_backup.postgres.contents import DumpContents
    from safeharbor_backup.postgres.rows import Table
    from safeharbor_backup.postgres.target import Target, TargetDatabase
    from safeharbor_backup.settings.model import Settings

_SHOWN = 10
_COUNT_MILLISECONDS = 30_000
_ESTIMATES = """
    SELECT n.nspname, c.relname, greatest(c.reltuples, 0)::bigint FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r'
"""


@dataclass(frozen=True, slots=True)
class DatabasePlan:
    """What the database part goes by; `live` is None if the target does not exist yet.

    `statements` are what can be replayed of entries with privileges that cannot be replayed as a whole.
    """

    contents: DumpContents
    needs: Needs
    entries: tuple[str, ...]
    keep_privileges: bool
    live: TargetDatabase | None
    statements: tuple[str, ...] = ()


def look_at_database(
    target: Target, archive: OpenArchive, settings: Settings, request: RestoreRequest, findings: Findings
) -> DatabasePlan | None:
    """What stands in the way on the database's side; None if that cannot even be told."""
    live = target.find(target.name)
    check_writable(target, findings)
    _check_role(target, live, request, findings)
    describe_subscriptions(target, live, request, findings)
    found = read_dump(target, archive, settings, findings)
    if found is None:
        return None
    check_bound_extensions(target, found[0], live, request, findings)
    check_locks(target, found[0], live, request, findings)
    return choose_entries(target, *found, live, findings, in_place=request.in_place, accepts_open=request.accepts_open)


def read_dump(
    target: Target, archive: OpenArchive, settings: Settings, findings: Findings
) -> tuple[DumpContents, Needs] | None:
    """What is in the dump, and what it needs of a server; None if no pg_restore here can tell."""
    try:
        writer = archive.manifest.client_major if archive.manifest is not None else 0
        order = choose_restore_tools(find_client_tools(settings.pg_bin), target.major)
        order.sort(key=lambda tools: tools.major < writer)
        contents = read_contents(archive.dump, order)
        needs = read_needs(contents.toc)
    except ToolFailed as error:
        findings.problems.append(CannotRestore(error.message, hint=error.hint))
        return None
    except ArchiveRejected as error:
        findings.problems.append(error)
        return None
    findings.facts.append(
        f"dump of PostgreSQL {contents.server_version or '(unknown)'}, server {target.version}, "
        f"pg_restore {contents.tools.version}"
    )
    dumped_major = int((contents.server_version.partition(".")[0] or "0")[:4])
    if dumped_major > target.major:
        findings.problems.append(
            CannotRestore(
                f"The dump is of PostgreSQL {dumped_major}, the server is {target.version}: a dump cannot go to an "
                "older major version.",
                hint=f"Restore to a server of PostgreSQL {dumped_major} or newer.",
            )
        )
    if archive.manifest is None and not is_safe_for_foreign_dumps(contents.tools):
        findings.warnings.append(
            f"pg_restore {contents.tools.version} is older than the fixes of 2026 against made-up dumps; "
            "restore only what you trust"
        )
    return contents, needs


def _check_role(target: Target, live: TargetDatabase | None, request: RestoreRequest, findings: Findings) -> None:
    where = target.url.describe()
    if request.in_place:
        if live is None:
            findings.problems.append(
                CannotRestore(f"{where} does not exist; --in-place needs a database to load into.", hint="")
            )
        elif not target.is_superuser:
            _check_strangers(target, findings)
        return
    findings.problems += judge_target(target, live)
    if live is None:
        findings.facts.append(f"{where} does not exist yet and will be created")
        return
    sessions = count_clients(target.session, live.name)
    if sessions:
        findings.facts.append(f"{sessions} open sessions in {where} will be ended")
    slots = target.logical_slots(live.name)
    if slots:
        findings.facts.append(
            f"logical replication slots {', '.join(slots)} stay with the previous database and hold WAL until it is "
            "discarded"
        )


def judge_target(target: Target, live: TargetDatabase | None) -> list[SafeHarborError]:
    """What keeps a new database from being built there and swapped with `live`, if there is one."""
    where = target.url.describe()
    in_place = "`--in-place` loads into the database that is there, without a way back."
    problems: list[SafeHarborError] = []
    if target.is_pooled:
        problems.append(
            DatabaseUnavailable(
                f"{where} is reached through a connection pooler, which would hand sessions to the wrong database.",
                hint=f"Set RESTORE_DATABASE_URL to the server itself. {in_place}",
            )
        )
    if target.is_inside:
        problems.append(
            DatabaseUnavailable(
                f'The server lets the role "{target.role}" into no database beside this one, '
                "from which the states could be exchanged.",
                hint=f'GRANT CONNECT ON DATABASE postgres TO "{target.role}"; see pg_hba.conf too. {in_place}',
            )
        )
    elif not target.may_create:
        problems.append(
            DatabaseUnavailable(
                f'The role "{target.role}" may not create databases.',
                hint=f'ALTER ROLE "{target.role}" CREATEDB; or RESTORE_DATABASE_URL with a role that may. {in_place}',
            )
        )
    if live is None:
        return problems
    if not live.is_ours and not target.is_superuser:
        problems.append(
            DatabaseUnavailable(
                f'{where} belongs to "{live.owner}", and "{target.role}" is no member that inherits from it.',
                hint="Set RESTORE_DATABASE_URL to the owner, or to a superuser.",
            )
        )
    prepared = target.prepared_transactions(live.name)
    if prepared:
        problems.append(
            CannotRestore(
                f"{where} has prepared transactions: {', '.join(prepared)}.",
                hint="Settle each there: COMMIT PREPARED 'name'; or ROLLBACK PREPARED 'name';",
            )
        )
    return problems


def _check_strangers(target: Target, findings: Findings) -> None:
    with connected(target.url) as session:
        strangers = find_strangers(session)
    if strangers:
        findings.problems.append(
            CannotRestore(
                f"In {target.url.describe()} other roles own things that only they can remove: "
                f"{', '.join(strangers[:3])}.",
                hint="Drop them or give them to the owner (REASSIGN OWNED BY …), or restore as a superuser.",
            )
        )


def choose_entries(
    target: Target,
    contents: DumpContents,
    needs: Needs,
    live: TargetDatabase | None,
    findings: Findings,
    *,
    in_place: bool = False,
    without: Collection[str] = (),
    accepts_open: bool = False,
) -> DatabasePlan:
    """Which entries will be loaded, and what the server lacks for them. `without` these extensions.

    `accepts_open`: it is no problem, but a warning, that things would be open to all roles that were closed.
    """
    check_client(target, contents, findings, in_place=in_place)
    available = target.extensions()
    _report_missing(
        findings,
        [name for name in contents.extensions if name not in available and name not in without],
        "The server has no extension {}, which the dump needs.",
        "Install the package with that extension on the database server.",
    )
    entries = list(contents.entries)
    staying: list[str] = []
    if not target.is_superuser:
        staying = extensions_that_stay(target) if in_place and live is not None else []
        entries, left_out = select_entries(contents, available, [*staying, *without])
        findings.warnings += [f"left out: {what}" for what in left_out]
    else:
        _report_missing(
            findings,
            target.missing_roles(needs.owners),
            "The server has no role {}, which the dump gives things to.",
            'CREATE ROLE "{}"; or restore as a role that is no superuser and owns all itself.',
        )
        entries = [entry for entry in entries if not is_extension(contents, entry, without)]
    entries = without_followers(target, contents, entries, live, findings, staying)
    _report_missing(
        findings,
        target.missing_tablespaces(needs.tablespaces),
        "The server has no tablespace {}, which the dump needs.",
        "CREATE TABLESPACE \"{}\" LOCATION '…';",
    )
    _report_missing(
        findings,
        target.missing_roles(needs.subjects),
        "The server has no role {}, which a policy or a user mapping of the dump is for.",
        'CREATE ROLE "{}"; on the server. As long as it may not log in, that gives nobody anything.',
    )
    owner = live.owner if live is not None else target.role
    role = None if target.is_superuser else owner
    missing = set(target.missing_roles(needs.grantees | needs.grantors))
    others_stay = in_place and not target.is_superuser
    privileges = choose_privileges(entries, contents.toc, role, missing, others_stay=others_stay)
    report_privileges(privileges, findings, accepts_open=accepts_open)
    return DatabasePlan(contents, needs, tuple(privileges.entries), True, live, tuple(privileges.statements))


def _report_missing(findings: Findings, missing: list[str], what: str, hint: str) -> None:
    """A problem, if anything is missing; `what` gets all the names, `hint` the first."""
    if missing:
        findings.problems.append(CannotRestore(what.format(", ".join(missing)), hint=hint.format(missing[0])))


def compare_database(
    target: Target, plan: DatabasePlan, archive: OpenArchive, findings: Findings, *, exact: bool
) -> None:
    """What of the live database would be lost, and how its revision compares."""
    manifest = archive.manifest
    if plan.live is None or manifest is None:
        return
    if not plan.live.is_open:
        findings.losses.append("whatever is in the live database, which is closed at present and cannot be looked into")
        return
    try:
        with connected(target.url) as session:
            tables = _without_left_out(list_tables(session), manifest, findings)
            live, revision, is_exact = _read_live(session, tables, exact=exact)
    except SafeHarborError as error:
        findings.losses.append(f"whatever is in the live database, which cannot be read: {error.message}")
        return
    newer = sorted(set(live) - set(manifest.tables) - set(manifest.about_database.tables_without_data))
    if newer:
        names = ", ".join(newer[:_SHOWN]) + (" …" if len(newer) > _SHOWN else "")
        findings.losses.append(f"{len(newer):,} table{_s(len(newer))} made since this backup: {names}")
    more = {name: live[name] - rows for name, rows in manifest.tables.items() if live.get(name, 0) > rows}
    if more:
        most = sorted(more, key=lambda name: -more[name])[:_SHOWN]
        lost = ", ".join(f"{name} ({more[name]:,})" for name in most)
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
    _report_missing(
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
