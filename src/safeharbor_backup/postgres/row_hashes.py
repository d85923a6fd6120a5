"""Whether a database has the very rows of a dump: the sum of a hash of each row, as COPY prints it on both sides.

A sum needs no order. Python's own hash of bytes has a key that is this process's alone, so both sides are hashed here.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from safeharbor_backup.postgres.copied_rows import RowCounter, ScriptNotUnderstood
from safeharbor_backup.system.process import read_some, started_tool, tool_environment, widen

if TYPE_CHECKING:
    from collections.abc import Mapping

    from safeharbor_backup.postgres.client_tools import ClientTools
    from safeharbor_backup.postgres.contents import DumpInput
    from safeharbor_backup.postgres.copied_rows import TableName

_PIECE = 1024 * 1024
_BITS = (1 << 64) - 1
_COLUMN = rb'(?:"(?:[^"]|"")+"|[\w$\x80-\xff]+)'
_COLUMNS = re.compile(
    rb" (?:\(" + _COLUMN + rb"(?:, " + _COLUMN + rb")*\))?"
)  # and nothing more: a dump may be made up
# what pg_dump sets, and what else the text of a value depends on, as it was for the dump
_OF_PG_DUMP = {"DateStyle": "ISO", "IntervalStyle": "postgres", "extra_float_digits": "3", "row_security": "off"}
_LEFT, _SHARED = ("TimeZone", "lc_monetary"), ("bytea_output", "quote_all_identifiers")


@dataclass(frozen=True, slots=True)
class DumpedTable:
    """A table's rows in a dump; `columns` as COPY lists them, `size` in bytes."""

    columns: bytes
    rows: int
    size: int
    hash: int


def read_printing(session: psycopg.Connection) -> dict[str, str] | None:
    """The settings by which a dump that is taken as this session's role prints values; None if that cannot be told.

    The tools leave the zone and the currency as role and database have them, and share the others with our sessions;
    behind a pooler nobody knows. Raises psycopg.Error.
    """
    query = """
        SELECT name, CASE WHEN name = ANY(%s) THEN reset_val ELSE setting END FROM pg_catalog.pg_settings
        WHERE name = ANY(%s) AND pg_catalog.pg_backend_pid() = %s
    """
    rows = session.execute(query, (list(_LEFT), [*_LEFT, *_SHARED], session.info.backend_pid)).fetchall()
    return {str(name): str(value) for name, value in rows} or None


def print_as(session: psycopg.Connection, printing: Mapping[str, str], encoding: str) -> None:
    """Let the session print values as a dump has them. Raises psycopg.Error."""
    recorded = {name: printing[name] for name in (*_LEFT, *_SHARED) if name in printing}
    settings = {**_OF_PG_DUMP, **recorded, "search_path": ""}
    for name, value in settings.items():
        session.execute("SELECT pg_catalog.set_config(%s, %s, false)", (name, value))
    session.execute(sql.SQL("SET client_encoding = {}").format(sql.Literal(encoding)))


def hash_dump(dump: DumpInput, tools: ClientTools, until: float) -> dict[TableName, DumpedTable]:
    """The tables whose rows came whole until then, on the monotonic clock. Raises ToolFailed, OSError."""
    hasher = _RowHasher()
    with (
        dump.opened() as stdin,
        started_tool([str(tools.pg_restore), "--data-only", "--file=-"], env=tool_environment({}), stdin=stdin) as tool,
    ):
        widen(tool.stdout.fileno())
        try:
            while time.monotonic() < until and (piece := read_some(tool.stdout, _PIECE)):
                hasher.feed(piece)
        except ScriptNotUnderstood:
            pass  # what came before it is known
    return hasher.tables


def has_rows(session: psycopg.Connection, table: TableName, dumped: DumpedTable, seconds: float) -> bool:
    """Whether it has the same rows. Raises psycopg.Error, QueryCanceled if that took longer."""
    name = b".".join(b'"' + part.replace(b'"', b'""') + b'"' for part in table)
    session.execute(sql.SQL("SET statement_timeout = {}").format(max(1, int(seconds * 1000))))
    with session.cursor().copy(b"COPY " + name + dumped.columns + b" TO STDOUT") as rows:
        return sum(map(hash, map(bytes, rows))) & _BITS == dumped.hash  # the server sends each row by itself


class _RowHasher(RowCounter):
    """Hashes them too; `tables` are those that came whole."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: dict[TableName, DumpedTable] = {}
        self._columns: bytes | None = None
        self._sum = self._size = 0
        self._cut: list[bytes] = []

    def _begin(self, copy: re.Match[bytes]) -> None:
        super()._begin(copy)
        self._columns = copy["columns"] if _COLUMNS.fullmatch(copy["columns"]) else None
        self._sum = self._size = 0
        self._cut = []

    def _see(self, rows: bytes) -> None:
        super()._see(rows)
        self._size += len(rows)
        end = rows.rfind(b"\n") + 1
        if end:
            lines = b"".join([*self._cut, rows[:end]]).splitlines(keepends=True)  # a carriage return is escaped too
            self._sum += sum(map(hash, lines))
            self._cut.clear()
        self._cut.append(rows[end:])

    def _end(self, table: TableName) -> None:
        super()._end(table)
        if table in self.tables:  # rows that come in two parts are hashed in neither
            self._columns = None
        if self._columns is not None:
            self.tables[table] = DumpedTable(self._columns, self._count, self._size, self._sum & _BITS)
        else:
            self.tables.pop(table, None)
