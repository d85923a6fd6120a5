"""One call of a command fails, or is its last: chosen by the place in the code that makes it, seen to have happened.

A command is forked from a process that has `shim.c` loaded, which asks here before each call of the C library that the
operating system could refuse. Imports are left alone.
"""

from __future__ import annotations

import atexit
import ctypes
import errno
import hashlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from support.forkserver import Preloaded
from support.needs import need_program
from support.runs import MAIN, Outcome, Site

_ORDER = "SAFE_HARBOR_SHIM"
_SOURCE = Path(__file__).with_name("shim.c")
_PACKAGE = "/safeharbor_backup/"
_CODE = f"import sys; sys.path.insert(0, {str(_SOURCE.parent.parent)!r}); from support.shim import obey; obey(); {MAIN}"
_SERVER_ENDS_SECONDS = 10.0
_SERVICE_SECONDS = 20.0
_QUIET_SECONDS = 0.4
_BROKEN = ("ECONNRESET", "EPIPE")


@dataclass(frozen=True)
class Order:
    """What is to happen at which call: the one of that number among those that `place` makes, or of that name."""

    log: str
    place: str = ""
    when: int = 1
    action: str = "count"  # or "fail", "kill", "stop" (the server of that id), "cut" (its sessions)
    error: str = ""
    server: int = 0
    stops_after: str = ""  # a service is ended when this file is longer and it is at rest, or after some seconds


@dataclass(frozen=True)
class Disturbed:
    """How a command ended, and whether what was ordered has happened."""

    outcome: Outcome
    has_happened: bool


def compile_library(source: Path, made: Path) -> None:
    """Make a library to be loaded before the C library."""
    flags = ("-O1", "-Wall", "-Werror", "-shared", "-fPIC")
    subprocess.run([need_program("cc"), *flags, "-o", made, source, "-ldl"], check=True)


def shim_library() -> Path:
    """The library, made when it is first needed."""
    digest = hashlib.sha256(_SOURCE.read_bytes()).hexdigest()[:12]
    library = Path(os.environ.get("TMPDIR", "/tmp")) / f"safeharbor-shim-{os.getuid()}-{digest}.so"
    if not library.exists():
        draft = library.with_suffix(f".{os.getpid()}")
        compile_library(_SOURCE, draft)
        draft.rename(library)
    return library


class Shim:
    """Runs commands of a site that are disturbed."""

    def __init__(self, sources: Path | None = None) -> None:
        """`sources`: another copy of the program than the one that is tested."""
        self._server = Preloaded(str(shim_library()), {} if sources is None else {"PYTHONPATH": str(sources)})

    def close(self) -> None:
        self._server.close()

    def places(self, site: Site, order: Order, *arguments: str) -> Counter[str]:
        """The places of an undisturbed run, and how many calls each makes."""
        run = self._run(site, order, arguments)
        assert run.status == 0, run.output
        return Counter(Path(order.log).read_text().splitlines())

    def disturbed(self, site: Site, order: Order, *arguments: str) -> Disturbed:
        """The command with that order."""
        outcome = self._run(site, order, arguments)
        return Disturbed(outcome, "happened" in Path(order.log).read_text())

    def _run(self, site: Site, order: Order, arguments: tuple[str, ...]) -> Outcome:
        Path(order.log).write_text("")
        environment = site.full_environment({_ORDER: json.dumps(asdict(order))})
        done = self._server.run(_CODE, list(arguments), environment, site.root, timeout=60)
        return Outcome(done.returncode, done.stdout.decode(), done.stderr.decode())


