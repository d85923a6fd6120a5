"""`doctor` before real servers: each thing that would make a run fail is found by it, and the run does fail so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from safeharbor_backup.postgres.private_cluster import find_server_bins, private_server
from safeharbor_backup.postgres.scratch_database import scratch_name
from safeharbor_backup.postgres.side_names import new_id
from safeharbor_backup.system.lock import directory_lock
from support.faults import fake_tools
from support.pooler import pooled
from support.postgres import MAJORS, PASSWORD, Database, Servers, execute, make_database
from support.runs import Outcome, Site, make_site

SAFE_CLIENT = "18.7"  # older ones are a warning


@pytest.fixture
def tools(tmp_path: Path) -> str:
    """A client that is of the server's major and has all fixes."""
    return str(fake_tools(tmp_path / "tools", "exit 1", version=SAFE_CLIENT))


@contextmanager
def reader_of(database: Database) -> Iterator[str]:
    """The address of a role that owns nothing and may create nothing."""
    role = f"reader_{database.name}"
    password = PASSWORD.replace("'", "''")
    database.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{password}'", superuser=True)
    try:
        yield database.url.replace(f"//{database.owner}:", f"//{role}:")
    finally:
        database.execute(f"DROP OWNED BY {role}; DROP ROLE {role}", superuser=True)


def line(outcome: Outcome, name: str) -> str:
    """What it says under this name, with what to type."""
    lines = outcome.stdout.splitlines()
    start = next(number for number, each in enumerate(lines) if each[9:].startswith(f"{name} "))
    more = [each.strip() for each in lines[start + 1 : start + 2] if each.strip().startswith("->")]
    return " ".join([*lines[start].split(), *more])


def test_all_is_well_and_stays_as_it_is(site: Site, tools: str) -> None:
    done = site.run("doctor", BACKUP_PG_BIN=tools, SECRET_KEY="k" * 32)

    assert done.status == 0, done.output
    assert done.stdout.endswith("\nAll is well.\n")
    assert done.stderr == ""
    assert list(site.backups.iterdir()) == []
    assert "database " in done.stdout
    assert line(done, "tables") == "ok tables all 2 can be read"


@pytest.mark.parametrize("major", MAJORS)
def test_every_server_is_understood(servers: Servers, tmp_path: Path, major: int) -> None:
    database = make_database(servers[major])
    site = make_site(tmp_path, database)
    database.execute("SELECT lo_create(0); CREATE TABLE parts (id int) PARTITION BY RANGE (id); CREATE SEQUENCE alone")
    assert site.run("backup").status == 0

    done = site.run("doctor")

    assert done.status in (0, 3), done.output  # 3: the client here may be older than the fixes of 2026
    assert "not checked" not in done.stdout
    assert "did not answer" not in done.stdout
    assert f"PostgreSQL {major}." in line(done, "database")
    for name in ("role", "pooler", "tables", "row security", "clock", "space", "restore role", "extensions"):
        assert line(done, name).startswith("ok"), done.stdout


def test_a_column_that_is_not_there_and_what_a_killed_drill_left_are_told(
    site: Site, database: Database, tools: str
) -> None:
    left = scratch_name(database.name, new_id())
    execute(database.server.url(), f"CREATE DATABASE {left} OWNER {database.owner}")

    done = site.run("doctor", BACKUP_PG_BIN=tools, BACKUP_UPLOAD_REFERENCES="photo.path, photo.nope")

    execute(database.server.url(), f"DROP DATABASE {left}")
    assert done.status == 3, done.output
    assert "photo.nope: the table public.photo has no column nope" in line(done, "references")
    assert f'left the database "{left}"' in line(done, "drills")
    there = site.run("doctor", BACKUP_PG_BIN=tools, BACKUP_UPLOAD_REFERENCES="photo.path")
    assert line(there, "references") == "ok references photo.path: each is there"
    assert line(there, "drills").startswith("ok")


def test_a_backup_at_work_is_not_hindered_and_does_not_hinder(site: Site, tools: str) -> None:
    with directory_lock(site.backups):
        assert site.run("doctor", BACKUP_PG_BIN=tools).status == 0


