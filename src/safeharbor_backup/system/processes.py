"""The other processes in this PID namespace, as `/proc` shows them."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass

_ENDED = ("Z", "X")  # what is left of a process until its parent has asked how it ended
_TERM_BIT = 1 << (signal.SIGTERM - 1)
# The first PID namespace of a kernel has had this inode for ever (PROC_PID_INIT_INO in include/linux/proc_ns.h).
_FIRST_NAMESPACE = 0xEFFFFFFC


@dataclass(frozen=True, slots=True)
class OtherProcess:
    """One process. `parent` is 0 if it came from outside, as `docker exec` makes them; `started` tells it from a later
    process with the same number.
    """

    pid: int
    parent: int
    started: int
    name: str
    ignores_term: bool

    @property
    def identity(self) -> tuple[int, int]:
        """An identity that no other process has or will have."""
        return self.pid, self.started

    def __str__(self) -> str:
        return f"{self.pid} ({self.name})"


def read_other_processes() -> list[OtherProcess]:
    """All processes that run now, except this one, PID 1 and ended ones."""
    own = (1, os.getpid())
    pids = sorted(int(name) for name in os.listdir("/proc") if name.isdigit())
    found = [_read(pid) for pid in pids if pid not in own]
    return [each for each in found if each is not None]


def is_first_namespace() -> bool:
    """Whether this is the host itself, not a container."""
    return os.stat("/proc/self/ns/pid").st_ino == _FIRST_NAMESPACE


def where_typed(command: str, in_container: str) -> str:
    """A command for a host. In a container it cannot be typed, or does not last: there with what to do instead."""
    return command if is_first_namespace() else f"{command}  # in a container: {in_container}"


def is_proc_ours() -> bool:
    """Whether `/proc` shows our own PID namespace, so that its numbers are those that signals go to."""
    return os.readlink("/proc/self") == str(os.getpid())


def _read(pid: int) -> OtherProcess | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            before, _, after = file.read().rpartition(b")")  # a name may have spaces and parentheses
        with open(f"/proc/{pid}/status", "rb") as file:
            ignored = next((line for line in file if line.startswith(b"SigIgn:")), b"SigIgn:\t0")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None  # it has ended meanwhile, or /proc hides it from us
    fields = after.split()  # proc_pid_stat(5), from the third on
    if fields[0].decode() in _ENDED:
        return None
    name = before.partition(b"(")[2].decode("utf-8", "backslashreplace")
    ignores_term = bool(int(ignored.split()[1], 16) & _TERM_BIT)
    return OtherProcess(pid, int(fields[1]), int(fields[19]), name, ignores_term)
