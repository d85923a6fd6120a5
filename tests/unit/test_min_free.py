"""What stays free: the setting, and what it comes to on filesystems of all sizes."""

from __future__ import annotations

import os

import pytest

from safeharbor_backup.settings.load import load_settings
from safeharbor_backup.settings.min_free import MinFree, parse_min_free
from safeharbor_backup.settings.model import Concern

GIB = 1024**3


def filesystem(size: int, free: int) -> os.statvfs_result:
    """What statvfs says of a filesystem of this size in bytes."""
    return os.statvfs_result((4096, 4096, size // 4096, free // 4096, free // 4096, 1, 1, 1, 0, 255))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", MinFree(size=0)),
        ("2GiB", MinFree(size=2 * GIB)),
        ("1.5 G", MinFree(size=3 * GIB // 2)),
        ("500mb", MinFree(size=500 * 1024**2)),
        ("5%", MinFree(percent=5)),
        ("2.5 %", MinFree(percent=2.5)),
    ],
)
def test_sizes_and_parts_are_understood(text: str, expected: MinFree) -> None:
    assert parse_min_free(text) == expected
    assert load_settings({"BACKUP_MIN_FREE": text}).min_free == expected


@pytest.mark.parametrize("text", ["much", "-1", "100%", "1e9", "5%%", "GiB"])
def test_anything_else_is_a_problem_that_names_it(text: str) -> None:
    (problem,) = load_settings({"BACKUP_MIN_FREE": text}).problems_in(Concern.DIRECTORY)

    assert str(problem) == f"BACKUP_MIN_FREE={text!r}: expected a size such as 2GiB, a part such as 5%, or 0"


@pytest.mark.parametrize(
    ("size", "floor"), [(100 * GIB, 5 * GIB), (15 * GIB, GIB), (5 * GIB, GIB // 2), (10 * 1024**2, 1024**2)]
)
def test_the_default_is_the_greater_of_one_gib_and_a_twentieth_but_at_most_a_tenth(size: int, floor: int) -> None:
    assert MinFree().of(filesystem(size, size)) == floor


def test_there_is_no_room_below_what_is_to_stay_free() -> None:
    assert MinFree(size=GIB).room(filesystem(100 * GIB, 3 * GIB)) == 2 * GIB
    assert MinFree(size=GIB).room(filesystem(100 * GIB, GIB // 2)) == 0
    assert MinFree(size=GIB).room(filesystem(0, 0)) is None
