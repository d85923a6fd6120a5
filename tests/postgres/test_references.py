"""Columns that name uploads: checked in backups, drills and dry runs of real databases."""

from __future__ import annotations

import json
import subprocess
import threading
from pathlib import Path
from typing import Any

import psycopg
import pytest

from safeharbor_backup.postgres.reference_values import find_unknown_references
from support.postgres import Database
from support.runs import Site, make_site


def manifest_of(archive: Path) -> dict[str, Any]:
    done = subprocess.run(["tar", "-xOf", archive, "manifest.json"], capture_output=True, check=True)
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_with_none_configured_nothing_is_guessed(site: Site) -> None:
    (site.uploads / "2026" / "4.jpg").unlink()

    assert site.run("backup").status == 0

    assert manifest_of(site.archives[0])["references"] is None


def test_each_value_has_its_file_on_every_major(each_database: Database, tmp_path: Path) -> None:
    site = make_site(tmp_path, each_database)
    site.environment["BACKUP_UPLOAD_REFERENCES"] = "photo.path"

    done = site.run("backup")

    assert done.status == 0, done.output
    expected = {"count": 0, "names": []}
    assert manifest_of(site.archives[0])["references"] == {
        "columns": {"photo.path": 10}, "missing": expected, "outside": expected, "elsewhere": 0, "unknown": [],
    }  # fmt: skip
    drill = site.run("drill")
    assert drill.status == 0, drill.output
    assert "10 references to uploads" in drill.stdout
    dry = site.run("restore", "--from", "latest", "--dry-run")
    assert "references to uploads in photo.path were checked when it was taken: each had its file" in dry.stdout


def test_what_has_no_file_is_counted_and_named(site: Site, database: Database) -> None:
    database.execute(
        'CREATE SCHEMA people; CREATE TABLE people."User" (id int, "Avatar" text, pictures text[]);'
        "INSERT INTO people.\"User\" VALUES (1, NULL, '{2026/1.jpg,2026/99.jpg}'), (2, '', NULL),"
        f" (3, '/2026/2.jpg', '{{}}'), (4, '{site.uploads}/2026/3.jpg', NULL), (5, '../outside.jpg', NULL),"
        " (6, 'https://cdn/6.jpg', NULL), (7, '2026', NULL), (8, 'current/5.jpg', NULL), (9, 'skipped.jpg', NULL)"
    )
    (site.uploads / "current").symlink_to("2026")
    (site.uploads / "skipped.jpg").write_bytes(b"x")
    (site.uploads / "2026" / "7.jpg").unlink()
    site.environment["BACKUP_EXCLUDE"] = "skipped.jpg"
    site.environment["BACKUP_UPLOAD_REFERENCES"] = 'photo.path, people."User"."Avatar", people."User".pictures'

    done = site.run("backup")

    assert done.status == 3, done.output
    told = "4 references to uploads have no file in this archive: 2026/7.jpg: photo.path, 2026: people"
    assert told in done.stderr
    assert "1 reference to uploads has a path that leads out of them: ../outside.jpg" in done.stderr
    document = manifest_of(site.archives[0])
    found = document["references"]
    assert found["columns"] == {"photo.path": 10, 'people."User"."Avatar"': 7, 'people."User".pictures': 2}
    assert found["missing"]["count"] == 4
    assert [name.partition(": ")[0] for name in found["missing"]["names"]] == [
        "2026/7.jpg", "2026", "skipped.jpg", "2026/99.jpg",
    ]  # fmt: skip
    assert (found["outside"]["count"], found["elsewhere"]) == (1, 1)
    assert any("references to uploads" in warning for warning in document["warnings"])
    assert site.run("verify", "--latest").status == 0
    drill = site.run("drill")
    assert drill.status == 3, drill.output  # no more is lost than was missing when it was taken
    assert "4 references to uploads have no file in the copy" in drill.stderr
    dry = site.run("restore", "--from", "latest", "--dry-run")
    assert "were checked when it was taken: 5 had no file" in dry.stdout


