"""Connections that end in bounded time whatever the network does, and errors without passwords."""

from __future__ import annotations

import errno
import os
import re
import select
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg

from safeharbor_backup.errors import DatabaseUnavailable, LockHeld, SafeHarborError, translate_os_error
from safeharbor_backup.postgres.errors import ACCEPTED, TOO_MANY_CONNECTIONS, code_of_refusal, hint_of, hint_to_connect
from safeharbor_backup.postgres.session_settings import begin_unlimited, fix_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from safeharbor_backup.settings.database_url import DatabaseUrl
    from safeharbor_backup.settings.model import Settings

_LOOK_AGAIN_SECONDS = 0.1
UNTIL_FREE_SECONDS = 3.0
_UNTIL_ENDED_SECONDS = 1.0
# "safeharb" in ASCII; advisory locks are per database, so one key serves all
_LOCK_KEY = 0x7361666568617262

_SERVER_KEEPALIVES = {
    "tcp_keepalives_idle": "keepalives_idle",
    "tcp_keepalives_interval": "keepalives_interval",
    "tcp_keepalives_count": "keepalives_count",
}


def bounded(url: DatabaseUrl, settings: Settings) -> DatabaseUrl:
    """The address with timeouts for everything that it leaves open.

    Keepalives notice a peer that vanished while we wait for data; `tcp_user_timeout` one that stops
    acknowledging what we send (tcp(7)).
    """
    network = max(4, int(settings.network_timeout_seconds))
    return url.with_defaults(
        {
            "connect_timeout": str(max(2, int(settings.connect_timeout_seconds))),
            "keepalives": "1",
            "keepalives_idle": str(max(1, network // 4)),
            "keepalives_interval": str(max(1, network // 4)),
            "keepalives_count": "3",
            "tcp_user_timeout": str(network * 1000),
            "application_name": "safeharbor",
        }
    )


@contextmanager
def connected(url: DatabaseUrl, give_up: float | None = None) -> Iterator[psycopg.Connection]:
    """An autocommit session with settings of our own, closed when the block is left.

    A session that has just ended, of a tool or of the app, may still count against a limit: a refusal for their number
    has to last until the monotonic time `give_up`, three seconds from now by default. Raises DatabaseUnavailable, also
    when the session is lost inside the block.
    """
    connection = _open(url, time.monotonic() + UNTIL_FREE_SECONDS if give_up is None else give_up)
    try:
        with answering(connection, url):
            fix_settings(connection, url)
            yield connection
    finally:
        _close(connection)


def _open(url: DatabaseUrl, give_up: float) -> psycopg.Connection:
    while True:
        try:
            # UTF8: psycopg gives the text of a SQL_ASCII database as bytes
            return psycopg.connect(url.conninfo(), password=url.password, autocommit=True, client_encoding="utf8")
        except psycopg.Error as error:
            said = describe_error(error, url)
        if os.strerror(errno.EMFILE) in said:  # libpq's word for our own limit
            raise translate_os_error(OSError(errno.EMFILE, said), f"connecting to {url.describe()}") from None
        code = code_of_refusal(url)
        if code not in (TOO_MANY_CONNECTIONS, ACCEPTED) or time.monotonic() > give_up:
            raise DatabaseUnavailable(
                f"The database {url.describe()} cannot be used: {said}", hint=hint_to_connect(code)
            )
        time.sleep(_LOOK_AGAIN_SECONDS)


def _close(connection: psycopg.Connection) -> None:
    """Close it, and wait a moment until it no longer counts against a limit of connections.

    A server's process leaves its socket open until it has ended, for clients that wait for that (pqcomm.c).
    """
    try:
        socket = os.dup(connection.fileno())
    except (psycopg.Error, OSError):  # it is closed or broken
        connection.close()
        return
    try:
        connection.close()
        give_up = time.monotonic() + _UNTIL_ENDED_SECONDS
        # not poll: eventlet takes that away
        while select.select([socket], [], [], max(give_up - time.monotonic(), 0.0))[0] and os.read(socket, 4096):
            pass
    except (OSError, ValueError):  # the server closed it hard; a number that select does not take
        pass
    finally:
        os.close(socket)


@contextmanager
def answering(connection: psycopg.Connection, url: DatabaseUrl) -> Iterator[None]:
    """A block in which it is that database that answers with an error. Raises DatabaseUnavailable, SafeHarborError."""
    try:
        yield
    except psycopg.OperationalError as error:
        if connection.broken or isinstance(error, psycopg.errors.AdminShutdown | psycopg.errors.CrashShutdown):
            raise DatabaseUnavailable(
                f"The connection to {url.describe()} was lost: {describe_error(error, url)}"
            ) from error
        raise _refusal(error, url) from error
    except psycopg.Error as error:
        raise _refusal(error, url) from error


def _refusal(error: psycopg.Error, url: DatabaseUrl) -> SafeHarborError:
    said = describe_error(error, url)
    return SafeHarborError(f"The database {url.describe()} answered: {said}", hint=hint_of(error))


@contextmanager
def idle_session(url: DatabaseUrl) -> Iterator[psycopg.Connection]:
    """A session in an idle READ COMMITTED transaction, which holds back no vacuum and works through a pooler.

    Raises DatabaseUnavailable.
    """
    with connected(url) as session:
        begin_unlimited(session, "READ COMMITTED", {})
        # if the network is cut, the server must notice too, or a lock would outlive us by hours
        for name, key in _SERVER_KEEPALIVES.items():
            session.execute("SELECT set_config(%s, %s, true)", (name, url.get(key, "0")))
        yield session


@contextmanager
def backup_lock(url: DatabaseUrl, wait_seconds: float = 0) -> Iterator[psycopg.Connection]:
    """Hold the one backup lock of a database, across all hosts; yields the session that holds it.

    `wait_seconds` is for who follows a run that has just ended: the server lets go of its lock a moment later.
    Raises LockHeld, DatabaseUnavailable.
    """
    with idle_session(url) as session:
        deadline = time.monotonic() + wait_seconds
        while session.execute("SELECT pg_try_advisory_xact_lock(%s)", (_LOCK_KEY,)).fetchone() != (True,):
            if time.monotonic() >= deadline:
                raise LockHeld(f"Another backup of {url.describe()} is running, from here or from another host.")
            time.sleep(_LOOK_AGAIN_SECONDS)
        yield session


def is_alive(session: psycopg.Connection) -> bool:
    """Whether the server still answers in this session."""
    try:
        session.execute("SELECT 1")
    except psycopg.Error:
        return False
    return True


def pin_to_host(url: DatabaseUrl, session: psycopg.Connection) -> DatabaseUrl:
    """The address of the very server that `session` talks to; an address may name several, a snapshot lives in one."""
    found = dict(url.parameters)
    info = session.info
    found.update({"host": info.host, "port": str(info.port), "dbname": info.dbname, "user": info.user})
    if info.hostaddr and not info.host.startswith(("/", "@")):
        found["hostaddr"] = info.hostaddr
    else:
        found.pop("hostaddr", None)
    for key in ("service", "servicefile", "load_balance_hosts"):
        found.pop(key, None)
    return type(url)(tuple(found.items()), url.password)


def describe_error(error: psycopg.Error, url: DatabaseUrl) -> str:
    """Libpq's or the server's message on one line, without the password."""
    text = " ".join(str(error).split()) or type(error).__name__
    return redact(text, url)


def redact(text: str, url: DatabaseUrl) -> str:
    """`text` without the address's password, in whichever spelling.

    One that is an ordinary word, or the role's or the database's name, is only taken out where a password stands:
    "password authentication failed" would show by its gap what it hides.
    """
    if not url.password:
        return text
    from urllib.parse import quote, quote_plus

    spellings = {url.password, quote(url.password), quote(url.password, safe=""), quote_plus(url.password)}
    is_word = re.fullmatch(r"[a-z]{1,12}", url.password, re.IGNORECASE) is not None
    is_word = is_word or url.password in dict(url.parameters).values()
    for spelling in spellings:
        if is_word:
            text = re.sub(rf"(?<=[:=]){re.escape(spelling)}(?=@|[\s'\"]|$)", "***", text)
        else:
            text = text.replace(spelling, "***")
    return text
