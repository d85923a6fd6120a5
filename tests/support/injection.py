"""Calls of a command that fail or kill it, by strace; from those that one undisturbed run was seen to make."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from support.runs import Outcome, Site

_CALL = re.compile(r"(?:\d+ +)?([a-z0-9_]+)\(")


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


def traced(site: Site, *arguments: str, options: tuple[str, ...]) -> Injected:
    """Run a command under strace with these options; a kill of the command is strace's end too."""
    log = site.root / "strace.log"
    done = site.run_traced(("-s", "200", "-o", log, *options), *arguments)
    outcome = Outcome(done.returncode, done.stdout.decode(), done.stderr.decode())
    return Injected(outcome, log.read_text(errors="replace"))


def calls_of(site: Site, *arguments: str, names: tuple[str, ...]) -> list[Call]:
    """The calls of these names that the main thread makes, in order."""
    run = traced(site, *arguments, options=("-e", f"trace={','.join(names)}"))
    assert run.outcome.status == 0, run.outcome.output
    found: list[Call] = []
    numbers: Counter[str] = Counter()
    for line in run.log.splitlines():
        call = _CALL.match(line)
        if call is not None and call[1] in names:
            numbers[call[1]] += 1
            found.append(Call(call[1], numbers[call[1]]))
    assert found
    return found


def killed_at(site: Site, call: Call, *arguments: str, options: tuple[str, ...] = ()) -> Injected:
    """The command, killed as it makes that call."""
    inject = ("-e", f"trace={call.name}", "-e", f"inject={call.name}:signal=KILL:when={call.when}")
    return traced(site, *arguments, options=(*options, *inject))
