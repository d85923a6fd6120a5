"""The operator's SQL in a copy that nobody can use yet: it takes away what must not leave production."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from safeharbor_backup.errors import CannotRestore, SettingsInvalid, one_line
from safeharbor_backup.system.small_file import read_small_file

if TYPE_CHECKING:
    from pathlib import Path

_LIMIT_BYTES = 16 << 20
_VIEWS = """
    SELECT n.nspname, c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'm' AND c.relispopulated ORDER BY c.oid
"""  # in the order in which they were made


@dataclass(frozen=True, slots=True)
class Script:
    """A file of SQL, and its text."""

    path: Path
    text: str


def read_script(path: Path) -> Script:
    """Raises SettingsInvalid for a file that cannot be read, or in which there is nothing to run."""
    try:
        text = read_small_file(path, _LIMIT_BYTES, follow_symlinks=True).decode("utf-8-sig")  # some editors mark it
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise SettingsInvalid([f"--run-sql: {path} cannot be read: {why}"]) from None
    if "\0" in text:  # libpq would run what comes before it, and leave out the rest
        raise SettingsInvalid([f"--run-sql: {path} cannot be read: there is a NUL in it"])
    if not any(line.strip() and not line.lstrip().startswith("--") for line in text.splitlines()):
        raise SettingsInvalid([f"--run-sql: there is nothing to run in {path}"])
    return Script(path, text)


def run_script(script: Script, session: psycopg.Connection) -> None:
    """All of it in one transaction, then what was computed of the rows is computed again. Raises CannotRestore."""
    try:
        session.execute("RESET search_path")
        session.execute(script.text.encode())
        if session.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
            raise CannotRestore(f"{script.path} leaves a transaction open.", hint="End it with COMMIT.", intact=_INTACT)
        for schema, name in session.execute(_VIEWS).fetchall():
            session.execute(sql.SQL("REFRESH MATERIALIZED VIEW {}").format(sql.Identifier(schema, name)))
        session.execute("VACUUM (ANALYZE)")  # the rows as they were go, and nothing is counted of them
    except psycopg.Error as error:
        if session.broken:
            raise
        raise CannotRestore(
            f"{script.path}{_line_of(error, script.text)} failed: {one_line(error)}",
            hint="It is run as SQL, in one transaction; psql's commands, which begin with a backslash, do not work "
            "here.",
            intact=_INTACT,
        ) from error


_INTACT = "No copy was made; the target is unchanged."


def _line_of(error: psycopg.Error, text: str) -> str:
    position = error.diag.statement_position
    return f", line {text.count(chr(10), 0, int(position) - 1) + 1}," if position else ""
