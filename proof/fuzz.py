"""Bytes that atheris makes, guided by what of the code they reach, given to everything that parses."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from random import Random

from proof.campaign import Campaign, Surroundings

TARGETS = ("reader", "manifest", "index", "journal", "status", "settings", "urls")
_CONTROL = "urls as they were"
_RUNS = 5_000
_PORTIONS = 29  # of each target: a million inputs together
_SECONDS = 900


class Cases(Campaign):
    """A case is a portion of inputs for one of the parsers; later ones go on from the corpus of those before."""

    promise = "No archive, manifest, index, journal, status document, setting or address breaks what reads it."
    attack = (
        "atheris makes inputs, guided by the branches that they reach, for both readers of archives, manifest, index, "
        "journal, status document, settings and addresses of databases. Only the documented refusals may come out."
    )
    in_ci = 2
    weight = _RUNS

    def __init__(self, surroundings: Surroundings) -> None:
        super().__init__(surroundings)
        self._root = Path(__file__).parents[1]

    @property
    def count(self) -> int:
        return len(TARGETS) * _PORTIONS

    def run(self, number: int, chance: Random) -> Mapping[str, int]:
        name = TARGETS[number % len(TARGETS)]
        self._fuzz(name, _RUNS, chance.randrange(1, 2**31))
        return {name: _RUNS}

    def control(self) -> None:
        """Addresses as they were parsed before this campaign found bytes that are no text."""
        self._fuzz(_CONTROL, 20_000, 1)

    def _fuzz(self, name: str, runs: int, seed: int) -> None:
        corpus = self.memory / name.replace(" ", "-")
        corpus.mkdir(parents=True, exist_ok=True)
        paths = os.pathsep.join([str(self._root), str(self._root / "tests")])
        done = subprocess.run(
            [
                *(sys.executable, "-m", "proof.fuzz_target", name, f"-runs={runs}", f"-seed={seed}", "-timeout=20"),
                *("-rss_limit_mb=1024", f"-artifact_prefix={self.place}/", str(corpus)),
            ],
            env={**os.environ, "PYTHONPATH": paths},
            cwd=self.place,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
        said = done.stderr.decode(errors="replace")
        assert done.returncode == 0, f"{name}, seed {seed}: {_why(said)}"
        assert f"Done {runs} runs" in said, said[-500:]


def _why(said: str) -> str:
    lines = said.splitlines()
    begins = [number for number, line in enumerate(lines) if "Uncaught Python exception" in line or "ERROR:" in line]
    kept = [line for line in lines if line.startswith("Base64:")]
    return " | ".join([*lines[begins[0] : begins[0] + 2], *kept]) if begins else said[-500:]
