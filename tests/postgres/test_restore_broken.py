"""Rows that are in an archive can always be had: the load is tolerant, and what is broken can be accepted knowingly."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

import pytest

from safeharbor_backup.postgres.private_cluster import find_server_bins
from support.faults import fake_tools
from support.needs import need_root
from support.postgres import Database, Servers, drop_database, execute, make_database
from support.runs import Site, make_site
from support.states import state_of

DUPLICATE = """
CREATE TABLE tags (id int, name text); CREATE UNIQUE INDEX tag_name ON tags (name);
INSERT INTO tags SELECT g, 'n' || g FROM generate_series(1, 100) g;
"""
BREAK_THE_INDEX = """
SET allow_system_table_mods = on;
UPDATE pg_index SET indisready = false, indisvalid = false WHERE indexrelid = 'tag_name'::regclass;
INSERT INTO tags VALUES (999, 'n5');
UPDATE pg_index SET indisready = true, indisvalid = true WHERE indexrelid = 'tag_name'::regclass;
"""
ORPHAN = """
CREATE TABLE p (id int PRIMARY KEY); CREATE TABLE k (id int, p int CONSTRAINT "k; p" REFERENCES p);
INSERT INTO p VALUES (1); INSERT INTO k VALUES (1, 1);
"""
ANOTHER_TABLE = """
CREATE TABLE allowed (v int);
CREATE FUNCTION is_allowed(int) RETURNS bool LANGUAGE plpgsql STABLE AS
  'BEGIN RETURN EXISTS (SELECT FROM allowed WHERE v = $1); END';
