"""Loads entries of a dump into a database: from a copy of the dump with several jobs, or straight from the archive."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from safeharbor_backup.errors import CannotRestore, one_line
from safeharbor_backup.postgres.errors import ends_the_same_again
from safeharbor_backup.postgres.load import LoadOptions, finish_loading, load_argv, loading
from safeharbor_backup.postgres.load_failures import Failure, LoadFailed, ServerFull, read_failures
from safeharbor_backup.postgres.lost_rights import GRANTOR
from safeharbor_backup.postgres.rows import names_as_bytes, sendable
from safeharbor_backup.postgres.scratch_database import is_disk_full
from safeharbor_backup.postgres.toc_entries import PRE_DATA

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager

    from safeharbor_backup.actions.restore.database_plan import DatabasePlan
    from safeharbor_backup.actions.restore.dump_copy import DumpCopy
    from safeharbor_backup.postgres.dump_input import DumpInput
    from safeharbor_backup.postgres.toc_entries import TocEntry
    from safeharbor_backup.settings.database_url import DatabaseUrl
    from safeharbor_backup.system.process import RunningTool

ACCEPT = (
    "`--accept-broken` restores everything else: it leaves that out or makes it NOT VALID, and writes the SQL to mend "
    "it into a file."
)
_BEFORE_ASKING = "SET LOCAL lock_timeout = '10s'"
_RESET = b"RESET search_path;"  # decision 81


@dataclass
class Loader:
    """Where the dump comes from and goes to. `copy` is the dump as a file of its own, once there is one.

    `own_search_path`: functions find what they would find in the database's own sessions; pg_dump has none at all set.
    """

    dump: DumpInput
    plan: DatabasePlan
    url: DatabaseUrl
    is_superuser: bool
    role: str
    copy: DumpCopy | None = None
    own_search_path: bool = False

    @contextmanager
    def loading(self, entries: tuple[str, ...], jobs: int, *, goes_on: bool = False) -> Iterator[RunningTool]:
        """pg_restore at work on these entries, with several jobs where there is a copy for them."""
        options = LoadOptions(jobs, self.is_superuser, self.plan.keep_privileges, self.role, goes_on)
        tools = self.plan.contents.tools
        patch = own_search_path(self.plan.contents.toc) if self.own_search_path else None
        with table_of_contents(entries) as listed:
            if self.copy is not None:
                if patch is not None:
                    self.copy.patch(*patch)
                argv = load_argv(tools, self.url, self.copy.input.file, listed, options)
                with loading(argv, self.url) as tool:
                    yield tool
                return
            argv = load_argv(tools, self.url, None, listed, options)
            with self.dump.piped(patch) as stdin, loading(argv, self.url, stdin) as tool:
                yield tool

    def load(self, entries: tuple[str, ...], jobs: int) -> None:
        """Load these, and stop at the first that cannot be. Raises LoadFailed, DatabaseUnavailable."""
        if entries:
            with self.loading(entries, jobs) as tool:
                finish_loading(tool, self.url)

    def load_what_can_be(self, entries: tuple[str, ...]) -> list[Failure]:
        """Load these with one job, and go on after what cannot be. Raises LoadFailed, DatabaseUnavailable."""
        if not entries:
            return []
        with self.loading(entries, 1, goes_on=True) as tool:
            tool.wait()
            failures = read_failures(tool.stderr)
            if failures is None:
                finish_loading(tool, self.url)
        return failures or []

    def give_rights(self, session: Callable[[], AbstractContextManager[psycopg.Connection]]) -> None:
        """Replay what can be of entries with privileges that cannot be as a whole. Raises CannotRestore."""
        if not self.plan.statements:
            return
        with session() as connection, names_as_bytes(connection):
            for statement in self.plan.statements:
                try:
                    connection.execute(statement.encode("utf-8", "surrogateescape"))
                except psycopg.Error as error:
                    if connection.broken:
                        raise
                    raise CannotRestore(f"{statement} failed: {one_line(error)}") from error

    def may_succeed_otherwise(
        self,
        error: LoadFailed,
        session: Callable[[], AbstractContextManager[psycopg.Connection]],
        *,
        accepts: bool,
    ) -> bool:
        """Whether it failed at rows, or at what needs them: then another order, or another way, may do.

        At a privilege only if it may be left out. Raises ServerFull if there is no space for them, whatever language
        that was said in.
        """
        if error.failure is None:
            return False
        if error.failure.is_of_its_owner:
            return accepts
        entry = error.failure.find(self.plan.contents.toc)
        if entry is not None and entry.kind in ("ACL", "DEFAULT ACL"):
            error.hint = f"A role that granted this may not grant it any more. {GRANTOR}"
            return accepts
        if entry is None or entry.section == PRE_DATA:
            return False
        if is_disk_full(self.url, self.dump.size):
            raise ServerFull(error.message) from error
        if not accepts and _is_final(entry, error.failure, session):
            error.hint = error.hint or ACCEPT
            return False
        return True


def _is_final(
    entry: TocEntry, failure: Failure, session: Callable[[], AbstractContextManager[psycopg.Connection]]
) -> bool:
    """Whether the server would refuse it in any order. It is asked once more, since pg_restore tells no code."""
    if failure.has_context:
        return False
    with session() as connection, names_as_bytes(connection):
        place = sql.Identifier(sendable(connection, entry.schema), sendable(connection, entry.name))
        again: sql.Composed | bytes = entry.definition.encode("utf-8", "surrogateescape")
        if entry.kind == "TABLE DATA":
            again = sql.SQL("LOCK TABLE {} IN ROW EXCLUSIVE MODE").format(place)
        try:
            with connection.transaction(force_rollback=True):
                connection.execute(_BEFORE_ASKING)
                connection.execute("SELECT set_config('default_tablespace', %s, true)", (entry.tablespace,))
                connection.execute(again)
        except psycopg.Error as error:
            if connection.broken:
                raise
            return ends_the_same_again(error.sqlstate or "", has_context=error.diag.context is not None)
    return False


def own_search_path(toc: Mapping[int, TocEntry]) -> tuple[int, bytes] | None:
    """Where in the dump pg_restore reads which search_path to set, and what to have there to keep the session's own."""
    for entry in toc.values():
        size = len(entry.definition.encode("utf-8", "surrogateescape"))
        if entry.kind == "SEARCHPATH" and size > len(_RESET):
            return entry.start, _RESET.ljust(size - 1) + b"\n"
    return None


@contextmanager
def table_of_contents(entries: tuple[str, ...]) -> Iterator[Path]:
    """A nameless file with the entries to load, as pg_restore's --use-list wants it."""
    with tempfile.TemporaryFile() as file:
        file.write("\n".join(entries).encode("utf-8", "surrogateescape") + b"\n")
        file.flush()
        yield Path(f"/proc/{os.getpid()}/fd/{file.fileno()}")
