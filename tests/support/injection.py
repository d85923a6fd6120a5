"""Calls of a command that fail or kill it, by strace; chosen from those that one undisturbed run was seen to make."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass

from support.needs import need_program
from support.runs import Outcome, Site

# All modules first, so that no injected error is one of Python's imports; then a call that can be found in the trace.
_BEGIN = "/injections-begin-here"
_MAIN = f"""
import importlib, os, pkgutil, encodings.idna, safeharbor_backup
for found in pkgutil.walk_packages(safeharbor_backup.__path__, "safeharbor_backup."):
    if "__main__" not in found.name and "flask" not in found.name:
        importlib.import_module(found.name)
os.access({_BEGIN!r}, os.F_OK)
from safeharbor_backup.cli.main import main
main()
"""
_CALL = re.compile(r"(?:\d+ +)?([a-z0-9_]+)\(")
_DURABLE = ("fsync", "fdatasync", "rename", "renameat2", "unlink", "unlinkat", "mkdir", "mkdirat", "rmdir", "ftruncate")
_ANSWERS = ("openat", "read", "pread64", "newfstatat", "getdents64", "statfs", "fstatfs", "lseek", "ioctl", "fcntl")
_OUTPUTS = ("write", "pwrite64", "sendto")
_STARTS = ("clone3", "clone", "vfork", "pipe2", "socket", "connect")
CALLS = _DURABLE + _ANSWERS + _OUTPUTS + _STARTS
_ERRNOS = {
    **dict.fromkeys(_DURABLE, ("EIO", "ENOSPC", "EACCES", "EDQUOT")),
    **dict.fromkeys(_ANSWERS, ("EIO", "EACCES", "ENOMEM", "ESTALE")),
    **dict.fromkeys(_OUTPUTS, ("EIO", "ENOSPC", "EPIPE")),
    **dict.fromkeys(_STARTS, ("EAGAIN", "ENOMEM", "EMFILE")),
}


@dataclass(frozen=True)
class Call:
    """A call of a command: its name, and its number among the calls of that name, from 1."""

    name: str
    when: int

    def __str__(self) -> str:
        return f"{self.name} {self.when}"


@dataclass(frozen=True)
class Injected:
    """How a command ended under strace, and what strace wrote."""

    outcome: Outcome
    log: str

    @property
    def count(self) -> int:
        """How many calls were made to fail."""
        return self.log.count("(INJECTED)")


def traced(site: Site, *arguments: str, options: tuple[str, ...], all_imported: bool = False) -> Injected:
    """Run a command under strace with these options; a kill of the command is strace's end too."""
    argv = [sys.executable, "-W", "error", "-c", _MAIN, *arguments] if all_imported else site.argv(*arguments)
    log = site.root / "strace.log"
    done = subprocess.run(
        [need_program("strace"), "-qq", "-s", "200", "-o", log, *options, *argv],
        env=site.full_environment(),
        capture_output=True,
        timeout=180,
        cwd=site.root,
        check=False,
    )
    outcome = Outcome(done.returncode, done.stdout.decode(), done.stderr.decode())
    return Injected(outcome, log.read_text(errors="replace"))


def calls_of(
    site: Site, *arguments: str, names: tuple[str, ...] = CALLS, status: int = 0, all_imported: bool = False
) -> list[Call]:
    """The calls of these names that the main thread makes, in order; with `all_imported`, after the imports."""
    run = traced(
        site, *arguments, options=("-e", f"trace={','.join(names)},access,faccessat2"), all_imported=all_imported
    )
    assert run.outcome.status == status, run.outcome.output
    found: list[Call] = []
    numbers: Counter[str] = Counter()
    has_begun = not all_imported
    for line in run.log.splitlines():
        has_begun = has_begun or _BEGIN in line
        call = _CALL.match(line)
        if call is None or call[1] not in names:
            continue
        numbers[call[1]] += 1
        if has_begun:
            found.append(Call(call[1], numbers[call[1]]))
    assert found
    return found


def killed_at(site: Site, call: Call, *arguments: str, options: tuple[str, ...] = ()) -> Injected:
    """The command, killed as it makes that call."""
    inject = ("-e", f"trace={call.name}", "-e", f"inject={call.name}:signal=KILL:when={call.when}")
    return traced(site, *arguments, options=(*options, *inject))


def failing(site: Site, call: Call, error: str, *arguments: str, all_imported: bool = False) -> Injected:
    """The command, whose call of that number fails."""
    inject = ("-e", f"trace={call.name}", "-e", f"inject={call.name}:error={error}:when={call.when}")
    return traced(site, *arguments, options=inject, all_imported=all_imported)


def choose(calls: list[Call], count: int, chance: random.Random) -> list[tuple[Call, str]]:
    """So many of the calls with an error each; every name has the same chance, however often it is called."""
    by_name: dict[str, list[Call]] = {}
    for call in calls:
        by_name.setdefault(call.name, []).append(call)
    names = sorted(by_name)
    chosen = []
    for _ in range(count):
        name = chance.choice(names)
        chosen.append((chance.choice(by_name[name]), chance.choice(_ERRNOS[name])))
    return chosen
