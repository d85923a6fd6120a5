"""The database server and the client for it: one session in which every query is asked."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg

from safeharbor_backup.actions.doctor.check import UNREACHABLE, Check, Context, DatabaseInspection, answered, unasked
from safeharbor_backup.actions.doctor.database_checks import QUERIES, Asked
from safeharbor_backup.actions.doctor.findings import Finding, failed, fine, not_checked, problem, warning
from safeharbor_backup.errors import ExitStatus, SafeHarborError, ToolFailed
from safeharbor_backup.postgres.client_tools import (
    NEW_IMAGE,
    choose_client_tools,
    find_client_tools,
    first_safe_version,
    is_safe_for_foreign_dumps,
    what_a_newer_client_costs,
)
from safeharbor_backup.postgres.connection import bounded, connected
from safeharbor_backup.postgres.dump import choose_compression
from safeharbor_backup.postgres.privileges import installed_extensions
from safeharbor_backup.postgres.sessions import answered_within
from safeharbor_backup.settings.model import Concern
from safeharbor_backup.system.processes import where_typed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from safeharbor_backup.postgres.client_tools import ClientTools
    from safeharbor_backup.settings.model import Settings

OLDEST_MAJOR = 15
_OWN_WAITS_SECONDS = 10  # what the server itself may take for an answer


def inspect_database(settings: Settings) -> DatabaseInspection:
    """Ask the live database everything that checks need, in one session."""
    if settings.database is None or settings.problems_in(Concern.DATABASE):
        why = "its settings cannot be used"
        return _not_asked(not_checked("database", why), why)
    where = settings.database.describe()
    url = bounded(settings.database, settings)
    try:
        # a server that hangs would hold us for ever
        with connected(url) as session, answered_within(session, settings.network_timeout_seconds + _OWN_WAITS_SECONDS):
            return _ask(Asked(settings, session), where)
    except SafeHarborError as error:
        return _not_asked(failed("database", error), UNREACHABLE)


def _not_asked(connection: Finding, why: str, major: int | None = None) -> DatabaseInspection:
    return DatabaseInspection(connection, unasked(QUERIES, why), why, major)


def _ask(asked: Asked, where: str) -> DatabaseInspection:
    session = asked.session
    major, minor = divmod(session.info.server_version, 10000)
    if major < OLDEST_MAJOR:
        too_old = problem(
            "database",
            f"{where} is PostgreSQL {major}, which Safe Harbor does not support",
            f"Upgrade the server to PostgreSQL {OLDEST_MAJOR} or newer.",
            ExitStatus.FAILED,
        )
        return _not_asked(too_old, "the server is too old", major)
    with _own_limits(session, major):
        return DatabaseInspection(
            fine("database", f"{where} answers, PostgreSQL {major}.{minor}"),
            {query.name: query.ask(session, asked) for query in QUERIES},
            major=major,
            size=_size(session),
            extensions=installed_extensions(session),
        )


def _size(session: psycopg.Connection) -> int | None:
    """The size of the database; None if the server hides it, or counting takes too long."""
    try:
        with session.transaction():
            row = session.execute("SELECT pg_catalog.pg_database_size(current_database())").fetchone()
    except psycopg.Error:
        if session.broken or session.closed:
            raise
        return None
    return None if row is None else int(row[0])


@contextmanager
def _own_limits(session: psycopg.Connection, major: int) -> Iterator[None]:
    """One transaction that writes nothing, with limits of its own: behind a pooler, others get the session next."""
    limits = {
        "statement_timeout": "10s",
        "lock_timeout": "5s",
        "idle_in_transaction_session_timeout": "0",
        "transaction_read_only": "on",
    }
    if major >= 17:
        limits["transaction_timeout"] = "0"
    with session.transaction():
        for name, value in limits.items():
            session.execute("SELECT pg_catalog.set_config(%s, %s, true)", (name, value))
        yield


def _check_client(context: Context) -> list[Finding]:
    """Whether there is a client that can dump this server. Raises ToolFailed."""
    settings, live = context.settings, context.live
    if live.major is None:
        return judge_client_alone(find_client_tools(settings.pg_bin), live.unknown)
    if live.unknown:
        return [not_checked("client", live.unknown)]
    tools = choose_client_tools(find_client_tools(settings.pg_bin), live.major)
    return _judge_client(tools, choose_compression(settings.dump_compression, tools), live.major)


def judge_client_alone(found: Sequence[ClientTools], why: str) -> list[Finding]:
    """Without a server only whether there is some client at all. Raises ToolFailed."""
    if not found:
        raise ToolFailed(
            "No pg_dump was found.",
            hint=where_typed(
                "Install postgresql-client in the server's major version, or point BACKUP_PG_BIN at its pg_dump.",
                NEW_IMAGE,
            ),
        )
    return [not_checked("client", f"{why}; installed: {', '.join(tools.version for tools in found)}")]


def _judge_client(tools: ClientTools, compression: str, server_major: int) -> list[Finding]:
    found = [fine("client", f"pg_dump {tools.version} in {tools.bin_dir}, compression {compression}")]
    if costs := what_a_newer_client_costs(tools, server_major):
        remedy = where_typed(f"apt-get install postgresql-client-{server_major}", NEW_IMAGE)
        found.append(warning("client", costs, remedy))
    if not is_safe_for_foreign_dumps(tools):
        needed = first_safe_version(tools.major)
        found.append(
            warning(
                "client",
                f"pg_restore {tools.version} lacks the fixes of 2026 against hostile dumps ({needed})",
                where_typed(
                    f"Update postgresql-client-{tools.major} to {needed} or newer; until then restore only what you "
                    "trust.",
                    NEW_IMAGE,
                ),
            )
        )
    return found


CHECKS: tuple[Check[Context], ...] = (
    Check(
        "database", f"it answers, and is PostgreSQL {OLDEST_MAJOR} or newer", lambda context: [context.live.connection]
    ),
    Check(
        "client",
        "a `pg_dump` that can dump this server, with the compression that is set; and whether its `pg_restore` has the "
        "[fixes](security.md#hostile-archives) against hostile dumps",
        _check_client,
    ),
    *(answered(query, lambda context: context.live.answers) for query in QUERIES),
)