def test_what_the_role_may_not_read_is_what_makes_the_backup_fail(site: Site, database: Database, tools: str) -> None:
    database.execute("CREATE SCHEMA closed; CREATE TABLE closed.t (id int); CREATE SEQUENCE counter")
    with reader_of(database) as url:
        role = f"reader_{database.name}"
        database.execute(f"GRANT SELECT ON entry, closed.t TO {role}")

        done = site.run("doctor", BACKUP_DATABASE_URL=url, BACKUP_PG_BIN=tools)
        backup = site.run("backup", BACKUP_DATABASE_URL=url)
        database.execute(f"GRANT pg_read_all_data TO {role}", superuser=True)
        granted = site.run("doctor", BACKUP_DATABASE_URL=url, BACKUP_PG_BIN=tools)
        granted_backup = site.run("backup", BACKUP_DATABASE_URL=url)

    assert done.status == backup.status == 1
    assert "may not be read: closed.t, public.counter, public.photo ->" in line(done, "tables")
    assert "pg_read_all_data" in line(done, "tables")
    assert (granted.status, granted_backup.status) == (3, 0), granted.output
    assert line(granted, "tables").startswith("ok")


def test_a_large_object_that_may_not_be_read_is_told(site: Site, database: Database, tools: str) -> None:
    database.execute("SELECT lo_create(0)")
    with reader_of(database) as url:
        database.execute(f"GRANT pg_read_all_data TO reader_{database.name}", superuser=True)

        done = site.run("doctor", BACKUP_DATABASE_URL=url, BACKUP_PG_BIN=tools)
        backup = site.run("backup", BACKUP_DATABASE_URL=url)

    assert done.status == backup.status == 1, backup.output
    assert "may not be read: 1 large object" in line(done, "tables")


def test_rows_that_a_policy_hides_are_what_makes_the_backup_fail(site: Site, database: Database, tools: str) -> None:
    database.execute("ALTER TABLE photo ENABLE ROW LEVEL SECURITY")
    assert line(site.run("doctor", BACKUP_PG_BIN=tools), "row security").startswith("ok")  # the owner sees all
    database.execute("ALTER TABLE photo FORCE ROW LEVEL SECURITY")

    done = site.run("doctor", BACKUP_PG_BIN=tools)

    assert done.status == site.run("backup").status == 1
    assert "policies hide rows of public.photo" in line(done, "row security")
    assert "BYPASSRLS" in line(done, "row security")


def test_a_role_that_may_not_create_databases_can_back_up_and_not_restore(
    site: Site, database: Database, tools: str
) -> None:
    database.execute(f"ALTER ROLE {database.owner} NOCREATEDB", superuser=True)

    done = site.run("doctor", BACKUP_PG_BIN=tools)
    helped = site.run("doctor", BACKUP_PG_BIN=tools, RESTORE_DATABASE_URL=database.server.url())

    assert done.status == 3
    assert f'-> ALTER ROLE "{database.owner}" CREATEDB;' in line(done, "restore role")
    assert helped.status == 0, helped.output
    assert '"postgres" is a superuser' in line(helped, "restore role")


def test_a_server_to_restore_to_that_does_not_answer_is_a_problem(site: Site, tools: str) -> None:
    done = site.run("doctor", BACKUP_PG_BIN=tools, RESTORE_DATABASE_URL="postgresql://x@127.0.0.1:1/x")

    assert done.status == 6
    assert line(done, "database").startswith("ok")
    assert line(done, "restore role").startswith("problem")
    assert "not checked: the server to restore to cannot be reached" in line(done, "extensions")


def test_a_password_that_expires_soon_is_told(site: Site, database: Database, tools: str) -> None:
    database.execute(f"ALTER ROLE {database.owner} VALID UNTIL 'infinity'", superuser=True)
    assert line(site.run("doctor", BACKUP_PG_BIN=tools), "role").startswith("ok")
    soon = database.execute("SELECT (now() + interval '3 days')::text")[0][0]
    database.execute(f"ALTER ROLE {database.owner} VALID UNTIL '{soon}'", superuser=True)

    done = site.run("doctor", BACKUP_PG_BIN=tools)

    assert done.status == 3
    assert "VALID UNTIL 'infinity'" in line(done, "role")


@pytest.mark.parametrize(
    ("version", "status", "words"),
    [
        ("18.6", 3, "Update postgresql-client-18 to 18.7 or newer"),
        ("17.99", 1, "Install postgresql-client-18"),
        ("19.1", 0, "pg_dump 19.1 in "),
    ],
)
def test_the_client_is_held_against_the_server(
    site: Site, tmp_path: Path, version: str, status: int, words: str
) -> None:
    place = fake_tools(tmp_path / "other", "exit 1", version=version)

    done = site.run("doctor", BACKUP_PG_BIN=str(place), PATH=str(place))

    assert done.status == status, done.output
    assert words in done.stdout


