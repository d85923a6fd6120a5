"""Every child process starts here, from a list, without a shell, and dies with us.

Start children from the main thread: the kernel's parent-death signal follows the thread that
started the child, not the process (prctl(2), PR_SET_PDEATHSIG).
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import select
import signal
import subprocess
import threading
from collections import deque
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from safeharbor_backup.errors import ToolFailed, no_more_processes, require_own_resources
from safeharbor_backup.system.signals import signals_held
from safeharbor_backup.system.threads import Watchdog, Worker

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

PIPE = subprocess.PIPE
DEVNULL = subprocess.DEVNULL

_PR_SET_PDEATHSIG = 1
_F_SETPIPE_SZ = 1031
_PIPE_BYTES = 1024 * 1024
_KEPT_LINES = 200
_GRACE_SECONDS = 5.0
_libc = ctypes.CDLL(None, use_errno=True)  # loaded before any fork: the child must not


@dataclass(frozen=True, slots=True)
class ToolResult:
    """How a finished tool ended."""

    exit_status: int
    stdout: bytes
    stderr: str


class RunningTool:
    """A running child; the last lines of its standard error are collected."""

    def __init__(self, process: subprocess.Popen[bytes], name: str, kept_lines: int = _KEPT_LINES) -> None:
        self._process = process
        self.name = name
        self._last_lines: deque[str] = deque(maxlen=kept_lines)
        self._listener: Worker | None = None
        if process.stderr is not None:
            stderr = process.stderr
            self._listener = Worker(lambda: self._listen(stderr))
            self._listener.start()

    @property
    def pid(self) -> int:
        """The process id of the child."""
        return self._process.pid

    @property
    def stdin(self) -> IO[bytes]:
        """The writing end of its input; only if it was started with `stdin=PIPE`."""
        assert self._process.stdin is not None  # noqa: S101 - a caller's mistake, not input
        return self._process.stdin

    @property
    def stdout(self) -> IO[bytes]:
        """The reading end of its output; only if it was started with `stdout=PIPE`."""
        assert self._process.stdout is not None  # noqa: S101 - a caller's mistake, not input
        return self._process.stdout

    @property
    def stderr(self) -> str:
        """Its last lines on standard error, as far as they have come; complete after `wait`."""
        return "\n".join(self._last_lines)

    def poll(self) -> int | None:
        """The exit status, or None while it runs."""
        return self._process.poll()

    def wait(self, timeout_seconds: float | None = None) -> int:
        """The exit status (negative: ended by that signal), once it has ended.

        Raises ToolFailed if it is still running after `timeout_seconds`.
        """
        try:
            status = self._process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            raise ToolFailed(f"{self.name} did not finish within {timeout_seconds:g} s.") from None
        if self._listener is not None:
            self._listener.join(_GRACE_SECONDS)  # a grandchild may hold the pipe open
        return status

    def interrupt(self) -> None:
        """Send INT to the child."""
        self._process.send_signal(signal.SIGINT)

    def terminate(self) -> None:
        """Send TERM to it and to what it has started."""
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        """Send KILL to the child and to what it has started."""
        self._send(signal.SIGKILL)

    def end_session(self) -> None:
        """Send KILL to every process of the child's session."""
        try:
            os.killpg(self._process.pid, signal.SIGKILL)  # it leads a session of its own
        except ProcessLookupError:
            pass

    def stop(self) -> None:
        """End the child if it runs: TERM, then KILL after a few seconds. Closes its pipes."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except OSError:
                    pass  # a flush into a pipe that nobody reads any more
        if self._process.poll() is None:
            self.terminate()
            try:
                self._process.wait(_GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()
                self._process.wait()
        if self._listener is not None:
            self._listener.join(_GRACE_SECONDS)
            if self._process.stderr is not None and not self._listener.is_alive:
                self._process.stderr.close()

    def _send(self, number: signal.Signals) -> None:
        """Signal its process group, which is its own: a wrapper's child would hold the pipes open."""
        if self._process.returncode is None:  # not waited for yet, so that its id is nobody else's
            try:
                os.killpg(self.pid, number)
            except (ProcessLookupError, PermissionError):
                pass  # it has ended, or is another user's by now (sudo)

    def _listen(self, stream: IO[bytes]) -> None:
        for line in stream:
            self._last_lines.append(line[:4096].decode("utf-8", "replace").rstrip("\n"))


