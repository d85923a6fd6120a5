"""A restore's dry run ends as the restore does: each check of the server, tried with both."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from safeharbor_backup.postgres.private_cluster import PrivateServer, find_server_bins, private_server
from support.needs import missing, need_root
from support.postgres import Database, Servers, drop_database, execute, make_database
from support.runs import Outcome, Site, make_site


def backed_up(site: Site) -> Path:
    done = site.run("backup")
    assert done.status in (0, 3), done.output
    return site.archives[-1]


def both(site: Site, archive: Path, *arguments: str) -> tuple[Outcome, Outcome]:
    """The dry run and the restore, which must end alike."""
    dry = site.run("restore", "--from", str(archive), *arguments, "--dry-run")
    done = site.run("restore", "--from", str(archive), *arguments, "--yes")
    assert dry.status == done.status, f"{dry.output}\n---\n{done.output}"
    return dry, done


@pytest.fixture(scope="module")
def cron_server() -> Iterator[PrivateServer]:
    """A server with pg_cron, which is bound to the database reef."""
    bins = find_server_bins()
    if 15 not in bins or not (Path("/usr/share/postgresql/15/extension") / "pg_cron.control").exists():
        missing("there is no PostgreSQL 15 with pg_cron here")
    options = {"shared_preload_libraries": "pg_cron", "cron.database_name": "reef"}
    with private_server(bins[15], tcp=True, options=options) as server:
        yield server


@pytest.fixture
def cron(cron_server: PrivateServer) -> Iterator[Database]:
    """A database that an extension is bound to by its name, and a job."""
    database = make_database(cron_server, "reef")
    execute(database.superuser_url, "CREATE EXTENSION pg_cron; SELECT cron.schedule('nightly', '0 3 * * *', 'VACUUM')")
    yield database
    drop_database(database)


def test_an_extension_bound_to_the_database_is_named_with_the_way(cron: Database, tmp_path: Path) -> None:
    site = make_site(tmp_path, cron)
    site.environment["BACKUP_DATABASE_URL"] = cron.superuser_url
    taken = site.run("backup")
    assert taken.status == 3, taken.output
    assert "a restore would end with 8: the extension pg_cron works in one database only" in taken.stderr
    assert site.run("backup", BACKUP_IGNORE="pg_cron").status == 0
    archive = site.archives[-1]
    execute(cron.superuser_url, "SELECT cron.schedule('newer', '0 4 * * *', 'VACUUM')")

    dry, done = both(site, archive)

    assert done.status == 8, done.output
    for said in (dry.output, done.output):
        assert 'The extension pg_cron can be only in the database "reef"' in said
        assert "`--in-place` loads into it." in said
    assert both(site, archive, "--in-place")[1].status == 0
    assert execute(cron.superuser_url, "SELECT jobname FROM cron.job") == [("nightly",)]


def test_the_owner_who_may_not_know_to_what_it_is_bound_is_told_the_way_too(cron: Database, tmp_path: Path) -> None:
    site = make_site(tmp_path, cron)
    execute(cron.superuser_url, f"GRANT USAGE ON SCHEMA cron TO {cron.owner}; ALTER ROLE {cron.owner} BYPASSRLS")
    execute(cron.superuser_url, f"GRANT SELECT ON ALL TABLES IN SCHEMA cron TO {cron.owner}")
    archive = backed_up(site)
    execute(cron.url, "DELETE FROM photo")

    beside = both(site, archive)[1]
    in_place = both(site, archive, "--in-place")[1]

    assert beside.status == 8, beside.output
    assert "`--in-place` loads into it." in beside.stderr
    assert in_place.status in (0, 3), in_place.output
    assert execute(cron.url, "SELECT count(*) FROM photo") == [(10,)]
    assert execute(cron.superuser_url, "SELECT jobname FROM cron.job") == [("nightly",)]


def test_a_drill_leaves_out_what_can_be_in_one_database_only(cron: Database, tmp_path: Path) -> None:
    site = make_site(tmp_path, cron)
    site.environment["BACKUP_DATABASE_URL"] = cron.superuser_url
    archive = backed_up(site)

    done = site.run("drill", str(archive))

    assert done.status == 3, done.output
    assert "left out: extension pg_cron, which can be in one database only" in done.output


_USES = """
    CREATE SERVER elsewhere FOREIGN DATA WRAPPER postgres_fdw OPTIONS (dbname 'x');
    CREATE FOREIGN TABLE far (id int) SERVER elsewhere;
