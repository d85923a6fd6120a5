"""Settings that were meant for the app, on the database and on the role, change nothing of what commands do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from safeharbor_backup.actions.backup.run import take_backup
from safeharbor_backup.progress import NoProgress
from safeharbor_backup.settings.load import load_settings
from support.postgres import execute
from support.runs import Site

if TYPE_CHECKING:
    from support.postgres import Database

pytestmark = pytest.mark.timeout(180)

HOSTILE = {
    "datestyle": "German, DMY",
    "intervalstyle": "sql_standard",
    "quote_all_identifiers": "on",
    "client_encoding": "LATIN1",
    "search_path": "evil, public",
    "timezone": "Asia/Kathmandu",
    "extra_float_digits": "-15",
    "bytea_output": "escape",
    "standard_conforming_strings": "off",
    "escape_string_warning": "on",
    "array_nulls": "off",
    "transform_null_equals": "on",
    "xmlbinary": "hex",
    "xmloption": "document",
    "default_transaction_read_only": "on",
    "default_transaction_isolation": "serializable",
    "default_transaction_deferrable": "on",
    "statement_timeout": "50ms",
    "lock_timeout": "1ms",
    "idle_in_transaction_session_timeout": "200ms",
    "idle_session_timeout": "300ms",
    "row_security": "off",
    "client_min_messages": "debug1",
    "check_function_bodies": "on",
    "default_statistics_target": "1",
    "backslash_quote": "off",
    "synchronize_seqscans": "on",
    "default_tablespace": "",
    "work_mem": "64kB",
    "max_parallel_workers_per_gather": "4",
    "debug_print_plan": "off",
    "constraint_exclusion": "on",
}
RICH = """
CREATE SCHEMA evil;
CREATE TABLE odd (a int[], b bytea, c interval, d timestamptz, e float8, f date, "order" text);
INSERT INTO odd VALUES ('{1,NULL,3}', '\\x00ff5c', '-1 days +02:03:04', '2026-02-03 04:05:06+00', 0.1::float8 / 3,
  '2026-11-12', E'a\\\\b');
"""


@pytest.fixture(params=["database", "role", "both"])
def hostile(request: pytest.FixtureRequest, site: Site, database: Database) -> Database:
    """A database whose settings, or whose role's, would change what our own queries mean."""
    database.execute(RICH)
    database.execute(
        f'CREATE ROLE "{database.owner}_app"; GRANT "{database.owner}_app" TO {database.owner}', superuser=True
    )
    targets = {
        "database": [f'DATABASE "{database.name}"'],
        "role": [f"ROLE {database.owner}"],
        "both": [f'DATABASE "{database.name}"', f"ROLE {database.owner}"],
    }[request.param]
    settings = {**HOSTILE, "role": f"{database.owner}_app"}
    for target in targets:
        for name, value in settings.items():
            spelled = value if name in ("search_path", "datestyle") else f"'{value}'"
            execute(database.server.url(), f"ALTER {target} SET {name} = {spelled}")
    return database


def read(database: Database) -> list[object]:
    with psycopg.connect(database.server.url(database.name), autocommit=True) as session:
        for name, value in (("datestyle", "ISO"), ("bytea_output", "hex"), ("extra_float_digits", "1"),
                            ("timezone", "UTC"), ("intervalstyle", "postgres"), ("role", "none")):  # fmt: skip
            session.execute("SELECT pg_catalog.set_config(%s, %s, false)", (name, value))
        found = session.execute("SELECT o::text FROM public.odd o").fetchall()
        return [row[0] for row in found]


def test_hostile_settings_change_nothing(site: Site, hostile: Database) -> None:
    before = read(hostile)
    assert len(before) == 1

    for arguments in (("backup",), ("verify", "--latest"), ("drill",)):
        done = site.run(*arguments)
        assert done.status == 0, (arguments, done.output)
    doctor = site.run("doctor")
    assert "Traceback" not in doctor.output
    assert doctor.status in (0, 3), doctor.output
    restored = site.run("restore", "--from", "latest", "--yes")
    assert restored.status == 0, restored.output
    assert read(hostile) == before
    restored = site.run("restore", "--from", "latest", "--yes", "--in-place")
    assert restored.status == 0, restored.output
    assert read(hostile) == before
    again = site.run("backup")
    assert again.status == 0, again.output


def test_a_role_in_the_address_itself_is_kept(site: Site, database: Database) -> None:
    database.execute(
        f'CREATE ROLE "{database.owner}_two"; GRANT "{database.owner}_two" TO {database.owner}', superuser=True
    )
    site.environment["BACKUP_DATABASE_URL"] += f"?options=-c%20role%3D{database.owner}_two"

    done = site.run("backup")

    assert done.status == 1, done.output
    assert "permission denied" in done.output


def test_vacuum_is_not_held_back_while_uploads_are_read(site: Site, database: Database) -> None:
    seen: list[tuple[object, ...]] = []

    class Looking(NoProgress):
        def phase(self, name: str, total_bytes: int | None = None) -> None:
            if name in ("uploads", "sync", "verify"):
                seen.extend(
                    database.execute(
                        f"SELECT '{name}', state, backend_xmin FROM pg_stat_activity "
                        f"WHERE usename = '{database.owner}' AND state = 'idle in transaction'",
                        superuser=True,
                    )
                )

    site.environment["BACKUP_DIR"] = str(site.backups)
    take_backup(load_settings(site.environment), progress=Looking())

    assert {row[0] for row in seen} >= {"sync", "verify"}  # the lock is held
    assert {row[2] for row in seen} == {None}


@pytest.mark.parametrize("command", ["backup", "doctor"])
@pytest.mark.parametrize("password", ["Tr0ub@dor/Zq9x", "12345/Zq9x@dor", "Zq9x@b:c/dor", "a@Zq9x#x/dor", "Zq9x@dor?x"])
def test_no_part_of_a_password_that_is_not_spelled_out_is_printed(site: Site, command: str, password: str) -> None:
    done = site.run(command, BACKUP_DATABASE_URL=f"postgresql://app:{password}@127.0.0.1:1/app")

    assert done.status == 2, done.output
    assert "%40" in done.output
    assert "Zq9x" not in done.output
    assert "dor" not in done.output.replace("doctor", "")


def test_a_password_that_is_a_word_mangles_no_message(site: Site, database: Database) -> None:
    done = site.run("backup", BACKUP_DATABASE_URL=f"postgresql://password:password@127.0.0.1:{database.server.port}/x")

    assert done.status == 6
    assert 'password authentication failed for user "password"' in done.output
