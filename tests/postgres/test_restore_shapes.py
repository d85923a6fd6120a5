"""Restores across major versions and of databases of all shapes, as the owner and as a superuser."""

from __future__ import annotations

import secrets
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest

from safeharbor_backup.postgres.client_tools import ClientTools
from safeharbor_backup.postgres.contents import UnreadableDump, read_contents
from safeharbor_backup.postgres.dump_input import DumpInput
from safeharbor_backup.postgres.private_cluster import find_server_bins
from support.archives import write_program
from support.postgres import PASSWORD, Database, Servers, drop_database, execute, make_database
from support.runs import Outcome, Site, make_site
from support.states import State, dump_text, state_of, tree_of

ROLE = "shapes_reader"

OWNERS = """
CREATE TABLE a (id int PRIMARY KEY, b int);
CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a);
ALTER TABLE a ADD CONSTRAINT circle FOREIGN KEY (b) REFERENCES b DEFERRABLE INITIALLY DEFERRED;
BEGIN; INSERT INTO a VALUES (1, 1); INSERT INTO b VALUES (1, 1); COMMIT;
CREATE TABLE measured (k int, v text) PARTITION BY RANGE (k);
CREATE TABLE measured_low PARTITION OF measured FOR VALUES FROM (0) TO (10);
CREATE TABLE measured_high PARTITION OF measured FOR VALUES FROM (10) TO (20);
INSERT INTO measured SELECT g, g FROM generate_series(0, 19) g;
CREATE TABLE numbered (i int GENERATED ALWAYS AS IDENTITY, n int, twice int GENERATED ALWAYS AS (n * 2) STORED);
INSERT INTO numbered (n) SELECT g FROM generate_series(1, 50) g;
CREATE TYPE mood AS ENUM ('calm', 'storm');
CREATE DOMAIN depth AS numeric(6, 2) CHECK (VALUE > 0);
CREATE TABLE weather (m mood, d depth, at timestamptz DEFAULT '2026-01-01Z');
INSERT INTO weather VALUES ('storm', 3.5), ('calm', 0.25);
CREATE TABLE log (line text);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
  'BEGIN INSERT INTO log VALUES (''written''); RETURN NEW; END';
CREATE TRIGGER noted AFTER INSERT ON weather FOR EACH ROW EXECUTE FUNCTION note();
CREATE TABLE secret (id int, who text);
ALTER TABLE secret ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON secret USING (who = current_user);
INSERT INTO secret VALUES (1, current_user), (2, 'somebody else');
CREATE VIEW stormy AS SELECT * FROM weather WHERE m = 'storm';
CREATE MATERIALIZED VIEW counted AS SELECT m, count(*) FROM weather GROUP BY m;
CREATE UNIQUE INDEX ON counted (m);
SELECT lo_from_bytea(4711, decode(repeat('cafe', 5000), 'hex'));
CREATE SCHEMA "o'dd sch""ema";
CREATE TABLE "o'dd sch""ema"."t%s \n" ("c ol" int);
INSERT INTO "o'dd sch""ema"."t%s \n" VALUES (7);
CREATE SEQUENCE berth START 100; SELECT nextval('berth');
"""
CONTENT = """
    SELECT (SELECT sum(hashtextextended(x::text, 0)) FROM measured x), (SELECT count(*) FROM log),
           (SELECT sum(hashtextextended(x::text, 0)) FROM numbered x), (SELECT string_agg(m::text, ',') FROM stormy),
           (SELECT sum(count) FROM counted), (SELECT md5(lo_get(4711))), (SELECT last_value FROM berth)
"""
NEWER = """
CREATE TABLE newer (id int PRIMARY KEY, a int REFERENCES a); INSERT INTO newer VALUES (1, 1);
CREATE VIEW newer_view AS SELECT * FROM weather JOIN newer ON true;
CREATE FUNCTION newer_function() RETURNS mood LANGUAGE sql AS $$ SELECT 'calm'::mood $$;
SELECT lo_from_bytea(4712, 'newer'); SELECT lo_unlink(4711);
DELETE FROM numbered; DROP TABLE log CASCADE; UPDATE weather SET d = 1;
"""


