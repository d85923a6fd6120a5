"""States that restores keep: parts of them deleted by hand, several of them in any order."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess

import pytest

from safeharbor_backup.state.journal import Journal
from support.faults import failed
from support.needs import need_program
from support.postgres import Database, execute
from support.runs import Site
from support.states import State, state_of


def state(site: Site, database: Database) -> State:
    return state_of(database.url, database.server.major, site.uploads)


def change(site: Site, database: Database, mark: str) -> State:
    """A state of its own."""
    database.execute(f"CREATE TABLE {mark} (id int)")
    (site.uploads / f"{mark}.txt").write_text(mark)
    return state(site, database)


def restored(site: Site, *more: str) -> str:
    """The id of a restore of the newest archive."""
    done = site.run("restore", "--from", "latest", "--yes", *more)
    assert done.status == 0, done.output
    return Journal(site.backups).read()[-1].id


@pytest.mark.parametrize("part", ["database", "uploads"])
def test_an_undo_refuses_a_kept_state_of_which_a_part_was_deleted_by_hand(
    site: Site, database: Database, part: str
) -> None:
    assert site.run("backup").status == 0
    change(site, database, "before")
    restore = restored(site)
    live = state(site, database)
    if part == "database":
        gone = f"{database.name}_before_{restore}"
        execute(database.server.url(), f"DROP DATABASE {gone}")
    else:
        gone = f".safeharbor-restore-{restore}"
        shutil.rmtree(site.uploads / gone)

    refused = site.run("restore", "--undo")

    failed(refused, 8, gone, "Nothing was changed", f"--discard-previous --id {restore}")
    assert state(site, database) == live
    assert site.run("backup").status == 0
    if part == "uploads":  # it may be on a filesystem that is not mounted
        kept = site.run("restore", "--discard-previous", "--yes")
        failed(kept, 8, "Nothing was deleted", f"--discard-previous --id {restore} --abandon-uploads")
    given_up = ["--abandon-uploads"] if part == "uploads" else []
    assert site.run("restore", "--discard-previous", "--yes", *given_up).status == 0
    assert site.leftovers == []


def test_states_kept_by_restores_of_all_and_of_parts_come_back_in_any_order(site: Site, database: Database) -> None:
    assert site.run("backup").status == 0
    states = {"original": change(site, database, "original")}
    ids = {}
    for name, options in {"all": (), "files": ("--only", "uploads"), "rows": ("--only", "database")}.items():
        ids[name] = restored(site, *options)
        states[name] = change(site, database, f"after_{name}")

    def exchanged(name: str) -> State:
        done = site.run("restore", "--undo", "--id", ids[name])
        assert done.status == 0, done.output
        return state(site, database)

    assert exchanged("all") == states["original"]
    assert exchanged("rows").uploads == states["original"].uploads
    assert state(site, database).database == states["files"].database
    assert exchanged("all") == states["rows"]
    gone = site.run("restore", "--discard-previous", "--yes", "--id", ids["all"])
    assert gone.status == 0, gone.output
    assert state(site, database) == states["rows"]
    assert exchanged("files").database == states["rows"].database
    assert state(site, database).uploads == states["all"].uploads
    assert site.run("restore", "--discard-previous", "--yes").status == 0
    assert site.leftovers == []


def test_a_state_that_comes_in_while_the_operator_is_asked_is_not_discarded(site: Site, database: Database) -> None:
    assert site.run("backup").status == 0
    first = restored(site)
    leader, follower = pty.openpty()
    asked = subprocess.Popen(
        site.argv("restore", "--discard-previous"),
        env=site.full_environment(),
        stdin=follower,
        stdout=subprocess.PIPE,
        cwd=site.root,
    )
    os.close(follower)
    assert asked.stdout is not None
    assert first in asked.stdout.readline().decode()
    second = restored(site)

    os.write(leader, b"discard\n")
    said, _ = asked.communicate(timeout=60)
    os.close(leader)

    assert asked.returncode == 0
    assert b"discarded 1 kept state" in said
    assert [record.id for record in Journal(site.backups).read()] == [second]


def test_what_only_names_speak_of_is_shown_and_its_databases_go_only_when_they_are_named(
    site: Site, database: Database
) -> None:
    assert site.run("backup").status == 0
    restore = restored(site)
    (site.backups / ".safeharbor-restore.json").unlink()
    live = state(site, database)
    kept, stage = f"{database.name}_before_{restore}", f".safeharbor-restore-{restore}"

    shown = site.run("restore", "--discard-previous", "--yes")
    asked = site.run("restore", "--discard-previous", "--id", restore)
    assert shown.status == 0, shown.output
    assert all(word in shown.stdout for word in (kept, stage, "--id ID"))
    failed(asked, 1, "Not confirmed")
    query = f"SELECT count(*) FROM pg_database WHERE datname = '{kept}'"
    assert execute(database.server.url(), query) == [(1,)]

    done = site.run("restore", "--discard-previous", "--id", restore, "--yes")

    assert done.status == 0, done.output
    assert "dropped 1 database" in done.stdout
    assert execute(database.server.url(), query) == [(0,)]
    assert (site.uploads / stage / "old").is_dir()
    assert state(site, database) == live


def test_status_and_doctor_show_what_only_names_speak_of(site: Site, database: Database) -> None:
    assert site.run("backup").status == 0
    restore = restored(site)
    before = [site.run("status"), site.run("doctor")]
    (site.backups / ".safeharbor-restore.json").unlink()
    kept, stage = f"{database.name}_before_{restore}", f".safeharbor-restore-{restore}"

    status, doctor = site.run("status"), site.run("doctor")

    assert all("not in the journal" not in done.output and "journal knows no" not in done.output for done in before)
    assert status.status == 0, status.output
    (line,) = (line for line in status.stdout.splitlines() if "not in the journal" in line)
    ways = (f"--undo --id {restore}", f"--discard-previous --id {restore}")
    assert all(word in line for word in (kept, stage, "MiB of databases", *ways))
    found = f'not in the journal of restores: "{kept}"'
    assert doctor.status == 3, doctor.output
    assert found in doctor.output


def test_status_of_a_server_that_is_down_says_what_it_could_not_look_at(site: Site) -> None:
    assert site.run("backup").status == 0
    site.environment["BACKUP_DATABASE_URL"] = "postgresql://app@127.0.0.1:1/app"

    done, health = site.run("status"), site.run("status", "--healthcheck")

    assert done.status == 0, done.output
    assert "could not look for kept states" in done.stdout
    assert (health.status, len(health.stdout.splitlines())) == (0, 1)


def test_excluded_uploads_are_no_loss_in_the_plan_and_stay(site: Site, database: Database) -> None:
    site.environment["BACKUP_EXCLUDE"] = "/videos/"
    (site.uploads / "videos").mkdir()
    (site.uploads / "videos" / "v.mp4").write_text("v")
    assert site.run("backup").status == 0

    planned = site.run("restore", "--from", "latest", "--dry-run")
    restored(site)
    kept = (site.uploads / "videos" / "v.mp4").read_text()
    assert site.run("restore", "--discard-previous", "--yes").status == 0

    assert "videos stays where it is" in planned.output
    assert not [line for line in planned.output.splitlines() if "videos" in line and "lose" in line]
    assert kept == (site.uploads / "videos" / "v.mp4").read_text() == "v"


def test_an_undo_takes_back_the_restore_that_was_done_last_though_the_clock_was_set_back(
    site: Site, database: Database
) -> None:
    assert site.run("backup").status == 0
    archive = str(site.archives[0])
    change(site, database, "first")
    argv = [str(need_program("faketime")), "-f", "+2h", *site.argv("restore", "--from", archive, "--yes")]
    environment = site.full_environment({"FAKETIME_DONT_FAKE_MONOTONIC": "1"})
    ahead = subprocess.run(argv, env=environment, cwd=site.root, capture_output=True, check=False)
    assert ahead.returncode == 0, ahead.stderr
    second = change(site, database, "second")
    assert site.run("restore", "--from", archive, "--yes").status == 0
    first, last = Journal(site.backups).read()
    assert first.id > last.id

    assert site.run("restore", "--undo").status == 0

    assert state(site, database) == second


def test_a_name_in_the_live_database_reaches_the_terminal_escaped(site: Site, database: Database) -> None:
    assert site.run("backup").status == 0
    database.execute('CREATE TABLE "x\x1b]0;owned\x07\ny" ()')

    plan = site.run("restore", "--from", "latest", "--dry-run")

    assert '"x\\x1b]0;owned\\x07\\ny"' in plan.stdout
    assert "\x1b" not in plan.output
