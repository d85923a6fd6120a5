"""The app deletes or breaks the stage while a restore is interrupted, or keeps a state: there is always a way on."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from safeharbor_backup.state.journal import Journal, find_interrupted
from safeharbor_backup.state.restore_record import Phase
from support.kills import Rig
from support.postgres import Database, execute
from support.runs import Site
from support.states import State, tree_of

pytestmark = pytest.mark.timeout(300)


def break_it(stage: Path, how: str) -> None:
    if how == "gone":
        shutil.rmtree(stage)
    elif how == "link":
        shutil.rmtree(stage)
        stage.symlink_to("/")
    else:
        shutil.rmtree(stage / how)


def interrupted(rig: Rig, step: str) -> tuple[State, Path]:
    """The state before a restore that was killed after that step, and its stage."""
    old = rig.changed()
    assert not rig.kill("restore", step).has_ended
    (name,) = rig.staging
    return old, rig.site.uploads / name


def is_open(rig: Rig) -> bool:
    query = f"SELECT datallowconn FROM pg_database WHERE datname = '{rig.database.name}'"
    return execute(rig.database.server.url(), query) == [(True,)]


@pytest.mark.parametrize(
    ("step", "how", "verb"),
    [("closed", "old", "undo"), ("uploads swapped", "link", "resume"), ("committed", "gone", "undo")],
)
def test_a_stage_that_is_lost_in_the_middle_of_a_swap_locks_nobody_out(
    site: Site, database: Database, step: str, how: str, verb: str
) -> None:
    rig = Rig(site, database)
    old, stage = interrupted(rig, step)
    uploads = tree_of(site.uploads)
    whole = site.run("restore", f"--{verb}", "--abandon-uploads")
    assert whole.status == 8, whole.output
    assert "without --abandon-uploads" in whole.stderr
    break_it(stage, how)
    refused = rig.recover(verb)
    assert refused.status == 8, refused.output
    assert str(stage) in refused.stderr
    assert f"--{verb} --abandon-uploads" in refused.stderr

    done = site.run("restore", f"--{verb}", "--abandon-uploads")

    assert done.status == 3, done.output
    assert is_open(rig)
    assert rig.state().database == (old if verb == "undo" else rig.new).database
    assert tree_of(site.uploads) == uploads
    assert not rig.is_interrupted
    assert "left as they are" in done.stderr


def test_a_stage_that_is_lost_before_the_swap_needs_no_word(site: Site, database: Database) -> None:
    rig = Rig(site, database)
    old, stage = interrupted(rig, "staged")
    break_it(stage, "new")

    done = rig.recover("undo")

    assert done.status == 3, done.output
    assert str(stage) in done.stderr
    assert rig.state() == old
    assert not rig.is_interrupted
    assert rig.sides == []


def test_a_kept_state_whose_uploads_are_lost_gives_back_its_database_and_is_deleted(
    site: Site, database: Database
) -> None:
    rig = Rig(site, database)
    old = rig.changed()
    rig.finish("restore")
    stage = site.uploads / rig.staging[0]
    break_it(stage, "old")
    refused = site.run("restore", "--discard-previous", "--yes")
    assert refused.status == 8, refused.output
    assert f"--discard-previous --id {rig.kept_ids[0]} --abandon-uploads" in refused.stderr

    undone = site.run("restore", "--undo", "--abandon-uploads")

    assert undone.status == 3, undone.output
    assert (rig.state().database, rig.state().uploads) == (old.database, rig.new.uploads)
    assert site.run("restore", "--discard-previous", "--yes").status == 0
    assert (rig.sides, rig.kept_ids) == ([], [])
    assert stage.is_dir()  # nobody knows whose it is


def test_a_restore_of_uploads_alone_whose_stage_is_lost_is_forgotten(site: Site, database: Database) -> None:
    rig = Rig(site, database, "only uploads")
    _, stage = interrupted(rig, "uploads swapped")
    break_it(stage, "gone")
    refused = rig.recover("undo")
    assert refused.status == 8, refused.output

    done = site.run("restore", "--undo", "--abandon-uploads")

    assert done.status == 3, done.output
    assert not rig.is_interrupted
    assert rig.kept_ids == []


def test_files_that_are_missing_in_the_stage_are_told_with_what_comes_in(site: Site, database: Database) -> None:
    rig = Rig(site, database, "only uploads")
    rig.restored()
    (kept,) = rig.staging
    (site.uploads / kept / "old" / "a.txt").unlink()

    undone = site.run("restore", "--undo")

    assert undone.status == 3, undone.output
    assert f"{kept}/old had " in undone.stderr
    assert "--only uploads" in undone.stderr
    assert site.run("restore", "--undo", "--id", kept[-12:]).status == 0  # there and back again, nothing is missing
    rig.changed()
    assert not rig.kill("restore", "swapping").has_ended
    (site.uploads / rig.staging[0] / "new" / "2026" / "5.jpg").unlink()
    done = rig.recover("resume")
    assert done.status == 3, done.output
    assert "/new had " in done.stderr


def test_an_undo_that_was_killed_while_it_removed_what_never_was_live_undoes_no_other_restore(
    site: Site, database: Database
) -> None:
    rig = Rig(site, database, "only uploads")
    rig.restored()
    (kept,) = rig.kept_ids
    old = rig.state()
    assert not rig.kill("restore", "staged").has_ended
    journal = Journal(site.backups)
    record = find_interrupted(site.backups)
    assert record is not None
    journal.write(replace(record, phase=Phase.REMOVING))  # as far as the undo came

    again = site.run("restore", "--undo")

    assert again.status == 0, again.output
    assert record.id in again.stdout
    assert "the live data is as it was" in again.stdout
    assert rig.state() == old
    assert rig.kept_ids == [kept]
    third = site.run("restore", "--undo", "--id", record.id)
    assert third.status == 8, third.output
    assert rig.state() == old


def test_a_stage_that_cannot_be_seen_is_not_restored_into_again_nor_forgotten(site: Site, database: Database) -> None:
    rig = Rig(site, database, "only uploads")
    rig.restored()
    aside = site.uploads / rig.staging[0]
    aside.rename(site.root / "elsewhere")  # as if its filesystem were not mounted
    discarded = site.run("restore", "--discard-previous", "--yes")
    assert discarded.status == 8, discarded.output
    assert "is mounted" in discarded.stderr
    (site.root / "elsewhere").rename(aside)
    assert site.run("restore", "--discard-previous", "--yes").status == 0
    old, stage = interrupted(rig, "staged")
    stage.rename(site.root / "elsewhere")

    resumed = site.run("restore", "--resume", "--yes")

    assert resumed.status == 8, resumed.output
    assert "is mounted" in resumed.stderr
    assert tree_of(site.uploads) == old.uploads
    (site.root / "elsewhere").rename(stage)
    assert site.run("restore", "--resume", "--yes").status == 0
    assert rig.state().uploads == rig.new.uploads
