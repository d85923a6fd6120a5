"""Disks that lose power: what a filesystem asked of them is recorded once, and what a cut may leave is replayed.

A disk that loses power has all writes up to its last flush, and any of those after it: none, all, or some sectors.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from proof.disk_recorder import FLUSH, MARK, RECORD, WRITE, append
from support.needs import need_program, need_root

_MAKE = {
    "ext4": ["mkfs.ext4", "-q", "-F", "-m", "0"],
    "xfs": ["mkfs.xfs", "-q", "-f"],
    "btrfs": ["mkfs.btrfs", "-q", "-f"],
}
# so many bytes are written or not written as one; Btrfs writes its superblock of 4 KiB in place, and needs a disk that
# does not tear that
PIECES = {"ext4": (4096, 512), "xfs": (4096, 512), "btrfs": (4096, 16384)}
KEPT = ("none", "all", "4 KiB", "small")


class Event(NamedTuple):
    """One record of the log; `place` is where its data are in the log."""

    kind: bytes
    disk: int
    offset: int
    length: int
    place: int


@dataclass(frozen=True)
class Span:
    """What was done between two positions of the log, and what was known before and after it."""

    doing: str
    begin: int
    end: int
    before: dict[str, Any]
    after: dict[str, Any]


class Recording:
    """Disks as they were at first, and all that was written to them."""

    def __init__(self, home: Path, kind: str) -> None:
        self.kind = kind
        self._bases = sorted(home.glob("base-*"))
        self._data = os.open(home / "log", os.O_RDONLY)
        self.events: list[Event] = []
        self.spans: list[Span] = []
        place, size = 0, os.fstat(self._data).st_size
        begun: tuple[int, dict[str, Any]] = (0, {})
        while place < size:
            kind_of_event, disk, offset, length = RECORD.unpack(os.pread(self._data, RECORD.size, place))
            place += RECORD.size
            if kind_of_event != MARK:
                self.events.append(Event(kind_of_event, disk, offset, length, place))
            else:
                says = json.loads(os.pread(self._data, length, place))
                if says["doing"]:
                    span = Span(says["doing"], begun[0], len(self.events), begun[1], says)
                    self.spans.append(span)
                begun = (len(self.events), says)
            place += length

    def cuts(self, count: int) -> list[tuple[Span, int]]:
        """So many moments at which power goes, in which span and at which position.

        As many between any two flushes as between any other two. The end of a span, when what was done has just been
        acknowledged, is like a flush.
        """
        between = []
        for span in self.spans:
            flushes = [number for number in range(span.begin, span.end) if self.events[number].kind == FLUSH]
            edges = [span.begin, *flushes, span.end]
            between += [(span, *each) for each in pairwise(edges) if each[1] > each[0]]
            between.append((span, span.end, span.end))
        found = []
        for number in range(count):
            at = number * len(between) / count
            span, begin, end = between[int(at)]
            found.append((span, min(begin + 1 + int((at - int(at)) * (end - begin)), end)))
        return found

    def build(self, position: int, kept: str, chance: Random, images: list[Path]) -> int:
        """Write the disks as a cut at this position may leave them into new files; how many pieces were lost."""
        for base, image in zip(self._bases, images, strict=True):
            image.unlink(missing_ok=True)
            subprocess.run(["cp", "--sparse=always", base, image], check=True)
        opened = [os.open(image, os.O_RDWR) for image in images]
        last = [0] * len(images)
        for number in range(position):
            if self.events[number].kind == FLUSH:
                last[self.events[number].disk] = number
        piece = {"4 KiB": PIECES[self.kind][0], "small": PIECES[self.kind][1]}.get(kept, 1 << 30)
        share = {"none": 0.0, "all": 1.0}.get(kept, chance.choice((0.1, 0.5, 0.9)))
        lost = 0
        for number in range(position):
            event = self.events[number]
            if event.kind != WRITE:
                continue
            data = os.pread(self._data, event.length, event.place)
            if number < last[event.disk]:
                os.pwrite(opened[event.disk], data, event.offset)
                continue
            for start in range(0, len(data), piece):
                if chance.random() < share:
                    os.pwrite(opened[event.disk], data[start : start + piece], event.offset + start)
                else:
                    lost += 1
        for descriptor in opened:
            os.close(descriptor)
        return lost


class Marker:
    """Writes into the log what has been done by now: `doing` what has just ended; "" where something begins."""

    def __init__(self, log: Path) -> None:
        self._log = os.open(log, os.O_WRONLY | os.O_APPEND)

    def __call__(self, doing: str, **says: Any) -> None:
        append(self._log, MARK, 0, 0, json.dumps({"doing": doing, **says}).encode())


def is_recorded(home: Path) -> bool:
    """Whether a recording is there, from its beginning to its end."""
    return (home / "log").exists() and not any(home.glob("image-*"))


@contextmanager
def recorded(home: Path, kind: str, sizes: list[int], places: list[Path]) -> Iterator[Marker]:
    """New filesystems of this kind at these places, recorded into `home` until the block ends."""
    need_root()
    shutil.rmtree(home, ignore_errors=True)  # one that was broken off
    home.mkdir(parents=True)
    images = [home / f"image-{number}" for number in range(len(sizes))]
    served = home / "served"
    served.mkdir()
    environment = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
    for number, (image, size) in enumerate(zip(images, sizes, strict=True)):
        with open(image, "wb") as file:
            os.truncate(file.fileno(), size)
        subprocess.run([need_program(_MAKE[kind][0]), *_MAKE[kind][1:], image], check=True, env=environment,
                       stdout=subprocess.DEVNULL)  # fmt: skip
        subprocess.run(["cp", "--sparse=always", image, home / f"base-{number}"], check=True)
    log = home / "log"
    log.touch()
    argv: list[str | Path] = [sys.executable, "-m", "proof.disk_recorder", log, served, *images]
    with ExitStack() as stack:
        server = subprocess.Popen(argv)
        stack.callback(_ended, server, served)
        _wait_until(lambda: (served / "0").exists())
        for number, place in enumerate(places):
            stack.enter_context(mounted(served / str(number), place))
        yield Marker(log)
    for image in images:
        image.unlink()


@contextmanager
def mounted(image: Path, place: Path) -> Iterator[None]:
    """The filesystem in this file, at this place, over a loop device of its own that is gone afterwards."""
    done = subprocess.run(["losetup", "--find", "--show", image], capture_output=True, text=True, check=True)
    loop = done.stdout.strip()
    try:
        place.mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", loop, place], check=True, capture_output=True)
        try:
            yield
        finally:
            _wait_until(lambda: _is_unmounted(place))
    finally:
        subprocess.run(["losetup", "--detach", loop], check=True)


def _ended(server: subprocess.Popen[bytes], served: Path) -> None:
    try:  # a loop device lets go of its file a moment after it was detached
        _wait_until(lambda: _is_unmounted(served))
    finally:
        server.terminate()
        server.wait(20)


def _is_unmounted(place: Path) -> bool:
    return subprocess.run(["umount", place], check=False, capture_output=True).returncode == 0


def _wait_until(is_so: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            raise TimeoutError("it does not come about")
        time.sleep(0.02)
