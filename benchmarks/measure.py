"""One run of a command: seconds, and the memory of its largest process."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

_SAMPLE_SECONDS = 0.25
# A process inherits the peak memory of the one that started it, so a small one stands between us and what is measured.
_LAUNCHER = """
import json, os, sys, time
quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
started = time.monotonic()
_, status, usage = os.wait4(os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, file_actions=quiet), 0)
wall = time.monotonic() - started
print(json.dumps([os.waitstatus_to_exitcode(status), wall, usage.ru_utime, usage.ru_stime, usage.ru_maxrss * 1024]))
"""


@dataclass(frozen=True)
class Run:
    """Wall, user and system seconds (with children), and the largest process's peak resident memory in bytes."""

    wall: float
    user: float
    system: float
    peak_bytes: int


@dataclass
class Contender:
    """A way to do the work: a name, a command, and what clears its output away."""

    name: str
    argv: Sequence[str]
    environment: Mapping[str, str]
    clear: Callable[[], None]
    runs: list[Run] = field(default_factory=list)
    tree_bytes: int = 0  # most resident memory of all its processes together, sampled

    @property
    def wall(self) -> float:
        """The median of its runs."""
        return statistics.median(run.wall for run in self.runs)

    @property
    def cpu(self) -> float:
        """The median of user and system seconds together."""
        return statistics.median(run.user + run.system for run in self.runs)

    @property
    def user(self) -> float:
        """The median of user seconds."""
        return statistics.median(run.user for run in self.runs)

    @property
    def peak_bytes(self) -> int:
        """The largest of its runs."""
        return max(run.peak_bytes for run in self.runs)

    def run(self) -> Run:
        """Do the work once, from a clean state."""
        self.clear()
        os.sync()  # what others left to be written is not this run's
        launched = [sys.executable, "-I", "-S", "-c", _LAUNCHER, *self.argv]
        with subprocess.Popen(launched, env=dict(self.environment), stdout=subprocess.PIPE) as running:
            while running.poll() is None:
                self.tree_bytes = max(self.tree_bytes, _memory_below(running.pid))
                time.sleep(_SAMPLE_SECONDS)
            told, _ = running.communicate()
        status, wall, user, system, peak_bytes = json.loads(told)
        if status != 0:
            raise RuntimeError(f"{self.name} ended with {status}")
        found = Run(wall, user, system, peak_bytes)
        self.runs.append(found)
        return found


def _memory_below(root: int) -> int:
    """The resident memory of all that this process has started, in bytes. Pages that they share count for each."""
    children: dict[int, list[int]] = {}
    pages: dict[int, int] = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat") as stat, open(f"/proc/{name}/statm") as memory:
                children.setdefault(int(stat.read().rpartition(")")[2].split()[1]), []).append(int(name))
                pages[int(name)] = int(memory.read().split()[1])
        except (OSError, IndexError):
            continue  # it has ended
    found, waiting = 0, list(children.get(root, []))
    while waiting:
        process = waiting.pop()
        found += pages.get(process, 0)
        waiting += children.get(process, [])
    return found * os.sysconf("SC_PAGE_SIZE")


def interleave(contenders: Sequence[Contender], rounds: int) -> None:
    """Every contender once a round, so that a machine that changes its speed changes it for all."""
    for number in range(rounds):
        for contender in contenders:
            run = contender.run()
            print(f"  round {number + 1}: {contender.name}: {run.wall:.1f} s", flush=True)


def mib(size: float) -> str:
    """As the tables show it."""
    return f"{size / 2**20:,.0f} MiB"
