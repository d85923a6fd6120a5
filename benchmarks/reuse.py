"""The second backup on XFS beside the first: time, new disk, memory, and how they grow with the number of files.

Needs root, to mount a filesystem in a file. Everything is on it: uploads, archives, nothing else.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.data import make_small_files, make_uploads
from benchmarks.measure import Contender, mib
from benchmarks.ours import COMMAND, environment
from benchmarks.plot import Growth, plot_growth, slope_of
from benchmarks.rivals import rivals
from safeharbor_backup.postgres.private_cluster import PrivateServer

PER_DIRECTORY = 1000
TIME_AIM, DISK_AIM = 0.05, 0.03
FIRST_AIM_MICROSECONDS, SECOND_AIM_MICROSECONDS, MEMORY_AIM_MIB = 40, 10, 100
_SETTLED_SECONDS = 2.5  # what is younger than that at the beginning of a run is read again by the next
_UPLOADS = ("uploads", "sync", "verify")  # the phases of a run that have to do with uploads


@dataclass(frozen=True)
class Night:
    """One backup: seconds of all of it and of the uploads' part, new disk and peak memory in bytes."""

    wall: float
    uploads: float
    disk: int
    peak_bytes: int


def reuse(
    server: PrivateServer,
    bin_dir: Path,
    place: Path,
    scale: float,
    counts: list[int],
    rounds: int,
    image: Path,
) -> list[str]:
    """Three tables and a plot in `image`; nothing else that is made here stays.

    The first and the last are with an empty database, so that the dump does not count.
    """
    server.create_database("reuse")
    with mounted("xfs", place, _size_of_disk(scale, counts)) as disk:
        lines = _one_percent(server, bin_dir, disk, scale, rounds)
        lines += rivals(server, bin_dir, disk, disk / "uploads", rounds)
        shutil.rmtree(disk / "uploads")
        growth = [_growth(server, bin_dir, disk, count, rounds) for count in counts]
    points = [point for point, _ in growth]
    plot_growth(points, image)
    first, second = (slope_of([(each.files, seconds(each)) for each in points])[0] for seconds in (_first, _second))
    return [
        *lines,
        f"Files of 2 KB, {PER_DIRECTORY:,} to a directory, nothing changed. Microseconds per file of the command "
        f"as a whole. Aims at a million: {FIRST_AIM_MICROSECONDS} and {SECOND_AIM_MICROSECONDS}, and "
        f"{MEMORY_AIM_MIB} MiB.",
        "",
        "| files | first, µs per file | second, µs per file | new disk of the second | peak memory, first | second |",
        "|--:|--:|--:|--:|--:|--:|",
        *(row for _, row in growth),
        "",
        f"Both grow linearly: by {first * 1e6:.1f} µs and {second * 1e6:.1f} µs for each file more.",
        "",
        f"![Seconds over the number of files, first and second backup](images/{image.name})",
        "",
    ]


def _first(point: Growth) -> float:
    return point.first


def _second(point: Growth) -> float:
    return point.second


def _one_percent(server: PrivateServer, bin_dir: Path, disk: Path, scale: float, rounds: int) -> list[str]:
    uploads = disk / "uploads"
    make_uploads(uploads, scale)
    files = sorted(path for path in uploads.rglob("*.jpg"))
    nights: list[tuple[Night, Night]] = []
    for number in range(rounds):
        backups = _empty(disk / "backups")
        time.sleep(_SETTLED_SECONDS)
        first = _night(server, bin_dir, uploads, backups)
        for path in files[number::100]:
            path.write_bytes(os.urandom(path.stat().st_size))
        second = _night(server, bin_dir, uploads, backups)
        nights.append((first, second))
        print(f"  round {number + 1}: first {first.uploads:.2f} s, second {second.uploads:.2f} s", flush=True)
    shutil.rmtree(disk / "backups")
    first, second = _median([pair[0] for pair in nights]), _median([pair[1] for pair in nights])
    return [
        f"{len(files):,} files, of which 1 % change between both. The uploads' part only: reading, writing, forcing to "
        "the disk, proving.",
        "",
        "| | seconds | ratio | aim | new disk | ratio | aim |",
        "|---|--:|--:|--:|--:|--:|--:|",
        f"| first | {first.uploads:.2f} | 1.00 | | {mib(first.disk)} | 1.00 | |",
        f"| second | {second.uploads:.2f} | {second.uploads / first.uploads:.3f} | {TIME_AIM} | {mib(second.disk)} "
        f"| {second.disk / max(first.disk, 1):.3f} | {DISK_AIM} |",
        "",
    ]


