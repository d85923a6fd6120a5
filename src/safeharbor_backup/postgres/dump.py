"""pg_dump through a pipe, supervised."""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from safeharbor_backup.errors import DatabaseUnavailable, ToolFailed
from safeharbor_backup.postgres.connection import redact
from safeharbor_backup.system.process import (
    RunningTool,
    enlarge_pipe,
    read_some,
    run_tool,
    started_tool,
    tool_environment,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from safeharbor_backup.postgres.client_tools import ClientTools
    from safeharbor_backup.settings.database_url import DatabaseUrl

_CHUNK = 1024 * 1024

# libpq's own words, which come under LC_ALL=C; never the server's
CONNECTION_LOST = re.compile(
    r"server closed the connection|connection to server .* failed"
    r"|could not receive data|SSL SYSCALL|SSL connection has been closed|no connection to the server"
    r"|could not send data|Connection (reset|timed out)|connection not open"
)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What the operator leaves out of dumps: patterns as pg_dump takes them."""

    schemas: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    data: tuple[str, ...] = ()


NOTHING = LeftOut()


def dump_argv(
    tools: ClientTools,
    url: DatabaseUrl,
    *,
    snapshot_id: str,
    compression: str,
    lock_timeout_seconds: float,
    encoding: str,
    left_out: LeftOut,
) -> list[str]:
    """The command line of pg_dump; it holds no secret."""
    return [
        str(tools.pg_dump),
        "--format=custom",  # pg_restore can list it, select from it and load it in parallel
        f"--snapshot={snapshot_id}",
        f"--compress={compression}",
        f"--lock-wait-timeout={int(lock_timeout_seconds * 1000)}",
        "--no-password",  # never wait for a terminal that is not there
        f"--encoding={encoding}",  # the database's own, whatever PGCLIENTENCODING says: nothing is converted
        *[f"--exclude-schema={pattern}" for pattern in left_out.schemas],
        *[f"--exclude-table={pattern}" for pattern in left_out.tables],
        *[f"--exclude-table-data={pattern}" for pattern in left_out.data],
        f"--dbname={url.conninfo()}",
    ]


def choose_compression(setting: str, tools: ClientTools) -> str:
    """The value of `--compress` for this client. Raises ToolFailed if it cannot do what the setting says."""
    if tools.major >= 16:
        if setting != "auto":
            return setting
        return "zstd:3" if _has_zstd(tools) else "gzip:1"  # a third of gzip's time for a tenth more bytes
    plain = {"auto": "1", "none": "0", "gzip": "6"}.get(setting, setting.removeprefix("gzip:"))
    if not re.fullmatch(r"[0-9]", plain):
        raise ToolFailed(
            f"BACKUP_DUMP_COMPRESSION={setting}: pg_dump {tools.version} knows only none, gzip and levels 0-9.",
            hint="Leave it at auto, or use a client of PostgreSQL 16 or newer.",
        )
    return plain


@contextmanager
def dumping(argv: list[str], url: DatabaseUrl) -> Iterator[RunningTool]:
    """pg_dump at work, its output on `stdout`; it is ended if the block is left early."""
    secrets = {} if url.password is None else {"PGPASSWORD": url.password}
    with started_tool(argv, env=tool_environment(secrets)) as tool:
        enlarge_pipe(tool.stdout.fileno())
        yield tool


def read_dump(tool: RunningTool) -> Iterator[bytes]:
    """The dump in chunks of up to 1 MiB, to its end."""
    stdout = tool.stdout
    while chunk := read_some(stdout, _CHUNK):
        yield chunk


def finish_dump(tool: RunningTool, url: DatabaseUrl) -> list[str]:
    """What pg_dump said on its way to success.

    Raises DatabaseUnavailable if it lost the server, ToolFailed if it failed otherwise.
    """
    status = tool.wait()
    said = [redact(line, url) for line in tool.stderr.splitlines() if line.strip()]
    if status == 0:
        return said
    how = f"exit status {status}" if status > 0 else f"ended by signal {-status}"
    last = " ".join(line.removeprefix("pg_dump: ") for line in said[-6:]) or how
    message = f"pg_dump failed on {url.describe()} ({how}): {last}"
    if CONNECTION_LOST.search(last):
        raise DatabaseUnavailable(message)
    raise ToolFailed(message)


def _has_zstd(tools: ClientTools) -> bool:
    """Whether this build can write zstd: it complains about that before it connects."""
    argv: list[str | Path] = [
        tools.pg_dump,
        "--format=custom",
        "--compress=zstd:3",
        "--host=/nonexistent",
        "--dbname=x",
    ]
    return "compression" not in run_tool([*argv, "--no-password"], env=tool_environment({}), timeout_seconds=10).stderr