def backed_up(site: Site, status: int = 0) -> Path:
    done = site.run("backup")
    assert done.status == status, done.output
    return site.archives[-1]


def restore(site: Site, archive: Path, *more: str) -> Outcome:
    return site.run("restore", "--from", str(archive), "--yes", *more, timeout=500)


@pytest.fixture
def reader(servers: Servers) -> Iterator[str]:
    """A role that things are granted to, on the newest server."""
    execute(servers[18].url(), f"CREATE ROLE {ROLE}")
    yield ROLE
    execute(servers[18].url(), f"DROP ROLE {ROLE}")


@pytest.mark.parametrize(("old", "new"), [(15, 15), (15, 18), (16, 17), (18, 18)])
def test_an_archive_goes_to_the_same_or_a_newer_major(tmp_path: Path, servers: Servers, old: int, new: int) -> None:
    source, target = make_database(servers[old]), make_database(servers[new])
    try:
        source.execute(OWNERS)
        site = make_site(tmp_path, source)
        archive = backed_up(site)
        files = tree_of(site.uploads)
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()

        done = restore(site, archive, "--database-url", target.url, "--upload-dir", str(elsewhere))

        assert done.status == 0, done.output
        assert target.execute(CONTENT) == source.execute(CONTENT)
        assert tree_of(elsewhere) == files
    finally:
        drop_database(target)
        drop_database(source)


def test_an_archive_does_not_go_to_an_older_major(tmp_path: Path, servers: Servers) -> None:
    source, target = make_database(servers[18]), make_database(servers[15])
    try:
        site = make_site(tmp_path, source)
        archive = backed_up(site)
        target.execute("CREATE TABLE present AS SELECT 1")
        before = dump_text(target.url, 15)

        dry = site.run("restore", "--from", str(archive), "--dry-run", "--database-url", target.url, "--live-uploads")
        done = restore(site, archive, "--database-url", target.url, "--live-uploads")

        assert dry.status == done.status == 8, done.output
        assert "The dump is of PostgreSQL 18" in done.stderr
        assert "Restore to a server of PostgreSQL 18 or newer" in done.stderr
        assert dump_text(target.url, 15) == before
    finally:
        drop_database(target)
        drop_database(source)


PROPERTIES = """
    SELECT d.datconnlimit, shobj_description(d.oid, 'pg_database'), d.datacl::text, pg_get_userbyid(d.datdba),
           (SELECT array_agg(coalesce(r.rolname, '') || s.setconfig::text ORDER BY 1) FROM pg_db_role_setting s
            LEFT JOIN pg_roles r ON r.oid = s.setrole WHERE s.setdatabase = d.oid), d.datallowconn, d.datcollate
    FROM pg_database d WHERE datname = current_database()
"""


