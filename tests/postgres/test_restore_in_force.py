"""The database's settings are in force while its dump is loaded: what is computed is what was computed there."""

from __future__ import annotations

import subprocess
from pathlib import Path

from support.needs import need_program
from support.postgres import Database, Servers, drop_database, execute, make_database
from support.runs import Site, make_site


def test_what_is_computed_while_loading_goes_by_the_database_s_settings(site: Site, database: Database) -> None:
    for setting in (
        "timezone = 'Asia/Tokyo'",
        "default_text_search_config = 'pg_catalog.german'",
    ):
        execute(database.server.url(), f"ALTER DATABASE {database.name} SET {setting}")
    database.execute(
        "CREATE TABLE orders (at timestamptz, note text);"
        "INSERT INTO orders SELECT '2026-01-01 00:00Z'::timestamptz + g * interval '1 hour', 'die Bücher und Häuser'"
        " FROM generate_series(1, 48) g;"
        "CREATE MATERIALIZED VIEW per_day AS SELECT at::date AS day, count(*) FROM orders GROUP BY 1;"
        "CREATE MATERIALIZED VIEW search AS SELECT to_tsvector(note) AS v FROM orders;"
    )
    query = "SELECT (SELECT array_agg(d ORDER BY d)::text FROM per_day d), (SELECT min(v::text) FROM search)"
    before = database.execute(query)
    assert site.run("backup").status == 0
    assert site.run("drill").status == 0

    done = site.run("restore", "--from", "latest", "--yes")

    assert done.status == 0, done.output
    assert database.execute(query) == before


def test_a_template_stays_one_and_can_be_discarded(site: Site, database: Database) -> None:
    assert site.run("backup").status == 0
    execute(database.server.url(), f"ALTER DATABASE {database.name} IS_TEMPLATE true")

    done = site.run("restore", "--from", "latest", "--yes")

    assert done.status == 0, done.output
    query = f"SELECT datistemplate FROM pg_database WHERE datname = '{database.name}'"
    assert execute(database.server.url(), query) == [(True,)]
    gone = site.run("restore", "--discard-previous", "--yes")
    assert gone.status == 0, gone.output
    execute(database.server.url(), f"ALTER DATABASE {database.name} IS_TEMPLATE false")


def test_a_setting_that_the_app_made_up_is_there_for_a_check(site: Site, database: Database) -> None:
    execute(database.server.url(), f"ALTER DATABASE {database.name} SET app.tenant = 'the re\\ef'")
    database.execute(
        r"CREATE TABLE orders (id int, CHECK (current_setting('app.tenant') = 'the re\ef'));"
        "INSERT INTO orders VALUES (1)"
    )
    assert site.run("backup").status == 0

    done = site.run("restore", "--from", "latest", "--yes")

    assert done.status == 3, done.output  # an owner may not give a database such a setting
    assert "setting app.tenant" in done.stderr
    assert database.execute("SELECT id FROM orders") == [(1,)]


def test_where_no_database_is_the_properties_are_those_in_the_archive(site: Site, database: Database) -> None:
    name = database.name
    for property_ in ("SET timezone = 'Asia/Tokyo'", "CONNECTION LIMIT 17", "IS_TEMPLATE true"):
        execute(database.server.url(), f"ALTER DATABASE {name} {property_}")
    database.execute(
        "SET timezone = 'Asia/Tokyo'; CREATE TABLE orders (at timestamptz);"
        "INSERT INTO orders VALUES ('2026-01-01 20:00Z');"
        "CREATE MATERIALIZED VIEW day AS SELECT at::date AS d FROM orders"
    )
    assert site.run("backup").status == 0
    execute(database.server.url(), f"ALTER DATABASE {name} IS_TEMPLATE false")
    execute(database.server.url(), f"DROP DATABASE {name} WITH (FORCE)")

    done = site.run("restore", "--from", "latest", "--yes")

    assert done.status == 0, done.output
    query = f"SELECT datistemplate, datconnlimit FROM pg_database WHERE datname = '{name}'"
    assert execute(database.server.url(), query) == [(True, 17)]
    assert database.execute("SHOW timezone") == [("Asia/Tokyo",)]
    assert database.execute("SELECT d::text FROM day") == [("2026-01-02",)]
    execute(database.server.url(), f"ALTER DATABASE {name} IS_TEMPLATE false")


