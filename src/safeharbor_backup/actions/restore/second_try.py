"""Loads a dump once more after it failed: tolerantly, with one job and all rows before anything that judges them.

CHECK constraints, which may read other tables, are set aside until all else is there; functions get the database's own
search_path. What is asked to be accepted then is left out, or made NOT VALID, and the SQL to mend it is written down.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from safeharbor_backup.actions.restore.loader import ACCEPT
from safeharbor_backup.errors import one_line
from safeharbor_backup.postgres.checks_aside import set_aside
from safeharbor_backup.postgres.load_failures import Failure, LoadFailed
from safeharbor_backup.postgres.order import Pass, order_entries
from safeharbor_backup.postgres.rows import SURROGATES, names_as_bytes, readable

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from safeharbor_backup.actions.restore.loader import Loader
    from safeharbor_backup.postgres.checks_aside import Check
    from safeharbor_backup.postgres.toc_entries import TocEntry

_NEWEST = """
    SELECT pg_catalog.format('ALTER TABLE %s VALIDATE CONSTRAINT %I;', conrelid::regclass, conname)
    FROM pg_catalog.pg_constraint WHERE xmin = pg_catalog.pg_current_xact_id()::xid AND conrelid <> 0
    ORDER BY conparentid, oid LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class Broken:
    """What could not be restored as it was, why, and the SQL that finishes it once the rows are mended."""

    what: str
    reason: str
    sql: str
    is_not_valid: bool = False

    @property
    def warning(self) -> str:
        """For the operator."""
        done = "made NOT VALID" if self.is_not_valid else "left out"
        return f"{done}: {self.what}: {self.reason}"


def load_again(
    loader: Loader, session: Callable[[], AbstractContextManager[psycopg.Connection]], *, accepts: bool
) -> list[Broken]:
    """Load all but the event triggers into the empty database; what is broken, if that is accepted.

    Raises LoadFailed, DatabaseUnavailable, psycopg.Error.
    """
    order = order_entries(loader.plan.entries, loader.plan.contents.toc)
    definitions, rows = order.definitions(loader.plan.contents.toc)
    broken = load_entries(loader, session, definitions, accepts=accepts)
    with session() as connection:
        checks = set_aside(connection)
    loader.own_search_path = True
    broken += load_entries(loader, session, rows, accepts=accepts)
    for each in (Pass.RULES, Pass.PRIVILEGES, Pass.VIEWS):
        broken += load_entries(loader, session, order.passes[each], accepts=accepts)
    return broken + _put_back(session, checks, accepts=accepts)


def mending_script(broken: list[Broken], archive: str) -> str:
    """The file for whoever mends it."""
    has_encoding = not any(SURROGATES.search(each.sql) for each in broken)
    parts = [
        f"-- What the restore of {one_line_of(archive)} could not restore as it was. Mend the rows, then run each.",
        f"SET client_encoding = '{'UTF8' if has_encoding else 'SQL_ASCII'}';",
    ]
    for each in broken:
        reason = "\n".join(f"-- {line}" for line in each.reason.splitlines())
        parts.append(f"-- {one_line_of(each.what)}\n{reason}\n{each.sql.strip()}")
    return "\n\n".join(parts).replace("\ufffd", "?") + "\n"  # which a database of another encoding does not have


def one_line_of(text: str) -> str:
    """Text that cannot leave a comment of SQL."""
    return " ".join(text.split())


def load_entries(
    loader: Loader,
    session: Callable[[], AbstractContextManager[psycopg.Connection]],
    entries: tuple[str, ...],
    *,
    accepts: bool,
) -> list[Broken]:
    """Load these with one job; what of them is broken, if that is accepted. Raises LoadFailed, DatabaseUnavailable."""
    if not accepts:
        loader.load(entries, 1)
        return []
    toc = loader.plan.contents.toc
    return [_settle(session, failure.find(toc), failure) for failure in loader.load_what_can_be(entries)]


def _settle(
    session: Callable[[], AbstractContextManager[psycopg.Connection]], entry: TocEntry | None, failure: Failure
) -> Broken:
    """Make a constraint NOT VALID; of anything else, say what was left out."""
    if failure.is_of_its_owner:
        what = failure.statement.removeprefix("ALTER ").partition(" OWNER TO ")[0]
        return Broken(f"the owner of {what}", failure.reason, failure.statement)
    if entry is None:
        return Broken("an entry of the dump", failure.reason, "")
    if entry.kind in ("FK CONSTRAINT", "CHECK CONSTRAINT"):
        statement = entry.definition.rstrip().removesuffix(";") + " NOT VALID"
        with session() as connection, names_as_bytes(connection):
            try:
                with connection.transaction():
                    connection.execute(statement.encode("utf-8", "surrogateescape"))
                    row = connection.execute(_NEWEST).fetchone()
                finish = readable(connection, str(row[0])) if row is not None else ""
                return Broken(entry.what, failure.reason, finish, is_not_valid=True)
            except psycopg.Error:  # a foreign key of a partitioned table cannot be, before 18: it is left out
                if connection.broken:
                    raise
    if entry.kind == "TABLE DATA":
        return Broken(
            f"the rows of {entry.schema}.{entry.name}",
            failure.reason,
            f"-- pg_restore --data-only has them: {one_line_of(entry.name)}",
        )
    return Broken(entry.what, failure.reason, entry.definition)


def _put_back(
    session: Callable[[], AbstractContextManager[psycopg.Connection]], checks: list[Check], *, accepts: bool
) -> list[Broken]:
    broken = []
    with session() as connection, names_as_bytes(connection):
        for check in reversed(checks):
            sent = check.sent_by(connection)
            try:
                connection.execute(sent.add)
            except psycopg.Error as error:
                if connection.broken:
                    raise
                reason = readable(connection, one_line(error))
                if not accepts:
                    raise LoadFailed(f"The {check.what} does not hold: {reason}", hint=ACCEPT) from error
                connection.execute(sql.SQL("{} NOT VALID").format(sent.add))
                finish = readable(connection, f"{sent.validate.as_string(connection)};")
                broken.append(Broken(check.what, reason, finish, is_not_valid=True))
            if sent.remark is not None:
                connection.execute(sent.remark)
    return broken
