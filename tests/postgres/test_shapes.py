"""Databases of all shapes: backed up, proven, and restored equal."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from safeharbor_backup.postgres.client_tools import choose_client_tools, find_client_tools
from support.postgres import Database, Servers, drop_database, make_database
from support.runs import Site, all_bins


@pytest.fixture
def fresh(server: object, servers: Servers) -> Iterator[Database]:
    """An empty database to restore into."""
    made = make_database(servers[18])
    yield made
    drop_database(made)


def back_up_and_restore(database: Database, into: Database, root: Path) -> dict[str, int]:
    """The row counts that the archive states, once pg_restore has restored it."""
    return back_up_and_load(Site(root, database.url), into)


def back_up_and_load(site: Site, into: Database) -> dict[str, int]:
    (site.uploads / "one.txt").write_text("of nothing at all a backup warns")
    done = site.run("backup", "--json", timeout=300)
    assert done.status == 0, done.output
    (archive,) = site.archives
    subprocess.run(["tar", "-xf", archive, "-C", site.root], check=True)
    tools = choose_client_tools(find_client_tools([Path(part) for part in all_bins().split(":")]), 18)
    argv: list[str | Path] = [tools.pg_restore, "--exit-on-error", "--no-owner", f"--dbname={into.superuser_url}"]
    loaded = subprocess.run([*argv, site.root / "db.dump"], capture_output=True, check=False)
    assert loaded.returncode == 0, loaded.stderr.decode()
    counts: dict[str, int] = done.document
    return counts


def test_a_database_without_tables(database: Database, fresh: Database, tmp_path: Path) -> None:
    assert back_up_and_restore(database, fresh, tmp_path)["tables"] == 0


@pytest.mark.timeout(900)
def test_ten_thousand_tables_are_restored_by_hand_and_by_us(
    database: Database, fresh: Database, tmp_path: Path
) -> None:
    database.execute(
        "CREATE PROCEDURE make(first int) LANGUAGE plpgsql AS $$ BEGIN FOR n IN first..first + 499 LOOP "
        "EXECUTE format('CREATE TABLE t%s AS SELECT %s AS n', n, n); END LOOP; END $$"
    )
    for first in range(1, 10_001, 500):
        database.execute(f"CALL make({first})")

    site = Site(tmp_path, database.url)
    counts = back_up_and_load(site, fresh)

    assert counts["tables"] == 10_000
    assert counts["rows"] == 10_000
    assert fresh.execute("SELECT n FROM t9999", superuser=True) == [(9999,)]

    database.execute("UPDATE t9999 SET n = 0; DROP TABLE t1")
    done = site.run("restore", "--from", str(site.archives[0]), "--yes", timeout=500)

    assert done.status == 0, done.output
    assert "restored 10000 tables" in done.stdout
    assert database.execute("SELECT n FROM t9999") == [(9999,)]
    assert database.execute("SELECT n FROM t1") == [(1,)]
    assert site.run("restore", "--discard-previous", "--yes").status == 0


SHAPES = {
    "partitions": (
        "CREATE TABLE p (k int, v text) PARTITION BY RANGE (k);"
        "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);"
        "CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20);"
        "INSERT INTO p SELECT g, g FROM generate_series(0, 19) g",
        "SELECT sum(k)::int FROM p",
        20,
    ),
    "inheritance": (
        "CREATE TABLE mother (k int); CREATE TABLE child (v int) INHERITS (mother);"
        "INSERT INTO mother VALUES (1); INSERT INTO child VALUES (2, 3)",
        "SELECT sum(k)::int FROM mother",
        2,
    ),
    "odd names": (
        'CREATE SCHEMA "a.b"; CREATE TABLE "a.b"."q""u=o\'te % \n" ("col umn" int); '
        'INSERT INTO "a.b"."q""u=o\'te % \n" VALUES (7)',
        'SELECT "col umn" FROM "a.b"."q""u=o\'te % \n"',
        1,
    ),
    "generated and identity columns": (
        "CREATE TABLE g (i int GENERATED ALWAYS AS IDENTITY, a int, b int GENERATED ALWAYS AS (a * 2) STORED);"
        "INSERT INTO g (a) VALUES (21)",
        "SELECT b FROM g",
        1,
    ),
    "foreign keys in a circle": (
        "CREATE TABLE a (id int PRIMARY KEY, b int); CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a);"
        "ALTER TABLE a ADD FOREIGN KEY (b) REFERENCES b DEFERRABLE INITIALLY DEFERRED;"
        "BEGIN; INSERT INTO a VALUES (1, 1); INSERT INTO b VALUES (1, 1); COMMIT",
        "SELECT count(*)::int FROM a JOIN b ON a.b = b.id",
        2,
    ),
    "views, enums, triggers": (
        "CREATE TYPE mood AS ENUM ('calm', 'storm'); CREATE TABLE m (x mood); INSERT INTO m VALUES ('storm');"
        "CREATE VIEW v AS SELECT * FROM m; CREATE MATERIALIZED VIEW mv AS SELECT count(*) FROM m;"
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
        "CREATE TRIGGER t BEFORE INSERT ON m FOR EACH ROW EXECUTE FUNCTION f()",
        "SELECT x::text FROM v",
        1,
    ),
    "an unlogged table": ("CREATE UNLOGGED TABLE u AS SELECT 5 AS n", "SELECT n FROM u", 1),
}


@pytest.mark.parametrize(("make", "question", "rows"), SHAPES.values(), ids=SHAPES.keys())
def test_a_shape_restores_equal(
    database: Database, fresh: Database, tmp_path: Path, make: str, question: str, rows: int
) -> None:
    database.execute(make)

    counts = back_up_and_restore(database, fresh, tmp_path)

    assert counts["rows"] == rows
    assert fresh.execute(question, superuser=True) == database.execute(question)


def test_large_objects(database: Database, fresh: Database, tmp_path: Path) -> None:
    database.execute("SELECT lo_from_bytea(4711, decode(repeat('cafe', 5000), 'hex'))")

    back_up_and_restore(database, fresh, tmp_path)

    assert fresh.execute("SELECT length(lo_get(4711))", superuser=True) == [(10_000,)]


def test_a_database_without_an_encoding(servers: Servers, tmp_path: Path) -> None:
    server = servers[18]
    made = make_database(server)
    server.execute(f"DROP DATABASE {made.name}")
    server.execute(f"CREATE DATABASE {made.name} OWNER {made.owner} TEMPLATE template0 ENCODING SQL_ASCII LOCALE 'C'")
    try:
        made.execute("CREATE TABLE t AS SELECT E'caf\\\\351' AS word")
        made.execute('CREATE TABLE "plain" AS SELECT 1')
        site = Site(tmp_path, made.url)
        done = site.run("backup", "--json")
        assert done.status == 0, done.output
        assert done.document["rows"] == 2
        assert site.run("list", "--json").document["archives"][0]["tables"] == 2
    finally:
        drop_database(made)


def test_tables_of_an_extension_are_not_counted_because_they_are_not_dumped(servers: Servers, tmp_path: Path) -> None:
    server = servers[15]
    made = make_database(server)
    try:
        server.execute("CREATE TABLE belongs (n int)", made.name)
        # no contrib module brings a table everywhere; a member is a member
        server.execute("ALTER EXTENSION plpgsql ADD TABLE belongs", made.name)
        made.execute("CREATE TABLE ours AS SELECT 1")
        done = Site(tmp_path, made.url).run("backup", "--json")
    finally:
        drop_database(made)

    assert done.status == 0, done.output
    assert done.document["tables"] == 1
