"""Mistakes put into the modules that decide, one at a time: the tests have to notice them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

from proof.bench import NO_END
from proof.branches import taken_branches
from proof.campaign import Campaign, Surroundings
from proof.figures import ROOT

# what decides whether a file is taken, kept, published or put in another's place, and the quick tests that guard it
TESTS = {
    "actions.catalog.retention": ["tests/unit/test_retention.py"],
    "actions.catalog.guards": ["tests/unit/test_guards.py"],
    "state.journal": ["tests/unit/test_journal.py"],
    "actions.restore.swap": ["tests/postgres/test_swap.py"],
    "archive.reader": [
        "tests/unit/test_damage.py",
        "tests/unit/test_reader.py",
        "tests/unit/test_runs.py",
        "tests/unit/test_extra_databases.py",
    ],
    "system.atomic_file": ["tests/unit/test_atomic_file.py"],
    "archive.checksums": ["tests/unit/test_checksums.py", "tests/unit/test_round_trip.py"],
}
SURVIVORS = ROOT / "docs" / "proof" / "survivors.toml"
_PACKAGE = "safeharbor_backup."
_LEAST_BRANCHES = 98.0  # per cent of a module


def known_survivors() -> tuple[set[str], dict[str, dict[str, str]]]:
    """The modules that have been gone through; and by module the mutants that no test is to notice, and why."""
    document = tomllib.loads(SURVIVORS.read_text())
    found: dict[str, dict[str, str]] = {}
    for each in document["survivor"]:
        found.setdefault(each["module"], {})[each["mutant"]] = each["reason"]
    return set(document["complete"]), found


class Cases(Campaign):
    promise: ClassVar[str] = "The tests notice when the code does something else than it should."
    attack: ClassVar[str] = (
        "mutmut's changes of retention, guards, journal, swap, reader, publishing and checksums, one at a time: "
        "quick tests of that module have to fail, and to take its branches"
    )
    in_ci: ClassVar[int] = 4

    def __init__(self, surroundings: Surroundings) -> None:
        super().__init__(surroundings)
        self._bench = _Bench({_PACKAGE + name: tests for name, tests in TESTS.items()})
        self.until_end.callback(self._bench.close)
        self._complete, self._known = known_survivors()
        self._all = [
            (name, number, key) for name in TESTS for number, key in enumerate(self._bench.ask(list=_PACKAGE + name))
        ]

    @property
    def count(self) -> int:
        return len(self._all) + 1

    def is_for_ci(self, number: int) -> bool:
        return number < len(self._all)

    def run(self, number: int, chance: Random) -> Mapping[str, int]:
        return self._try(number) if number < len(self._all) else self._take_branches()

    def _take_branches(self) -> Mapping[str, int]:
        """The last case: whether the same tests take the branches of these modules."""
        with TemporaryDirectory(dir=self.place) as place:
            found = taken_branches(TESTS, Path(place))
        few = {name: each.missing for name, each in found.items() if 100 * each.taken < _LEAST_BRANCHES * each.all}
        assert not few, f"branches that no test takes: {few}"
        tallies = {f"{name}: branches": each.all for name, each in found.items()}
        return tallies | {f"{name}: branches taken": each.taken for name, each in found.items()}

    def _try(self, number: int) -> Mapping[str, int]:
        name, place, key = self._all[number]
        answer = self._bench.ask(module=_PACKAGE + name, number=place)
        if answer["killed"]:
            return {"killed": 1, f"{name}: killed": 1, **({NO_END: 1} if answer["by"] == NO_END else {})}
        with open(self.memory / "survivors.txt", "a") as file:
            file.write(f"{name}\t{key}\n")
        if name in self._complete and key not in self._known.get(name, {}):
            raise AssertionError(f"{name} {key}: {answer['tests']} tests notice nothing")
        return {"survived": 1, f"{name}: survived": 1}

    def control(self) -> None:
        """Without any test a mutant survives, and one that survives and is not known is a violation."""
        answer = self._bench.ask(module=_PACKAGE + next(iter(TESTS)), number=0, tests=[])
        assert answer["killed"], "a mutant that no test looks at survives"

    @classmethod
    def facts(cls, tallies: Mapping[str, int]) -> dict[str, Any]:
        killed, survived = tallies.get("killed", 0), tallies.get("survived", 0)
        return {"score": round(100 * killed / max(killed + survived, 1), 1)}

    @classmethod
    def page(cls, figures: Mapping[str, Any]) -> str:
        tallies = figures["tallies"]
        rows = ["| module | mutants | killed | survived | branches that tests take |", "|---|--:|--:|--:|--:|"]
        for name in TESTS:
            kinds = ("killed", "survived", "branches", "branches taken")
            killed, survived, branches, taken = (tallies.get(f"{name}: {each}", 0) for each in kinds)
            share = f"{taken} of {branches}" if branches else "not run"
            rows.append(f"| `{name}` | {killed + survived:,} | {killed:,} | {survived} | {share} |")
        reasons = (
            "Those that survive, each with the reason why no test is to notice it: [survivors](proof/survivors.toml)."
        )
        ended = f", {tallies.get(NO_END, 0)} of them because the tests came to no end"
        return f"Of the mutants {figures['score']} % are killed{ended}:\n\n" + "\n".join(rows) + f"\n\n{reasons}\n"


class _Bench:
    """A pytest in a process of its own, that tries mutants."""

    def __init__(self, tests: Mapping[str, list[str]]) -> None:
        requests, self._asking = os.pipe()
        answering, answers = os.pipe()
        self._answers = os.fdopen(answering)
        command = [sys.executable, "-m", "proof.bench", str(requests), str(answers), json.dumps(tests)]
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}/tests:{ROOT}"}
        self._process = subprocess.Popen(
            command, cwd=ROOT, env=environment, pass_fds=(requests, answers), stdout=subprocess.PIPE
        )
        os.close(requests)
        os.close(answers)

    def ask(self, **request: object) -> Any:
        """The answer."""
        os.write(self._asking, json.dumps(request).encode() + b"\n")
        line = self._answers.readline()
        if not line:
            raise RuntimeError(f"the bench has ended: {self._process.communicate()[0].decode()[-2000:]}")
        return json.loads(line)

    def close(self) -> None:
        """End it."""
        os.close(self._asking)
        self._answers.close()
        self._process.communicate(timeout=60)
