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


def databases(rig: Rig) -> list[str]:
    return [name for (name,) in execute(rig.database.server.url(), "SELECT datname FROM pg_database ORDER BY 1")]


def test_what_may_be_the_last_state_is_not_discarded(site: Site, database: Database) -> None:
    rig = Rig(site, database)
    rig.restored()
    (kept,) = rig.sides
    drop(rig, database.name)

    plain = site.run("restore", "--discard-previous", "--yes")

    assert plain.status == 8, plain.output
    assert f"There is no database {database.name} now" in plain.stderr
    assert "Nothing was deleted." in plain.stderr
    assert "--abandon-database" in plain.stderr
    done = site.run("restore", "--discard-previous", "--yes", "--abandon-database")
    assert done.status == 3, done.output
    rename = f'ALTER DATABASE "{kept}" RENAME TO "{database.name}"'
    assert rename in done.stderr
    assert "DROP" not in done.stderr
    assert kept in databases(rig)
    server(rig, rename)


def with_renamed_live(site: Site, database: Database) -> tuple[Rig, str, str]:
    """After a finished restore; the names of what it keeps, and of what was live."""
    rig = Rig(site, database)
    rig.restored()
    (kept,) = rig.sides
    renamed = f"production_{database.name}"
    server(rig, f'ALTER DATABASE "{database.name}" RENAME TO {renamed}')
    return rig, kept, renamed


def test_nobody_is_told_to_drop_a_live_database_that_was_renamed(site: Site, database: Database) -> None:
    rig, kept, renamed = with_renamed_live(site, database)

    done = site.run("restore", "--discard-previous", "--yes", "--abandon-database")

    assert done.status == 3, done.output
    assert "DROP" not in done.output
    for name in (kept, renamed):
        assert f'ALTER DATABASE "{name}" RENAME TO "{database.name}"' in done.stderr
        assert name in databases(rig)
    server(rig, f'ALTER DATABASE "{renamed}" RENAME TO "{database.name}"')


def test_nor_where_another_one_has_its_name_now(site: Site, database: Database) -> None:
    rig, kept, renamed = with_renamed_live(site, database)
    server(rig, f'CREATE DATABASE "{database.name}" OWNER "{database.owner}"')

    done = site.run("restore", "--discard-previous", "--yes", "--abandon-database")

    assert done.status == 3, done.output
    assert f'the database "{renamed}" stays on the server' in done.stderr
    assert "It was the live one before it was renamed" in done.stderr
    assert "DROP" not in done.output
    assert renamed in databases(rig)
    assert kept not in databases(rig)
    drop(rig, renamed)


def test_an_abandoned_undo_names_both_and_drops_neither(site: Site, database: Database) -> None:
    rig = Rig(site, database)
    rig.changed()
    assert not rig.kill("restore", "committed").has_ended
    before = databases(rig)
    renamed = f"production_{database.name}"
    server(rig, f'ALTER DATABASE "{database.name}" RENAME TO {renamed}')

    done = site.run("restore", "--undo", "--abandon-database")

    assert done.status == 3, done.output
    assert "DROP" not in done.output
    assert f'ALTER DATABASE "{renamed}" RENAME TO "{database.name}"' in done.stderr
    assert len(databases(rig)) == len(before)
    server(rig, f'ALTER DATABASE "{renamed}" RENAME TO "{database.name}"')


def test_numbers_of_a_server_that_is_not_known_mean_nothing(site: Site, database: Database) -> None:
    """The server hides its identifier: what has the number of the kept one may be anybody's."""
    rig = Rig(site, database)
    rig.restored()
    (kept,) = rig.sides
    drop(rig, kept)
    stranger = f"stranger_of_{database.name}"
    server(rig, f'CREATE DATABASE "{stranger}"')
    [(oid,)] = execute(database.server.url(), f"SELECT oid FROM pg_database WHERE datname = '{stranger}'")
    journal = site.backups / JOURNAL_NAME
    document = json.loads(journal.read_text())
    document["restores"][0].update(server="", old_oid=int(oid))
    journal.write_text(json.dumps(document))

    done = site.run("restore", "--discard-previous", "--yes", "--abandon-database")

    assert stranger not in done.output, done.output
    assert stranger in databases(rig)
    drop(rig, stranger)
