"""A small part of each campaign of `make prove`, chosen by SAFEHARBOR_SEED, and each control; and its page."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from random import Random

import pytest
from proof.campaign import Missed
from proof.figures import ROOT, pages_with_figures
from proof.machine_mistakes import MISTAKES, Mistake
from proof.real_year import RealYear
from proof.registry import NAMES
from proof.runner import control_fails, in_order, opened, run_case

from support.postgres import Servers

_SEED = os.environ.get("SAFEHARBOR_SEED", "1")


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", NAMES)
def test_a_small_part_of_the_campaign_finds_nothing_and_its_control_does(name: str, servers: Servers) -> None:
    with opened(name, _SEED, servers, is_small=True) as cases:
        ran = 0
        for number in filter(cases.is_for_ci, in_order(cases, _SEED)):
            if ran == cases.in_ci:
                break
            try:
                run_case(cases, number)
            except Missed:
                continue
            except Exception as error:
                error.add_note(f"again: make prove PART={name} SEED={_SEED} CASE={number}")
                raise
            ran += 1
        assert ran == cases.in_ci
        assert control_fails(cases)


@pytest.mark.timeout(900)
def test_real_nights_leave_the_archives_that_the_model_says_and_one_more_is_found(servers: Servers) -> None:
    with RealYear(servers, Random(_SEED)) as year:
        year.nights(9)
        year.settle()
        assert year.tallies["real nights that share"] > 4
        oldest = year.site.archives[0]
        shutil.copy(oldest, oldest.with_name(oldest.name.replace("T03", "T02")))
        with pytest.raises(AssertionError, match="T02"):
            year.settle()


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda each: each.title)
def test_each_mistake_for_the_machine_can_still_be_made(mistake: Mistake, tmp_path: Path) -> None:
    changed = mistake.package(ROOT / "src", tmp_path) / "safeharbor_backup" / mistake.path

    compile(changed.read_text(), str(changed), "exec")
    assert changed.read_text() != (ROOT / "src" / "safeharbor_backup" / mistake.path).read_text()


def test_the_pages_say_what_the_figures_say() -> None:
    for page, text in pages_with_figures().items():
        assert page.read_text() == text, "make format mends it"
