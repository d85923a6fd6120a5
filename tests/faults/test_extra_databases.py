"""A restore of several databases that is killed at each of its steps: all of them, and the uploads, are new or old."""

from __future__ import annotations

import json
import signal

import pytest

from safeharbor_backup.state.journal import JOURNAL_NAME, Journal
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


def _server(rig: Rig, statement: str) -> None:
    execute(rig.database.server.url(), statement)


def _kept(rig: Rig) -> tuple[str, str]:
    """The names of what is beside the main database, and beside the other one."""
    main, other = sorted(rig.sides, key=lambda name: rig.beside is not None and name.startswith(rig.beside.name + "_"))
    return main, other


DISCARD = ("restore", "--discard-previous", "--yes")


@pytest.mark.timeout(300)
def test_a_discard_that_abandons_a_renamed_database_deletes_the_other_one_and_names_the_first(rig: Rig) -> None:
    rig.restored()
    main, other = _kept(rig)
    _server(rig, f'ALTER DATABASE "{main}" RENAME TO "else""where"')
    try:
        refused = rig.site.run(*DISCARD)
        assert (refused.status, sorted(rig.sides)) == (8, [other]), refused.output
        assert "Nothing was deleted" in refused.stderr

        done = rig.site.run(*DISCARD, "--abandon-database")

        assert done.status == 3, done.output
        assert '`DROP DATABASE "else""where"` deletes it' in done.stderr
        assert other not in done.stderr
        assert (rig.sides, rig.staging, Journal(rig.site.backups).read()) == ([], [], ())
    finally:
        _server(rig, 'DROP DATABASE "else""where"')


@pytest.mark.timeout(300)
def test_of_a_discard_that_is_half_done_the_rest_is_deleted_whatever_is_abandoned(rig: Rig) -> None:
    rig.restored()
    main, _ = _kept(rig)
    journal = rig.site.backups / JOURNAL_NAME
    journal.write_text(journal.read_text().replace('"kept"', '"discarding"'))
    _server(rig, f'DROP DATABASE "{main}"')

    done = rig.site.run(*DISCARD, "--abandon-database")

    assert done.status == 0, done.output
    assert (rig.sides, rig.staging, Journal(rig.site.backups).read()) == ([], [], ())


@pytest.mark.timeout(300)
def test_a_kept_database_whose_main_one_and_journal_are_lost_is_listed_and_deleted(rig: Rig) -> None:
    rig.restored()
    main, other = _kept(rig)
    (restore_id,) = rig.kept_ids
    rig.lose_journal()
    _server(rig, f'DROP DATABASE "{main}"')

    listed = rig.site.run(*DISCARD)
    undone = rig.site.run("restore", "--undo", "--id", restore_id, "--yes")
    done = rig.site.run(*DISCARD, "--id", restore_id)

    assert f'these have its id: database "{other}"' in listed.stdout
    assert (undone.status, "does not show the same state for all" in undone.stderr) == (8, True), undone.output
    assert (done.status, rig.sides) == (0, []), done.output
    assert "dropped 1 database" in done.stdout


@pytest.mark.timeout(300)
def test_an_undo_that_abandons_the_databases_names_the_one_that_is_left_and_a_discard_deletes_it(rig: Rig) -> None:
    rig.restored()
    rig.kill("undo", "uploads swapped")
    assert rig.is_interrupted
    main, other = _kept(rig)
    _server(rig, f'DROP DATABASE "{main}"')

    done = rig.site.run("restore", "--undo", "--abandon-database")

    assert done.status == 3, done.output
    assert f'`DROP DATABASE "{other}"` deletes it' in done.stderr
    wholly(rig, rig.new, "abandoned")
    (restore_id,) = rig.kept_ids
    discarded = rig.site.run(*DISCARD)
    assert discarded.status == 3, discarded.output
    assert f'there is still: database "{other}"' in discarded.stderr
    assert f"restore --discard-previous --id {restore_id}` drops what is there" in discarded.stderr
    last = rig.site.run(*DISCARD, "--id", restore_id)
    assert (last.status, rig.sides, rig.staging) == (0, [], []), last.output


@pytest.mark.timeout(300)
@pytest.mark.parametrize("how", ["undo", "resume"])
def test_what_was_built_before_anything_was_exchanged_is_removed_though_it_is_abandoned(rig: Rig, how: str) -> None:
    old = rig.changed()
    rig.kill("restore", "staged database")
    assert rig.is_interrupted
    assert rig.sides != []

    done = rig.site.run("restore", f"--{how}", "--abandon-database")

    assert done.status == 0, done.output
    wholly(rig, old if how == "undo" else rig.new, how)
    rig.settled(how, with_backup=False)
    assert all("_before_" in name for name in rig.sides)


@pytest.mark.timeout(300)
def test_a_discard_on_another_server_says_what_the_first_one_may_still_have(rig: Rig) -> None:
    rig.restored()
    main, other = _kept(rig)
    journal = rig.site.backups / JOURNAL_NAME
    document = json.loads(journal.read_text())
    document["restores"][0]["server"] = "7000000000000000001"
    journal.write_text(json.dumps(document))

    done = rig.site.run(*DISCARD, "--abandon-database")

    assert done.status == 3, done.output
    for name in (main, other):
        assert f'DROP DATABASE IF EXISTS "{name}";' in done.stderr
    assert "there is still: " in done.stderr  # a server that pg_upgrade has made has the databases of the first one
    assert rig.staging == []
    last = rig.site.run(*DISCARD, "--id", main[-12:])
    assert (last.status, rig.sides) == (0, []), last.output
