from __future__ import annotations

import os
from dataclasses import replace
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING

import pytest

from safeharbor_backup.actions.catalog.entries import CatalogEntry, look_at
from safeharbor_backup.actions.status.free_space import MOST_COUNTED, count_fitting, measure_room, plan_costs
from safeharbor_backup.settings.min_free import MinFree
from support.archives import TAKEN_AT, put_archive
from support.manifests import with_facts

if TYPE_CHECKING:
    from pathlib import Path

WHOLE, PART = 1000, 30


@pytest.fixture
def archive(tmp_path: Path) -> CatalogEntry:
    """One of 1,000 bytes that shares nothing."""
    entry = look_at(put_archive(tmp_path, TAKEN_AT), TAKEN_AT)
    assert entry is not None
    return replace(entry, size=WHOLE)


def nightly(archive: CatalogEntry, shared: str) -> list[CatalogEntry]:
    """One archive for each letter, the newest first: `s` shares all but 30 bytes, `w` nothing."""
    assert archive.manifest is not None
    of = {"s": with_facts(archive.manifest, shared_size=WHOLE - PART), "w": archive.manifest}
    return [
        replace(archive, taken_at=TAKEN_AT - timedelta(days=number), manifest=of[letter])
        for number, letter in enumerate(shared)
    ]


def test_without_an_archive_nothing_is_known_but_what_is_free(tmp_path: Path) -> None:
    room = measure_room(tmp_path, [], 7, MinFree(size=0))

    assert room.free is not None
    assert (room.next_archive, room.fits) == (None, None)


def test_where_nothing_is_shared_each_costs_what_the_newest_did(archive: CatalogEntry) -> None:
    assert list(islice(plan_costs(nightly(archive, "wwww"), 7), 20)) == [WHOLE] * 20
    assert list(islice(plan_costs([archive], 7), 3)) == [WHOLE] * 3


def test_where_blocks_are_shared_the_next_ones_cost_little_until_one_is_due_to_be_written_anew(
    archive: CatalogEntry,
) -> None:
    costs = plan_costs(nightly(archive, "sssw"), 7)  # three nights after the last whole one

    assert list(islice(costs, 12)) == [PART] * 3 + [WHOLE] + [PART] * 6 + [WHOLE, PART]


def test_right_after_a_whole_one_what_the_one_before_wrote_counts(archive: CatalogEntry) -> None:
    assert list(islice(plan_costs(nightly(archive, "wssssssw"), 7), 8)) == [PART] * 6 + [WHOLE, PART]


def test_if_it_is_due_the_next_one_costs_all(archive: CatalogEntry) -> None:
    assert next(plan_costs(nightly(archive, "ssssssw"), 7)) == WHOLE


def test_if_everything_is_always_written_anew_each_costs_all(archive: CatalogEntry) -> None:
    assert list(islice(plan_costs(nightly(archive, "ssw"), 0), 3)) == [WHOLE] * 3


def test_archives_of_one_second_end_well(archive: CatalogEntry) -> None:
    same = [replace(each, taken_at=TAKEN_AT) for each in nightly(archive, "sw")]

    assert next(plan_costs(same, 7)) == PART


@pytest.mark.parametrize(("free", "fits"), [(0, 0), (999, 0), (1000, 1), (1001, 1), (3500, 3), (10**9, MOST_COUNTED)])
def test_so_many_fit(free: int, fits: int) -> None:
    assert count_fitting((WHOLE,) * MOST_COUNTED, free) == fits


def test_a_filesystem_that_does_not_tell_is_no_full_one(
    tmp_path: Path, archive: CatalogEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = os.statvfs_result((4096, 4096, 0, 0, 0, 0, 0, 0, 0, 255))
    monkeypatch.setattr("safeharbor_backup.actions.status.free_space.os.statvfs", lambda _: silent)

    room = measure_room(tmp_path, [archive], 7, MinFree(size=0))

    assert (room.free, room.next_archive, room.fits) == (None, WHOLE, None)
