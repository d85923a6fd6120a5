"""Databases beside the live one: dropping them, whoever is there."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack

import psycopg
import pytest

from safeharbor_backup.errors import CannotRestore, LockHeld
from safeharbor_backup.postgres.connection import backup_lock
from safeharbor_backup.postgres.create_drop import drop_database
from safeharbor_backup.postgres.private_cluster import PrivateServer, find_server_bins, private_server
from safeharbor_backup.postgres.target import target_connected
from safeharbor_backup.settings.address_parsing import parse_database_url
from support.needs import missing
from support.postgres import MAJORS, Database, execute, make_database

# one page a tenth of a second: it stays until it is asked to leave
SLOW_AUTOVACUUM = {
    "autovacuum_naptime": "1",
    "autovacuum_vacuum_cost_delay": "100",
    "autovacuum_vacuum_cost_limit": "1",
    "vacuum_cost_page_miss": "1",
}
WORKERS = "SELECT count(*) FROM pg_stat_activity WHERE datname = '{}' AND backend_type = 'autovacuum worker'"


def drop_as_owner(database: Database) -> None:
    with target_connected(parse_database_url(database.url).with_database("postgres"), "elsewhere") as target:
        assert not target.is_superuser
        drop_database(target, database.name)


def exists(database: Database) -> bool:
    query = f"SELECT count(*) FROM pg_database WHERE datname = '{database.name}'"
    return execute(database.server.url(), query) == [(1,)]


def wait_for_autovacuum(server: PrivateServer, name: str) -> None:
    deadline = time.monotonic() + 60
    while server.execute(WORKERS.format(name)) == [(0,)]:
        assert time.monotonic() < deadline, "autovacuum did not come"
        time.sleep(0.05)


@pytest.mark.parametrize("major", MAJORS)
def test_an_owner_drops_a_database_that_autovacuum_is_at_work_in(major: int) -> None:
    bins = find_server_bins()
    if major not in bins:
        missing(f"there are no server programs of PostgreSQL {major} here")
    with private_server(bins[major], tcp=True, options=SLOW_AUTOVACUUM) as server:
        database = make_database(server)
        database.execute(
            "CREATE TABLE large AS SELECT repeat('x', 500) t FROM generate_series(1, 20000); DELETE FROM large"
        )
        wait_for_autovacuum(server, database.name)

        drop_as_owner(database)

        assert not exists(database)


def test_an_owner_drops_a_database_with_its_own_sessions_in_it(database: Database) -> None:
    with psycopg.connect(database.url):
        drop_as_owner(database)

    assert not exists(database)


def test_a_superusers_session_keeps_a_database_and_is_told(database: Database) -> None:
    with psycopg.connect(database.superuser_url), pytest.raises(CannotRestore, match="other session"):
        drop_as_owner(database)

    assert exists(database)


def test_whoever_restores_meets_at_one_lock_whatever_database_the_address_names(database: Database) -> None:
    url = parse_database_url(database.url)
    with (
        target_connected(url.with_database("postgres"), "reef") as here,
        target_connected(url, "reef") as elsewhere,
    ):
        here.hold_restore_lock()

        with pytest.raises(LockHeld):
            elsewhere.hold_restore_lock()


def test_who_follows_a_run_that_has_just_ended_waits_for_its_lock(database: Database) -> None:
    url = parse_database_url(database.url)
    with ExitStack() as held:
        held.enter_context(backup_lock(url))
        with pytest.raises(LockHeld), backup_lock(url):
            pass
        ending = threading.Timer(0.3, held.pop_all().close)
        ending.start()

        with backup_lock(url, wait_seconds=10):
            assert ending.finished.is_set()
    ending.join()
