"""A machine of random verbs: an operator, an application and a host do anything at any time, killed anywhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import quote

from proof.campaign import Campaign, Surroundings
from proof.machine_mistakes import CONTROL, MISTAKES, Mistake
from support.filesystems import mounted_tmpfs
from support.postgres import MAJORS, PASSWORD

_STEPS = 40
_SEQUENCES = 250
_MOST_SEQUENCES = 60  # in which a mistake must be found
_FOUND = "found: "
_SPACE = 32 << 20
_ROOT = Path(__file__).resolve().parent.parent


class Worker:
    """The process of the machine, with the package that it tries."""

    def __init__(self, place: Path, admin_url: str, owner_url: str, tools: Path, package: Path) -> None:
        environment = {
            **os.environ,
            "PYTHONPATH": f"{package}:{_ROOT / 'tests'}:{_ROOT}",
        }
        argv: list[str | Path] = [sys.executable, "-m", "proof.machine_worker", place, admin_url, owner_url, tools]
        self._process = subprocess.Popen(
            argv, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, seed: int, steps: int) -> dict[str, Any]:
        """What a sequence of so many steps has come to."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"seed": seed, "steps": steps}) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError("the process of the machine has ended")
        found: dict[str, Any] = json.loads(answer)
        return found

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()


class Cases(Campaign):
    """A case is a sequence of steps. It counts as so many runs."""

    promise = (
        "Whatever was typed in whatever order: live is what the operator asked for last, and no archive goes that "
        "should stay."
    )
    attack = (
        "A model knows what was asked for and what each archive holds. At random, and killed anywhere: backup, "
        "restore, undo, resume, discard, prune, keep, drill, extract, verify; the app writes and deletes, the clock "
        "jumps, the disk is full, an archive is damaged, copies lose their times, the host is a new one. Steps are "
        "counted."
    )
    in_ci = 4
    weight = _STEPS

    def __init__(self, surroundings: Surroundings) -> None:
        super().__init__(surroundings)
        self._worker: Worker | None = None

    @property
    def count(self) -> int:
        return _SEQUENCES + len(MISTAKES)

    def is_for_ci(self, number: int) -> bool:
        return number < _SEQUENCES

    def run(self, number: int, chance: Random) -> Mapping[str, int]:
        if number >= _SEQUENCES:
            mistake = MISTAKES[number - _SEQUENCES]
            return {f"{_FOUND}{mistake.title}": self._finds(mistake, chance)}
        if self._worker is None:
            self._worker = self.until_end.enter_context(self.worker(_ROOT / "src"))
        done = self._worker.run(chance.randrange(1 << 30), _STEPS)
        assert not done["violation"], done["violation"]
        return dict(done["tallies"])

    @contextmanager
    def worker(self, package: Path) -> Iterator[Worker]:
        """A process that tries this package, on the shared server."""
        server = self.servers[MAJORS[-1]]
        password = PASSWORD.replace("'", "''")
        if not server.execute("SELECT FROM pg_roles WHERE rolname = 'app_owner'"):
            server.execute(f"CREATE ROLE app_owner LOGIN CREATEDB PASSWORD '{password}'")
        owner_url = f"postgresql://app_owner:{quote(PASSWORD, safe='')}@127.0.0.1:{server.port}/app"
        place = self.place / "machine"
        with mounted_tmpfs(place / "space", _SPACE):
            worker = Worker(place, server.url(), owner_url, server.bin_dir, package)
            try:
                yield worker
            finally:
                worker.close()

    def _finds(self, mistake: Mistake, chance: Random) -> int:
        """After how many steps a mistake is found. Raises AssertionError if it is not."""
        steps = 0
        with self.worker(mistake.package(_ROOT / "src", self.place)) as worker:
            for _ in range(_MOST_SEQUENCES):
                done = worker.run(chance.randrange(1 << 30), _STEPS)
                if done["violation"]:
                    return steps + int(done["steps"])
                steps += _STEPS
        raise AssertionError(f"not found in {steps} steps: {mistake.title}")

    def control(self) -> None:
        """A mistake that nearly every sequence stumbles over."""
        raise AssertionError(f"found after {self._finds(CONTROL, Random(1))} steps: {CONTROL.title}")

    @classmethod
    def page(cls, figures: Mapping[str, Any]) -> str:
        tallies = figures["tallies"]
        rows = [(each.title, tallies.get(f"{_FOUND}{each.title}")) for each in MISTAKES]
        lines = [f"| {title} | {steps if steps is not None else 'not tried yet'} |" for title, steps in rows]
        return "\n".join(
            [
                "Mistakes that the machine finds when they are put back into a copy of the program:",
                "",
                "| mistake | found after so many steps |",
                "|---|--:|",
                *lines,
                "",
            ]
        )