def obey() -> None:
    """In the command's process: begin to listen to the shim."""
    order = Order(**json.loads(os.environ.pop(_ORDER)))
    log = os.open(order.log, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    shim = ctypes.CDLL(None)
    seen: Counter[str] = Counter()

    def answer(call: bytes, descriptor: int, path: bytes | None) -> int:
        place = _place(call.decode(), descriptor)
        if place is None:
            return 0
        _last.asked = time.monotonic()
        if order.action == "count":
            os.write(log, place.encode() + b"\n")
            return 0
        if order.place not in (place, place.partition(" ")[0]):
            return 0
        seen[order.place] += 1
        if seen[order.place] != order.when:
            return 0
        os.write(log, b"happened\n")
        if order.error in _BROKEN:
            _break(descriptor)
        return _ACTIONS[order.action](order)

    if order.stops_after:
        threading.Thread(target=_stop_after, args=(order.stops_after,), daemon=True).start()
    callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_char_p, ctypes.c_long, ctypes.c_char_p)(answer)
    _alive.append(callback)
    atexit.register(shim.safeharbor_shim, None)
    shim.safeharbor_shim(callback)


_alive: list[Any] = []


class _Last:
    """When we were asked last: a signal that comes while we answer would be lost with our answer."""

    asked = 0.0


_last = _Last()


def _place(call: str, descriptor: int) -> str | None:
    """The call with the lines that make it: the innermost, and the two innermost of the program. None: an import."""
    frame: FrameType | None = sys._getframe(1).f_back
    lines: list[str] = []
    while frame is not None and frame.f_code.co_filename != "<string>":
        name = frame.f_code.co_filename
        if name == __file__:
            return None
        if name.startswith("<frozen importlib"):
            return None
        if _PACKAGE in name:
            lines.append(f"{name.partition(_PACKAGE)[2]}:{frame.f_lineno}")
        elif not lines:
            lines.append(f"{os.path.basename(name)}:{frame.f_lineno}")
        frame = frame.f_back
    return f"{call}{_kind_of(descriptor)} at {' < '.join(lines[:3])}"


def _kind_of(descriptor: int) -> str:
    """What is behind it, where that decides which errors there are."""
    if descriptor in (1, 2):
        return " of stdout" if descriptor == 1 else " of stderr"
    try:
        return " of pipe" if descriptor >= 0 and stat.S_ISFIFO(os.fstat(descriptor).st_mode) else ""
    except OSError:
        return ""


def _break(descriptor: int) -> None:
    """A connection of which the system has said that it is lost is lost."""
    if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
        return  # a pipe: a second descriptor of it would keep it open
    with socket.socket(fileno=os.dup(descriptor)) as broken, suppress(OSError):
        broken.shutdown(socket.SHUT_RDWR)


def _fail(order: Order) -> int:
    return int(getattr(errno, order.error))


def _kill(_order: Order) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


def _stop(order: Order) -> int:
    """The server stops at once, as `pg_ctl stop -m immediate` has it."""
    os.kill(order.server, signal.SIGQUIT)
    deadline = time.monotonic() + _SERVER_ENDS_SECONDS
    while _is_alive(order.server) and time.monotonic() < deadline:
        time.sleep(0.005)
    return 0


def _cut(order: Order) -> int:
    """The sessions at that server end, as `pg_terminate_backend` has it."""
    for entry in os.listdir("/proc"):
        if entry.isdigit() and _parent(entry) == order.server and b"127.0.0.1" in _command(entry):
            os.kill(int(entry), signal.SIGTERM)
    return 0


def _stop_after(path: str) -> None:
    def size() -> int:
        return os.stat(path).st_size if os.path.exists(path) else 0

    before, deadline = size(), time.monotonic() + _SERVICE_SECONDS
    while time.monotonic() < deadline and (size() == before or time.monotonic() < _last.asked + _QUIET_SECONDS):
        time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGTERM)


def _is_alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _parent(entry: str) -> int:
    try:
        with open(f"/proc/{entry}/stat") as file:
            return int(file.read().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def _command(entry: str) -> bytes:
    try:
        with open(f"/proc/{entry}/cmdline", "rb") as file:
            return file.read()
    except OSError:
        return b""


_ACTIONS: dict[str, Callable[[Order], int]] = {"fail": _fail, "kill": _kill, "stop": _stop, "cut": _cut}
