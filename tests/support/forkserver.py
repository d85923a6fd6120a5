"""A process that has imported the program, and forks: most commands take less time than their imports.

A forked command differs from one that is started only in what happens before its first line. Where that matters to a
test (the interpreter's own variables, another user, strace), the test starts a process.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import importlib
import json
import os
import pkgutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NoReturn

import safeharbor_backup

_SEEN_AT_THE_START = ("PYTHON", "LC_", "LANG", "LD_", "TZ", "MALLOC_")
_REQUEST_BYTES = 4 << 20
_PR_SET_PTRACER = 0x59616D61
_servers: dict[int, _Server] = {}


def can_be_forked(environment: dict[str, str]) -> bool:
    """Whether nothing in this environment has its effect before a program's first line."""

    def early(variables: object) -> dict[str, str]:
        return {name: each for name, each in dict(variables).items() if name.startswith(_SEEN_AT_THE_START)}  # type: ignore[call-overload]

    return early(environment) == early(os.environ)


def run_forked(
    code: str, arguments: list[str], environment: dict[str, str], directory: Path, timeout: float
) -> subprocess.CompletedProcess[bytes]:
    """What `python -W error -c code arguments…` would do there. Raises TimeoutExpired, having killed it."""
    server = _servers.get(os.getpid())
    if server is None:
        server = _servers[os.getpid()] = _Server()
    return server.run({"code": code, "argv": arguments, "env": environment, "cwd": str(directory)}, timeout)


def run_traced(
    tracer: list[str], code: str, arguments: list[str], environment: dict[str, str], directory: Path, timeout: float
) -> subprocess.CompletedProcess[bytes]:
    """As `run_forked`, with a tracer, such as strace and its options, that is attached before the first line."""
    server = _servers.get(os.getpid())
    if server is None:
        server = _servers[os.getpid()] = _Server()
    request = {"code": code, "argv": arguments, "env": environment, "cwd": str(directory), "waits": True}
    return server.run(request, timeout, tracer)


class Preloaded:
    """A process of its own that forks, in which a library is loaded before all others."""

    def __init__(self, library: str, extra: dict[str, str]) -> None:
        self._server = _Server({**os.environ, "LD_PRELOAD": library, **extra})

    def run(
        self, code: str, arguments: list[str], environment: dict[str, str], directory: Path, timeout: float
    ) -> subprocess.CompletedProcess[bytes]:
        """As `run_forked`."""
        return self._server.run({"code": code, "argv": arguments, "env": environment, "cwd": str(directory)}, timeout)

    def close(self) -> None:
        self._server.close()


class _Server:
    def __init__(self, environment: dict[str, str] | None = None) -> None:
        self._home = tempfile.TemporaryDirectory(prefix="forks-")
        self._path = f"{self._home.name}/socket"
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listener.bind(self._path)
        listener.listen(16)
        # its standard input ends with us, and it with that
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-W", "error", __file__, str(listener.fileno())],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            pass_fds=[listener.fileno()],
            cwd="/",
            env=environment,
        )
        listener.close()
        atexit.register(self.close)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._home.cleanup()

    def run(
        self, request: dict[str, Any], timeout: float, tracer: list[str] | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        with (
            ExitStack() as stack,
            socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as line,
            tempfile.TemporaryFile() as out,
            tempfile.TemporaryFile() as err,
        ):
            line.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _REQUEST_BYTES)
            line.connect(self._path)
            socket.send_fds(line, [json.dumps(request).encode()], [out.fileno(), err.fileno()])
            pid = int(line.recv(100))
            if tracer is not None:
                stack.enter_context(_attached(tracer, pid))
                line.send(b"go")
            line.settimeout(timeout)
            try:
                status = int(line.recv(100))
            except TimeoutError:
                os.kill(pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired(request["argv"], timeout) from None
            out.seek(0)
            err.seek(0)
            return subprocess.CompletedProcess(request["argv"], status, out.read(), err.read())


@contextmanager
def _attached(tracer: list[str], pid: int) -> Iterator[None]:
    """With a tracer of this process, which ends when all that it traces have ended. Raises RuntimeError."""
    with subprocess.Popen([*tracer, "-p", str(pid)], stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        said = b""
        while b" attached" not in said:
            said = process.stderr.readline()
            if not said or b"attach: " in said:
                os.kill(pid, signal.SIGKILL)
                raise RuntimeError(f"{tracer[0]} cannot trace: {said.decode()}")
        yield
        try:
            process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            raise


def serve(listener: socket.socket) -> None:
    """Fork for each connection one that forks the command and says how it ended."""
    _import_all()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    if os.fork() == 0:
        os.read(0, 1)
        os.kill(os.getppid(), signal.SIGKILL)
        os._exit(0)
    while True:
        line, _ = listener.accept()
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            listener.close()
            _attend(line)
        line.close()


def _attend(line: socket.socket) -> None:
    data, files, _, _ = socket.recv_fds(line, _REQUEST_BYTES, 2)
    pid = os.fork()
    if pid == 0:
        request = json.loads(data)
        if request.get("waits"):
            ctypes.CDLL(None).prctl(_PR_SET_PTRACER, ctypes.c_ulong(-1), 0, 0, 0)  # where only ancestors may trace
            line.recvmsg(100)  # the one call before the first line, and the program has none of its name
        line.close()
        _become(request, files)
    line.send(str(pid).encode())
    _, status = os.waitpid(pid, 0)
    line.send(str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


def _become(request: dict[str, Any], files: list[int]) -> NoReturn:
    """End as the command does: with the interpreter's own end, which may find that standard output is gone."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for number, descriptor in enumerate((nothing, *files)):
        os.dup2(descriptor, number)
    for descriptor in (nothing, *files):
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    sys.argv = ["-c", *request["argv"]]
    sys.path.insert(0, "")  # as -c has it; -P has kept our own directory out
    main = type(sys)("__main__")
    sys.modules["__main__"] = main
    exec(compile(request["code"], "<string>", "exec"), main.__dict__)
    sys.exit(0)


def _import_all() -> None:
    for each in pkgutil.walk_packages(safeharbor_backup.__path__, f"{safeharbor_backup.__name__}."):
        if not each.name.endswith("__main__"):
            importlib.import_module(each.name)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
