"""The server that a restore goes to: how we are connected, what the role may do, which databases there are."""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from safeharbor_backup.errors import CannotRestore, DatabaseUnavailable, LockHeld, one_line
from safeharbor_backup.postgres.connection import UNTIL_FREE_SECONDS, connected, pin_to_host
from safeharbor_backup.postgres.query import one_row, system_identifier
from safeharbor_backup.postgres.remaining import creatable_extensions
from safeharbor_backup.postgres.session_settings import fixed_for_tools
from safeharbor_backup.postgres.sessions import answered_within

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from contextlib import AbstractContextManager

    from safeharbor_backup.settings.database_url import DatabaseUrl

_MAINTENANCE = ("postgres", "template1")
_OWN_LOCK_TIMEOUT = "10s"  # a lock is waited for in bounded time
_OWN_WAITS_SECONDS = 20  # what the server itself may wait in a swap, for locks and for sessions that are leaving
_RESTORE_LOCK = 0x73616665  # "safe" in ASCII, the first of two keys; the second is the database's name

_FACTS = """
    SELECT r.rolsuper, r.rolcreatedb OR r.rolsuper, current_user::text, pg_catalog.pg_backend_pid()
    FROM pg_catalog.pg_roles r WHERE r.rolname = current_user
"""
_DATABASE = """
    SELECT pg_catalog.pg_get_userbyid(d.datdba), pg_catalog.pg_encoding_to_char(d.encoding), d.datcollate, d.datctype,
           d.datlocprovider::text, {locale}, {rules}, t.spcname,
           CASE WHEN pg_catalog.has_database_privilege(d.oid, 'CONNECT')
           THEN pg_catalog.pg_database_size(d.oid) ELSE 0 END,
           pg_catalog.pg_has_role(d.datdba, 'USAGE'), d.datallowconn, d.oid::bigint
    FROM pg_catalog.pg_database d JOIN pg_catalog.pg_tablespace t ON t.oid = d.dattablespace
    WHERE d.datname = %s
"""


@dataclass(frozen=True, slots=True)
class TargetDatabase:
    """A database that exists at the target. Size in bytes, 0 where we may not ask. `is_ours`: we may act as owner."""

    name: str
    owner: str
    encoding: str
    collate: str
    ctype: str
    provider: str
    locale: str | None
    icu_rules: str | None
    tablespace: str
    size: int
    is_ours: bool
    is_open: bool
    oid: int


