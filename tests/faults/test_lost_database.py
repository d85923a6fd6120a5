"""Somebody drops or renames a database of an interrupted restore, or makes its server anew: there is a way on."""

from __future__ import annotations

import json

import pytest

from safeharbor_backup.state.journal import JOURNAL_NAME
from support.kills import Rig
from support.postgres import Database, execute
from support.runs import Site
from support.states import tree_of

pytestmark = pytest.mark.timeout(300)


def server(rig: Rig, statement: str) -> None:
    execute(rig.database.server.url(), statement)


def drop(rig: Rig, name: str) -> None:
    server(rig, f'DROP DATABASE "{name}" WITH (FORCE)')


def refused(rig: Rig, verb: str, *words: str) -> None:
    done = rig.recover(verb)
    assert done.status == 8, done.output
    for word in words:
        assert word in done.stderr, done.output


def test_an_undo_whose_kept_database_is_gone_ends_in_the_restored_state(site: Site, database: Database) -> None:
    rig = Rig(site, database)
    rig.restored()
    assert not rig.kill("undo", "uploads swapped").has_ended
    whole = site.run("restore", "--undo", "--abandon-database")
    assert whole.status == 8, whole.output
    assert "without --abandon-database" in whole.stderr
    (kept,) = rig.sides
    server(rig, f'ALTER DATABASE "{kept}" RENAME TO elsewhere_{kept}')
    refused(rig, "undo", f'ALTER DATABASE "elsewhere_{kept}" RENAME TO "{kept}"')
    drop(rig, f"elsewhere_{kept}")
    for verb in ("undo", "resume"):
        refused(rig, verb, kept, "--undo --abandon-database", "live will be: the restored data")

    done = site.run("restore", "--undo", "--abandon-database")

    assert done.status == 0, done.output
    assert "Now live: the restored data" in done.stdout
    assert rig.state() == rig.new
    assert not rig.is_interrupted
    assert site.run("restore", "--discard-previous", "--yes").status == 0


def test_a_restore_whose_own_database_is_gone_is_taken_back(site: Site, database: Database) -> None:
    rig = Rig(site, database)
    for step in ("closed", "committed"):
        old = rig.changed()
        assert not rig.kill("restore", step).has_ended
        drop(rig, database.name if step == "committed" else rig.sides[0])
        refused(rig, "resume", "`safeharbor restore --undo` instead; live will be: the data from before")

        done = rig.recover("undo")

        assert done.status == 0, (step, done.output)
        assert rig.state() == old, step
        assert not rig.is_interrupted


def test_a_restore_whose_server_was_made_anew_ends_with_the_uploads_alone(site: Site, database: Database) -> None:
    rig = Rig(site, database)
    old = rig.changed()
    assert not rig.kill("restore", "uploads swapped").has_ended
    journal = site.backups / JOURNAL_NAME
    document = json.loads(journal.read_text())
    document["restores"][0]["server"] = "7000000000000000001"
    journal.write_text(json.dumps(document))
    for verb in ("resume", "undo"):
        refused(rig, verb, "another server", "--abandon-database")

    done = site.run("restore", "--undo", "--abandon-database")

    assert done.status == 3, done.output
    assert "--only database" in done.stderr
    assert tree_of(site.uploads) == old.uploads
    assert not rig.is_interrupted


def test_a_kept_database_of_another_name_is_not_forgotten_without_a_word(site: Site, database: Database) -> None:
    rig = Rig(site, database)
    rig.restored()
    (kept,) = rig.sides
    server(rig, f'ALTER DATABASE "{kept}" RENAME TO elsewhere_{kept}')
    discard = ("restore", "--discard-previous", "--yes")

    done = site.run(*discard)
    assert done.status == 8, done.output
    assert f'ALTER DATABASE "elsewhere_{kept}" RENAME TO "{kept}"' in done.stderr
    assert "Nothing was deleted" in done.stderr
    assert list(site.uploads.glob(".safeharbor-restore-*"))

    abandoned = site.run(*discard, "--abandon-database")
    assert abandoned.status in (0, 3), abandoned.output
    assert not list(site.uploads.glob(".safeharbor-restore-*"))
    assert execute(database.server.url(), f"SELECT 1 FROM pg_database WHERE datname = 'elsewhere_{kept}'") == [(1,)]
    drop(rig, f"elsewhere_{kept}")


def test_of_a_server_that_does_not_answer_any_other_one_will_do(site: Site, database: Database) -> None:
    rig = Rig(site, database)
    old = rig.changed()
    assert not rig.kill("restore", "uploads swapped").has_ended
    journal = site.backups / JOURNAL_NAME
    document = json.loads(journal.read_text())
    document["restores"][0]["server"] = "7000000000000000001"
    journal.write_text(json.dumps(document))
    undo = ("restore", "--undo", "--abandon-database")

    gone = site.run(*undo, RESTORE_DATABASE_URL="postgresql://x@127.0.0.1:1/x")
    assert gone.status == 6, gone.output
    assert "name any other PostgreSQL server" in gone.stderr

    assert site.run(*undo, RESTORE_DATABASE_URL=database.server.url()).status == 3
    assert tree_of(site.uploads) == old.uploads
