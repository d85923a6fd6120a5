"""Materialized views are compared by their rows: one that comes out of a restore otherwise than it was is named."""

from __future__ import annotations

import json
import tarfile

import pytest

from safeharbor_backup.postgres.views import compare_views
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
    assert "not populated, as in the backup; refresh these after a restore: public.later" in drill.output
    assert database.execute("SELECT relispopulated FROM pg_class WHERE relname = 'later'") == [(False,)]


def test_one_that_was_not_refreshed_is_a_note_of_drill_and_each_restore(site: Site, database: Database) -> None:
    database.execute("INSERT INTO photo VALUES (11, 11, 'new')")  # and nobody has refreshed the view
    assert site.run("backup").status == 0

    drill = site.run("drill")
    restore = site.run("restore", "--from", "latest", "--yes")
    in_place = site.run("restore", "--from", "latest", "--in-place", "--yes")

    words = 'the materialized view public."a b" has 11 rows instead of 10'
    for done in (drill, restore, in_place):
        assert done.status == 0, done.output
        assert words in done.output
    evidence = json.loads(next(site.backups.glob("safeharbor-drill-*.json")).read_text())
    assert evidence["compared"]["materialized_views"] == {"recorded": 2, "equal": 1, "different": [words]}


def test_one_with_as_many_rows_and_others_is_a_note_of_a_drill(site: Site, database: Database) -> None:
    database.execute("UPDATE photo SET id = 99 WHERE id = 9")
    assert site.run("backup").status == 0

    drill = site.run("drill")

    words = 'the materialized view public."a b" has other rows than it had'
    assert drill.status == 0, drill.output
    assert words in drill.output
    evidence = json.loads(next(site.backups.glob("safeharbor-drill-*.json")).read_text())
    assert evidence["compared"]["materialized_views"] == {"recorded": 2, "equal": 1, "different": [words]}


def test_one_that_cannot_be_counted_costs_no_backup(site: Site, database: Database) -> None:
    database.execute('REVOKE SELECT ON "a b" FROM CURRENT_USER')

    assert site.run("backup").status == 0
    assert site.run("drill").status == 0


def test_one_that_is_missing_or_without_its_rows_is_lost_and_one_with_other_rows_is_not() -> None:
    recorded = {"a.kept": 3, "a.gone": 3, "a.empty": 3, "a.filled": None, "a.newer": 3}

    found = compare_views({"a.kept": 3, "a.empty": None, "a.filled": 2, "a.newer": 4}, recorded)

    assert found.lost == [
        "the materialized view a.gone is missing or cannot be read",
        "the materialized view a.empty is not populated instead of 3",
        "the materialized view a.filled has 2 rows instead of none, being not populated",
    ]
    assert found.recomputed == ["the materialized view a.newer has 4 rows instead of 3"]
