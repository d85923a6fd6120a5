"""A restore of several databases that is killed at each of its steps: all of them, and the uploads, are new or old."""

from __future__ import annotations

import signal

import pytest

from support.kills import Rig, killing, lasting, traced, wholly
from support.postgres import Database, execute, make_beside
from support.runs import Site
from support.states import dump_text


@pytest.fixture
def rig(site: Site, database: Database) -> Rig:
    beside = make_beside(database)
    site.environment["BACKUP_EXTRA_DATABASES"] = f"stats={beside.url}"
    return Rig(site, database, beside=beside)


def _closed(rig: Rig) -> list[str]:
    """The databases that nobody can enter, and which are not kept ones."""
    query = "SELECT datname FROM pg_database WHERE NOT datallowconn AND datname <> 'template0'"
    return [name for (name,) in execute(rig.database.server.url(), query) if name not in rig.sides]


@pytest.mark.timeout(900)
def test_a_restore_killed_at_any_step_is_taken_back_or_finished_as_a_whole(rig: Rig) -> None:
    steps = rig.restored()
    assert steps.count("staged database") == steps.count("closed") == 2
    assert steps.count("committed") == 1

    interrupted = 0
    for turn, number in enumerate(lasting(steps)):
        old = rig.changed()
        where = rig.kill("restore", number).where
        how = ("undo", "resume")[turn % 2]
        if not rig.is_interrupted:
            continue
        interrupted += 1

        done = rig.recover(how)

        assert done.status == 0, (where, done.output)
        wholly(rig, old if how == "undo" else rig.new, where)
        rig.settled(where, with_backup=False)
        assert _closed(rig) == [], where
    assert interrupted >= 10


@pytest.mark.timeout(900)
def test_an_undo_or_a_discard_killed_at_any_step_is_finished_as_a_whole(rig: Rig) -> None:
    old = rig.changed()
    rig.finish("restore")
    steps = rig.finish("undo")
    wholly(rig, old, "undone")
    assert rig.site.run("restore", "--undo").status == 0  # the restored state again

    for number in lasting(steps):
        where = rig.kill("undo", number).where
        if rig.is_interrupted:
            done = rig.recover("undo")
            assert done.status == 0, (where, done.output)
        wholly(rig, old, where)
        assert _closed(rig) == [], where
        assert rig.site.run("restore", "--undo").status == 0
        wholly(rig, rig.new, where)

    for when in (14,):  # of the messages to the server some are the drops of databases
        verb = ("--discard-previous", "--yes")
        assert traced(rig.site, *killing("sendto", when), verb=verb) in (0, -signal.SIGKILL)
        done = rig.site.run("restore", "--discard-previous", "--yes")
        assert done.status == 0, done.output
        assert (rig.sides, rig.staging) == ([], [])
        wholly(rig, rig.new, "discarded")
        rig.changed()
        rig.finish("restore")


@pytest.mark.timeout(900)
def test_a_commit_whose_answer_is_lost_is_of_all_databases(rig: Rig) -> None:
    """Killed at messages to the server around the exchange: whichever side the main one is on, the other is too."""
    for when in (40, 60):
        old = rig.changed()
        verb = ("--from", str(rig.archive), "--yes", "--jobs", "1")
        traced(rig.site, *killing("sendto", when), verb=verb)
        if rig.is_interrupted:
            done = rig.recover("undo")
            assert done.status == 0, done.output
            wholly(rig, old, str(when))
        rig.settled(str(when), with_backup=False)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("said", ["stats={other}", "stats=none", "", "stats=nonsense"])
def test_a_resume_goes_to_the_databases_that_the_restore_was_of_whatever_the_settings_say(rig: Rig, said: str) -> None:
    other = make_beside(rig.database)
    before = dump_text(other.url, other.server.major)
    rig.changed()
    rig.kill("restore", "staged database")
    assert rig.is_interrupted
    rig.site.environment["BACKUP_EXTRA_DATABASES"] = said.format(other=other.url)

    done = rig.recover("resume")

    assert done.status == 0, done.output
    wholly(rig, rig.new, said)
    assert dump_text(other.url, other.server.major) == before
    assert rig.site.run("restore", "--discard-previous", "--yes").status == 0
    assert rig.sides == []