@pytest.mark.parametrize("who", ["owner", "superuser"])
@pytest.mark.parametrize("how", ["staged", "in place"])
def test_everything_that_a_database_may_hold_comes_back(
    tmp_path: Path, reader: str, database: Database, who: str, how: str
) -> None:
    database.execute(OWNERS)
    database.execute(
        f'GRANT SELECT ON weather TO {reader}; GRANT USAGE ON SCHEMA "o\'dd sch""ema" TO {reader};'
        f"ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO {reader};"
        f'ALTER DATABASE {database.name} SET search_path TO public, "o\'dd sch""ema";'
        f"ALTER DATABASE {database.name} SET work_mem TO '5MB';"
        f"ALTER ROLE {database.owner} IN DATABASE {database.name} SET datestyle TO 'ISO, DMY';"
        f"COMMENT ON DATABASE {database.name} IS 'it''s ours'; ALTER DATABASE {database.name} CONNECTION LIMIT 40;"
        f"REVOKE ALL ON DATABASE {database.name} FROM PUBLIC; GRANT CONNECT ON DATABASE {database.name} TO {reader}"
    )
    site = make_site(tmp_path, database)
    if who == "superuser":
        site.environment["BACKUP_DATABASE_URL"] = database.superuser_url
        database.execute(
            "CREATE FUNCTION watch() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';"
            "CREATE EVENT TRIGGER watching ON ddl_command_start EXECUTE FUNCTION watch();"
            "CREATE PUBLICATION all_of_it FOR ALL TABLES WITH (publish = 'insert');"
            "CREATE PUBLICATION part FOR TABLE weather WITH (publish = 'insert');"
            f"CREATE TABLE of_another (id int); ALTER TABLE of_another OWNER TO {reader};"
            f"GRANT SELECT ON of_another TO {database.owner}",
            superuser=True,
        )
    url = database.superuser_url
    before = state_of(url, 18, site.uploads)
    properties = database.execute(PROPERTIES, superuser=True)
    archive = backed_up(site)
    database.execute(NEWER)
    changed = dump_text(url, 18)

    done = restore(site, archive, *(["--in-place"] if how == "in place" else []))

    assert done.status == 0, done.output
    after = state_of(url, 18, site.uploads)
    assert after == before
    assert database.execute(PROPERTIES, superuser=True) == properties
    if how == "staged":
        assert site.run("restore", "--undo").status == 0
        assert dump_text(url, 18) == changed
        assert database.execute(PROPERTIES, superuser=True) == properties
    assert site.run("restore", "--discard-previous", "--yes").status == 0


def test_a_trusted_extension_comes_back_with_its_owner(tmp_path: Path, servers: Servers) -> None:
    """The wheels' servers bring no extensions; a made-up one will do, as PostgreSQL goes by its control file."""
    server = servers[18]
    share = Path(str(server.execute("SELECT setting FROM pg_config WHERE name = 'SHAREDIR'")[0][0])) / "extension"
    control, script = share / "harbor_trusted.control", share / "harbor_trusted--1.0.sql"
    control.write_text("default_version = '1.0'\ntrusted = true\nrelocatable = true\n")
    script.write_text("CREATE FUNCTION harbor_trusted() RETURNS int LANGUAGE sql AS 'SELECT 1';\n")
    database = make_database(server)
    try:
        database.execute(
            "CREATE EXTENSION harbor_trusted; CREATE TABLE uses (n int DEFAULT harbor_trusted());"
            "COMMENT ON EXTENSION harbor_trusted IS 'trusted'; INSERT INTO uses DEFAULT VALUES"
        )
        site = make_site(tmp_path, database)
        before = state_of(database.url, 18, site.uploads)
        archive = backed_up(site)
        database.execute("DROP EXTENSION harbor_trusted CASCADE")

        done = restore(site, archive)

        assert done.status == 0, done.output
        assert state_of(database.url, 18, site.uploads) == before
        in_place = restore(site, archive, "--in-place")
        assert in_place.status == 0, in_place.output
        assert state_of(database.url, 18, site.uploads) == before
        assert site.run("restore", "--discard-previous", "--yes").status == 0
    finally:
        drop_database(database)
        control.unlink()
        script.unlink()


@pytest.fixture
def untrusted(servers: Servers) -> Iterator[str]:
    """An extension that only a superuser may install."""
    server = servers[18]
    share = Path(str(server.execute("SELECT setting FROM pg_config WHERE name = 'SHAREDIR'")[0][0])) / "extension"
    name = f"harbor_{secrets.token_hex(4)}"  # the directory is that of all servers of this major
    control, script = share / f"{name}.control", share / f"{name}--1.0.sql"
    control.write_text("default_version = '1.0'\nrelocatable = true\ncomment = 'of the superuser'\n")
    script.write_text(f"CREATE FUNCTION {name}() RETURNS int LANGUAGE sql AS 'SELECT 1';\n")
    yield name
    control.unlink()
    script.unlink()


