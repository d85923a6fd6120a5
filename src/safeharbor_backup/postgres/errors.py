"""What a server refuses, by its SQLSTATE: its words come in whatever language `lc_messages` names.

libpq does not give the code of a refused connection, and pg_dump and pg_restore print none. So a refused connection is
tried again with libpq's trace on; after pg_dump the server is asked; pg_restore has its messages in English where the
role may have that; and psql prints codes.
"""

from __future__ import annotations

import errno
import os
import re
import select
import time
from typing import TYPE_CHECKING

import psycopg
from psycopg import pq

from safeharbor_backup.text import typed

if TYPE_CHECKING:
    from safeharbor_backup.settings.database_url import DatabaseUrl

CLOSED = "55000"  # object_not_in_prerequisite_state: of a connection, ALLOW_CONNECTIONS is false
ACCEPTED = "00000"
TOO_MANY_CONNECTIONS = "53300"
DISK_FULL = "53100"
LOCK_TIMEOUT = "55P03"
LOCK_TABLE_FULL = "53200"
PRIVILEGE = "42501"

GRANT = (
    "Back up as the role that owns the tables, or grant it SELECT: `GRANT pg_read_all_data TO role;`. "
    "BACKUP_EXCLUDE_SCHEMA and BACKUP_EXCLUDE_TABLE leave out what it may not read."
)
ROW_SECURITY = "Back up as the tables' owner without FORCE ROW LEVEL SECURITY, or as a role with BYPASSRLS."
LOCKED = "Somebody holds a lock on a table. BACKUP_LOCK_TIMEOUT says how long to wait for it."
LOCK_TABLE = "Raise max_locks_per_transaction on the server: pg_dump locks every table."
FULL = "The database server's disk is full."
_LEAVE_OUT = "BACKUP_EXCLUDE_TABLE_DATA leaves a table's rows out, and everything else is saved."
UNLOGGED = f"A standby has no rows of unlogged tables. {_LEAVE_OUT}"
DAMAGED = f"If the server reports damaged data, check its disk first. {_LEAVE_OUT}"
_HINTS = {
    PRIVILEGE: GRANT,
    LOCK_TIMEOUT: LOCKED,
    LOCK_TABLE_FULL: LOCK_TABLE,
    DISK_FULL: FULL,
    "XX001": DAMAGED,
    "XX002": DAMAGED,
}
_HINTS_TO_CONNECT = {
    TOO_MANY_CONNECTIONS: (
        "A backup needs 3 connections at a time and 2 more for each of BACKUP_EXTRA_DATABASES; a restore or drill 2, "
        "one for each of these, and one for each of its `--jobs`. Raise the limit of the role, the database or the "
        "server, or type `--jobs 1`."
    ),
}
# what no other order of loading changes: the server lacks something, was stopped, or is damaged
_SAME_AGAIN = ("08", "53", "54", "57", "58", "XX")
# and what neither a row nor a function said: no privilege, a foreign key, a duplicate, a name that is taken
_SAME_AGAIN_BY_ITSELF = (PRIVILEGE, "23503", "23505", "42P06", "42P07", "42710", "42723")
_OF_A_TOOL = re.compile(r"(?:pg_restore|pg_dump|psql)[^ ]*: (?:error: )?")
_TROUBLES = {  # as tools have them, which run under LC_ALL=C
    os.strerror(each): each
    for each in (errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN)
}
_PATIENCE_SECONDS = 5.0
_COUNTED_WITHIN_SECONDS = 0.5
_CODE_IN_TRACE = re.compile(rb'\tErrorResponse\t.*? C "([0-9A-Z]{5})" M ')

# why pg_dump may have failed: each is a fact of the server, asked as soon as it has
_REASONS = """
    WITH tables AS (
      SELECT c.oid, c.relpersistence,
             pg_catalog.has_schema_privilege(n.oid, 'USAGE')
             AND pg_catalog.has_table_privilege(c.oid, 'SELECT') AS readable
      FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      WHERE c.relkind = ANY ('{r,p,m,S}') AND c.relpersistence <> 't'
        AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
    )
    SELECT (SELECT pg_catalog.count(*) FROM tables WHERE NOT readable) > 0,
           (SELECT pg_catalog.count(*) FROM tables WHERE readable AND pg_catalog.row_security_active(oid)) > 0,
           (SELECT pg_catalog.count(*) FROM tables WHERE relpersistence = 'u') > 0 AND pg_catalog.pg_is_in_recovery(),
           (SELECT pg_catalog.count(*) FROM pg_catalog.pg_locks l JOIN tables t ON t.oid = l.relation
            WHERE l.granted AND l.mode = 'AccessExclusiveLock' AND l.pid <> pg_catalog.pg_backend_pid()) > 0,
           (SELECT pg_catalog.count(*) FROM tables) >= pg_catalog.current_setting('max_locks_per_transaction')::int
             * (pg_catalog.current_setting('max_connections')::int
                + pg_catalog.current_setting('max_prepared_transactions')::int)
"""


