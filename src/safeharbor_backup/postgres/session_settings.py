"""The settings of our own sessions and of the tools', whatever was set for the server, the database or the role.

Those are meant for the app: `datestyle` or `quote_all_identifiers` would change what we read, `role` what we may read.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import LiteralString

    from safeharbor_backup.settings.database_url import DatabaseUrl

# what decides how values are read and written, and who we are
_MEANING = {
    "role": "none",
    "intervalstyle": "postgres",
    "quote_all_identifiers": "off",
    "array_nulls": "on",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "standard_conforming_strings": "on",
    "transform_null_equals": "off",
    "xmloption": "content",
    "default_transaction_read_only": "off",
    "default_transaction_deferrable": "off",
}
_NO_LIMITS = {
    "statement_timeout": "0",  # decision 16
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
}
_SINCE_17 = {"transaction_timeout": "0"}
_OURS = {"datestyle": "ISO, MDY", "timezone": "UTC", "client_min_messages": "notice"}

# system names first: what an app has in its own schemas must not be taken for them
_SEARCH_PATH = "pg_catalog.concat_ws(', ', 'pg_catalog', nullif(pg_catalog.current_setting('search_path'), ''))"


def _settings_in_transaction(session: psycopg.Connection) -> Mapping[str, str]:
    """What a transaction of ours sets for itself, since behind a pooler it may be in anybody's session."""
    return {**_MEANING, **_OURS, **_limits(session.info.server_version)}


def begin_unlimited(session: psycopg.Connection, mode: LiteralString, settings: Mapping[str, str]) -> None:
    """Begin a transaction of this isolation level in which the limits that are meant for the app's queries do not hold.

    All in one message: a limit could end the transaction before the statement that lifts it. Raises psycopg.Error.
    """
    fixed = _settings_in_transaction(session)
    session.execute(
        sql.SQL("; ").join(
            [
                sql.SQL("BEGIN ISOLATION LEVEL " + mode),
                *(
                    sql.SQL("SET LOCAL {} = {}").format(sql.Identifier(name), sql.Literal(value))
                    for name, value in {**fixed, **settings}.items()
                ),
            ]
        )
    )


def fix_settings(session: psycopg.Connection, url: DatabaseUrl) -> None:
    """Give the session our settings, but for those that the address itself has in `options`.

    Not behind a pooler, where they would stay in a session that the app gets next. Raises psycopg.Error.
    """
    settings = _left_open({**_MEANING, **_OURS, **_limits(session.info.server_version)}, url)
    path = [] if _has("search_path", url) else [sql.SQL("('search_path', " + _SEARCH_PATH + ")")]
    values = [sql.SQL("({}, {})").format(sql.Literal(name), sql.Literal(value)) for name, value in settings.items()]
    lifted = [sql.SQL("SET LOCAL {} = 0").format(sql.Identifier(name)) for name in _limits(session.info.server_version)]
    given = sql.SQL(
        "SELECT pg_catalog.set_config(name, value, false) FROM (VALUES {}) s(name, value) "
        "WHERE pg_catalog.pg_backend_pid() = {}"  # a pooler makes process ids up
    ).format(sql.SQL(", ").join([*values, *path]), sql.Literal(session.info.backend_pid))
    # all in one message: a limit of a millisecond would end what comes before it is lifted
    session.execute(sql.SQL("; ").join([sql.SQL("BEGIN"), *lifted, given, sql.SQL("COMMIT")]))  # decision 77


def fixed_for_tools(url: DatabaseUrl, session: psycopg.Connection) -> DatabaseUrl:
    """The address with our settings in `options`, which win over those of database and role, for pg_dump and the like.

    The same address behind a pooler, which may refuse them. Raises psycopg.Error.
    """
    query = "SELECT pg_catalog.pg_backend_pid(), pg_catalog.has_parameter_privilege('lc_messages', 'SET')"
    row = session.execute(query).fetchone()
    if row is None or row[0] != session.info.backend_pid:
        return url
    language = {"lc_messages": "C"} if row[1] else {}  # pg_restore does not give the code of an error
    settings = _left_open({**_MEANING, **language, **_limits(session.info.server_version)}, url)
    return url.with_options(" ".join(f"-c {name}={value}" for name, value in settings.items()))


def let_go_of_snapshot(session: psycopg.Connection) -> None:
    """Make an open transaction hold back no vacuum, as its last cursor would; nothing if the session is lost."""
    with suppress(psycopg.Error):
        session.execute("SELECT 1", prepare=False)  # without parameters: the simple protocol leaves no cursor open


def _limits(server_version: int) -> dict[str, str]:
    return {**_NO_LIMITS, **_SINCE_17} if server_version >= 170000 else _NO_LIMITS


def _left_open(settings: Mapping[str, str], url: DatabaseUrl) -> dict[str, str]:
    return {name: value for name, value in settings.items() if not _has(name, url)}


def _has(name: str, url: DatabaseUrl) -> bool:
    """Whether the address itself sets it."""
    return re.search(rf"(?i)\b{name}\s*=", url.get("options").replace("-", "_")) is not None
