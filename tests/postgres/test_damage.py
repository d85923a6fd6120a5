"""Damage inside a database that can be dumped: the backup warns, doctor tells, and a restore is the cure."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from support.postgres import Database, Servers, drop_database, execute, make_database
from support.runs import Site, make_site


@pytest.fixture
def debian(servers: Servers) -> Iterator[Database]:
    """A database on the distribution's server, which has ICU, and whose letters are in ICU's order."""
    made = make_database(servers[15])
    execute(servers[15].url(), f"DROP DATABASE {made.name}")
    how = "TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'de' LOCALE 'C.UTF-8'"
    execute(servers[15].url(), f"CREATE DATABASE {made.name} OWNER {made.owner} {how}")
    yield made
    drop_database(made)


@pytest.mark.parametrize("kind", ["debian", "database"])
def test_a_database_under_another_librarys_collation_is_a_warning_and_its_restore_the_cure(
    tmp_path: Path, request: pytest.FixtureRequest, kind: str
) -> None:
    database: Database = request.getfixturevalue(kind)
    site = make_site(tmp_path, database)
    assert site.run("backup").status == 0
    version = f"UPDATE pg_database SET datcollversion = '1' WHERE datname = '{database.name}'"
    database.execute(version, superuser=True)

    done = site.run("backup")
    doctor = site.run("doctor")
    restored = site.run("restore", "--from", "latest", "--yes")
    cured = site.run("backup")

    assert done.status == 3, done.output
    assert "the database was made with version 1 of its collation, the server's library has " in done.stderr
    assert "take a backup now and restore it" in done.stderr
    assert doctor.status == 3
    assert "warning  damage" in doctor.stdout
    assert any("collation" in each for each in warnings_in(site.archives[1]))
    assert restored.status in (0, 3), restored.output
    assert cured.status == 0, cured.output
    assert "ok       damage" in site.run("doctor").stdout


@pytest.mark.parametrize("name", ["public.german", 'pg_catalog."de-x-icu"'])
def test_a_collation_that_a_column_uses_is_told_by_its_name(tmp_path: Path, debian: Database, name: str) -> None:
    database, site = debian, make_site(tmp_path, debian)
    database.execute(
        "CREATE COLLATION german (provider = icu, locale = 'de');"
        f"CREATE TABLE word (w text COLLATE {name} UNIQUE); INSERT INTO word VALUES ('a')"
    )
    assert site.run("backup").status == 0
    before = database.execute(f"SELECT oid, collversion FROM pg_collation WHERE oid = $n${name}$n$::regcollation")[0]
    database.execute(f"UPDATE pg_collation SET collversion = '1' WHERE oid = {before[0]}", superuser=True)

    done = site.run("backup")
    database.execute(f"UPDATE pg_collation SET collversion = '{before[1]}' WHERE oid = {before[0]}", superuser=True)

    assert done.status == 3, done.output
    assert f"the collation {name} was made with version 1 " in done.stderr


def test_a_collation_that_nothing_uses_is_nobodys_business(tmp_path: Path, debian: Database) -> None:
    database, site = debian, make_site(tmp_path, debian)
    database.execute("UPDATE pg_collation SET collversion = '1' WHERE collname = 'fr-x-icu'", superuser=True)

    assert site.run("backup").status == 0


def test_pages_that_failed_their_checksum_are_a_warning(tmp_path: Path, site: Site, database: Database) -> None:
    server = database.server
    database.execute("CREATE TABLE hit AS SELECT 1 AS id")
    execute(server.url(), "CHECKPOINT")
    place = server.data_dir / str(database.execute("SELECT pg_relation_filepath('hit')", superuser=True)[0][0])
    with place.open("r+b") as page:
        page.seek(4000)
        page.write(b"rot")
    # a copy of the files, of which no page is in the server's memory
    copy = Database(server, f"{database.name}_copy", database.owner)
    execute(server.url(), f"CREATE DATABASE {copy.name} OWNER {copy.owner} TEMPLATE {database.name} STRATEGY file_copy")
    with pytest.raises(psycopg.errors.DataCorrupted):
        copy.execute("SELECT * FROM hit")
    copy.execute("DROP TABLE hit")

    done = site.run("backup", BACKUP_DATABASE_URL=copy.url)
    doctor = site.run("doctor", BACKUP_DATABASE_URL=copy.url)

    assert done.status == 3, done.output
    assert "has found 1 damaged page in this database (checksum failures)" in done.stderr
    assert any("checksum" in each for each in warnings_in(site.archives[0]))
    assert "warning  damage" in doctor.stdout


def test_a_server_that_will_not_tell_of_damage_costs_no_backup(site: Site, database: Database) -> None:
    function = "pg_catalog.pg_collation_actual_version(oid)"
    database.execute(f"REVOKE EXECUTE ON FUNCTION {function} FROM PUBLIC", superuser=True)

    done = site.run("backup", RESTORE_DATABASE_URL=database.server.url())
    doctor = site.run("doctor")

    assert done.status == 0, done.output
    assert "whether the database is damaged could not be seen: permission denied" in done.stderr
    assert "note     damage" in doctor.stdout


def test_what_was_never_finished_is_a_note_in_doctor_and_no_warning(site: Site, database: Database) -> None:
    before = site.run("doctor").status
    database.execute(
        "CREATE TABLE twice AS SELECT 1 AS n FROM generate_series(1, 2); CREATE DOMAIN plus AS int;"
        "ALTER DOMAIN plus ADD CONSTRAINT more CHECK (VALUE > 0) NOT VALID;"
        "ALTER TABLE twice ADD CONSTRAINT two CHECK (n = 2) NOT VALID"
    )
    with pytest.raises(psycopg.errors.UniqueViolation):
        database.execute("CREATE UNIQUE INDEX CONCURRENTLY broken ON twice (n)")

    done = site.run("doctor")

    assert done.status == before, done.output
    assert "note     unfinished" in done.stdout
    assert "invalid indexes, which are in no dump: public.broken\n" in done.stdout
    assert "more on public.plus, two on public.twice\n" in done.stdout
    assert site.run("backup").status == 0


def warnings_in(archive: Path) -> tuple[str, ...]:
    with tarfile.open(archive) as tar:
        manifest = tar.extractfile("manifest.json")
        assert manifest is not None
        return tuple(json.load(manifest)["warnings"])
