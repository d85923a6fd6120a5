"""Power cuts: what real filesystems wrote and flushed is recorded once, and what a cut may leave is replayed."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Any, Protocol

from proof.campaign import Campaign, Surroundings
from proof.cut_backups import BackupCuts
from proof.cut_host import HostCuts
from proof.disks import KEPT, Recording, Span
from support.needs import memory_filesystem, need_program

_BACKUP_STATES = 200  # of each kind of filesystem
_HOST_STATES = 90  # of each of these
_HOSTS = (
    ("ext4", "one disk"),
    ("ext4", "archives apart"),
    ("ext4", "database apart"),
    ("xfs", "archives apart"),
    ("btrfs", "one disk"),
)
_CONTROL_STATES = 16
_SAID = {
    "none": "nothing",
    "all": "everything",
    "4 KiB": "some pieces of 4 KiB",
    "small": "some sectors (Btrfs: 16 KiB)",
}


class Cut(Protocol):
    """A scenario on disks that lose power."""

    recording: Recording

    def run(self, span: Span, position: int, kept: str, chance: Random) -> None: ...


class Cases(Campaign):
    """A case is one state of the disks after a cut. A scenario is recorded when one of its states is first due."""

    promise = (
        "What a command acknowledged is there after a power cut, and a file with an archive's name is complete; rows "
        "and files are of one state; one command does the rest."
    )
    attack = (
        "Block writes and flushes of real ext4, XFS and Btrfs are recorded, during backups with pruning and sharing, "
        "and for a whole host (PostgreSQL, uploads, archives, on one disk and on two) during restores, undo and "
        "discard. Each state has all writes up to a flush, and of those after it none, all, or some sectors. Then the "
        "host goes on."
    )
    in_ci = 3

    def __init__(self, surroundings: Surroundings) -> None:
        super().__init__(surroundings)
        mark = hashlib.sha256(os.fsencode(self.memory)).hexdigest()[:8]
        # archives remember where the uploads are, so a later sitting mounts the disks at the same place
        self._mounts = Path(tempfile.gettempdir()) / f"safeharbor-cuts-{mark}"
        self._mounts.mkdir(exist_ok=True)
        self._mounts.chmod(0o755)
        self.place.chmod(0o755)  # the server is not root
        self._images = memory_filesystem() or self.place
        self._open: dict[str, tuple[Cut, list[tuple[Span, int]]]] = {}
        self._scenarios = [(f"backups on {kind}", _BACKUP_STATES) for kind in ("ext4", "xfs", "btrfs")]
        self._scenarios += [(f"host on {kind}, {layout}", _HOST_STATES) for kind, layout in _HOSTS]

    @property
    def count(self) -> int:
        return sum(states for _, states in self._scenarios)

    def is_for_ci(self, number: int) -> bool:
        return number < _BACKUP_STATES  # of which one recording has them all

    def run(self, number: int, chance: Random) -> Mapping[str, int]:
        first = 0
        for name, states in self._scenarios:
            if number < first + states:
                return self._run(name, states, number - first, chance)
            first += states
        raise IndexError(number)

    def _run(self, name: str, states: int, number: int, chance: Random) -> Mapping[str, int]:
        scenario, cuts = self._opened(name, states)
        span, position = cuts[number]
        kept = KEPT[number % len(KEPT)]
        scenario.run(span, position, kept, chance)
        return {name: 1, f"kept {kept}": 1}

    def _opened(self, name: str, states: int) -> tuple[Cut, list[tuple[Span, int]]]:
        if name not in self._open:
            scenario = self._make(name, self.until_end)
            self._open[name] = (scenario, scenario.recording.cuts(states))
        return self._open[name]

    def _make(self, name: str, until_end: ExitStack, preload: str = "") -> Cut:
        what, _, rest = name.partition(" on ")
        if what == "host":
            return HostCuts(rest, self.memory, self._mounts, self._images, until_end, preload)
        image = self._images / f"proof-{os.getpid()}-{name.replace(' ', '-')}.img"
        until_end.callback(image.unlink, missing_ok=True)
        return BackupCuts(rest, self.memory, self._mounts, image, until_end, preload)

    @classmethod
    def page(cls, figures: Mapping[str, Any]) -> str:
        tallies = figures["tallies"]
        rows = [f"| {name} | {count} |" for name, count in tallies.items() if " on " in name]
        kept = ", ".join(f"{tallies.get(f'kept {each}', 0)} with {_SAID[each]}" for each in KEPT)
        of_the_rest = f"Of what came after the last flush: {kept}."
        return "\n".join(["| power cuts | states |", "|---|--:|", *rows, "", of_the_rest, ""])

    def control(self) -> None:
        """The same with fsync switched off, for the programs and for the server."""
        names = ["backups on ext4"] if self.is_small else ["backups on ext4", "host on ext4, one disk"]
        found = [self._found_without_fsync(name) for name in names]
        if all(found):
            raise AssertionError("; ".join(found))

    def _found_without_fsync(self, name: str) -> str:
        """The first broken promise, or nothing."""
        with ExitStack() as until_end:
            need_program("eatmydata")
            try:
                scenario = self._make(name, until_end, "libeatmydata.so")
            except Exception as error:  # this is no finding
                raise SystemExit(f"the control of the {name} could not begin") from error
            for number, (span, position) in enumerate(scenario.recording.cuts(_CONTROL_STATES)):
                try:
                    scenario.run(span, position, KEPT[number % len(KEPT)], Random(number))
                except Exception as error:
                    return f"{name}, {span.doing}: {error}".splitlines()[0]
        return ""
