"""What the server itself says about a restore beforehand: a standby, its connections, its locks, what replicates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg

from safeharbor_backup.errors import CannotRestore
from safeharbor_backup.postgres.connection import connected
from safeharbor_backup.postgres.query import one_row

if TYPE_CHECKING:
    from safeharbor_backup.actions.restore.findings import Findings
    from safeharbor_backup.actions.restore.request import RestoreRequest
    from safeharbor_backup.postgres.contents import DumpContents
    from safeharbor_backup.postgres.target import Target, TargetDatabase

_OTHER_SESSIONS = 1  # beside the one that asks and the jobs: the lock against backups

_CONNECTIONS = """
    SELECT r.rolsuper, r.rolconnlimit,
           (SELECT count(*) FROM pg_catalog.pg_stat_activity a WHERE a.usesysid = r.oid),
           current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
             - coalesce(current_setting('reserved_connections', true), '0')::int
             - (SELECT count(*) FROM pg_catalog.pg_stat_activity a
                WHERE a.usesysid IS NOT NULL AND a.datid IS NOT NULL)
    FROM pg_catalog.pg_roles r WHERE r.rolname = current_user
"""
_LOCKS = """
    SELECT current_setting('max_locks_per_transaction')::bigint
           * (current_setting('max_connections')::bigint + current_setting('max_prepared_transactions')::bigint),
           (SELECT count(*) FROM pg_catalog.pg_largeobject_metadata)
"""
_SUBSCRIPTIONS = """
    SELECT s.subname FROM pg_catalog.pg_subscription s JOIN pg_catalog.pg_database d ON d.oid = s.subdbid
    WHERE d.datname = %s AND s.subenabled ORDER BY 1
"""


def check_writable(target: Target, findings: Findings) -> None:
    """The server takes writes. Raises psycopg.Error."""
    row = target.session.execute("SELECT pg_catalog.pg_is_in_recovery()").fetchone()
    if row is not None and row[0]:
        findings.problems.append(
            CannotRestore(
                f"{target.url.describe()} is on a standby, which takes no writes.",
                hint="Set RESTORE_DATABASE_URL, or --database-url, to the primary: its standbys follow.",
            )
        )


def fit_jobs(target: Target, request: RestoreRequest, findings: Findings, others: int = 0) -> int:
    """How many jobs there are connections for, at most those that were asked for. Raises psycopg.Error.

    `others`: how many databases beside the main one are restored, each of which needs a session for its backup lock.
    """
    row = target.session.execute(_CONNECTIONS).fetchone()
    if row is None or request.in_place or target.is_pooled:
        return request.jobs
    is_superuser, limit, open_now, free = row
    if is_superuser:
        return request.jobs  # some are reserved for it
    if limit >= 0:
        free = min(free, limit - open_now)
    sessions = _OTHER_SESSIONS + others
    fitting = int(free) - sessions
    if fitting > 1:  # pg_restore's first session may still count when its jobs begin
        fitting -= 1
    if fitting >= request.jobs:
        return request.jobs
    if fitting >= 1:
        findings.facts.append(
            f"only {fitting} of {request.jobs} jobs load the dump: the server has no more free connections"
        )
        return fitting
    findings.problems.append(
        CannotRestore(
            f"A restore needs {sessions + 1} more connections to the server; "
            f'"{target.role}" can open {max(int(free), 0)}.',
            hint=f'Stop the app, or ALTER ROLE "{target.role}" CONNECTION LIMIT -1; or raise max_connections.',
        )
    )
    return 1


def check_client(target: Target, contents: DumpContents, findings: Findings, *, in_place: bool) -> None:
    """The server understands what the pg_restore sends that reads the dump."""
    if in_place or contents.tools.major < 17 or target.major >= 17:
        return
    findings.problems.append(
        CannotRestore(
            f"The dump was made by a newer client: only pg_restore {contents.tools.version} here reads it, which sends "
            f"a setting (transaction_timeout) that the server, {target.version}, does not know.",
            hint="`--in-place` loads it anyway; so does a server of PostgreSQL 17 or newer. For the next backups "
            f"install the client of PostgreSQL {target.major}, and see BACKUP_PG_BIN.",
        )
    )


def check_bound_extensions(
    target: Target, contents: DumpContents, live: TargetDatabase | None, request: RestoreRequest, findings: Findings
) -> None:
    """An extension bound to one database by its name can be created in that one only. Raises psycopg.Error."""
    for name, setting in contents.bound_extensions.items():
        home = _home_of(target, name, setting, live)
        if home is None:
            findings.problems.append(
                CannotRestore(
                    f"The dump needs the extension {name}, which the server has not loaded.",
                    hint=f"Add {name} to shared_preload_libraries, set {setting} = '{target.name}', and restart it.",
                )
            )
        elif not request.in_place:
            way = "`--in-place` loads into it." if live is not None and home == target.name else ""
            findings.problems.append(
                CannotRestore(
                    f"The extension {name} can be only in {_database(home)} ({setting}), so no other can be built "
                    "beside it.",
                    hint=way
                    or f"Set {setting} = '{target.name}' on the server, create that database, and restore "
                    "with `--in-place`.",
                )
            )


def _home_of(target: Target, name: str, setting: str, live: TargetDatabase | None) -> str | None:
    """The database that it is bound to; "" if we may not know it, None if the server has not loaded the extension."""
    try:
        row = target.session.execute("SELECT current_setting(%s, true)", (setting,)).fetchone()
        return str(row[0]) if row is not None and row[0] is not None else None
    except psycopg.errors.InsufficientPrivilege:  # so it is set
        if live is None or not live.is_open:
            return ""
    with connected(target.url) as session:
        query = "SELECT FROM pg_catalog.pg_extension WHERE extname = %s"
        return target.name if session.execute(query, (name,)).fetchone() is not None else ""


def _database(name: str) -> str:
    return f'the database "{name}"' if name else "one database"


def check_locks(
    target: Target, contents: DumpContents, live: TargetDatabase | None, request: RestoreRequest, findings: Findings
) -> None:
    """The one transaction of a restore in place can lock all large objects. Raises SafeHarborError."""
    if not request.in_place or live is None:
        return
    with connected(target.url) as session:
        room, present = one_row(session, _LOCKS)
    needed = max(present, contents.large_objects)
    if needed > room:
        findings.problems.append(
            CannotRestore(
                f"One transaction must lock {needed:,} large objects; the server can hold about {room:,} locks.",
                hint="Raise max_locks_per_transaction on the server and restart it, or restore without `--in-place`.",
            )
        )


def describe_subscriptions(
    target: Target, live: TargetDatabase | None, request: RestoreRequest, findings: Findings
) -> None:
    """What stops replicating into this database, and what to type. Raises psycopg.Error."""
    if live is None:
        return
    for (name,) in target.session.execute(_SUBSCRIPTIONS, (live.name,)).fetchall():
        quoted = '"' + str(name).replace('"', '""') + '"'
        again = (
            f"TRUNCATE its tables; ALTER SUBSCRIPTION {quoted} ENABLE; ALTER SUBSCRIPTION {quoted} REFRESH PUBLICATION;"
            if target.is_superuser
            else "as a superuser: CREATE SUBSCRIPTION"
        )
        holds = "" if request.in_place else ", and its slot on the publisher holds WAL there until it goes on"
        findings.afterwards.append(
            f"The subscription {name} stops replicating{holds}. To set it up anew, in the restored database: {again}"
        )