def test_what_only_a_superuser_may_create_is_left_out_for_an_owner_and_told(
    site: Site, database: Database, untrusted: str
) -> None:
    before = state_of(database.url, 18, site.uploads)
    database.execute(
        f"CREATE EXTENSION {untrusted};"
        "CREATE FUNCTION watch() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';"
        "CREATE EVENT TRIGGER watching ON ddl_command_start EXECUTE FUNCTION watch();"
        "COMMENT ON EVENT TRIGGER watching IS 'it watches';"
        "CREATE PUBLICATION all_of_it FOR ALL TABLES WITH (publish = 'insert')",
        superuser=True,
    )
    archive = backed_up(site)
    database.execute("DELETE FROM photo")

    dry = site.run("restore", "--from", str(archive), "--dry-run")
    done = restore(site, archive)

    assert dry.status == 3, dry.output
    assert done.status == 3, done.output
    for what in (f"extension {untrusted}", "event trigger watching", "publication all_of_it"):
        assert f"left out: {what}" in done.stderr
        assert f"left out: {what}" in dry.stderr
    text = dump_text(database.url, 18)
    function = b"CREATE FUNCTION public.watch()"
    assert function in text
    assert before.database.count(b"COPY ") == text.count(b"COPY ")
    assert database.execute("SELECT count(*) FROM photo") == [(10,)]
    assert site.run("restore", "--discard-previous", "--yes").status == 0


def test_a_superuser_gets_the_untrusted_extension_back(site: Site, database: Database, untrusted: str) -> None:
    site.environment["BACKUP_DATABASE_URL"] = database.superuser_url
    database.execute(f"CREATE EXTENSION {untrusted}", superuser=True)
    before = state_of(database.superuser_url, 18, site.uploads)
    archive = backed_up(site)
    database.execute(f"DROP EXTENSION {untrusted}; DROP TABLE photo", superuser=True)

    for more in ([], ["--in-place"]):
        done = restore(site, archive, *more)
        assert done.status == 0, done.output
        assert state_of(database.superuser_url, 18, site.uploads) == before
    assert site.run("restore", "--discard-previous", "--yes").status == 0


