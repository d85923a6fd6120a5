from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from safeharbor.catalog import CatalogEntry, look_at
from safeharbor.usual import judge_usual
from support.archives import TAKEN_AT, put_archive

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@pytest.fixture
def before(tmp_path: Path) -> CatalogEntry:
    """An archive of 1,000,000 bytes with 200 rows in three tables."""
    entry = look_at(put_archive(tmp_path, TAKEN_AT - timedelta(days=1)))
    assert entry is not None
    return holding(replace(entry, size=1_000_000), {"public.a": 150, "public.b": 30, "public.c": 20})


def holding(entry: CatalogEntry, tables: Mapping[str, int]) -> CatalogEntry:
    assert entry.manifest is not None
    return replace(entry, manifest=replace(entry.manifest, tables=tables))


def test_two_alike_are_usual_and_so_is_the_first(before: CatalogEntry) -> None:
    assert judge_usual(before, before) == ()
    assert judge_usual(before, None) == ()


@pytest.mark.parametrize(("rows", "is_unusual"), [(0, True), (100, True), (101, False), (10**9, False)])
def test_half_the_rows_are_unusual(before: CatalogEntry, rows: int, is_unusual: bool) -> None:
    assert bool(judge_usual(holding(before, {"public.a": rows}), before)) is is_unusual


def test_the_table_that_lost_most_is_named(before: CatalogEntry) -> None:
    (sentence,) = judge_usual(holding(before, {"public.a": 10, "public.b": 30, "public.c": 15}), before)

    assert sentence == "there are 55 rows, where the archive before had 200; public.a has 10 of 150"


def test_a_table_that_is_gone_is_named(before: CatalogEntry) -> None:
    (sentence,) = judge_usual(holding(before, {"public.b": 30, "public.c": 20, "public.d": 7}), before)

    assert sentence == "there are 57 rows, where the archive before had 200; public.a with 150 is gone"


def test_if_none_lost_most_none_is_named(before: CatalogEntry) -> None:
    then = holding(before, {"public.a": 60, "public.b": 60, "public.c": 60})

    (sentence,) = judge_usual(holding(before, {"public.a": 20, "public.b": 20, "public.c": 20}), then)

    assert sentence == "there are 60 rows, where the archive before had 180"


@pytest.mark.parametrize(("size", "is_unusual"), [(1, True), (500_000, True), (500_001, False), (10**12, False)])
def test_half_the_size_is_unusual(before: CatalogEntry, size: int, is_unusual: bool) -> None:
    assert bool(judge_usual(replace(before, size=size), before)) is is_unusual


def test_another_compression_is_no_loss(before: CatalogEntry) -> None:
    assert before.manifest is not None
    smaller = replace(before, size=1000, manifest=replace(before.manifest, compression="zstd:3"))

    assert judge_usual(smaller, before) == ()


def test_another_database_is_not_compared(before: CatalogEntry) -> None:
    assert before.manifest is not None
    other = replace(before, size=1, manifest=replace(before.manifest, database="other", tables={}))

    assert judge_usual(other, before) == ()


def test_a_tables_name_cannot_command_the_terminal(before: CatalogEntry) -> None:
    then = holding(before, {"public.\x1b[2J": 100})

    (sentence,) = judge_usual(holding(before, {}), then)

    assert "\x1b" not in sentence
