"""Which branches of some modules are taken by their tests: in this process, in commands and in their forks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from proof.figures import ROOT

_SETTINGS = """
[run]
branch = true
parallel = true
data_file = {place}/data
patch =
    subprocess
    fork
    _exit
include =
"""


class Branches(NamedTuple):
    """How many a module has, how many are taken, and which lines the others go from and to."""

    all: int
    taken: int
    missing: tuple[tuple[int, int], ...]


def taken_branches(tests: Mapping[str, Sequence[str]], place: Path) -> dict[str, Branches]:
    """By module, the quick tests of all of them taken together. Raises AssertionError if one of these fails.

    `place` is an empty directory.
    """
    files = {name: f"src/safeharbor_backup/{name.replace('.', '/')}.py" for name in tests}
    settings = place / "settings"
    settings.write_text(_SETTINGS.format(place=place) + "".join(f"    {ROOT}/{each}\n" for each in files.values()))
    coverage = [sys.executable, "-m", "coverage"]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}/tests:{ROOT}"}

    def run(*arguments: str) -> None:
        argv = [*coverage, arguments[0], f"--rcfile={settings}", *arguments[1:]]
        done = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]

    chosen = sorted({each for names in tests.values() for each in names})
    run("run", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow and not fuzz", *chosen)
    run("combine", "--quiet")
    run("json", "--quiet", "-o", str(place / "report.json"))
    found = json.loads((place / "report.json").read_text())["files"]
    return {
        name: Branches(
            found[file]["summary"]["num_branches"],
            found[file]["summary"]["covered_branches"],
            tuple((begin, end) for begin, end in found[file]["missing_branches"]),
        )
        for name, file in files.items()
    }
