"""pg_restore, loading a dump into an empty database."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from safeharbor_backup.postgres.connection import connected
from safeharbor_backup.postgres.load_failures import load_failure
from safeharbor_backup.system.process import DEVNULL, RunningTool, started_tool, tool_environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from safeharbor_backup.postgres.client_tools import ClientTools
    from safeharbor_backup.settings.database_url import DatabaseUrl

_KEPT_LINES = 100_000


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How a dump is loaded: parallel jobs, owners kept, privileges kept, the role to become first ("": none)."""

    jobs: int
    keep_owners: bool
    keep_privileges: bool
    role: str = ""
    goes_on: bool = False  # after an entry that fails


def load_argv(
    tools: ClientTools, url: DatabaseUrl, dump: Path | None, listed: Path, options: LoadOptions
) -> list[str | Path]:
    """The command line of pg_restore; it holds no secret. `dump`: None if it comes by standard input."""
    return [
        tools.pg_restore,
        *([] if options.goes_on else ["--exit-on-error"]),  # or the rest would be loaded around a hole
        *([f"--jobs={options.jobs}"] if dump is not None else []),  # several jobs need a file that each can open
        f"--use-list={listed}",
        *([] if options.keep_owners else ["--no-owner"]),
        *([] if options.keep_privileges else ["--no-acl"]),
        *([f"--role={options.role}"] if options.role else []),
        "--no-password",
        f"--dbname={url.conninfo()}",
        *([dump] if dump is not None else []),
    ]


@contextmanager
def loading(argv: list[str | Path], url: DatabaseUrl, stdin: int = DEVNULL) -> Iterator[RunningTool]:
    """pg_restore at work; it is ended if the block is left early. Raises DatabaseUnavailable."""
    with connected(url):  # the sessions of the tool before may still count against a limit
        pass
    secrets = {} if url.password is None else {"PGPASSWORD": url.password}
    with started_tool(argv, env=tool_environment(secrets), stdin=stdin, stdout=DEVNULL, kept_lines=_KEPT_LINES) as tool:
        yield tool


def finish_loading(tool: RunningTool, url: DatabaseUrl) -> None:
    """Wait for it. Raises CannotRestore with its last words, what it lacked, or DatabaseUnavailable."""
    status = tool.wait()
    if status == 0:
        return
    raise load_failure(tool.stderr, status, url)