def _growth(server: PrivateServer, bin_dir: Path, disk: Path, count: int, rounds: int) -> tuple[Growth, str]:
    uploads = disk / f"small-{count}"
    make_small_files(uploads, count, per_directory=PER_DIRECTORY)
    time.sleep(_SETTLED_SECONDS)
    nights = []
    for _ in range(rounds):
        backups = _empty(disk / "backups")
        nights.append((_night(server, bin_dir, uploads, backups), _night(server, bin_dir, uploads, backups)))
    first, second = _median([pair[0] for pair in nights]), _median([pair[1] for pair in nights])
    shutil.rmtree(uploads)
    shutil.rmtree(disk / "backups")
    print(f"  {count} files: first {first.wall:.2f} s, second {second.wall:.2f} s", flush=True)
    row = (
        f"| {count:,} | {first.wall / count * 1e6:.1f} | {second.wall / count * 1e6:.1f} | {mib(second.disk)} "
        f"| {mib(first.peak_bytes)} | {mib(second.peak_bytes)} |"
    )
    return Growth(count, first.wall, second.wall), row


def _night(server: PrivateServer, bin_dir: Path, uploads: Path, backups: Path) -> Night:
    told = backups.parent / "told.json"
    settings = environment(server, bin_dir, "reuse", uploads, backups, "auto")
    script = f"exec {shlex.join([*COMMAND, 'backup', '--json', '--no-prune'])} > {shlex.quote(str(told))}"
    before = _free(backups)
    run = Contender("backup", ["sh", "-c", script], settings, lambda: None).run()
    seconds = json.loads(told.read_text())["seconds"]
    return Night(run.wall, sum(seconds[name] for name in _UPLOADS), before - _free(backups), run.peak_bytes)


def _median(nights: list[Night]) -> Night:
    return Night(
        statistics.median(night.wall for night in nights),
        statistics.median(night.uploads for night in nights),
        int(statistics.median(night.disk for night in nights)),
        max(night.peak_bytes for night in nights),
    )


def _free(directory: Path) -> int:
    subprocess.run(["sync", "-f", directory], check=True)
    system = os.statvfs(directory)
    return system.f_bfree * system.f_frsize


def _size_of_disk(scale: float, counts: list[int]) -> int:
    """Room for the uploads, and copies of all by three tools, or for the most files of all, 4 KiB and less each."""
    return max(int(16e9 * scale), max(counts) * 12_000) + 2**30


def _empty(directory: Path) -> Path:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    return directory


@contextmanager
def mounted(kind: str, place: Path, size: int) -> Iterator[Path]:
    """An empty filesystem (`xfs` or `ext4`) of that many bytes, in a file that is gone afterwards."""
    image, disk = place / "reuse.img", place / "reuse"
    disk.mkdir(exist_ok=True)
    with open(image, "wb") as file:
        os.truncate(file.fileno(), size)
    try:
        path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
        subprocess.run([f"mkfs.{kind}", "-q", image], check=True, env={**os.environ, "PATH": path})
        subprocess.run(["mount", "-o", "loop", image, disk], check=True)
        try:
            yield disk
        finally:
            subprocess.run(["umount", disk], check=True)
    finally:
        image.unlink()
