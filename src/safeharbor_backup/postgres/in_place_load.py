"""Wiping a database and loading a dump into it in ONE transaction, for roles that may not create databases.

`pg_restore --single-transaction` writes the script, psql runs it; both must end well, since psql takes a cut script
for a whole one. The script's own COMMIT is held back until everything else has been done and checked.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING

from safeharbor_backup.errors import CannotRestore, DatabaseUnavailable, SafeHarborError, ToolFailed
from safeharbor_backup.postgres.database_swap import COMMIT_ON_DISK
from safeharbor_backup.postgres.load_failures import load_failure
from safeharbor_backup.postgres.rows import COUNT_SCRIPT, SURROGATES, parse_counts
from safeharbor_backup.postgres.wipe import wipe_script
from safeharbor_backup.system.process import PIPE, read_some, started_tool, tool_environment
from safeharbor_backup.system.threads import Worker

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from safeharbor_backup.postgres.client_tools import ClientTools
    from safeharbor_backup.postgres.dump_input import DumpInput
    from safeharbor_backup.settings.database_url import DatabaseUrl
    from safeharbor_backup.system.process import RunningTool

_CHUNK = 1024 * 1024
_TAIL = 64 * 1024
_CANCEL_SECONDS = 2.0
_CONNECTION_WENT_BAD = 2  # psql(1), "Exit Status"
_COMMIT = b"\nCOMMIT;\n"
_UNRESTRICT = re.compile(rb"^\\unrestrict \w+\n", re.MULTILINE)
_NEWER_SETTING = b"\nSET transaction_timeout = 0;\n"


@contextmanager
def loading_in_place(
    tools: ClientTools, url: DatabaseUrl, *, is_superuser: bool, server_major: int, lock_timeout_seconds: float
) -> Iterator[InPlaceLoad]:
    """One transaction in psql; leaving the block before `commit` rolls it back."""
    secrets = {} if url.password is None else {"PGPASSWORD": url.password}
    argv: list[str | Path] = [
        tools.psql,
        "--no-psqlrc",
        "--quiet",
        "--no-align",
        "--tuples-only",
        "--set=ON_ERROR_STOP=1",
        "--set=VERBOSITY=verbose",  # the code of an error: its words come in the server's language
        "--no-password",
        f"--dbname={url.conninfo()}",
    ]
    with started_tool(argv, env=tool_environment(secrets), stdin=PIPE) as psql:
        answers: SimpleQueue[bytes] = SimpleQueue()
        listener = Worker(partial(_listen, psql, answers))
        listener.start()
        try:
            yield InPlaceLoad(
                tools, url, psql, answers, is_superuser, server_major, lock_timeout=int(lock_timeout_seconds * 1000)
            )
        except BaseException:
            _cancel(psql)
            raise
        finally:
            psql.kill()  # the listener ends with it, and gives the pipe back
            listener.join()


def _listen(psql: RunningTool, answers: SimpleQueue[bytes]) -> None:
    """Take everything that psql says: each sequence and large object of a dump gives lines nobody asked for."""
    for line in psql.stdout:
        if line.startswith(b"safeharbor "):
            answers.put(line)
    answers.put(b"")


def _cancel(psql: RunningTool) -> None:
    """End the statement at work: the server would notice only after it that nobody waits for it any more."""
    psql.interrupt()
    psql.interrupt()
    try:
        psql.wait(_CANCEL_SECONDS)
    except ToolFailed:
        pass  # between two statements there is nothing to cancel


@dataclass(frozen=True, slots=True)
class InPlaceLoad:
    """The transaction, and the psql that it is in; `lock_timeout` in milliseconds."""

    tools: ClientTools
    url: DatabaseUrl
    psql: RunningTool
    answers: SimpleQueue[bytes]
    is_superuser: bool
    server_major: int
    lock_timeout: int

    def begin(self) -> str:
        """Open the transaction; its id, which shows after a crash whether it was committed.

        Raises CannotRestore, DatabaseUnavailable.
        """
        role = "SET LOCAL ROLE NONE;\n" if self.is_superuser else ""  # whatever the database's settings say
        return self._ask(
            "BEGIN READ WRITE;\n"  # whatever default_transaction_read_only says
            f"{role}SET LOCAL lock_timeout = {self.lock_timeout};\n"
            "SET LOCAL statement_timeout = 0;\n"
            "SET LOCAL idle_in_transaction_session_timeout = 0;\n"  # uploads are swapped while it is open
            "SELECT set_config(name, '0', true) FROM pg_catalog.pg_settings WHERE name = 'transaction_timeout';\n"
            f"{COMMIT_ON_DISK};\n"
            "SELECT 'safeharbor ' || pg_catalog.pg_current_xact_id();\n"
        )

    def wipe(self) -> None:
        """Remove everything that is in the database."""
        self._ask(wipe_script(is_superuser=self.is_superuser) + "SELECT 'safeharbor wiped';\n")

    def load(
        self,
        dump: DumpInput,
        listed: Path,
        *,
        keep_owners: bool,
        keep_privileges: bool,
        patch: tuple[int, bytes] | None = None,
    ) -> None:
        """Load the dump, all but its last COMMIT. `patch` is one place of it that is to be read otherwise.

        Raises LoadFailed, CannotRestore, DatabaseUnavailable.
        """
        argv: list[str | Path] = [
            self.tools.pg_restore,
            "--single-transaction",  # without it a dump with large objects begins and ends transactions of its own
            f"--use-list={listed}",
            *([] if keep_owners else ["--no-owner"]),
            *([] if keep_privileges else ["--no-acl"]),
            "--file=-",
        ]
        tail = b""
        is_at_head = True
        with dump.piped(patch) as stdin, started_tool(argv, env=tool_environment({}), stdin=stdin) as tool:
            while chunk := read_some(tool.stdout, _CHUNK):
                held = tail + chunk
                if is_at_head and len(held) > _TAIL:
                    held, is_at_head = self._understood(held), False
                self._send(held[:-_TAIL])
                tail = held[-_TAIL:]
            if (status := tool.wait()) != 0:
                raise load_failure(tool.stderr, status, self.url)
        before, commit, after = (self._understood(tail) if is_at_head else tail).rpartition(_COMMIT)
        if not commit:
            raise CannotRestore("pg_restore's script does not end as it should; nothing was changed.")
        ends = _UNRESTRICT.search(after)  # or psql would take no other script
        self._send(before + b"\n" + (ends[0] if ends is not None else b""))
        self._ask("SELECT 'safeharbor loaded';\n")

    def execute(self, statements: Iterable[str]) -> None:
        """Run these statements, each with its semicolon, after the load."""
        script = "\n".join([*statements, "SELECT 'safeharbor executed';\n"])
        encoding = "SQL_ASCII" if SURROGATES.search(script) else "UTF8"
        self._ask(f"SET client_encoding = '{encoding}';\n{script}")

    def _understood(self, head: bytes) -> bytes:
        """The script's beginning without the setting that servers before 17 do not know and newer clients send."""
        return head if self.server_major >= 17 else head.replace(_NEWER_SETTING, b"\n", 1)

    def count_rows(self) -> dict[str, int]:
        """The exact row count of every ordinary table, by quoted `schema.table`, as the transaction sees them."""
        return parse_counts(self._ask(COUNT_SCRIPT))

    def commit(self) -> None:
        """Commit the transaction. Raises CannotRestore if it was rolled back, DatabaseUnavailable if nobody knows."""
        self._ask("COMMIT;\nSELECT 'safeharbor committed';\n")

    def _send(self, data: bytes) -> None:
        try:
            self.psql.stdin.write(data)
        except BrokenPipeError:
            raise self._failure() from None

    def _ask(self, statements: str) -> str:
        """Send statements of which the last one answers in a line that begins with `safeharbor `."""
        self._send(statements.encode("utf-8", "surrogateescape"))
        try:
            self.psql.stdin.flush()
        except BrokenPipeError:
            raise self._failure() from None
        answer = self.answers.get()
        if not answer:
            raise self._failure()
        return answer.decode().removeprefix("safeharbor ").strip()

    def _failure(self) -> SafeHarborError:
        status = self.psql.wait(30)
        failure = load_failure(self.psql.stderr, status, self.url)
        if status == _CONNECTION_WENT_BAD and not isinstance(failure, DatabaseUnavailable):
            return DatabaseUnavailable(failure.message, hint="See that the server is up, then run the restore again.")
        return failure
