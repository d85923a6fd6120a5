"""What must be true after every fault, and ways to cause some."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from pathlib import Path

from support.runs import Outcome, Site


class Before:
    """The archives of a site as they were; `unharmed` compares."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._digests = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in site.archives}

    def unharmed(self, *, next_run: int = 0) -> None:
        """After a fault: (A) older archives are the same, (B) what bears an archive's name is sound, (D) the next plain
        run ends with `next_run`, (E) nothing is left. That no secret shows (C) is checked at each run.
        """
        site = self._site
        left = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in site.archives}
        assert {path: left.get(path) for path in self._digests} == self._digests
        again = site.run("backup", "--no-prune")
        assert again.status == next_run, again.output
        assert site.leftovers == []
        # what bore an archive's name before that run is still there, as it was, and is verified with the new one
        assert {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in left} == left
        checked = site.run("verify", "--all")
        assert checked.status == 0, checked.output
        assert not children_left(site), "a child outlived its parent"


def children_left(site: Site) -> list[str]:
    """pg_dump and pg_restore processes of this site that still run, after a moment to end."""
    mark = str(site.root).encode()
    deadline = time.monotonic() + 5
    found: list[str] = []
    while time.monotonic() < deadline:
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                command = (entry / "cmdline").read_bytes()
                directory = os.readlink(entry / "cwd").encode()
            except OSError:
                continue
            if directory == mark and (b"pg_dump" in command or b"pg_restore" in command):
                found.append(command.replace(b"\0", b" ").decode())
        if not found:
            return []
        time.sleep(0.1)
    return found


def failed(outcome: Outcome, status: int, *words: str) -> None:
    """It ended with this status and said these words."""
    assert outcome.status == status, outcome.output
    for word in words:
        assert word in outcome.stderr, outcome.output


def fake_tools(place: Path, pg_dump: str, pg_restore: str = "cat >/dev/null", version: str = "18.4") -> Path:
    """A directory with shell scripts for pg_dump and pg_restore; they tell their version as the real ones do."""
    place.mkdir(parents=True, exist_ok=True)
    for name, body in (("pg_dump", pg_dump), ("pg_restore", pg_restore)):
        script = place / name
        script.write_text(
            f'#!/bin/sh\nif [ "$1" = --version ]; then echo "{name} (PostgreSQL) {version}"; exit 0; fi\n'
            # asked whether it can compress with zstd, which needs no server
            f'case "$*" in *nonexistent*) echo "this build does not support compression" >&2; exit 1;; esac\n{body}\n'
        )
        script.chmod(script.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    return place
