"""What apps have in their databases, each as the smallest SQL of its kind: it comes back equal, every way.

All of them in one database, each in a schema of its own, since none of them may hinder another. What a backup or a
restore ends with otherwise has tests of its own, in test_restore_broken, _plan and _privileges.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from support.coming_back import assert_comes_back, site_of
from support.postgres import Servers, drop_database, make_database

EXTENSIONS = "unaccent, pg_trgm, hstore, ltree, citext, pgcrypto, btree_gist"
SMALL = Path(__file__).with_name("small_databases.sql").read_text().split("-- kind: ")[1:]


@pytest.mark.parametrize("superuser", [True, False], ids=["superuser", "owner"])
def test_what_apps_have_comes_back_equal(servers: Servers, tmp_path: Path, superuser: bool) -> None:
    database = make_database(servers[15])  # it comes with contrib's extensions
    try:
        for name in EXTENSIONS.split(", "):
            database.execute(f"CREATE EXTENSION {name}")
        for each in SMALL:
            name, _, script = each.partition("\n")
            opened = f'CREATE SCHEMA "{name}"; SET search_path = "{name}", public; '
            database.execute(opened + script, superuser=superuser)
        assert_comes_back(database, site_of(tmp_path, database, superuser=superuser))
    finally:
        drop_database(database)


@pytest.mark.parametrize("major", [15, 18])
def test_rows_that_a_restore_moves_between_partitions_are_counted_as_a_whole(
    servers: Servers, tmp_path: Path, major: int
) -> None:
    """The hash of an enum goes by a number that each database gives anew: pg_dump lets such rows in from above."""
    database = make_database(servers[major])
    try:
        database.execute(
            "CREATE TYPE color AS ENUM ('r', 'g', 'b'); CREATE TABLE p (n int, c color) PARTITION BY HASH (c);"
            "CREATE TABLE p0 PARTITION OF p FOR VALUES WITH (MODULUS 2, REMAINDER 0);"
            "CREATE TABLE p1 (c color, n int);"
            "ALTER TABLE p ATTACH PARTITION p1 FOR VALUES WITH (MODULUS 2, REMAINDER 1);"
            "INSERT INTO p SELECT g, (enum_range(NULL::color))[1 + g % 3] FROM generate_series(1, 90) g"
        )
        site = site_of(tmp_path, database, superuser=False)
        taken = site.run("backup", "--json")
        assert taken.status == 0, taken.output
        assert taken.document["rows"] == 90
        drilled = site.run("drill")
        assert drilled.status == 0, drilled.output
        assert "public.p: a restore moves rows between its partitions" in drilled.output
        for options in ((), ("--in-place",)):
            database.execute("DELETE FROM p WHERE n < 50")

            done = site.run("restore", "--from", "latest", "--yes", *options)

            assert done.status == 0, done.output
            query = "SELECT c::text, count(*), sum(n) FROM p GROUP BY 1 ORDER BY 1"
            assert database.execute(query) == [("b", 30, 1365), ("g", 30, 1335), ("r", 30, 1395)]
    finally:
        drop_database(database)