class Target:
    """An autocommit session in a maintenance database of the target server."""

    def __init__(self, session: psycopg.Connection, url: DatabaseUrl, name: str) -> None:
        self.session = session
        self.url = pin_to_host(url, session).with_database(name)  # an address may name several servers
        self.name = name
        self.major = session.info.server_version // 10000
        self.version = str(self._one("SHOW server_version")[0]).split(" ")[0]
        is_superuser, may_create, role, pid = self._one(_FACTS)
        self.is_superuser = bool(is_superuser)
        self.is_inside = session.info.dbname == name  # from there it can be neither renamed nor dropped
        self.may_create = bool(may_create)
        self.role = str(role)
        self.is_pooled = pid != session.info.backend_pid  # a pooler makes process ids up
        if not self.is_pooled:
            self._set_aside_limits()

    def beside(self, name: str) -> Target:
        """The same session, to put another database of this server in place."""
        other = copy(self)
        other.url, other.name = self.url.with_database(name), name
        other.is_inside = self.session.info.dbname == name
        return other

    def find(self, name: str) -> TargetDatabase | None:
        """The database of that name, if there is one. Raises psycopg.Error."""
        return next(iter(self._find(name)), None)

    def name_of(self, oid: int) -> str:
        """The name that the database with this number has now; "" if there is none. Raises psycopg.Error."""
        row = self.session.execute("SELECT datname FROM pg_catalog.pg_database WHERE oid = %s", (oid,)).fetchone()
        return str(row[0]) if row is not None else ""

    def template(self) -> TargetDatabase:
        """The database `template1`, as every cluster has it. Raises psycopg.Error."""
        [template] = self._find("template1")
        return template

    def _find(self, name: str) -> list[TargetDatabase]:
        locale = "d.daticulocale" if self.major < 17 else "d.datlocale"
        rules = "NULL" if self.major < 16 else "d.daticurules"
        query = sql.SQL(_DATABASE).format(locale=sql.SQL(locale), rules=sql.SQL(rules))
        with self.answering():
            return [TargetDatabase(name, *row) for row in self.session.execute(query, (name,)).fetchall()]

    def answering(self) -> AbstractContextManager[None]:
        """For a block that signals cannot end: the session is given up if the server hangs in it."""
        network_seconds = int(self.url.get("tcp_user_timeout", "30000")) / 1000
        return answered_within(self.session, network_seconds + _OWN_WAITS_SECONDS)

    def prepared_transactions(self, name: str) -> list[str]:
        """The names of prepared transactions there: while there is one, a database cannot be renamed."""
        query = "SELECT gid FROM pg_catalog.pg_prepared_xacts WHERE database = %s ORDER BY 1"
        return [str(row[0]) for row in self.session.execute(query, (name,)).fetchall()]

    def logical_slots(self, name: str) -> list[str]:
        """The logical replication slots of that database, which hold WAL as long as they are there."""
        query = "SELECT slot_name FROM pg_catalog.pg_replication_slots WHERE database = %s ORDER BY 1"
        return [str(row[0]) for row in self.session.execute(query, (name,)).fetchall()]

    def missing_roles(self, names: set[str]) -> list[str]:
        """The roles among these that the server does not have."""
        query = "SELECT rolname FROM pg_catalog.pg_roles WHERE rolname = ANY(%s)"
        found = {str(row[0]) for row in self.session.execute(query, (sorted(names),)).fetchall()}
        return sorted(names - found - {"public", "PUBLIC"})

    def missing_tablespaces(self, names: set[str]) -> list[str]:
        """The tablespaces among these that the server does not have."""
        query = "SELECT spcname FROM pg_catalog.pg_tablespace WHERE spcname = ANY(%s)"
        found = {str(row[0]) for row in self.session.execute(query, (sorted(names),)).fetchall()}
        return sorted(names - found)

    def extensions(self) -> dict[str, bool]:
        """The extensions that can be installed there, and whether one needs no superuser for it."""
        return creatable_extensions(self.session)

    def databases_beside(self, pattern: str) -> list[str]:
        """The databases whose names match this regular expression."""
        query = "SELECT datname FROM pg_catalog.pg_database WHERE datname ~ %s ORDER BY 1"
        return [str(row[0]) for row in self.session.execute(query, (pattern,)).fetchall()]

    def system_identifier(self) -> str:
        """The cluster's own number; "" where we may not ask."""
        return system_identifier(self.session)

    def hold_restore_lock(self, wait_seconds: float = 0) -> None:
        """Keep other restores of this database away, from whatever host, as long as this session lasts.

        Advisory locks are per database: it keeps away those that come by the same maintenance database, as all do that
        have no address of their own for it. Raises LockHeld.
        """
        query = "SELECT pg_catalog.pg_try_advisory_lock(%s, pg_catalog.hashtext(%s))"
        deadline = time.monotonic() + wait_seconds
        while not self._one(query, (_RESTORE_LOCK, self.name))[0]:
            if time.monotonic() < deadline:
                time.sleep(0.25)
                continue
            raise LockHeld(f"Another restore of {self.url.describe()} is running, from here or from another host.")

    def _set_aside_limits(self) -> None:
        self._one("SELECT pg_catalog.set_config('lock_timeout', %s, false)", (_OWN_LOCK_TIMEOUT,))
        self.url = fixed_for_tools(self.url, self.session).with_options(f"-c lock_timeout={_OWN_LOCK_TIMEOUT}")

    def _one(self, query: str, arguments: tuple[object, ...] = ()) -> tuple[Any, ...]:
        return one_row(self.session, query.encode(), arguments or None)


@contextmanager
def target_connected(url: DatabaseUrl, database: str, others: Collection[str] = ()) -> Iterator[Target]:
    """A session beside the database to restore: in `postgres`, `template1` or the address's own; else in that itself.

    Nor in one of the `others`, which are restored with it.

    In this order, since the lock against other restores is per database: whoever restores should meet in the same one.
    Raises DatabaseUnavailable if none of them lets us in.
    """
    beside = (name for name in (*_MAINTENANCE, url.get("dbname")) if name and name not in (database, *others))
    names = dict.fromkeys((*beside, database))
    with ExitStack() as stack:
        session = _first_session(stack, url, names)
        try:
            yield Target(session, url, database)
        except psycopg.errors.InsufficientResources as error:  # disk full, out of memory, too many connections
            raise CannotRestore(f"The database server lacks resources: {one_line(error)}.") from error


def _first_session(stack: ExitStack, url: DatabaseUrl, names: Iterable[str]) -> psycopg.Connection:
    """A session in the first of these databases that lets us in. Raises DatabaseUnavailable, as the first one did."""
    refusals = []
    give_up = time.monotonic() + UNTIL_FREE_SECONDS  # one wait for all
    for name in names:
        try:
            return stack.enter_context(connected(url.with_database(name), give_up))
        except DatabaseUnavailable as error:
            refusals.append(error)
    raise refusals[0]
