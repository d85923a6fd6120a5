"""How many more archives fit on the disk, going by what the newest ones really wrote."""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from safeharbor_backup.actions.catalog.entries import CatalogEntry
    from safeharbor_backup.settings.min_free import MinFree

MOST_COUNTED = 1000
_LOOKED_AT = 3  # the newest may have been due to be written again, or asked to be
_DAY_SECONDS = 86_400.0
_SLACK_SECONDS = 3600.0  # a nightly run does not begin at the same second each night


@dataclass(frozen=True, slots=True)
class Room:
    """What is free, what the next archive will probably take of it, and how many will fit. Sizes in bytes.

    None is unknown: a filesystem that does not report it, no archive to go by. `fits` is at most MOST_COUNTED.
    """

    free: int | None = None
    next_archive: int | None = None
    fits: int | None = None


def measure_room(directory: Path, complete: Sequence[CatalogEntry], full_read_days: int, min_free: MinFree) -> Room:
    """The room in `directory`; `complete` are its complete archives, the newest first.

    What is to stay free (BACKUP_MIN_FREE) is not counted, nor what retention will free: it deletes only after an
    archive was written.
    """
    costs = tuple(islice(plan_costs(complete, full_read_days), MOST_COUNTED))
    next_archive = costs[0] if costs else None
    try:
        system = os.statvfs(directory)
    except OSError:
        return Room(next_archive=next_archive)
    free = min_free.room(system)
    if free is None:
        return Room(next_archive=next_archive)
    return Room(free, next_archive, count_fitting(costs, free) if costs else None)


def plan_costs(complete: Sequence[CatalogEntry], full_read_days: int) -> Iterator[int]:
    """What the next archives will write, in bytes, if they come as regularly as the last two and change as much.

    Without end; nothing without an archive to go by. Where archives share blocks, one that is due to be written again
    takes its whole size.
    """
    if not complete:
        return
    newest = complete[0]
    shared = next((each for each in complete[:_LOOKED_AT] if _shared(each)), None)
    if shared is None or full_read_days == 0:
        while True:
            yield newest.size
    anew = next((each for each in complete if not _shared(each)), complete[-1]).taken_at.timestamp()
    at = newest.taken_at.timestamp()
    interval = max(at - complete[1].taken_at.timestamp(), 60.0) if len(complete) > 1 else _DAY_SECONDS
    while True:
        at += interval
        if at - anew > full_read_days * _DAY_SECONDS - _SLACK_SECONDS:
            anew = at
            yield newest.size
        else:
            yield shared.size - _shared(shared)


def count_fitting(costs: Sequence[int], free: int) -> int:
    """How many archives fit one after the other, if they take these numbers of bytes."""
    for number, cost in enumerate(costs):
        free -= cost
        if free < 0:
            return number
    return len(costs)


def _shared(entry: CatalogEntry) -> int:
    return entry.manifest.shared_size if entry.manifest is not None else 0
