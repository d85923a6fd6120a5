"""Materialized views are compared by their rows: one that comes out of a restore otherwise than it was is named."""

from __future__ import annotations

import json
import tarfile

import pytest

from support.postgres import Database
from support.runs import Site


@pytest.fixture(autouse=True)
def views(database: Database, site: Site) -> None:
    database.execute(
        'CREATE MATERIALIZED VIEW "a b" AS SELECT id FROM photo; CREATE INDEX ON "a b" (id);'
        "CREATE MATERIALIZED VIEW later AS SELECT id FROM photo WITH NO DATA"
    )


def test_those_that_come_back_equal_are_told_by_drill_and_one_without_data_stays_so(
    site: Site, database: Database
) -> None:
    backup = site.run("backup")
    drill = site.run("drill")
    restore = site.run("restore", "--from", "latest", "--yes")

    assert (backup.status, drill.status, restore.status) == (0, 0, 0), backup.output + drill.output + restore.output
    with tarfile.open(site.archives[0]) as tar:
        manifest = tar.extractfile("manifest.json")
        assert manifest is not None
        assert json.load(manifest)["database"]["materialized_views"] == {'public."a b"': 10, "public.later": None}
    assert "rows of 2 materialized views" in drill.stdout
    assert database.execute("SELECT relispopulated FROM pg_class WHERE relname = 'later'") == [(False,)]


def test_one_that_a_restore_computes_otherwise_is_a_warning_of_drill_and_each_restore(
    site: Site, database: Database
) -> None:
    database.execute("INSERT INTO photo VALUES (11, 11, 'new')")  # and nobody has refreshed the view
    assert site.run("backup").status == 0

    drill = site.run("drill", "--json")
    restore = site.run("restore", "--from", "latest", "--yes")
    in_place = site.run("restore", "--from", "latest", "--in-place", "--yes")

    words = 'the materialized view public."a b" has 11 rows instead of 10'
    for done in (drill, restore, in_place):
        assert done.status == 3, done.output
        assert words in done.output.replace('\\"', '"')
    evidence = json.loads(next(site.backups.glob("safeharbor-drill-*.json")).read_text())
    assert evidence["compared"]["materialized_views"] == {"recorded": 2, "equal": 1, "different": [words]}


def test_one_that_cannot_be_counted_costs_no_backup(site: Site, database: Database) -> None:
    database.execute('REVOKE SELECT ON "a b" FROM CURRENT_USER')

    assert site.run("backup").status == 0
    assert site.run("drill").status == 0
