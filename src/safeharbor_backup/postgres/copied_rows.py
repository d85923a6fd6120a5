"""The rows of a dump, counted in the script that pg_restore makes of it while the dump is decoded."""

from __future__ import annotations

import re

_NAME = rb'(?:"(?:[^"]|"")*"|[^".\s(]+)'
# one statement, one comment, or one command of psql; what is quoted may hold anything
_STATEMENT = re.compile(rb"""\s*+(?:--[^\n]*+\n|\\[^\n]*+\n|(?:[^"';]|"[^"]*+"|'[^']*+')++;\n)""")
_COPY = re.compile(
    rb"\s*COPY (?P<schema>" + _NAME + rb")\.(?P<table>" + _NAME + rb")(?P<columns>.*) FROM stdin;\n", re.DOTALL
)
_END = b"\n\\.\n"

TableName = tuple[bytes, bytes]


class ScriptNotUnderstood(ValueError):
    """The script is none that pg_restore makes of data alone."""


class RowCounter:
    """Counts the rows of each table, schema and name as bytes, in a script of data alone that comes in pieces."""

    def __init__(self) -> None:
        self.rows: dict[TableName, int] = {}
        self._held = b""
        self._table: TableName | None = None  # whose rows are coming
        self._count = 0
        self._is_first = False  # the line break at the start of what is held is not part of the rows

    def feed(self, piece: bytes) -> None:
        """Take the next piece of the script."""
        self._held += piece
        while self._take_statements() if self._table is None else self._take_rows(self._table):
            pass

    def finish(self) -> None:
        """End the script. Raises ScriptNotUnderstood if something is left over."""
        if self._table is not None or self._held.strip():
            raise ScriptNotUnderstood(repr(self._held[:200]))

    def _see_statement(self, statement: bytes) -> None:
        """Another statement than one by which rows come."""

    def _begin(self, copy: re.Match[bytes]) -> None:
        """Rows come by this statement."""
        self._count = 0

    def _see(self, rows: bytes) -> None:
        """So many more of them, cut anywhere. A line break within a value is escaped: each line is a row."""
        self._count += rows.count(b"\n")

    def _end(self, table: TableName) -> None:
        """Those were all of them."""
        self.rows[table] = self.rows.get(table, 0) + self._count

    def _take_statements(self) -> bool:
        """Whether rows come after what was read."""
        position = 0
        while found := _STATEMENT.match(self._held, position):
            position = found.end()
            copy = _COPY.fullmatch(found[0])
            if copy is None:
                self._see_statement(found[0])
            else:
                self._table = (_unquoted(copy["schema"]), _unquoted(copy["table"]))
                self._begin(copy)
                self._held = b"\n" + self._held[position:]  # so that the end after no rows looks like any other
                self._is_first = True
                return True
        self._held = self._held[position:]
        return False

    def _take_rows(self, table: TableName) -> bool:
        """Whether their end was found."""
        end = self._held.find(_END)
        whole = end + 1 if end >= 0 else max(0, len(self._held) - len(_END) + 1)
        if whole:
            self._see(self._held[self._is_first : whole])
            self._is_first = False
        if end < 0:
            self._held = self._held[whole:]
            return False
        self._end(table)
        self._held = self._held[end + len(_END) :]
        self._table = None
        return True


def _unquoted(name: bytes) -> bytes:
    return name[1:-1].replace(b'""', b'"') if name.startswith(b'"') else name