INSERT INTO allowed VALUES (1), (2);
CREATE TABLE "a first" (v int CONSTRAINT "in list" CHECK (is_allowed(v)));
COMMENT ON CONSTRAINT "in list" ON "a first" IS 'reads another table';
INSERT INTO "a first" VALUES (1), (2);
"""
IN_OTHER_PLACES = """
CREATE DOMAIN member AS int CONSTRAINT known CHECK (is_allowed(VALUE));
COMMENT ON CONSTRAINT known ON DOMAIN member IS 'of a domain';
CREATE TABLE "a domain's" (v member); INSERT INTO "a domain's" VALUES (1);
CREATE DOMAIN inner_one AS int CHECK (is_allowed(VALUE) IS NOT NULL); CREATE TABLE many (v inner_one[]);
CREATE TABLE "a parent" (v int CONSTRAINT listed CHECK (is_allowed(v)));
CREATE TABLE "a child" (CONSTRAINT listed CHECK (is_allowed(v))) INHERITS ("a parent");
INSERT INTO "a child" VALUES (2);
CREATE MATERIALIZED VIEW counted AS SELECT v FROM allowed;
CREATE FUNCTION of_view() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM public.counted';
CREATE TABLE "a view's" (v int CHECK (v <= of_view())); INSERT INTO "a view's" VALUES (2);
"""
CLEARS_ANOTHER = """
CREATE TABLE "a first" (v int);
CREATE FUNCTION clears() RETURNS bool LANGUAGE plpgsql AS 'BEGIN DELETE FROM public."a first"; RETURN true; END';
CREATE TABLE b (v int CHECK (clears())); INSERT INTO b VALUES (1); INSERT INTO "a first" VALUES (1), (2);
"""
OWN_PATH = """
CREATE FUNCTION plain(v text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN lower(v); END';
CREATE FUNCTION slugify(v text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN plain(v); END';
CREATE TABLE p (id int, title text, slug text GENERATED ALWAYS AS (slugify(title)) STORED);
INSERT INTO p VALUES (1, 'Ete');
"""
# with two jobs each waits for the other's lock; of one row each
DEADLOCK = """
CREATE FUNCTION locks(first int, second int) RETURNS bool LANGUAGE plpgsql AS
  'BEGIN PERFORM pg_advisory_xact_lock(first), pg_sleep(1); PERFORM pg_advisory_xact_lock(second); RETURN true; END';
CREATE TABLE a (v int CHECK (locks(1, 2))); CREATE TABLE b (v int CHECK (locks(2, 1)));
"""
# byte 351 is no UTF-8
IN_NO_ENCODING = """
DO $$ BEGIN EXECUTE E'ALTER TABLE "a first" ADD CONSTRAINT "caf\\351" CHECK (is_allowed(v) OR v::text = $x$\\351$x$);'
  'COMMENT ON CONSTRAINT "caf\\351" ON "a first" IS $x$caf\\351$x$'; END $$
"""
IN_AN_INDEX = "CREATE INDEX ON p (slugify(title)); CREATE MATERIALIZED VIEW m AS SELECT slugify(title) AS s FROM p;"


def test_rows_that_a_check_reads_elsewhere_are_loaded_before_it(site: Site, database: Database) -> None:
    database.execute(ANOTHER_TABLE + IN_OTHER_PLACES)
    before = state_of(database.superuser_url, 18, site.uploads)
    assert site.run("backup").status == 0

    done = site.run("restore", "--from", "latest", "--yes")
    staged = state_of(database.superuser_url, 18, site.uploads)
    in_place = site.run("restore", "--from", "latest", "--yes", "--in-place")

    assert (done.status, in_place.status) == (0, 0), done.output + in_place.output
    assert "again with one job" in done.output
    assert "is loaded again" in in_place.output
    assert staged == before
    assert state_of(database.superuser_url, 18, site.uploads) == before


@pytest.mark.parametrize("major", [15, 18])
def test_functions_find_what_they_find_in_the_database(tmp_path: Path, servers: Servers, major: int) -> None:
    database = make_database(servers[major])
    try:
        database.execute(OWN_PATH + (IN_AN_INDEX if major < 17 else ""))
        site = make_site(tmp_path, database)
        before = state_of(database.superuser_url, major, site.uploads)
        assert site.run("backup").status == 0

        for options in ((), ("--in-place",)):
            done = site.run("restore", "--from", "latest", "--yes", *options)

            assert done.status == 0, done.output
            assert state_of(database.superuser_url, major, site.uploads) == before
    finally:
        drop_database(database)


def test_a_duplicate_under_a_unique_index_is_accepted_knowingly(site: Site, database: Database) -> None:
    database.execute(DUPLICATE)
    with_superuser(database, BREAK_THE_INDEX)
    assert site.run("backup").status == 0

    refused = site.run("restore", "--from", "latest", "--yes")
    done = site.run("restore", "--from", "latest", "--yes", "--accept-broken")

    assert refused.status == 8, refused.output
    assert "loaded again" not in refused.output
    assert "(name)=(n5) is duplicated" in refused.stderr
    assert "CREATE UNIQUE INDEX tag_name" in refused.stderr
    assert "--accept-broken" in refused.stderr
    assert done.status == 3, done.output
    assert "left out: index public.tag_name" in done.stderr
    assert database.execute("SELECT count(*) FROM tags") == [(101,)]
    finish(site, database, "DELETE FROM tags WHERE id = 999")
    assert database.execute("SELECT to_regclass('tag_name') IS NOT NULL") == [(True,)]


def test_a_row_that_breaks_a_foreign_key_is_accepted_knowingly(site: Site, database: Database) -> None:
    database.execute(ORPHAN)
    with_superuser(database, "SET session_replication_role = replica; INSERT INTO k VALUES (2, 77)")
    assert site.run("backup").status == 0

    for options in (("--in-place",), ()):
        refused = site.run("restore", "--from", "latest", "--yes", *options)
        assert refused.status == 8, refused.output
        assert "loaded again" not in refused.output
    done = site.run("restore", "--from", "latest", "--yes", "--accept-broken")

    assert "(p)=(77) is not present" in refused.stderr
    assert "--accept-broken" in refused.stderr
    assert done.status == 3, done.output
    assert "made NOT VALID: fk constraint" in done.stderr
    query = "SELECT convalidated FROM pg_constraint WHERE conname = 'k; p'"
    assert database.execute(query) == [(False,)]
    assert database.execute("SELECT count(*) FROM k") == [(2,)]
    finish(site, database, "DELETE FROM k WHERE id = 2")
    assert database.execute(query) == [(True,)]


def test_a_name_in_another_encoding_is_found_in_the_dump(site: Site, database: Database) -> None:
    execute(database.server.url(), f"DROP DATABASE {database.name} WITH (FORCE)")
    execute(
        database.server.url(),
        f"CREATE DATABASE {database.name} OWNER {database.owner} TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'",
    )
    database.execute(ORPHAN + 'ALTER TABLE k RENAME TO "kü"; ALTER TABLE "kü" RENAME CONSTRAINT "k; p" TO "é"')
    with_superuser(database, 'SET session_replication_role = replica; INSERT INTO "kü" VALUES (2, 77)')
    assert site.run("backup").status == 0

    done = site.run("restore", "--from", "latest", "--yes", "--accept-broken")

    assert done.status == 3, done.output
    finish(site, database, 'DELETE FROM "kü" WHERE id = 2')
    assert database.execute("SELECT convalidated FROM pg_constraint WHERE conname = 'é'") == [(True,)]


def test_a_check_that_does_not_hold_is_accepted_knowingly(site: Site, database: Database) -> None:
    database.execute(ANOTHER_TABLE + "DELETE FROM allowed WHERE v = 2;")
    assert site.run("backup").status == 0

    refused = site.run("restore", "--from", "latest", "--yes")
    done = site.run("restore", "--from", "latest", "--yes", "--accept-broken")

    in_place = ("restore", "--from", "latest", "--yes", "--in-place")
    for options, status in ((in_place, 8), ((*in_place, "--accept-broken"), 2)):
        not_so = site.run(*options)
        assert not_so.status == status, not_so.output
        assert "RESTORE_DATABASE_URL" in not_so.stderr
    assert refused.status == 8, refused.output
    assert "--accept-broken" in refused.stderr
    assert done.status == 3, done.output
    assert database.execute('SELECT count(*) FROM "a first"') == [(2,)]
    finish(site, database, "INSERT INTO allowed VALUES (2)")
    assert database.execute("SELECT convalidated FROM pg_constraint WHERE conname = 'in list'") == [(True,)]


def test_rows_that_are_not_as_many_as_the_manifest_says_are_accepted_knowingly(site: Site, database: Database) -> None:
    database.execute(CLEARS_ANOTHER)
    assert site.run("backup").status == 0

    refused = site.run("restore", "--from", "latest", "--yes", "--jobs", "1")
    before = database.execute('SELECT count(*) FROM "a first"')
    done = site.run("restore", "--from", "latest", "--yes", "--jobs", "1", "--accept-broken")

    assert refused.status == 8, refused.output
    assert 'public."a first" has 0 rows instead of 2' in refused.stderr
    assert "`--accept-broken` takes it as it is" in refused.stderr
    assert before == [(2,)]
    assert done.status == 3, done.output
    assert 'public."a first" has 0 rows instead of 2' in done.stderr


def test_two_jobs_that_wait_for_each_other_are_followed_by_one(site: Site, database: Database) -> None:
    for statement in (DEADLOCK, "INSERT INTO a VALUES (1)", "INSERT INTO b VALUES (1)"):
        database.execute(statement)
    assert site.run("backup").status == 0

    done = site.run("restore", "--from", "latest", "--yes", "--jobs", "2")

    assert done.status == 0, done.output
    assert "deadlock detected" in done.output
    assert "It is loaded again with one job" in done.output
    assert database.execute("SELECT (SELECT count(*) FROM a), (SELECT count(*) FROM b)") == [(1, 1)]


def test_what_no_order_of_loading_changes_is_loaded_once(site: Site, database: Database, tmp_path: Path) -> None:
    need_root()
    server, real = database.server, find_server_bins()[18]
    space = Path(tempfile.mkdtemp(dir=server.data_dir.parent))
    os.chown(space, server.data_dir.stat().st_uid, -1)
    server.execute(f"CREATE TABLESPACE space LOCATION '{space}'")
    try:
        server.execute(f"GRANT CREATE ON TABLESPACE space TO {database.owner}")
        database.execute("CREATE INDEX ON entry (remark) TABLESPACE space")
        assert site.run("backup").status == 0
        revoke = f"{real}/psql -qXc 'REVOKE CREATE ON TABLESPACE space FROM {database.owner}' '{server.url()}'"
        load = f'case "$*" in *--use-list*) {revoke};; esac; exec {real}/pg_restore "$@"'
        tools = fake_tools(tmp_path / "tools", f'exec {real}/pg_dump "$@"', load)
        (tools / "psql").symlink_to(real / "psql")

        done = site.run("restore", "--from", "latest", "--yes", BACKUP_PG_BIN=str(tools))

        assert done.status == 8, done.output
        assert "permission denied for tablespace space" in done.stderr
        assert "again" not in done.output
        assert database.execute("SELECT count(*) FROM entry") == [(500,)]
    finally:
        database.execute("DROP TABLE entry CASCADE")
        server.execute("DROP TABLESPACE space")
        space.rmdir()


def with_superuser(database: Database, statements: str) -> None:
    execute(database.superuser_url, statements)


def finish(site: Site, database: Database, mend: str) -> None:
    """Mend the rows, then run the file that the restore has written."""
    (script,) = site.backups.glob("*-to-mend.sql")
    assert script.stat().st_mode & 0o777 == 0o600
    database.execute(mend)
    database.execute(script.read_text())


def test_names_of_a_database_without_an_encoding_go_into_the_file_as_they_are(tmp_path: Path, servers: Servers) -> None:
    server = servers[18]
    database = make_database(server)
    server.execute(f"DROP DATABASE {database.name}")
    server.execute(
        f"CREATE DATABASE {database.name} OWNER {database.owner} TEMPLATE template0 ENCODING SQL_ASCII LOCALE 'C'"
    )
    try:
        database.execute(ANOTHER_TABLE)
        database.execute(IN_NO_ENCODING)
        site = make_site(tmp_path, database)
        assert site.run("backup").status == 0
        for options in ((), ("--in-place",)):
            again = site.run("restore", "--from", "latest", "--yes", *options)
            assert again.status == 0, again.output
            assert "loaded again" in again.output
            query = "SELECT count(obj_description(oid)) FROM pg_constraint WHERE contype = 'c'"
            assert database.execute(query) == [(2,)]
        database.execute("DELETE FROM allowed")
        assert site.run("backup").status == 0
        done = site.run("restore", "--from", "latest", "--yes", "--accept-broken")
        assert done.status == 3, done.output
        script = next(site.backups.glob("*-to-mend.sql"))
        assert b'VALIDATE CONSTRAINT "caf\351"' in script.read_bytes()
        script.unlink()
        database.execute(f'DROP TABLE "a first"; {ORPHAN}')
        database.execute('DO $$ BEGIN EXECUTE E\'ALTER TABLE k RENAME CONSTRAINT "k; p" TO "caf\\351"\'; END $$')
        with_superuser(database, "SET session_replication_role = replica; INSERT INTO k VALUES (2, 99)")
        assert site.run("backup").status == 0

        done = site.run("restore", "--from", "latest", "--yes", "--accept-broken")

        assert done.status == 3, done.output
        assert "made NOT VALID: fk constraint" in done.stderr
        assert database.execute("SELECT count(*) FROM k") == [(2,)]
        (script,) = site.backups.glob("*-to-mend.sql")
        database.execute("DELETE FROM k WHERE id = 2")
        psql = find_server_bins()[18] / "psql"
        subprocess.run([psql, "-X", "-v", "ON_ERROR_STOP=1", "-f", script, database.url], check=True, timeout=60)
        assert database.execute("SELECT count(*) FROM pg_constraint WHERE conrelid = 'k'::regclass") == [(1,)]
    finally:
        drop_database(database)
