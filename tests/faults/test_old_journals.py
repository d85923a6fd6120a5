"""Restores that an earlier program began and that were killed: this program ends them, from its journal of schema 1."""

from __future__ import annotations

import signal

import pytest

from support.kills import Rig, as_schema_1, killing, traced, wholly
from support.postgres import Database
from support.runs import Site

_POINTS = ("journal", "staging directory", "staged", "swapping", "closed", "moving", "uploads swapped", "committed")


@pytest.mark.timeout(900)
@pytest.mark.parametrize("how", ["undo", "resume"])
def test_a_restore_killed_under_an_earlier_program_is_taken_back_or_finished(
    site: Site, database: Database, how: str
) -> None:
    rig = Rig(site, database)
    steps = rig.restored()

    for position, point in enumerate((*_POINTS, "settled")):
        if position % 2 == (how == "undo") and point != "moving":
            continue  # the other one does these
        old = rig.changed()
        if point == "moving":
            verb = ("--from", str(rig.archive), "--yes")
            assert traced(site, *killing("renameat2", 3), verb=verb) == -signal.SIGKILL
        else:
            rig.kill("restore", steps.index(point) + 1)
        as_schema_1(site)
        is_interrupted = rig.is_interrupted
        assert is_interrupted == (point != "settled")

        done = rig.recover(how)

        assert done.status == (0 if is_interrupted or how == "undo" else 8), (point, done.output)
        wholly(rig, old if how == "undo" else rig.new, point)
        rig.settled(point, with_backup=point == "moving")


@pytest.mark.timeout(900)
def test_what_an_earlier_program_kept_can_be_brought_back_and_discarded(site: Site, database: Database) -> None:
    rig = Rig(site, database)
    old = rig.changed()
    rig.finish("restore")
    as_schema_1(site)

    for state in (old, rig.new, old, rig.new):  # only the first one meets what the earlier program has left
        done = rig.recover("undo")
        assert done.status == 0, done.output
        wholly(rig, state, "undone")
    done = site.run("restore", "--discard-previous", "--yes")

    assert done.status == 0, done.output
    assert (rig.sides, rig.staging) == ([], [])
    wholly(rig, rig.new, "discarded")


def test_an_undo_that_fails_has_not_lost_what_an_earlier_program_kept(site: Site, database: Database) -> None:
    rig = Rig(site, database)
    old = rig.changed()
    rig.finish("restore")
    as_schema_1(site)
    in_the_way = f'"{database.name}_restore_{rig.kept_ids[0]}"'
    database.execute(f"CREATE DATABASE {in_the_way}")
    refused = rig.recover("undo")
    assert refused.status == 8, refused.output
    wholly(rig, rig.new, "put back")
    database.execute(f"DROP DATABASE {in_the_way}")

    done = rig.recover("undo")

    assert done.status == 0, done.output
    wholly(rig, old, "undone")
    assert site.run("restore", "--discard-previous", "--yes").status == 0
    assert (rig.sides, rig.staging) == ([], [])


@pytest.mark.timeout(900)
@pytest.mark.parametrize("step", ["closed", "uploads swapped", "committed"])
def test_an_undo_killed_under_an_earlier_program_is_finished(site: Site, database: Database, step: str) -> None:
    rig = Rig(site, database)
    old = rig.changed()
    rig.finish("restore")
    steps = ["swapping", "closed", "uploads swapped", "committed"]
    rig.kill("undo", steps.index(step) + 1)
    as_schema_1(site)

    done = rig.recover("undo")

    assert done.status == 0, done.output
    wholly(rig, old, step)
    rig.settled(step)
