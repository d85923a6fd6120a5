from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safeharbor_backup.archive.headers import encode_pad
from safeharbor_backup.archive.layout import BLOCK
from safeharbor_backup.archive.runs import Run, RunList, block_size_of, pad_blocks, smallest_run, split_run

OFFSETS = st.integers(0, 2**50 // BLOCK).map(lambda blocks: blocks * BLOCK)
BLOCKS = st.sampled_from([4096, 8192, 16_384, 32_768, 65_536])


@given(OFFSETS, OFFSETS, BLOCKS)
def test_a_pad_makes_both_offsets_equal_within_a_block_and_is_one_that_readers_take(
    position: int, start: int, block: int
) -> None:
    blocks = pad_blocks(position, start, block)

    assert (position + blocks * BLOCK) % block == start % block
    assert 0 <= blocks * BLOCK < block
    assert (blocks - 1) * BLOCK <= 65_536
    assert not blocks or len(encode_pad(blocks)) == blocks * BLOCK


@given(OFFSETS, OFFSETS, BLOCKS)
def test_a_run_is_split_into_edges_and_whole_blocks(start: int, size: int, block: int) -> None:
    head, middle, tail = split_run(start, start + size, block)

    assert head + middle + tail == size
    assert min(head, middle, tail) >= 0
    assert middle % block == 0
    assert not middle or (start + head) % block == 0
    assert not middle or (head < block and tail < block)


@given(OFFSETS, OFFSETS, BLOCKS)
def test_of_the_smallest_run_at_least_half_is_whole_blocks(start: int, more: int, block: int) -> None:
    size = smallest_run(block) + more

    assert size >= 64 * 1024
    assert split_run(start, start + size, block).middle * 2 >= size


@pytest.mark.parametrize(
    ("stated", "used"), [(512, 4096), (1024, 4096), (4096, 4096), (16_384, 16_384), (131_072, 65_536)]
)
def test_the_block_size_is_what_a_pad_can_bridge(stated: int, used: int) -> None:
    assert block_size_of(stated) == used


def test_a_list_of_runs_is_read_as_it_was_written_and_can_be_cut() -> None:
    runs = RunList()
    written = [Run(number, number + 1, number + 2, number + 3) for number in range(0, 50, 5)]
    for run in written:
        runs.append(run)

    assert list(runs) == written
    runs.truncate(3)
    assert (list(runs), len(runs)) == (written[:3], 3)
