"""What is different between two backups of a real database, and since the newest one; each night says what went."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from safeharbor_backup.state.history import read_history
from support.postgres import make_beside

if TYPE_CHECKING:
    from support.postgres import Database
    from support.runs import Site


def test_what_went_is_told_by_the_backup_the_status_the_restore_and_diff(site: Site, database: Database) -> None:
    database.execute(
        'CREATE TABLE "odd\nname" (id int); INSERT INTO "odd\nname" VALUES (1), (2);'
        'CREATE TABLE kept (id int, gone text, "a ""b" numeric(4,1)); INSERT INTO kept VALUES (1)'
    )
    first = site.run("backup", "--json").document
    database.execute('DROP TABLE "odd\nname"; ALTER TABLE kept DROP COLUMN gone; ALTER TABLE kept ADD came jsonb')
    for path in sorted((site.uploads / "2026").iterdir())[:4]:
        path.unlink()

    second = site.run("backup")

    assert first["notes"] == []
    assert second.status == 0, second.output
    name = site.archives[0].name
    assert f'gone since the previous backup, {name}: table public."odd\\nname" (2 rows); ' in second.stderr
    notes = read_history(site.backups)[-1].notes
    assert len(notes) == 1
    assert " uploads" in notes[0]
    assert json.loads(site.run("status", "--json").stdout)["last_backup"]["notes"] == [notes[0]]
    assert "Gone since the previous backup" in site.run("report", "--html", "-").stdout
    dry = site.run("restore", "--from", "latest", "--dry-run")
    assert f'the previous backup, {name}, had what this one lacks: table public."odd\\nname" (2 rows)' in dry.stdout

    compared = site.run("diff", "latest~1")

    assert compared.status == 0, compared.output
    assert '  - public."odd\\nname" (2 rows)\n' in compared.stdout
    assert "  * public.kept\n      + column came jsonb\n      - column gone text\n" in compared.stdout
    assert "4 gone" in compared.stdout


def test_another_name_for_a_database_beside_the_main_one_is_no_loss(site: Site, database: Database) -> None:
    made = make_beside(database)
    site.environment["BACKUP_EXTRA_DATABASES"] = f"stats={made.url}"
    assert site.run("backup").status == 0
    site.environment["BACKUP_EXTRA_DATABASES"] = f"metrics={made.url}"

    second = site.run("backup", "--json")

    assert second.status == 0, second.output
    assert second.document["notes"] == []
    made.execute("DELETE FROM visit")
    assert "rows in metrics" in site.run("backup").stderr


def test_what_is_live_is_compared_with_an_archive(site: Site, database: Database) -> None:
    site.environment["BACKUP_EXCLUDE_TABLE_DATA"] = "volatile"
    database.execute("CREATE TABLE volatile (id int); CREATE TABLE kept (id int)")
    assert site.run("backup").status == 0
    (site.uploads / "2026" / "4.jpg").unlink()
    (site.uploads / "new\x1b[2J.jpg").write_bytes(b"x")
    database.execute("INSERT INTO volatile VALUES (1); INSERT INTO kept VALUES (1), (2); CREATE TABLE young (id int)")

    done = site.run("diff", "latest", "--live", "--names")

    assert done.status == 0, done.output
    assert "  * public.kept  0 -> 2 rows (+2)\n  + public.young (0 rows)\n" in done.stdout
    assert "volatile" not in done.stdout
    assert "  - 2026/4.jpg\n  + new\\x1b[2J.jpg\n" in done.stdout
