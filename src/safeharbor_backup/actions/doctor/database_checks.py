"""The database as the backup sees it: reachable, by a client that can dump it, all of it readable, the same time."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import psycopg

from safeharbor_backup.actions.doctor.drill_checks import check_leftovers, check_references
from safeharbor_backup.actions.doctor.findings import (
    Finding,
    attempt,
    attempt_query,
    failed,
    fine,
    not_checked,
    problem,
    remark,
    warning,
)
from safeharbor_backup.errors import ExitStatus, SafeHarborError, ToolFailed
from safeharbor_backup.postgres.client_tools import (
    choose_client_tools,
    find_client_tools,
    first_safe_version,
    is_safe_for_foreign_dumps,
    what_a_newer_client_costs,
)
from safeharbor_backup.postgres.connection import bounded, connected
from safeharbor_backup.postgres.damage import find_damage, find_unfinished
from safeharbor_backup.postgres.dump import choose_compression
from safeharbor_backup.postgres.errors import GRANT, ROW_SECURITY
from safeharbor_backup.postgres.privileges import Readable, installed_extensions, read_privileges
from safeharbor_backup.postgres.sessions import answered_within
from safeharbor_backup.settings.model import Concern

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from safeharbor_backup.postgres.client_tools import ClientTools
    from safeharbor_backup.settings.model import Settings

OLDEST_MAJOR = 15
UNREACHABLE = "the database cannot be reached"
_SHOWN = 5
_CLOCK_TOLERANCE = timedelta(minutes=1)
_OWN_WAITS_SECONDS = 10  # what the server itself may take for an answer
_QUERIES_IN_A_SESSION = (
    "role", "pooler", "tables", "row security", "damage", "unfinished", "references", "drills", "clock",
)  # fmt: skip

_ROLE = """
    SELECT r.rolname::text, CASE WHEN r.rolvaliduntil < now() + interval '14 days'
                            THEN pg_catalog.to_char(r.rolvaliduntil AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') END
    FROM pg_catalog.pg_roles r WHERE r.rolname = current_user
"""


@dataclass(frozen=True, slots=True)
class Looked:
    """The findings, and what other checks go by. Size in bytes; None and empty where it could not be told."""

    findings: tuple[Finding, ...]
    is_reachable: bool = False
    size: int | None = None
    extensions: tuple[str, ...] = ()


def look_at_database(settings: Settings) -> Looked:
    """Everything that can be told of the database and the client tools for it."""
    if settings.database is None or settings.problems_in(Concern.DATABASE):
        why = "its settings cannot be used"
        return _not_looked(settings, [not_checked("database", why)], why)
    url = bounded(settings.database, settings)
    try:
        # a server that hangs would hold us for ever
        with connected(url) as session, answered_within(session, settings.network_timeout_seconds + _OWN_WAITS_SECONDS):
            return _look(settings, session)
    except SafeHarborError as error:
        return _not_looked(settings, [failed("database", error)], UNREACHABLE)


def _not_looked(settings: Settings, first: list[Finding], why: str) -> Looked:
    client = attempt("client", lambda: judge_client_alone(find_client_tools(settings.pg_bin), why))
    rest = [not_checked(name, why) for name in _QUERIES_IN_A_SESSION]
    return Looked((*first, *client, *rest))


def judge_client_alone(found: Sequence[ClientTools], why: str) -> list[Finding]:
    """Without a server only whether there is some client at all. Raises ToolFailed."""
    if not found:
        raise ToolFailed(
            "No pg_dump was found.",
            hint="Install postgresql-client in the server's major version, or point BACKUP_PG_BIN at its pg_dump.",
        )
    return [not_checked("client", f"{why}; here is {', '.join(tools.version for tools in found)}")]


def _look(settings: Settings, session: psycopg.Connection) -> Looked:
    assert settings.database is not None  # noqa: S101 - there is a session
    version = session.info.server_version
    major, minor = divmod(version, 10000)
    where = settings.database.describe()
    if major < OLDEST_MAJOR:
        first = problem(
            "database",
            f"{where} is PostgreSQL {major}, which Safe Harbor does not support",
            f"Upgrade the server to PostgreSQL {OLDEST_MAJOR} or newer.",
            ExitStatus.FAILED,
        )
        why = "the server is too old"
        return Looked((first, *(not_checked(name, why) for name in ("client", *_QUERIES_IN_A_SESSION))))
    found = [fine("database", f"{where} answers, PostgreSQL {major}.{minor}")]
    found += attempt("client", lambda: _check_client(settings, major))
    with _own_limits(session, major):
        found += attempt_query("role", session, lambda: _check_role(session))
        found += attempt_query("pooler", session, lambda: _check_pooler(settings, session))
        found += attempt_query("tables", session, lambda: judge_privileges(read_privileges(session)))
        found += attempt_query("damage", session, lambda: _check_damage(session))
        found += attempt_query("unfinished", session, lambda: _check_unfinished(session))
        found += attempt_query("references", session, lambda: check_references(settings, session))
        found += attempt_query("drills", session, lambda: check_leftovers(settings, session))
        found += attempt_query("clock", session, lambda: [_check_clock(session)])
        size = _size(session)
        extensions = installed_extensions(session)
    return Looked(tuple(found), is_reachable=True, size=size, extensions=extensions)


def _size(session: psycopg.Connection) -> int | None:
    """The size of the database; None if it is not told, or if there is so much of it that counting takes too long."""
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


def _check_client(settings: Settings, server_major: int) -> list[Finding]:
    tools = choose_client_tools(find_client_tools(settings.pg_bin), server_major)
    compression = choose_compression(settings.dump_compression, tools)
    found = [fine("client", f"pg_dump {tools.version} in {tools.bin_dir}, compression {compression}")]
    if costs := what_a_newer_client_costs(tools, server_major):
        found.append(warning("client", costs, f"apt-get install postgresql-client-{server_major}"))
    if not is_safe_for_foreign_dumps(tools):
        needed = first_safe_version(tools.major)
        found.append(
            warning(
                "client",
                f"pg_restore {tools.version} is older than the fixes of 2026 against made-up dumps ({needed})",
                f"Update postgresql-client-{tools.major} to {needed} or newer; until then restore only what you trust.",
            )
        )
    return found


def _check_role(session: psycopg.Connection) -> list[Finding]:
    row = session.execute(_ROLE).fetchone()
    if row is None:
        return []
    role, expires = row
    if expires is not None:
        return [
            warning(
                "role",
                f'the password of "{role}" is valid until {expires} UTC only',
                f"ALTER ROLE \"{role}\" VALID UNTIL 'infinity';",
            )
        ]
    return [fine("role", f'"{role}" may connect, and its password does not expire soon')]


def _check_pooler(settings: Settings, session: psycopg.Connection) -> list[Finding]:
    row = session.execute("SELECT pg_catalog.pg_backend_pid()").fetchone()
    if row is not None and row[0] == session.info.backend_pid:  # a pooler makes process ids up
        return [fine("pooler", "the server itself is reached")]
    restores = "restores go by RESTORE_DATABASE_URL" if settings.restore_database else "a restore will refuse it"
    return [
        warning(
            "pooler",
            f"the database is reached through a connection pooler; {restores}",
            "Name the server itself in BACKUP_DATABASE_URL.",
        )
    ]


def judge_privileges(readable: Readable) -> list[Finding]:
    """Whether pg_dump, which fails as a whole, can read everything."""
    found = []
    if readable.unreadable or readable.unreadable_large_objects:
        what = _shorten(readable.unreadable)
        if readable.unreadable_large_objects:
            what = " and ".join(each for each in (what, f"{readable.unreadable_large_objects} large objects") if each)
        found.append(problem("tables", f"may not be read: {what}", GRANT, ExitStatus.FAILED))
    else:
        found.append(fine("tables", f"all {readable.tables} can be read"))
    if readable.hidden:
        found.append(
            problem(
                "row security",
                f"policies hide rows of {_shorten(readable.hidden)} from this role, so pg_dump refuses",
                ROW_SECURITY,
                ExitStatus.FAILED,
            )
        )
    else:
        found.append(fine("row security", "hides no rows from this role"))
    return found


def _check_damage(session: psycopg.Connection) -> list[Finding]:
    notes: list[str] = []
    damage = find_damage(session, notes.append)
    found = [warning("damage", each.text, each.remedy) for each in damage] + [remark("damage", each) for each in notes]
    return found or [fine("damage", "collations are of the versions that the library has, no page failed its checksum")]


def _check_unfinished(session: psycopg.Connection) -> list[Finding]:
    found = [remark("unfinished", each) for each in find_unfinished(session)]
    return found or [fine("unfinished", "every index is valid, and so is every constraint")]


def _shorten(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _check_clock(session: psycopg.Connection) -> Finding:
    before = datetime.now(UTC)
    row = session.execute("SELECT pg_catalog.clock_timestamp()").fetchone()
    after = datetime.now(UTC)
    assert row is not None  # noqa: S101 - a function always gives a row
    return judge_clock(before, row[0], after)


def judge_clock(before: datetime, theirs: datetime, after: datetime) -> Finding:
    """Whether a server that was asked between two moments here has about the same time."""
    ahead = before - theirs if theirs < before else after - theirs if theirs > after else timedelta()
    if abs(ahead) <= _CLOCK_TOLERANCE:
        return fine("clock", "agrees with the database server's")
    return warning(
        "clock",
        f"is {abs(int(ahead.total_seconds())):,} s {'ahead of' if ahead > timedelta() else 'behind'} the database "
        "server's; archives are named by it, and retention goes by it",
        "On whichever is wrong: sudo timedatectl set-ntp true",
    )
