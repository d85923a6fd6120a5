"""Databases created and dropped on the server that a restore goes to."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from safeharbor_backup.errors import CannotRestore, one_line
from safeharbor_backup.postgres.sessions import end_sessions

if TYPE_CHECKING:
    from safeharbor_backup.postgres.target import Target, TargetDatabase

_PAUSE_SECONDS = 0.25
_SUBSCRIBES = """
    SELECT FROM pg_catalog.pg_subscription s JOIN pg_catalog.pg_database d ON d.oid = s.subdbid WHERE d.datname = %s
"""


def create_beside(target: Target, name: str, like: TargetDatabase) -> None:
    """An empty database with the owner, encoding, locale and tablespace of `like`. Raises CannotRestore."""
    parts: list[sql.Composable] = [
        sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING {} LC_COLLATE {} LC_CTYPE {}").format(
            sql.Identifier(name),
            sql.Literal(like.encoding),
            sql.Literal(like.collate),
            sql.Literal(like.ctype),
        )
    ]
    if like.tablespace != "pg_default":  # which nobody needs a privilege for, unless it is named
        parts.append(sql.SQL("TABLESPACE {}").format(sql.Identifier(like.tablespace)))
    if like.owner:
        parts.append(sql.SQL("OWNER {}").format(sql.Identifier(like.owner)))
    if like.provider == "i" and like.locale:
        parts.append(sql.SQL("LOCALE_PROVIDER icu ICU_LOCALE {}").format(sql.Literal(like.locale)))
        if like.icu_rules:
            parts.append(sql.SQL("ICU_RULES {}").format(sql.Literal(like.icu_rules)))
    elif like.provider == "b" and like.locale:
        parts.append(sql.SQL("LOCALE_PROVIDER builtin BUILTIN_LOCALE {}").format(sql.Literal(like.locale)))
    else:
        parts.append(sql.SQL("LOCALE_PROVIDER libc"))
    try:
        target.session.execute(sql.SQL(" ").join(parts))
    except psycopg.Error as error:
        if target.session.broken:
            raise
        raise CannotRestore(f'The database "{name}" cannot be created: {one_line(error)}.') from error


def drop_database(target: Target, name: str) -> None:
    """Drop a database, sessions and all; nothing if it is not there. Raises CannotRestore, in bounded time.

    Not WITH (FORCE), which refuses a role that is not a superuser if an autovacuum worker is there. A plain DROP ends
    that worker, and waits five seconds for whoever is leaving.
    """
    if target.find(name) is None:
        return
    drop = sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name))
    row = target.session.execute(
        "SELECT datistemplate FROM pg_catalog.pg_database WHERE datname = %s", (name,)
    ).fetchone()
    if row is not None and row[0]:
        target.session.execute(sql.SQL("ALTER DATABASE {} IS_TEMPLATE false").format(sql.Identifier(name)))
    for is_last in (False, False, True):
        end_sessions(target.session, name)
        try:
            target.session.execute(drop)
        except psycopg.Error as error:
            if target.session.broken:
                raise
            if isinstance(error, psycopg.errors.ObjectInUse) and not is_last:
                time.sleep(_PAUSE_SECONDS)  # somebody may have come in again, or a slot's user may be leaving
                continue
            raise CannotRestore(
                f'The database "{name}" cannot be dropped: {one_line(error)}.',
                hint=_what_holds(target, name),
            ) from error
        return


def _what_holds(target: Target, name: str) -> str:
    """What to do about a database that cannot be dropped."""
    if target.session.execute(_SUBSCRIBES, (name,)).fetchone() is not None:
        return (
            f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true; then, connected to it, for each subscription: '
            "ALTER SUBSCRIPTION … DISABLE; ALTER SUBSCRIPTION … SET (slot_name = NONE); DROP SUBSCRIPTION …;"
        )
    slots = target.logical_slots(name)  # those that nobody uses go with the database
    return f"End whoever uses the replication slot {', '.join(slots)}." if slots else ""