# a label provider as PostgreSQL's own dummy_seclabel is one, without the server's headers: no Debian package has any
PROVIDER = """
struct magic { int len, version, args, keys, names, float8; char abi[32]; };
const struct magic *Pg_magic_func(void) {
    static const struct magic m = { sizeof(struct magic), 1500, 100, 32, 64, 1, "PostgreSQL" }; return &m;
}
extern void register_label_provider(const char *, void (*)(const void *, const char *));
static void any(const void *object, const char *label) {}
void _PG_init(void) { register_label_provider("dummy", any); }
"""


def test_security_labels_come_back_by_the_provider_that_the_database_loads(servers: Servers, tmp_path: Path) -> None:
    server = servers[15]
    database = make_database(server)
    library = server.data_dir.parent / "provider.so"
    source = tmp_path / "provider.c"
    source.write_text(PROVIDER)
    subprocess.run([need_program("cc"), "-shared", "-fPIC", "-o", library, source], check=True, timeout=60)
    site = make_site(tmp_path, database)
    site.environment["BACKUP_DATABASE_URL"] = database.superuser_url
    try:
        server.execute(f"ALTER DATABASE {database.name} SET session_preload_libraries = '{library}'")
        database.execute(
            'CREATE SCHEMA "my s"; CREATE TABLE "my s".t (a int);'
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1';"
            "CREATE VIEW v AS SELECT 1 AS a; SELECT lo_create(77);"
        )
        for what in (
            'SCHEMA "my s"',
            'TABLE "my s".t',
            'COLUMN "my s".t.a',
            "FUNCTION f()",
            "VIEW v",
            "LARGE OBJECT 77",
        ):
            database.execute(f"SECURITY LABEL FOR dummy ON {what} IS 'it''s {len(what)}; secret'", superuser=True)
        query = "SELECT objtype, objname, label FROM pg_seclabels ORDER BY 1, 2, 3"
        before = database.execute(query)
        assert len(before) == 6
        assert site.run("backup").status == 0
        assert site.run("drill").status == 0

        for options in ((), ("--in-place",)):
            done = site.run("restore", "--from", "latest", "--yes", *options)

            assert done.status == 0, done.output
            assert database.execute(query) == before
        site.environment["BACKUP_DATABASE_URL"] = database.url
        taken = site.run("backup")
        dry = site.run("restore", "--from", "latest", "--dry-run")
        done = site.run("restore", "--from", "latest", "--yes")
        in_place = site.run("restore", "--from", "latest", "--yes", "--in-place")
        assert (taken.status, dry.status, done.status, in_place.status) == (3, 8, 8, 0), in_place.output
        for said in (taken.stderr, dry.stderr, done.stderr):
            assert "The dump has security labels, and the database loads their provider" in said
        assert database.execute(query) == before
    finally:
        site.run("restore", "--discard-previous", "--yes")
        drop_database(database)
        library.unlink()


def test_a_partition_on_a_server_that_is_down_costs_its_statistics_only(servers: Servers, tmp_path: Path) -> None:
    database = make_database(servers[15])  # it comes with contrib's extensions
    site = make_site(tmp_path, database)
    site.environment["BACKUP_DATABASE_URL"] = database.superuser_url
    database.execute(
        "CREATE EXTENSION postgres_fdw; CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw OPTIONS (port '1');"
        "CREATE USER MAPPING FOR PUBLIC SERVER far; CREATE TABLE whole (a int) PARTITION BY LIST (a);"
        "CREATE FOREIGN TABLE there PARTITION OF whole FOR VALUES IN (2) SERVER far;"
        "CREATE TABLE here PARTITION OF whole FOR VALUES IN (1); INSERT INTO whole VALUES (1)",
        superuser=True,
    )
    assert site.run("backup").status == 0

    for options in ((), ("--in-place",)):
        done = site.run("restore", "--from", "latest", "--yes", *options)

        assert done.status == 0, done.output
        assert "public.whole has no statistics: could not connect" in done.output
        query = "SELECT reltuples FROM pg_class WHERE relname = 'here'"
        assert database.execute(query, superuser=True) == [(1,)]
    site.run("restore", "--discard-previous", "--yes")
    drop_database(database)