def trouble_of(said: str) -> OSError | None:
    """What a tool could not read, or lacked: that says nothing about the data. None if its words are of other things.

    The C library's words end a line then. A server's have a severity before them, in any language, and two spaces.
    """
    for line in said.splitlines():
        code = _TROUBLES.get(line.rpartition(": ")[2])
        if code is not None and _OF_A_TOOL.match(line) and ":  " not in line:
            return OSError(code, _OF_A_TOOL.sub("", line))
    return None


def hint_of(error: psycopg.Error) -> str:
    """What to do about a server's refusal; "" if nothing special."""
    code = error.sqlstate or ""
    if code == PRIVILEGE and error.diag.source_function == "check_enable_rls":  # the same code for both
        return ROW_SECURITY
    if code == "0A000" and error.diag.source_function == "get_relation_info":
        return UNLOGGED
    return _HINTS.get(code, "")


def ends_the_same_again(code: str, *, has_context: bool) -> bool:
    """Whether a load that failed with this would again, in whatever order it is done.

    `has_context`: the server named a row or a function that it was at. What those find depends on the order.
    """
    return code.startswith(_SAME_AGAIN) or (code in _SAME_AGAIN_BY_ITSELF and not has_context)


def hint_to_connect(code: str) -> str | None:
    """What to do about a server that refuses a connection with this code; None if nothing special."""
    if code == CLOSED:
        resume, undo = typed("restore --resume"), typed("restore --undo")
        return f"If a restore was interrupted: `{resume}` finishes it, `{undo}` goes back."
    return _HINTS_TO_CONNECT.get(code)


def count_ended(session: psycopg.Connection) -> int:
    """How many sessions of its database the server has ended by itself so far; 0 if it does not say."""
    try:
        with session.transaction():  # a savepoint, if it is in one: that may hold a lock
            session.execute("SELECT pg_catalog.pg_stat_clear_snapshot()")
            row = session.execute(
                "SELECT pg_catalog.pg_stat_get_db_sessions_killed(oid) + pg_catalog.pg_stat_get_db_sessions_fatal(oid) "
                "FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()"
            ).fetchone()
    except psycopg.Error:
        return 0
    return int(row[0]) if row is not None else 0


def has_ended_more(session: psycopg.Connection, before: int) -> bool:
    """Whether it has ended further ones since; a server counts one when that has gone, a moment after its client."""
    give_up = time.monotonic() + _COUNTED_WITHIN_SECONDS
    while count_ended(session) <= before:
        if time.monotonic() > give_up:
            return False
        time.sleep(0.05)
    return True


def why_dump_failed(session: psycopg.Connection, *, is_in_data: bool) -> str:
    """What to do about a pg_dump that failed, by what its server shows in this session of the same role.

    `is_in_data`: it failed while it read the rows of a table.
    """
    try:
        row = session.execute(_REASONS).fetchone()
    except psycopg.Error:
        return ""  # it was asked for a hint only
    hints = (GRANT, ROW_SECURITY, UNLOGGED, LOCKED, LOCK_TABLE)
    return next((hint for hint, is_so in zip(hints, row or (), strict=False) if is_so), DAMAGED if is_in_data else "")


def code_of_refusal(url: DatabaseUrl) -> str:
    """The SQLSTATE with which the server answers a new connection: ACCEPTED, why not, or "" if there is none."""
    trace = os.memfd_create("refusal", os.MFD_CLOEXEC)  # in memory only: a trace may have the password
    try:
        conninfo = psycopg.conninfo.make_conninfo(url.conninfo(), password=url.password)
        connection = pq.PGconn.connect_start(conninfo.encode())
        try:
            _follow(connection, trace)
            if connection.status == pq.ConnStatus.OK:
                return ACCEPTED
        finally:
            connection.finish()
        found = _CODE_IN_TRACE.findall(os.pread(trace, 1 << 20, 0))
    except (psycopg.Error, OSError, ValueError):
        return ""
    finally:
        os.close(trace)
    return found[-1].decode() if found else ""


def _follow(connection: pq.abc.PGconn, trace: int) -> None:
    if connection.status == pq.ConnStatus.BAD:
        return
    connection.trace(trace)
    ends = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < ends:
        state = connection.connect_poll()
        if state in (pq.PollingStatus.OK, pq.PollingStatus.FAILED):
            break
        reading = [connection.socket] if state == pq.PollingStatus.READING else []
        writing = [connection.socket] if state == pq.PollingStatus.WRITING else []
        select.select(reading, writing, [], max(ends - time.monotonic(), 0.0))
    connection.untrace()
