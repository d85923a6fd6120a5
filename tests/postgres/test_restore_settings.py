"""Settings of a role or a database that are meant for the app, and what they do to a restore: nothing."""

from __future__ import annotations

import os
import pty
import subprocess
import time

import pytest

from safeharbor_backup.postgres.properties import read_properties, replay_properties
from safeharbor_backup.postgres.target import target_connected
from safeharbor_backup.settings.address_parsing import parse_database_url
from support.postgres import Database, execute
from support.runs import Site
from support.states import State, state_of


def state(site: Site, database: Database) -> State:
    return state_of(database.superuser_url, database.server.major, site.uploads)


@pytest.mark.parametrize("options", [(), ("--in-place",)], ids=["beside", "in place"])
@pytest.mark.parametrize("whose", ["ROLE {owner}", "DATABASE {name}"], ids=["role", "database"])
def test_limits_that_are_set_for_the_app_do_not_stop_a_restore(
    site: Site, database: Database, whose: str, options: tuple[str, ...]
) -> None:
    before = state(site, database)
    assert site.run("backup").status == 0
    database.execute("DELETE FROM photo; CREATE TABLE newer (id int)")
    target = whose.format(owner=database.owner, name=database.name)
    for setting in (
        "default_transaction_read_only = on",
        "statement_timeout = '20ms'",
        "lock_timeout = '20ms'",
        "idle_session_timeout = '200ms'",
        "idle_in_transaction_session_timeout = '20ms'",
        "transaction_timeout = '20ms'",
    ):
        execute(database.server.url(), f"ALTER {target} SET {setting}")

    done = site.run("restore", "--from", "latest", "--yes", *options)

    assert done.status == 0, done.output
    assert state(site, database) == before
    if not options:
        assert site.run("restore", "--undo").status == 0
    assert site.run("restore", "--discard-previous", "--yes").status == 0


def test_an_operator_may_take_more_time_to_answer_than_an_idle_session_has(site: Site, database: Database) -> None:
    assert site.run("backup").status == 0
    execute(database.server.url(), f"ALTER ROLE {database.owner} SET idle_session_timeout = '500ms'")
    leader, follower = pty.openpty()
    run = subprocess.Popen(
        site.argv("restore", "--from", "latest"), env=site.full_environment(), stdin=follower, cwd=site.root
    )
    os.close(follower)

    time.sleep(3)
    os.write(leader, b"restore\n")

    assert run.wait(60) == 0
    os.close(leader)


@pytest.mark.parametrize(
    "value", ["'\"$user\", public'", '"$user", public, "odd, name"', '"a""b"', "''", "other"], ids=repr
)
def test_a_list_of_names_is_carried_over_as_it_was_set(database: Database, value: str) -> None:
    query = "SELECT setconfig FROM pg_db_role_setting s JOIN pg_database d ON d.oid = setdatabase WHERE datname = %s"
    execute(database.url, f"ALTER DATABASE {database.name} SET search_path = {value}")
    with target_connected(parse_database_url(database.url), database.name) as target:
        set_before = target.session.execute(query, (database.name,)).fetchall()
        properties = read_properties(target, database.name)
        execute(database.url, f"ALTER DATABASE {database.name} RESET ALL")

        assert replay_properties(target, database.name, properties) == []

        assert target.session.execute(query, (database.name,)).fetchall() == set_before
