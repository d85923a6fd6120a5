"""Restores in place into databases with things that are in no schema, by a superuser and by the owner after it."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from safeharbor_backup.postgres.private_cluster import PrivateServer
from support.postgres import Database, Servers, drop_database, execute, make_database
from support.runs import Site, make_site

IN_NO_SCHEMA = """
    CREATE CAST (int4 AS uuid) WITH INOUT;
    CREATE ACCESS METHOD heap2 TYPE TABLE HANDLER heap_tableam_handler;
    CREATE SUBSCRIPTION sub CONNECTION 'host=127.0.0.1 port=1' PUBLICATION p
        WITH (connect = false, enabled = false, create_slot = false, slot_name = 'sub');
    CREATE PUBLICATION pub FOR ALL TABLES;
    CREATE FUNCTION note() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
    CREATE EVENT TRIGGER noted ON sql_drop EXECUTE FUNCTION note();
"""


def _backup(site: Site) -> Path:
    done = site.run("backup")
    assert done.status == 0, done.output
    return site.archives[-1]


def test_what_is_in_no_schema_is_wiped_and_restored(each_database: Database, tmp_path: Path) -> None:
    site = make_site(tmp_path, each_database)
    each_database.execute(IN_NO_SCHEMA, superuser=True)
    reader = f"{each_database.owner}_reader"
    each_database.execute(
        f"CREATE ROLE {reader}; ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO {reader} WITH GRANT OPTION;"
        f"ALTER DEFAULT PRIVILEGES REVOKE ALL ON FUNCTIONS FROM PUBLIC;"
        f"ALTER DEFAULT PRIVILEGES FOR ROLE {each_database.owner} REVOKE ALL ON TYPES FROM PUBLIC",
        superuser=True,
    )
    site.environment["BACKUP_DATABASE_URL"] = each_database.superuser_url  # others' dumps have no subscriptions
    archive = _backup(site)
    wanted = "SELECT pg_get_userbyid(defaclrole), defaclobjtype, defaclacl::text FROM pg_default_acl ORDER BY 1, 2"
    before = each_database.execute(wanted, superuser=True)
    each_database.execute("DELETE FROM photo; DELETE FROM entry")
    for _ in range(2):
        done = site.run("restore", "--from", str(archive), "--in-place", "--yes")

        assert done.status in (0, 3), done.output
        assert each_database.execute(wanted, superuser=True) == before
        assert each_database.execute("SELECT amname FROM pg_am WHERE oid >= 16384", superuser=True) == [("heap2",)]
        assert each_database.execute("SELECT subname FROM pg_subscription", superuser=True) == [("sub",)]
        assert each_database.execute("SELECT count(*) FROM entry") == [(500,)]
    # nothing in the catalogs refers to what is gone
    each_database.execute(f"DROP OWNED BY {reader}; DROP ROLE {reader}", superuser=True)
    each_database.execute("ALTER SUBSCRIPTION sub SET (slot_name = NONE); DROP SUBSCRIPTION sub", superuser=True)


def test_a_superuser_whose_sessions_become_the_app_s_role_restores_in_place(database: Database, tmp_path: Path) -> None:
    site = make_site(tmp_path, database)
    database.execute(
        f"ALTER DATABASE {database.name} SET role = '{database.owner}'; "
        f"ALTER DEFAULT PRIVILEGES FOR ROLE {database.owner} REVOKE ALL ON FUNCTIONS FROM PUBLIC; "
        "CREATE TABLE of_superuser (id int)",
        superuser=True,
    )
    site.environment["BACKUP_DATABASE_URL"] = database.superuser_url
    archive = _backup(site)
    wanted = "SELECT relname, pg_get_userbyid(relowner)::text FROM pg_class WHERE relnamespace = 'public'::regnamespace"
    before = database.execute(f"{wanted} AND relkind = 'r' ORDER BY 1", superuser=True)

    for options in (("--in-place",), ()):
        done = site.run("restore", "--from", str(archive), *options, "--yes")

        assert done.status == 0, done.output
        assert database.execute(f"{wanted} AND relkind = 'r' ORDER BY 1", superuser=True) == before
    assert [name for name, owner in before if owner == "postgres"] == ["of_superuser"]


def test_the_owner_can_restore_in_place_after_a_superuser_did(each_database: Database, tmp_path: Path) -> None:
    site = make_site(tmp_path, each_database)
    archive = _backup(site)
    by_superuser = site.run(
        "restore", "--from", str(archive), "--in-place", "--yes", RESTORE_DATABASE_URL=each_database.superuser_url
    )
    assert by_superuser.status == 0, by_superuser.output

    done = site.run("restore", "--from", str(archive), "--in-place", "--yes")

    assert done.status == 0, done.output


def test_what_others_own_and_the_dump_has_is_named_before_the_wipe(each_database: Database, tmp_path: Path) -> None:
    site = make_site(tmp_path, each_database)
    each_database.execute(
        "CREATE PUBLICATION theirs FOR TABLE photo; CREATE FOREIGN DATA WRAPPER w;"
        "CREATE SERVER far FOREIGN DATA WRAPPER w",
        superuser=True,
    )
    site.run("backup")

    for options in (("--dry-run",), ("--yes",)):
        done = site.run("restore", "--from", "latest", "--in-place", *options)

        assert done.status == 8, done.output
        assert "other roles own things that only they can remove" in done.stderr
        assert "publication theirs of postgres" in done.stderr
        assert "server far of postgres" in done.stderr


@pytest.mark.parametrize("may_create", [True, False])
def test_a_role_that_may_connect_to_its_own_database_only(
    server: PrivateServer, tmp_path: Path, may_create: bool
) -> None:
    made = make_database(server)
    site = make_site(tmp_path, made)
    execute(server.url(), f"ALTER ROLE {made.owner} {'' if may_create else 'NO'}CREATEDB")
    execute(server.url(), "REVOKE CONNECT ON DATABASE postgres, template1 FROM PUBLIC")
    try:
        archive = _backup(site)
        made.execute("DELETE FROM photo")

        drilled = site.run("drill")
        beside = site.run("restore", "--from", str(archive), "--yes")
        inside = site.run("restore", "--from", str(archive), "--in-place", "--yes")

        assert drilled.status == 0, drilled.output
        assert "on a private server" in drilled.output
        assert beside.status == 6
        assert "GRANT CONNECT ON DATABASE postgres" in beside.stderr
        assert "--in-place" in beside.stderr
        assert inside.status == 0, inside.output
        assert made.execute("SELECT count(*) FROM photo") == [(10,)]
    finally:
        execute(server.url(), "GRANT CONNECT ON DATABASE postgres, template1 TO PUBLIC")
        drop_database(made)


def test_names_of_any_encoding_are_counted_in_place(server: PrivateServer, tmp_path: Path) -> None:
    for encoding in ("LATIN1", "EUC_JP"):
        made = make_database(server)
        try:
            execute(server.url(), f'DROP DATABASE "{made.name}"')
            execute(
                server.url(),
                f"CREATE DATABASE {made.name} OWNER {made.owner} TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'",
            )
            (tmp_path / encoding).mkdir()
            site = make_site(tmp_path / encoding, made)
            name = "café" if encoding == "LATIN1" else "写真"
            with psycopg.connect(made.url, autocommit=True) as session:
                session.execute(f'CREATE TABLE "{name}" AS SELECT 1 AS a')
            archive = _backup(site)

            done = site.run("restore", "--from", str(archive), "--in-place", "--yes")

            assert done.status == 0, done.output
        finally:
            drop_database(made)


def test_an_event_trigger_of_an_extension_goes_with_it_and_does_not_act(servers: Servers, tmp_path: Path) -> None:
    made = make_database(servers[15])  # it comes with contrib's extensions
    site = make_site(tmp_path, made)
    made.execute(
        "CREATE EXTENSION hstore; CREATE FUNCTION forbid() RETURNS event_trigger LANGUAGE plpgsql"
        " AS $$BEGIN RAISE EXCEPTION 'it acts'; END$$;"
        "CREATE EVENT TRIGGER theirs ON sql_drop EXECUTE FUNCTION forbid();"
        "ALTER EXTENSION hstore ADD FUNCTION forbid(); ALTER EXTENSION hstore ADD EVENT TRIGGER theirs",
        superuser=True,
    )
    site.environment["BACKUP_DATABASE_URL"] = made.superuser_url
    try:
        done = site.run("restore", "--from", str(_backup(site)), "--in-place", "--yes")

        assert done.status == 0, done.output
        query = "SELECT to_regtype('hstore') IS NOT NULL, (SELECT count(*) FROM pg_event_trigger)"
        assert made.execute(query, superuser=True) == [(True, 0)]
    finally:
        drop_database(made)