@contextmanager
def started_tool(
    argv: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    stdin: int = DEVNULL,
    stdout: int = PIPE,
    cwd: Path | None = None,
    run_as: tuple[int, int] | None = None,
    kept_lines: int = _KEPT_LINES,
) -> Iterator[RunningTool]:
    """A running tool that is ended, at the latest, when the block is left.

    `stdin` and `stdout` are `PIPE`, `DEVNULL` or a descriptor. Standard error is collected. `run_as` is another
    user's and group's id, for root.
    It is in a session of its own: a terminal's Ctrl-C reaches us, and we end it.
    Raises ToolFailed if the program cannot be started, OutOfResources if none can.
    """
    # A signal that came between the fork and the `try` below would leave a child that nobody ends.
    until_started = ExitStack()
    undisturbed = until_started.enter_context(signals_held())
    try:
        tool = _start(argv, env, stdin, stdout, cwd, run_as, kept_lines, undisturbed)
    except BaseException:
        until_started.close()
        raise
    try:
        until_started.close()  # what has come meanwhile is raised here
        yield tool
    finally:
        tool.stop()


def _start(
    argv: Sequence[str | Path],
    env: Mapping[str, str] | None,
    stdin: int,
    stdout: int,
    cwd: Path | None,
    run_as: tuple[int, int] | None,
    kept_lines: int,
    undisturbed: Iterable[int],
) -> RunningTool:
    """The tool at work, for which the caller holds signals; the child has those of `undisturbed` blocked."""
    name = os.path.basename(os.fspath(argv[0]))
    parent = os.getpid()

    def prepare_child() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, undisturbed)
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died between fork and prctl
            os._exit(127)

    try:
        process = subprocess.Popen(
            [os.fspath(argument) for argument in argv],
            env=None if env is None else dict(env),
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
            cwd=cwd,
            user=None if run_as is None else run_as[0],
            group=None if run_as is None else run_as[1],
            extra_groups=None if run_as is None else [],
            preexec_fn=prepare_child,
            start_new_session=True,
        )
    except OSError as error:
        if error.errno == errno.EAGAIN:
            raise no_more_processes(f"process ({name})") from error
        require_own_resources(error, f"starting {name}")
        raise ToolFailed(f"{name} cannot be started: {error.strerror} ({argv[0]}).") from error
    except subprocess.SubprocessError as error:  # between the fork and the program
        raise no_more_processes(f"process ({name})") from error
    try:
        return RunningTool(process, name, kept_lines)
    except BaseException:
        with process:  # closes its pipes, and waits
            process.kill()
        raise


def run_tool(
    argv: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    stdin: int = DEVNULL,
    cwd: Path | None = None,
    run_as: tuple[int, int] | None = None,
    timeout_seconds: float = 60.0,
) -> ToolResult:
    """The result of a tool that ran to its end, whatever its exit status.

    Raises ToolFailed if it cannot be started or takes longer than `timeout_seconds`, OutOfResources.
    """
    with started_tool(argv, env=env, stdin=stdin, cwd=cwd, run_as=run_as) as tool:
        timed_out = threading.Event()

        def end_it() -> None:
            timed_out.set()
            tool.kill()

        watchdog = Watchdog(timeout_seconds, end_it)
        try:
            watchdog.start()  # a signal may be raised here, when it runs already: our end would wait for it
            output = tool.stdout.read()
            status = tool.wait()
        finally:
            watchdog.cancel()
        if timed_out.is_set():
            raise ToolFailed(f"{tool.name} did not finish within {timeout_seconds:g} s.")
        return ToolResult(status, output, tool.stderr)


_PASSED_ON = ("PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "TZ", "KRB5CCNAME", "SSH_AUTH_SOCK", "LD_LIBRARY_PATH")


def tool_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """An environment for a tool: what libpq reads, messages in English, none of the app's secrets."""
    kept = {name: value for name, value in os.environ.items() if name in _PASSED_ON or name.startswith(("PG", "SSL_"))}
    return {**kept, "LC_ALL": "C", **extra}


# what leads an app, or libpq, to the live database and uploads
_LEADS_TO_LIVE = ("PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE", "PGUSER", "PGPASSWORD", "PGSERVICE", "PGOPTIONS",
                  "SQLALCHEMY_DATABASE_URI", "UPLOAD_FOLDER")  # fmt: skip


def app_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """An environment for a command of the app: our own, without what leads to the live state, and with `extra`."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in _LEADS_TO_LIVE and not name.startswith(("BACKUP_", "RESTORE_"))
    }
    return {**kept, **extra}


def read_some(stream: IO[bytes], most: int) -> bytes:
    """What has come of a child's output, `most` bytes at the most; waits for the first, and is empty at the end.

    It bypasses the buffer of the stream, so no other method of the stream may be used. Under eventlet the stream has no
    `read1`. Under gevent the pipe does not block, and a read lets other threads go on.
    """
    while True:
        try:
            return os.read(stream.fileno(), most)
        except BlockingIOError:
            select.select([stream], [], [])


def enlarge_pipe(descriptor: int) -> None:
    """Enlarge a pipe so that it holds a whole chunk."""
    try:
        fcntl.fcntl(descriptor, _F_SETPIPE_SZ, _PIPE_BYTES)
    except OSError:
        pass  # over the user's limit; the default size only costs more switches
