"""The order of loading follows the dump's own dependencies: whatever needs an entry that waits, waits with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.postgres import Database
from support.runs import Site, make_site
from support.states import state_of

COMMENTS = """
CREATE TABLE a (id int PRIMARY KEY);
CREATE TABLE b (a_id int CONSTRAINT b_a_fk REFERENCES a);
COMMENT ON CONSTRAINT b_a_fk ON b IS 'why';
CREATE SCHEMA "my schema";
CREATE TABLE "my schema".t (id int CONSTRAINT "is; TRIGGER" CHECK (id > 0));
COMMENT ON CONSTRAINT "is; TRIGGER" ON "my schema".t IS 'inline';
CREATE FUNCTION "my schema".note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER tr BEFORE INSERT ON "my schema".t FOR EACH ROW EXECUTE FUNCTION "my schema".note();
COMMENT ON TRIGGER tr ON "my schema".t IS 'x';
CREATE RULE ru AS ON DELETE TO "my schema".t DO INSTEAD NOTHING;
COMMENT ON RULE ru ON "my schema".t IS 'x';
CREATE POLICY p ON "my schema".t; COMMENT ON POLICY p ON "my schema".t IS 'x';
CREATE TABLE k (id int PRIMARY KEY, v int);
CREATE VIEW by_key AS SELECT id, v FROM k GROUP BY id;
COMMENT ON VIEW by_key IS 'needs a primary key';
CREATE MATERIALIZED VIEW m AS SELECT id, v, count(*) FROM k GROUP BY id;
CREATE UNIQUE INDEX m_id ON m (id); COMMENT ON INDEX m_id IS 'of a view';
INSERT INTO k VALUES (1, 2); REFRESH MATERIALIZED VIEW m;
"""
OLD_ROWS_ON_A_PARTITIONED_TABLE = """
CREATE TABLE p (a int, b text) PARTITION BY LIST (b);
CREATE TABLE p1 PARTITION OF p FOR VALUES IN ('x'); CREATE TABLE p2 PARTITION OF p FOR VALUES IN ('y');
INSERT INTO p SELECT -1, v FROM generate_series(1, 50000), (VALUES ('x'), ('y')) t(v);
ALTER TABLE p ADD CONSTRAINT positive CHECK (a > 0) NOT VALID;
COMMENT ON CONSTRAINT positive ON p IS 'from now on';
"""
OLD_ROWS_OF_A_DOMAIN = """
CREATE DOMAIN plz AS text; CREATE TABLE addr (p plz);
INSERT INTO addr SELECT 'bad' FROM generate_series(1, 50000);
ALTER DOMAIN plz ADD CONSTRAINT five CHECK (VALUE ~ '^[0-9]{5}$') NOT VALID;
COMMENT ON CONSTRAINT five ON DOMAIN plz IS 'five digits';
"""
OLD_ROWS_WITHOUT_A_VALUE = """
CREATE TABLE n (a int, b text) PARTITION BY LIST (b);
CREATE TABLE n1 PARTITION OF n FOR VALUES IN ('x'); CREATE TABLE n2 PARTITION OF n FOR VALUES IN ('y');
INSERT INTO n SELECT NULL, v FROM generate_series(1, 50000), (VALUES ('x'), ('y')) t(v);
ALTER TABLE n ADD CONSTRAINT given NOT NULL a NOT VALID;
"""


@pytest.mark.parametrize(
    "schema",
    [COMMENTS, OLD_ROWS_ON_A_PARTITIONED_TABLE, OLD_ROWS_OF_A_DOMAIN],
    ids=["comments", "partitions", "domain"],
)
def test_what_waits_for_rows_takes_along_what_needs_it(each_database: Database, tmp_path: Path, schema: str) -> None:
    each_database.execute(schema)
    site = make_site(tmp_path, each_database)
    _comes_back(site, each_database)


def test_a_column_that_must_have_a_value_from_now_on(site: Site, database: Database) -> None:
    database.execute(OLD_ROWS_WITHOUT_A_VALUE)
    _comes_back(site, database)


def _comes_back(site: Site, database: Database) -> None:
    before = state_of(database.superuser_url, database.server.major, site.uploads)
    assert site.run("backup").status == 0
    assert site.run("drill").status == 0
    for options in ((), ("--in-place",)):
        done = site.run("restore", "--from", "latest", "--yes", "--jobs", "2", *options)

        assert done.status == 0, done.output
        assert "again with one job" not in done.output
        assert state_of(database.superuser_url, database.server.major, site.uploads) == before
