"""Sessions that have just ended still count against a limit for a moment: nothing of ours fails for that."""

from __future__ import annotations

import threading
from pathlib import Path

import psycopg
import pytest

from safeharbor_backup.errors import DatabaseUnavailable
from safeharbor_backup.postgres.connection import connected
from safeharbor_backup.postgres.private_cluster import find_server_bins
from safeharbor_backup.settings.address_parsing import parse_database_url
from support.faults import fake_tools
from support.postgres import Database, execute
from support.runs import Site

_MANY = "DO $$BEGIN FOR i IN 1..300 LOOP EXECUTE 'CREATE TEMP TABLE t' || i || ' (x int)'; END LOOP; END$$"


def limit(database: Database, connections: int) -> None:
    execute(database.server.url(), f"ALTER ROLE {database.owner} CONNECTION LIMIT {connections}")


def test_a_session_that_was_left_counts_no_longer(database: Database) -> None:
    limit(database, 1)
    for _ in range(5):
        with connected(parse_database_url(database.url)) as session:
            session.execute(_MANY)  # which its process drops as it ends

        psycopg.connect(database.url).close()


def test_a_backup_waits_for_a_session_that_ends(site: Site, database: Database) -> None:
    limit(database, 3)
    others = [psycopg.connect(database.url) for _ in range(3)]
    with pytest.raises(psycopg.OperationalError, match="too many connections"):
        psycopg.connect(database.url)

    def let_go() -> None:
        for each in others:
            each.close()

    threading.Timer(1.5, let_go).start()
    done = site.run("backup")

    assert done.status == 0, done.output


def test_a_limit_that_lasts_is_told_in_bounded_time(database: Database) -> None:
    limit(database, 0)

    with (
        pytest.raises(DatabaseUnavailable, match="too many connections") as refused,
        connected(parse_database_url(database.url)),
    ):
        pass

    assert refused.value.hint is not None
    assert "A backup needs 3 connections" in refused.value.hint


def test_a_restore_waits_for_the_session_of_the_tool_before(site: Site, database: Database, tmp_path: Path) -> None:
    assert site.run("backup").status == 0
    limit(database, 3)
    real = find_server_bins()[18]
    told = tmp_path / "lingered"
    told.touch()
    # when it ends, another session of the role has taken its place, and stays for a second
    slow_to_end = f"""
        "{real}/pg_restore" "$@"; status=$?
        for given in "$@"; do case "$given" in --dbname=*)
          before=$(wc -l <"{told}")
          (for try in $(seq 100); do
             "{real}/psql" "${{given#--dbname=}}" -qAt -c "SELECT 1" -c "SELECT pg_sleep(1)" >>"{told}" && break
             sleep 0.05
           done) >/dev/null 2>&1 &
          for try in $(seq 100); do [ "$(wc -l <"{told}")" -gt "$before" ] && break; sleep 0.05; done;;
        esac; done
        exit $status"""
    tools = fake_tools(tmp_path / "fake", f'exec "{real}/pg_dump" "$@"', slow_to_end)

    done = site.run("restore", "--from", str(site.archives[-1]), "--jobs", "4", "--yes", BACKUP_PG_BIN=str(tools))

    assert done.status == 0, done.output
    assert "1 of 4 jobs load the dump" in done.stdout
    assert told.read_text().split().count("1") > 1