def test_sessions_that_keep_reconnecting_and_writing_leave_nothing_of_before_in_the_new_state(
    site: Site, database: Database
) -> None:
    database.execute("CREATE TABLE noise (at double precision)")
    archive = backed_up(site)
    wanted = tree_of(site.uploads)
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            try:
                with psycopg.connect(database.url, autocommit=True) as session:
                    while not stop.is_set():
                        session.execute("INSERT INTO noise VALUES (extract(epoch FROM clock_timestamp()))")
            except psycopg.Error:
                time.sleep(0.005)

    threads = [threading.Thread(target=write) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        time.sleep(0.3)
        assert database.execute("SELECT count(*) > 0 FROM noise") == [(True,)]
        started = time.time()
        done = restore(site, archive)
    finally:
        stop.set()
        for thread in threads:
            thread.join()

    assert done.status == 0, done.output
    assert database.execute(f"SELECT count(*) FROM noise WHERE at < {started}") == [(0,)]
    assert tree_of(site.uploads) == wanted
    assert site.run("restore", "--undo").status == 0
    assert database.execute(f"SELECT count(*) > 0 FROM noise WHERE at < {started}") == [(True,)]


@pytest.mark.parametrize(
    "name", ["empty", "x" * 60, "o'd d=\"ä 日", "postgres"], ids=["empty", "60", "odd", "postgres"]
)
def test_databases_of_all_names_and_empty_ones(tmp_path: Path, servers: Servers, name: str) -> None:
    server = servers[18]
    site = Site(tmp_path, "")
    (site.uploads / "a").write_text("a")
    if name == "postgres":  # the one that others connect to when they have no other
        database = Database(server, "postgres", "postgres")
        site.environment["BACKUP_DATABASE_URL"] = server.url()
    else:
        database = make_database(server, name)
        site.environment["BACKUP_DATABASE_URL"] = database.url
    url = server.url(quote(name, safe=""))
    try:
        if name != "empty":
            execute(url, "CREATE TABLE kept AS SELECT 1 AS n")
            if name != "postgres":
                execute(url, f"ALTER TABLE kept OWNER TO {database.owner}")
        before: State = state_of(url, 18, site.uploads)
        archive = backed_up(site)
        execute(url, "CREATE TABLE newer AS SELECT 1 AS n")
        if name not in ("postgres", "empty"):
            execute(url, f"ALTER TABLE newer OWNER TO {database.owner}")
        changed = state_of(url, 18, site.uploads)

        done = restore(site, archive)

        assert done.status == 0, done.output
        assert state_of(url, 18, site.uploads) == before
        undone = site.run("restore", "--undo")
        assert undone.status == 0, undone.output
        assert state_of(url, 18, site.uploads) == changed
        assert site.run("restore", "--discard-previous", "--yes").status == 0
    finally:
        if name == "postgres":
            execute(url, "DROP TABLE IF EXISTS kept, newer")
        else:
            drop_database(database)


def test_a_role_that_may_create_databases_restores_for_an_owner_who_may_not(
    site: Site, database: Database, servers: Servers
) -> None:
    """Everything still belongs to the owner afterwards."""
    helper = make_database(servers[18])
    execute(servers[18].url(), f"ALTER ROLE {database.owner} NOCREATEDB; GRANT {database.owner} TO {helper.owner}")
    try:
        before = state_of(database.url, 18, site.uploads)
        archive = backed_up(site)
        database.execute("DELETE FROM photo")

        done = site.run("restore", "--from", str(archive), "--yes", RESTORE_DATABASE_URL=helper.url)

        assert done.status == 0, done.output
        assert state_of(database.url, 18, site.uploads) == before
        assert database.execute("SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'") == [
            (database.owner,)
        ]
    finally:
        drop_database(helper)


@pytest.mark.parametrize("major", [15, 18])
def test_a_member_of_the_owner_who_does_not_inherit_is_refused_before_anything_changes(
    tmp_path: Path, servers: Servers, major: int
) -> None:
    database, helper = make_database(servers[major]), make_database(servers[major])
    execute(servers[major].url(), f"ALTER ROLE {helper.owner} NOINHERIT; GRANT {database.owner} TO {helper.owner}")
    try:
        site = make_site(tmp_path, database)
        backed_up(site)

        done = site.run("restore", "--from", "latest", "--yes", RESTORE_DATABASE_URL=helper.url)

        assert done.status == 6, done.output
        assert f'"{helper.owner}" does not inherit from that role' in done.stderr
        assert site.leftovers == []
        assert site.run("backup").status == 0
    finally:
        drop_database(helper)
        drop_database(database)


@pytest.mark.parametrize("role", ["UPPER", 'Odd "%s" role', "a=b '-c"])
def test_an_owner_of_any_name_restores_beside_and_in_place(tmp_path: Path, servers: Servers, role: str) -> None:
    server, quoted = servers[16], '"{}"'.format(role.replace('"', '""'))
    password = PASSWORD.replace("'", "''")
    execute(server.url(), f"CREATE ROLE {quoted} LOGIN CREATEDB PASSWORD '{password}'")
    execute(server.url(), f"CREATE DATABASE app_of_odd_role OWNER {quoted}")
    url = f"postgresql://{quote(role, safe='')}:{quote(PASSWORD, safe='')}@127.0.0.1:{server.port}/app_of_odd_role"
    try:
        site = Site(tmp_path, url)
        execute(url, f"CREATE TABLE one (id int); ALTER ROLE {quoted} IN DATABASE app_of_odd_role SET work_mem = '5MB'")
        before = state_of(url, 16, site.uploads)
        archive = backed_up(site)

        for options in (["--no-keep-previous", "--live-database", "--live-uploads"], ["--in-place"]):
            execute(url, "CREATE TABLE newer (id int)")
            done = site.run("restore", "--from", str(archive), "--yes", *options)
            assert done.status == 0, done.output
            assert state_of(url, 16, site.uploads) == before
            assert execute(url, "SHOW work_mem") == [("5MB",)]
    finally:
        execute(server.url(), "DROP DATABASE app_of_odd_role WITH (FORCE)")
        execute(server.url(), f"DROP ROLE {quoted}")


def test_a_new_host_whose_template_lets_nobody_in(site: Site, database: Database) -> None:
    before = state_of(database.url, 18, site.uploads)
    archive = backed_up(site)
    execute(database.server.url(), f"DROP DATABASE {database.name}")
    execute(database.server.url(), "REVOKE CONNECT ON DATABASE template1 FROM PUBLIC")
    try:
        done = restore(site, archive)
    finally:
        execute(database.server.url(), "GRANT CONNECT ON DATABASE template1 TO PUBLIC")

    assert done.status == 0, done.output
    assert state_of(database.url, 18, site.uploads) == before


def test_several_jobs_load_a_clone_of_the_dump_where_blocks_can_be_shared(site: Site, database: Database) -> None:
    from support.filesystems import mounted_image

    database.execute("CREATE TABLE large AS SELECT md5(g::text) t FROM generate_series(1, 50000) g")
    with mounted_image("xfs", site.root / "xfs", 320 << 20) as disk:
        site.backups = disk
        site.environment["BACKUP_DIR"] = str(disk)
        archive = backed_up(site)
        trace = site.root / "trace"
        argv = ["strace", "-f", "-e", "trace=ioctl", "-o", str(trace)]

        done = subprocess.run(
            [*argv, *site.argv("restore", "--from", str(archive), "--yes", "--jobs", "2")],
            env=site.full_environment(),
            capture_output=True,
            check=False,
            cwd=site.root,
        )

        assert done.returncode == 0, done.stderr
        clones = [line for line in trace.read_text().splitlines() if "0x4020940d" in line or "FICLONERANGE" in line]
        assert clones
        assert clones[0].endswith("= 0")
        assert site.run("restore", "--discard-previous", "--yes").status == 0
    assert database.execute("SELECT count(*) FROM large") == [(50_000,)]


def test_a_client_without_the_dumps_compression_is_passed_over(site: Site, database: Database, tmp_path: Path) -> None:
    """A build without it lists the dump with a warning, and fails only at the data."""
    real = find_server_bins()[database.server.major]
    lacking = tmp_path / "lacking"
    lacking.mkdir()
    (lacking / "pg_dump").symlink_to(real / "pg_dump")
    write_program(
        lacking / "pg_restore",
        'echo "pg_restore: warning: archive is compressed, but this installation does not support compression (this '
        'build does not support compression with zstd) -- no data will be available" >&2\n'
        f'case "$*" in --list) {real}/pg_restore "$@"; exit 0;; esac\n'
        'echo "pg_restore: error: could not initialize compression: not supported" >&2; exit 1',
    )
    assert site.run("backup", "--no-prune").status == 0
    database.execute("DELETE FROM photo")
    restore = ("restore", "--from", str(site.archives[-1]), "--yes")

    done = site.run(*restore, BACKUP_PG_BIN=f"{lacking}:{real}")

    assert done.status == 0, done.output
    assert database.execute("SELECT count(*) FROM photo") == [(10,)]
    dump = tmp_path / "db.dump"
    dump.write_bytes(b"PGDMP\x01\x0f\x00")
    with pytest.raises(UnreadableDump, match="does not support compression") as alone:
        read_contents(DumpInput(dump, size=8), [ClientTools(lacking, 18, "18.4")])
    assert "in a build that knows this compression" in alone.value.hint
