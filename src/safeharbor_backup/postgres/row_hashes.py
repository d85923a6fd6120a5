"""Whether a database has the very rows of a dump: the sum of a hash of each row, as COPY prints it on both sides.

A sum needs no order. Python's own hash of bytes has a key that is this process's alone, so both sides are hashed here.
The same of large objects, whose content is in pieces: the sum of a digest of each, its number in front.
"""

from __future__ import annotations

import re
import secrets
import time
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from safeharbor_backup.postgres.copied_rows import RowCounter, ScriptNotUnderstood
from safeharbor_backup.postgres.query import one_row
from safeharbor_backup.system.process import enlarge_pipe, read_some, started_tool, tool_environment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from safeharbor_backup.postgres.client_tools import ClientTools
    from safeharbor_backup.postgres.copied_rows import TableName
    from safeharbor_backup.postgres.dump_input import DumpInput

_PIECE = 1024 * 1024
_KEY = secrets.token_bytes(32)
_AT_ONCE, _OBJECT_PIECE = 100, 256 * 1024  # large objects, and bytes of each
_MORE = "SELECT pg_catalog.lo_get(%s::bigint::oid, %s, %s)"
_OBJECT = re.compile(rb"\s*SELECT pg_catalog\.lo_open\('(\d+)', \d+\);\n")
_WRITTEN = re.compile(rb"\s*SELECT pg_catalog\.lowrite\(0, '\\{1,2}x([0-9a-f]*)'\);\n")
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


@dataclass(frozen=True, slots=True)
class LargeObjects:
    """The number of large objects, and the sum of their digests."""

    number: int = 0
    digest: int = 0


@dataclass(frozen=True, slots=True)
class Dumped:
    """What was hashed in time: tables whose rows are complete, and large objects, None if not all came."""

    tables: dict[TableName, DumpedTable]
    large_objects: LargeObjects | None


def read_printing(session: psycopg.Connection) -> dict[str, str] | None:
    """The settings by which a dump that is taken as this session's role prints values; None if that is unknown.

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


def hash_dump(dump: DumpInput, tools: ClientTools, until: float) -> Dumped:
    """The hashes of a dump's rows that come until this moment of the monotonic clock. Raises ToolFailed, OSError."""
    hasher = _RowHasher()
    piece: bytes | None = None
    with (
        dump.opened() as stdin,
        started_tool([str(tools.pg_restore), "--data-only", "--file=-"], env=tool_environment({}), stdin=stdin) as tool,
    ):
        enlarge_pipe(tool.stdout.fileno())
        try:
            while time.monotonic() < until and (piece := read_some(tool.stdout, _PIECE)):
                hasher.feed(piece)
            if piece == b"" and tool.wait() == 0:  # that was all of it
                hasher.finish()
                return Dumped(hasher.tables, hasher.objects.found())
        except ScriptNotUnderstood:
            pass  # what came before it is known
    return Dumped(hasher.tables, None)


def has_rows(session: psycopg.Connection, table: TableName, dumped: DumpedTable, seconds: float) -> bool:
    """Whether the session's database has the same rows. Raises psycopg.Error, QueryCanceled if that took longer."""
    name = b".".join(b'"' + part.replace(b'"', b'""') + b'"' for part in table)
    session.execute(sql.SQL("SET statement_timeout = {}").format(max(1, int(seconds * 1000))))
    with session.cursor().copy(b"COPY " + name + dumped.columns + b" TO STDOUT") as rows:
        return sum(map(hash, map(bytes, rows))) & _BITS == dumped.hash  # the server sends each row by itself


def hash_large_objects(session: psycopg.Connection, until: float) -> LargeObjects:
    """Those of the session's database. Raises TimeoutError if they are too many until then; psycopg.Error."""
    objects = _ObjectHasher()
    last = 0
    while batch := session.execute(
        "SELECT oid::bigint, pg_catalog.lo_get(oid, 0, %s) FROM pg_catalog.pg_largeobject_metadata "
        "WHERE oid > %s::bigint::oid ORDER BY oid LIMIT %s",
        (_OBJECT_PIECE, last, _AT_ONCE),
    ).fetchall():
        for last, first in batch:
            objects.begin(last)
            objects.add(first)
            size = at = len(first)
            while size == _OBJECT_PIECE:
                if time.monotonic() > until:
                    raise TimeoutError
                (piece,) = one_row(session, _MORE, (last, at, _OBJECT_PIECE))
                objects.add(piece)
                size = len(piece)
                at += size
        if time.monotonic() > until:
            raise TimeoutError
    return objects.found()


class _ObjectHasher:
    """Large objects, one after the other, each in pieces."""

    def __init__(self) -> None:
        self._number = self._sum = 0
        self._hash = blake2b(key=_KEY, digest_size=16)

    def begin(self, oid: int) -> None:
        """Begin the next large object."""
        self._end()
        self._number += 1
        self._hash = blake2b(oid.to_bytes(4, "big"), key=_KEY, digest_size=16)

    def add(self, piece: bytes) -> None:
        """Take the next piece of its content."""
        self._hash.update(piece)

    def found(self) -> LargeObjects:
        """All large objects that came."""
        self._end()
        return LargeObjects(self._number, self._sum)

    def _end(self) -> None:
        if self._number:
            self._sum += int.from_bytes(self._hash.digest(), "big")


class _RowHasher(RowCounter):
    """Hashes them too; `tables` are those that came whole, `objects` the large ones."""

    def __init__(self) -> None:
        super().__init__()
        self.objects = _ObjectHasher()
        self.tables: dict[TableName, DumpedTable] = {}
        self._columns: bytes | None = None
        self._sum = self._size = 0
        self._cut: list[bytes] = []

    def _see_statement(self, statement: bytes) -> None:
        if written := _WRITTEN.fullmatch(statement):
            self.objects.add(bytes.fromhex(written[1].decode()))
        elif opened := _OBJECT.fullmatch(statement):
            self.objects.begin(int(opened[1]))

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
