"""The materialized views of a database: their rows are in no dump, and a restore computes them again."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, LiteralString

import psycopg
from psycopg import sql

from safeharbor_backup.postgres.query import one_row
from safeharbor_backup.postgres.rows import list_views, names_as_bytes, sendable
from safeharbor_backup.text import ascii_safe, plural

if TYPE_CHECKING:
    from collections.abc import Mapping


_HASH: LiteralString = """
    SELECT coalesce(sum(pg_catalog.hashtextextended(v::text COLLATE "C", 0)), 0) FROM {} v
"""
_MILLISECONDS = 60_000  # for each: a decoration must not take the night


def count_views(session: psycopg.Connection) -> dict[str, int | None]:
    """The rows of each materialized view by quoted `schema.view`; None if it is not populated.

    One that may not be read, or takes longer than a minute, is not among them. Raises psycopg.Error if the session is
    lost.
    """
    counts: dict[str, int | None] = {view.quoted: None for view in list_views(session, populated=False)}
    for view in list_views(session, populated=True):
        try:
            with session.transaction(force_rollback=True), names_as_bytes(session):  # which gives the lock back
                session.execute(sql.SQL("SET LOCAL statement_timeout = {}").format(_MILLISECONDS))
                name = sql.Identifier(sendable(session, view.schema), sendable(session, view.name))
                row = one_row(session, sql.SQL("SELECT count(*) FROM {}").format(name))
        except psycopg.Error:
            if session.broken or session.closed:
                raise
        else:
            counts[view.quoted] = int(row[0])
    return counts


def hash_views(session: psycopg.Connection, seconds: float) -> dict[str, str]:
    """The sum of a hash of each row of each populated view, by its name, as far as there is time.

    For sessions with settings of our own: the text of a row depends on them. Raises psycopg.Error if it is lost.
    """
    until = time.monotonic() + seconds
    hashes: dict[str, str] = {}
    for view in list_views(session, populated=True):
        left = int((until - time.monotonic()) * 1000)
        if left <= 0:
            break
        try:
            with session.transaction(force_rollback=True), names_as_bytes(session):
                session.execute(sql.SQL("SET LOCAL statement_timeout = {}").format(left))
                session.execute("SET LOCAL search_path = ''; SET LOCAL lc_monetary = 'C'")
                name = sql.Identifier(sendable(session, view.schema), sendable(session, view.name))
                hashes[view.quoted] = str(one_row(session, sql.SQL(_HASH).format(name))[0])
        except psycopg.Error:
            if session.broken or session.closed:
                raise
    return hashes


@dataclass(slots=True)
class ViewDifferences:
    """Sentences: views that are `lost` (missing, not populated), and those that have other rows than they had."""

    lost: list[str] = field(default_factory=list)
    recomputed: list[str] = field(default_factory=list)


def compare_views(found: Mapping[str, int | None], recorded: Mapping[str, int | None]) -> ViewDifferences:
    """The views that are missing or not populated, and those with other rows than they had."""
    different = ViewDifferences()
    for name, rows in recorded.items():
        shown = ascii_safe(name)
        if name not in found:
            different.lost.append(f"the materialized view {shown} is missing or cannot be read")
        elif found[name] != rows:
            kind = different.lost if found[name] is None or rows is None else different.recomputed
            kind.append(f"the materialized view {shown} {_state(found[name])} instead of {_count(rows)}")
    return different


def _state(rows: int | None) -> str:
    return "is not populated" if rows is None else f"has {plural(rows, 'row')}"


def _count(rows: int | None) -> str:
    return "none, being not populated" if rows is None else f"{rows:,}"