def test_a_drill_looks_also_if_the_backup_did_not(site: Site) -> None:
    (site.uploads / "2026" / "7.jpg").unlink()
    assert site.run("backup").status == 0

    done = site.run("drill", BACKUP_UPLOAD_REFERENCES="photo.path")

    assert done.status == 3, done.output
    assert "1 reference to uploads has no file in the copy: 2026/7.jpg: photo.path" in done.stderr


@pytest.mark.parametrize(
    ("reference", "why"),
    [
        ("photos.path", "there is no table photos"),
        ("people.photo.path", "there is no table people.photo"),
        ("photo.pth", "the table public.photo has no column pth"),
        ("photo", "expected table.column or schema.table.column"),
        ("photo.path; DROP TABLE photo", "expected table.column or schema.table.column"),
        ("photo.ctid", "the table public.photo has no column ctid"),
        ("broken.path", "division by zero"),
        ("closed.path", "permission denied"),
    ],
)
def test_a_column_that_cannot_be_read_costs_a_warning_and_no_backup(
    site: Site, database: Database, reference: str, why: str
) -> None:
    database.execute(
        "CREATE VIEW broken AS SELECT path, id / (id - 5) AS x FROM photo WHERE id / (id - 5) > -100;"
        "CREATE FUNCTION shut() RETURNS SETOF text LANGUAGE sql AS 'SELECT rolpassword::text FROM pg_authid';"
        "CREATE VIEW closed AS SELECT shut() AS path"
    )
    site.environment["BACKUP_UPLOAD_REFERENCES"] = f"{reference}, photo.path"

    done = site.run("backup")

    assert done.status == 3, done.output
    assert f"BACKUP_UPLOAD_REFERENCES was not checked for {reference}" in done.stderr
    assert why in done.stderr
    found = manifest_of(site.archives[0])["references"]
    assert found["columns"] == {"photo.path": 10}
    assert len(found["unknown"]) == 1
    assert why in found["unknown"][0]
    assert site.run("drill", BACKUP_UPLOAD_REFERENCES=f"{reference}").status == 3


def test_a_doctor_can_ask_for_columns_that_are_not_there(site: Site, database: Database) -> None:
    with psycopg.connect(database.url) as session:
        assert find_unknown_references(session, ["photo.path"]) == []
        (unknown,) = find_unknown_references(session, ["photo.path", "photo.nope"])

    assert unknown == "photo.nope: the table public.photo has no column nope"


def test_the_values_are_those_of_the_snapshot(site: Site, database: Database) -> None:
    """An app writes a file, then the row that names it; whenever a backup runs, each row has its file."""
    site.environment["BACKUP_UPLOAD_REFERENCES"] = "photo.path"
    done = threading.Event()

    def use_the_app() -> None:
        with psycopg.connect(database.url, autocommit=True) as session:
            number = 1000
            while not done.is_set():
                (site.uploads / f"{number}.jpg").write_bytes(b"x")
                session.execute("INSERT INTO photo VALUES (%s, 1, %s)", (number, f"{number}.jpg"))
                number += 1

    writer = threading.Thread(target=use_the_app)
    writer.start()
    try:
        outcomes = [site.run("backup", "--no-prune") for _ in range(3)]
    finally:
        done.set()
        writer.join()

    for outcome in outcomes:
        assert "references" not in outcome.output
    assert manifest_of(site.archives[-1])["references"]["columns"]["photo.path"] > 10


def test_with_a_hundred_thousand_rows_memory_stays_small(site: Site, database: Database) -> None:
    rows = "SELECT g, '2026/' || g || '.jpg' FROM generate_series(1, 100000) g"
    database.execute(f"CREATE TABLE big (id int, path text); INSERT INTO big {rows}")

    done = site.run("backup", BACKUP_UPLOAD_REFERENCES="big.path")

    assert done.status == 3, done.output
    assert "99,990 references to uploads have no file in this archive" in done.stderr
    missing = manifest_of(site.archives[0])["references"]["missing"]
    assert (missing["count"], len(missing["names"])) == (99_990, 1000)