def test_a_compression_that_the_client_does_not_have_is_told(servers: Servers, tmp_path: Path) -> None:
    site = make_site(tmp_path, make_database(servers[15]))
    place = fake_tools(tmp_path / "tools", "exit 1", version="15.20")

    done = site.run("doctor", BACKUP_PG_BIN=str(place), BACKUP_DUMP_COMPRESSION="zstd:3")

    assert done.status == 1
    assert "BACKUP_DUMP_COMPRESSION=zstd:3" in line(done, "client")
    assert site.run("doctor", BACKUP_PG_BIN=str(place), BACKUP_DUMP_COMPRESSION="gzip:3").status == 0


def test_a_pooler_in_between_is_told(site: Site, database: Database, tools: str) -> None:
    place = site.root / "pooler"
    place.mkdir()
    with pooled(database.server, place) as port:
        url = database.url.replace(f":{database.server.port}/", f":{port}/")

        done = site.run("doctor", BACKUP_PG_BIN=tools, BACKUP_DATABASE_URL=url)
        helped = site.run("doctor", BACKUP_PG_BIN=tools, BACKUP_DATABASE_URL=url, RESTORE_DATABASE_URL=database.url)

    assert done.status == helped.status == 3, done.output
    assert "a restore will refuse it" in line(done, "pooler")
    assert "connection pooler" in line(done, "restore role")
    assert "restores use RESTORE_DATABASE_URL" in line(helped, "pooler")
    assert line(helped, "restore role").startswith("ok")


def test_a_logical_slot_is_told_since_a_restore_leaves_it_behind(tmp_path: Path, tools: str) -> None:
    with private_server(find_server_bins()[18], tcp=True, options={"wal_level": "logical"}) as server:
        database = make_database(server)
        site = make_site(tmp_path, database)
        database.execute("SELECT pg_create_logical_replication_slot('search', 'pgoutput')", superuser=True)

        done = site.run("doctor", BACKUP_PG_BIN=tools)

        assert done.status == 3, done.output
        assert "search: after a restore they stay with the previous database" in line(done, "logical slots")


def test_an_extension_that_only_a_superuser_may_create_is_told(servers: Servers, tmp_path: Path) -> None:
    for major in (17, 15, 18):
        server = servers[major]
        rows = server.execute("SELECT name FROM pg_available_extension_versions WHERE superuser AND NOT trusted")
        if rows:
            break
    else:
        pytest.fail("no server here has an extension that is not trusted")
    database = make_database(server)
    site = make_site(tmp_path, database)
    database.execute(f'CREATE EXTENSION "{rows[0][0]}"', superuser=True)

    done = site.run("doctor")
    as_superuser = site.run("doctor", RESTORE_DATABASE_URL=server.url())

    assert f"only a superuser may create {rows[0][0]}" in line(done, "extensions")
    assert line(as_superuser, "extensions").startswith("ok")


def test_a_refused_query_costs_its_own_check_only(site: Site, database: Database, tools: str) -> None:
    database.execute("REVOKE EXECUTE ON FUNCTION pg_catalog.clock_timestamp() FROM PUBLIC", superuser=True)
    database.execute("REVOKE EXECUTE ON FUNCTION pg_catalog.pg_database_size(name) FROM PUBLIC", superuser=True)

    done = site.run("doctor", BACKUP_PG_BIN=tools)

    assert done.status == 3, done.output
    assert "the database did not answer: permission denied for function clock_timestamp" in line(done, "clock")
    assert "the size of the database is not known" in line(done, "space")
    assert line(done, "tables").startswith("ok")
    assert line(done, "restore role").startswith("ok")


def test_a_database_that_is_closed_costs_no_check_of_the_places(site: Site, database: Database, tools: str) -> None:
    execute(database.server.url(), f"ALTER DATABASE {database.name} ALLOW_CONNECTIONS false")
    try:
        done = site.run("doctor", BACKUP_PG_BIN=tools)
    finally:
        execute(database.server.url(), f"ALTER DATABASE {database.name} ALLOW_CONNECTIONS true")

    assert done.status == 6
    assert "restore --resume" in line(done, "database")
    assert line(done, "tables").startswith("unknown")
    assert line(done, "directory").startswith("ok")