"""


@pytest.fixture
def fdw(servers: Servers, tmp_path: Path) -> Iterator[tuple[Site, Database]]:
    """A site whose owner uses an extension that only a superuser may create."""
    database = make_database(servers[15])
    execute(
        database.superuser_url,
        'CREATE EXTENSION postgres_fdw; CREATE EXTENSION "uuid-ossp";'
        f"GRANT USAGE ON FOREIGN DATA WRAPPER postgres_fdw TO {database.owner}",
    )
    yield make_site(tmp_path, database), database
    drop_database(database)


def test_what_needs_an_extension_that_is_left_out_is_named_with_the_way(fdw: tuple[Site, Database]) -> None:
    site, database = fdw
    execute(database.url, _USES)
    taken = site.run("backup")
    archive = site.archives[-1]

    dry, done = both(site, archive)

    assert done.status == 8, done.output
    assert taken.status == 3, taken.output
    assert f'a restore by "{database.owner}" would end with 8' in taken.stderr
    assert "may not create extension postgres_fdw, and the dump has what needs it: server elsewhere" in taken.stderr
    for said in (dry.output, done.output):
        assert "may not create extension postgres_fdw, and the dump has what needs it: server elsewhere" in said
        assert "Set RESTORE_DATABASE_URL to a superuser" in said
        assert "`--in-place`, which keeps what already exists of it" in said
    site.environment["RESTORE_DATABASE_URL"] = database.superuser_url
    assert both(site, archive)[1].status == 0
    assert site.run("backup").status == 0  # as for an extension that nothing needs


def test_in_place_keeps_the_extensions_of_others(fdw: tuple[Site, Database]) -> None:
    site, database = fdw
    execute(database.url, _USES)
    archive = backed_up(site)
    execute(database.url, "DROP SERVER elsewhere CASCADE")

    dry, done = both(site, archive, "--in-place")

    assert done.status in (0, 3), done.output
    assert "left out: extension" not in dry.output + done.output
    assert execute(database.url, "SELECT srvname FROM pg_foreign_server") == [("elsewhere",)]


def test_a_function_in_a_language_for_superusers_is_named_in_place_too(fdw: tuple[Site, Database]) -> None:
    site, database = fdw
    if not (Path("/usr/share/postgresql/15/extension") / "plperlu.control").exists():
        missing("there is no PostgreSQL 15 with plperlu here")
    execute(
        database.superuser_url,
        "CREATE EXTENSION plperlu; CREATE FUNCTION f() RETURNS int LANGUAGE plperlu AS 'return 1';"
        f"ALTER FUNCTION f() OWNER TO {database.owner}",
    )
    taken = site.run("backup")
    archive = site.archives[-1]

    for options in ((), ("--in-place",)):
        dry, done = both(site, archive, *options)

        assert done.status == 8, done.output
        for said in (dry.stderr, done.stderr):
            assert "may not create extension plperlu, and the dump has what needs it: function public.f()" in said
            assert "Set RESTORE_DATABASE_URL to a superuser" in said
            assert "--in-place" not in said
    assert taken.status == 3, taken.output
    assert "--in-place" not in taken.stderr
    site.environment["RESTORE_DATABASE_URL"] = database.superuser_url
    assert both(site, archive, "--in-place")[1].status == 0


def test_a_tablespace_that_is_closed_to_the_owner_is_named(fdw: tuple[Site, Database]) -> None:
    need_root()
    site, database = fdw
    space = Path(tempfile.mkdtemp(dir=database.server.data_dir.parent))
    os.chown(space, database.server.data_dir.stat().st_uid, -1)
    database.server.execute(f"CREATE TABLESPACE space LOCATION '{space}'")
    try:
        database.execute("CREATE INDEX apart ON entry (remark)")
        database.execute("ALTER INDEX apart SET TABLESPACE space", superuser=True)
        taken = site.run("backup")

        dry, done = both(site, site.archives[-1])

        assert (taken.status, done.status) == (3, 8), taken.output + done.output
        for said in (taken.stderr, dry.stderr, done.stderr):
            assert f'"{database.owner}" may not create anything in the tablespace space' in said
            assert "GRANT CREATE ON TABLESPACE" in said
        database.server.execute(f"GRANT CREATE ON TABLESPACE space TO {database.owner}")
        assert site.run("backup").status == 0
    finally:
        database.execute("DROP INDEX apart")
        database.server.execute("DROP TABLESPACE space")
        space.rmdir()


def test_what_only_a_superuser_may_own_and_does_no_more_is_named(fdw: tuple[Site, Database]) -> None:
    site, database = fdw
    site.environment["BACKUP_DATABASE_URL"] = database.superuser_url
    query = "SELECT pg_get_userbyid(evtowner) FROM pg_event_trigger"
    database.server.execute(f"ALTER ROLE {database.owner} SUPERUSER")
    database.execute(
        "CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w;"
        "CREATE FUNCTION see() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';"
        "CREATE EVENT TRIGGER seen ON ddl_command_end EXECUTE FUNCTION see(); COMMENT ON EVENT TRIGGER seen IS 'x'"
    )
    database.server.execute(f"ALTER ROLE {database.owner} NOSUPERUSER")
    taken = site.run("backup")

    dry, done = both(site, site.archives[-1])
    drilled = site.run("drill")
    accepted = site.run("restore", "--from", "latest", "--yes", "--accept-broken")

    assert (taken.status, done.status, drilled.status) == (3, 8, 3), taken.output + done.output + drilled.output
    for said in (taken.stderr, dry.stderr, done.stderr):
        assert f'belongs to "{database.owner}", and only a superuser may own it' in said
    assert "event trigger seen" in taken.stderr
    assert accepted.status == 3, accepted.output
    assert "left out: the owner of EVENT TRIGGER seen" in accepted.stderr
    assert database.execute(query, superuser=True) == [("postgres",)]
    assert database.execute("SELECT srvname FROM pg_foreign_server WHERE srvname = 's'") == [("s",)]
    assert f"ALTER EVENT TRIGGER seen OWNER TO {database.owner}" in next(site.backups.glob("*.sql")).read_text()


def test_an_extension_that_nothing_needs_is_left_out_with_a_warning(fdw: tuple[Site, Database]) -> None:
    site, database = fdw
    # neither what anybody may create, nor what takes from it what belongs to nobody's dump
    execute(database.superuser_url, "CREATE EXTENSION hstore; CREATE EXTENSION pg_stat_statements")
    execute(database.url, "CREATE TABLE h (h hstore)")
    taken = site.run("backup")
    archive = site.archives[-1]
    assert taken.status == 0, taken.output

    dry, done = both(site, archive)

    assert done.status == 3, done.output
    assert "left out: extension postgres_fdw, which only a superuser may create" in dry.output


def test_a_drill_goes_to_a_private_server_where_the_role_may_not_create_it(fdw: tuple[Site, Database]) -> None:
    site, database = fdw
    execute(database.url, _USES)
    archive = backed_up(site)

    done = site.run("drill", str(archive))

    assert done.status == 3, done.output
    assert "it would not restore on the server itself" in done.output


def test_a_dump_by_a_client_newer_than_the_server_is_named_with_the_way(servers: Servers, tmp_path: Path) -> None:
    database = make_database(servers[16])
    site = make_site(tmp_path, database)
    execute(database.url, "CREATE TABLE big AS SELECT g, repeat('x', 100) FROM generate_series(1, 3000) g")
    site.environment["BACKUP_PG_BIN"] = str(find_server_bins()[18])
    try:
        taken = site.run("backup")
        assert taken.status == 3, taken.output
        assert "install postgresql-client-16" in taken.stderr
        assert "apt-get install postgresql-client-16" in site.run("doctor").output
        (archive,) = site.archives
        dry, done = both(site, archive)
        assert done.status == 8, done.output
        assert "transaction_timeout" in dry.output
        assert "`--in-place` loads it anyway" in dry.output
        execute(database.url, "DELETE FROM big")
        assert both(site, archive, "--in-place")[1].status == 0
        assert execute(database.url, "SELECT count(*) FROM big") == [(3000,)]
    finally:
        drop_database(database)


def test_a_standby_is_refused_before(tmp_path: Path) -> None:
    with private_server(find_server_bins()[18], tcp=True) as server:
        database = make_database(server)
        site = make_site(tmp_path, database)
        archive = backed_up(site)
        server.stop()
        (server.data_dir / "standby.signal").touch()
        server.start()

        for arguments in ((), ("--in-place",)):
            dry, done = both(site, archive, *arguments)
            assert done.status == 8, done.output
            assert "is on a standby" in dry.output
            assert "is on a standby" in done.output


def test_a_role_with_few_connections_gets_fewer_jobs(site: Site, database: Database) -> None:
    archive = backed_up(site)
    execute(database.server.url(), f"ALTER ROLE {database.owner} CONNECTION LIMIT 3")

    dry, done = both(site, archive, "--jobs", "4")

    assert done.status == 0, done.output
    assert "1 of 4 jobs load the dump" in dry.stdout
    assert "1 of 4 jobs load the dump" in done.stdout


def test_too_few_connections_are_told_before(site: Site, database: Database) -> None:
    archive = backed_up(site)
    execute(database.server.url(), f"ALTER ROLE {database.owner} CONNECTION LIMIT 2")

    dry, done = both(site, archive)

    assert done.status == 8, done.output
    assert "A restore needs 2 more connections" in dry.output
    assert "CONNECTION LIMIT" in dry.output


def test_more_large_objects_than_locks_are_told_before_a_restore_in_place(tmp_path: Path) -> None:
    with private_server(
        find_server_bins()[18], tcp=True, options={"max_locks_per_transaction": "10", "max_connections": "10"}
    ) as server:
        database = make_database(server)
        site = make_site(tmp_path, database)
        execute(database.url, "SELECT count(lo_create(0)) FROM generate_series(1, 2000)")
        archive = backed_up(site)

        dry, done = both(site, archive, "--in-place")

        assert done.status == 8, done.output
        assert "2,000 large objects" in dry.output
        assert "max_locks_per_transaction" in dry.output


def test_a_subscription_that_stops_is_told_before_and_at_the_end(tmp_path: Path) -> None:
    with private_server(find_server_bins()[18], tcp=True) as server:
        database = make_database(server)
        site = make_site(tmp_path, database)
        execute(server.url(), f"ALTER ROLE {database.owner} SUPERUSER")
        execute(
            database.superuser_url,
            "CREATE SUBSCRIPTION \"from_afar\" CONNECTION 'host=192.0.2.1' PUBLICATION p WITH (connect = false)",
        )
        execute(database.superuser_url, 'ALTER SUBSCRIPTION "from_afar" ENABLE')
        archive = backed_up(site)

        dry, done = both(site, archive)

    assert done.status == 0, done.output
    for said in (dry.output, done.output):
        assert "Afterwards: The subscription from_afar stops replicating" in said
        assert 'ALTER SUBSCRIPTION "from_afar" REFRESH PUBLICATION;' in said
    assert done.stderr.startswith("Afterwards: ")
