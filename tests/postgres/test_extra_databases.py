"""Databases beside the main one: in the same archive, and restored in the same transaction, or not at all."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from safeharbor_backup.actions.backup.run import take_backup
from safeharbor_backup.postgres.private_cluster import find_server_bins
from safeharbor_backup.settings.app_config import AppConfig
from safeharbor_backup.settings.load import load_settings
from safeharbor_backup.state.journal import JOURNAL_NAME, Journal
from support.postgres import PASSWORD, Database, Servers, drop_database, execute, make_beside, make_database
from support.runs import Outcome, Site
from support.states import dump_text, tree_of


@pytest.fixture
def beside(site: Site, database: Database) -> Database:
    """A second database of the app, called `stats` in archives."""
    made = make_beside(database)
    site.environment["BACKUP_EXTRA_DATABASES"] = f"stats={made.url}"
    return made


def taken(site: Site) -> Path:
    done = site.run("backup", "--no-prune")
    assert done.status == 0, done.output
    return site.archives[-1]


def state(site: Site, *databases: Database) -> tuple[object, ...]:
    return *(dump_text(each.url, each.server.major) for each in databases), tree_of(site.uploads)


def change(site: Site, database: Database, beside: Database) -> None:
    database.execute("DELETE FROM photo; CREATE TABLE newer (id int)")
    beside.execute("INSERT INTO visit VALUES (3, 'c'); CREATE TABLE newer (id int)")
    (site.uploads / "2026" / "3.jpg").unlink()


def beside_names(database: Database, *bases: Database) -> list[str]:
    rows = execute(database.server.url(), "SELECT datname FROM pg_database ORDER BY 1")
    return [name for (name,) in rows if name.startswith(tuple(f"{each.name}_" for each in bases))]


def restored(site: Site, archive: Path, *options: str) -> Outcome:
    return site.run("restore", "--from", str(archive), "--yes", "--jobs", "2", *options)


def manifest_of(archive: Path) -> dict[str, Any]:
    done = subprocess.run(["tar", "-xOf", archive, "manifest.json"], capture_output=True, check=True)
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def no_secret(done: Outcome) -> None:
    assert quote(PASSWORD, safe="") not in done.output
    assert PASSWORD not in done.output


def test_it_is_backed_up_verified_listed_and_drilled_with_the_main_one(
    site: Site, database: Database, beside: Database, tmp_path: Path
) -> None:
    done = site.run("backup")

    assert done.status == 0, done.output
    no_secret(done)
    assert f'databases "{database.name}" on' in done.stdout
    assert f'stats="{beside.name}" on' in done.stdout
    assert "stats has a snapshot of its own" in done.stderr + done.stdout
    assert f"stats (database {beside.name}): 1 table, 2 rows" in done.stdout
    (archive,) = site.archives
    manifest = manifest_of(archive)
    (recorded,) = manifest["databases"]
    assert (manifest["format"], recorded["name"], recorded["source"]["database"]) == (2, "stats", beside.name)
    assert recorded["source"]["system_identifier"] == manifest["source"]["system_identifier"]
    assert recorded["snapshot_at"] >= manifest["taken_at"]
    assert recorded["database"]["tables"] == {"public.visit": 2}
    verified = site.run("verify", str(archive))
    assert (verified.status, "stats (database" in verified.stdout) == (0, True), verified.output
    listed = site.run("list", "--json").document["archives"][0]
    assert (listed["rows"], listed["databases"][0]["rows"]) == (510, 2)
    assert "stats: 2" in site.run("list", COLUMNS="400").stdout
    drilled = site.run("drill", "--json")
    assert drilled.status == 0, drilled.output
    assert (drilled.document["rows"], drilled.document["databases"]["stats"]["rows"]) == (510, 2)
    assert drilled.document["databases"]["stats"]["compared"]["content"]["equal"] == 1
    assert "as recorded" in site.run("drill").stdout.partition("stats: 1 table with 2 rows")[2]
    contents = site.run("status", "--json").document["contents"]
    assert contents[0]["databases"] == [["stats", 1, 2]]
    (tmp_path / "out").mkdir()
    subprocess.run(["tar", "-xf", archive, "-C", tmp_path / "out"], check=True)
    subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=tmp_path / "out", check=True)
    pg_restore = find_server_bins()[beside.server.major] / "pg_restore"
    text = subprocess.run(
        [pg_restore, "-f", "-", tmp_path / "out/databases/stats.dump"], capture_output=True, check=True
    )
    assert b"COPY public.visit" in text.stdout


def test_the_second_backup_shares_what_has_not_changed(site: Site, beside: Database) -> None:
    taken(site)
    beside.execute("INSERT INTO visit VALUES (3, 'c')")

    archive = taken(site)

    assert len(site.archives) == 2
    assert manifest_of(archive)["databases"][0]["database"]["tables"] == {"public.visit": 3}
    assert site.run("verify", str(archive)).status == 0


def test_it_is_restored_with_the_main_one_and_undone_with_it(site: Site, database: Database, beside: Database) -> None:
    archive = taken(site)
    new = state(site, database, beside)
    change(site, database, beside)
    old = state(site, database, beside)
    planned = site.run("restore", "--from", str(archive), "--dry-run")
    assert planned.status == 0, planned.output
    assert "stats: 1 table, 2 rows, to" in planned.stdout
    assert "You would lose in stats: 1 table made since this backup: public.newer" in planned.stdout
    assert state(site, database, beside) == old

    done = restored(site, archive)

    assert done.status == 0, done.output
    no_secret(done)
    assert "restored 3 tables" in done.stdout
    assert state(site, database, beside) == new
    assert len(beside_names(database, database, beside)) == 2
    for expected in (old, new, old, new):
        undone = site.run("restore", "--undo")
        assert undone.status == 0, undone.output
        assert state(site, database, beside) == expected
    assert site.run("restore", "--discard-previous", "--yes").status == 0
    assert beside_names(database, database, beside) == []
    assert state(site, database, beside) == new


def test_one_that_did_not_exist_is_made_and_an_undo_takes_it_away_again(
    site: Site, database: Database, beside: Database
) -> None:
    archive = taken(site)
    new = state(site, database, beside)
    execute(database.server.url(), f'DROP DATABASE "{beside.name}"')
    database.execute("DELETE FROM photo")
    old = state(site, database)

    assert restored(site, archive).status == 0

    assert state(site, database, beside) == new
    undone = site.run("restore", "--undo")
    assert undone.status == 0, undone.output
    assert state(site, database) == old
    assert beside.name not in [row[0] for row in execute(database.server.url(), "SELECT datname FROM pg_database")]
    assert site.run("restore", "--undo").status == 0
    assert state(site, database, beside) == new
    assert site.run("restore", "--discard-previous", "--yes").status == 0
    assert beside_names(database, database, beside) == []


def test_one_on_another_server_is_backed_up_and_its_restore_refused_before_anything_is_touched(
    site: Site, database: Database, servers: Servers
) -> None:
    other = make_database(servers[17])
    try:
        other.execute("CREATE TABLE visit (id int)")
        site.environment["BACKUP_EXTRA_DATABASES"] = f"stats={other.url}"
        site.environment["BACKUP_PG_BIN"] = ":".join(str(each) for each in find_server_bins().values())
        site.environment["BACKUP_DUMP_COMPRESSION"] = "gzip:1"  # which each of these clients knows
        warned = site.run("backup", "--no-prune")
        assert warned.status == 3, warned.output
        assert "stats: a restore would end with 8: it is on another server" in warned.output
        no_secret(warned)
        archive = site.archives[-1]
        before = state(site, database, other)

        for options in (("--dry-run",), ("--yes",)):
            done = site.run("restore", "--from", str(archive), *options)
            assert done.status == 8, done.output
            assert "stats: It is on another server" in done.output
            assert "BACKUP_EXTRA_DATABASES=stats=none" in done.output
            no_secret(done)

        assert state(site, database, other) == before
        assert Journal(site.backups).read() == ()
        assert beside_names(database, database) == []
        doctor = site.run("doctor")
        assert "stats: a restore will refuse it" in doctor.stdout
        drilled = site.run("drill")
        assert drilled.status == 3, drilled.output
        assert "stats: on the servers as they are it would not restore: It is on another server" in drilled.output
        no_secret(drilled)
        site.environment["BACKUP_IGNORE"] = "stats"
        assert site.run("backup", "--no-prune").status == 0
        database.execute("DELETE FROM photo")
        alone = restored(site, archive, "--only", "database")
        assert alone.status == 8
        site.environment["BACKUP_EXTRA_DATABASES"] = "stats=none"
        assert restored(site, archive).status == 0
        assert database.execute("SELECT count(*) FROM photo") == [(10,)]
    finally:
        drop_database(other)


def test_a_database_of_the_archive_without_an_address_is_a_problem_that_says_how_to_give_one(
    site: Site, database: Database, beside: Database
) -> None:
    archive = taken(site)
    before = state(site, database, beside)
    del site.environment["BACKUP_EXTRA_DATABASES"]

    done = restored(site, archive)

    assert done.status == 8
    assert "The archive has the database stats beside the main one" in done.stderr
    assert f"BACKUP_EXTRA_DATABASES=stats=postgresql://USER:PASSWORD@HOST/{beside.name}" in done.stderr
    assert state(site, database, beside) == before
    change(site, database, beside)
    site.environment["BACKUP_EXTRA_DATABASES"] = "stats=none"
    changed = dump_text(beside.url, beside.server.major)
    done = restored(site, archive)
    assert done.status == 0, done.output
    assert (dump_text(database.url, database.server.major), dump_text(beside.url, beside.server.major)) == (
        before[0],
        changed,
    )


def test_one_that_the_archive_lacks_stays_as_it_is(site: Site, database: Database, beside: Database) -> None:
    address = site.environment.pop("BACKUP_EXTRA_DATABASES")
    archive = taken(site)
    assert manifest_of(archive)["format"] == 1
    beside.execute("INSERT INTO visit VALUES (3, 'c')")

    done = restored(site, archive, "--only", "database")
    assert done.status == 0
    site.environment["BACKUP_EXTRA_DATABASES"] = address
    done = restored(site, archive, "--only", "database")

    assert done.status == 3, done.output
    assert "the archive has no database stats, which BACKUP_EXTRA_DATABASES names: it stays as it is" in done.stderr
    assert beside.execute("SELECT count(*) FROM visit") == [(3,)]


def test_it_is_not_restored_in_place(site: Site, database: Database, beside: Database) -> None:
    archive = taken(site)
    before = state(site, database, beside)

    done = restored(site, archive, "--in-place")

    assert done.status == 8
    assert "--in-place restores one database" in done.stderr
    assert "BACKUP_EXTRA_DATABASES=stats=none" in done.stderr
    assert state(site, database, beside) == before
    site.environment["BACKUP_EXTRA_DATABASES"] = "stats=none"
    assert restored(site, archive, "--in-place").status in (0, 3)


def test_another_target_for_the_main_one_leaves_it_alone(site: Site, database: Database, beside: Database) -> None:
    archive = taken(site)
    beside.execute("INSERT INTO visit VALUES (3, 'c')")
    elsewhere = database.url.replace(database.name, f"{database.name}_copy")

    done = restored(site, archive, "--database-url", elsewhere, "--only", "database")

    assert done.status == 0, done.output
    assert "stats is left as it is" in done.stdout
    assert beside.execute("SELECT count(*) FROM visit") == [(3,)]
    assert execute(elsewhere, "SELECT count(*) FROM photo") == [(10,)]


def test_one_of_another_owner_is_refused_and_nothing_is_touched(site: Site, database: Database) -> None:
    other = make_database(database.server)
    try:
        other.execute("CREATE TABLE visit (id int)")
        site.environment["BACKUP_EXTRA_DATABASES"] = f"stats={other.url}"
        archive = taken(site)
        before = state(site, database, other)

        done = restored(site, archive)

        assert done.status == 6, done.output
        assert "stats: " in done.stderr
        assert "belongs to" in done.stderr
        assert state(site, database, other) == before
        assert "belongs to" in site.run("doctor").stdout
        site.environment["RESTORE_DATABASE_URL"] = database.superuser_url
        other.execute("INSERT INTO visit VALUES (1)")
        done = restored(site, archive)
        assert done.status in (0, 3), done.output
        assert other.execute("SELECT count(*) FROM visit") == [(0,)]
    finally:
        drop_database(other)


def test_the_main_database_under_another_address_is_no_other_one(site: Site, database: Database) -> None:
    site.environment["BACKUP_EXTRA_DATABASES"] = f"stats={database.url.replace('127.0.0.1', 'localhost')}"

    done = site.run("backup")

    assert done.status == 2, done.output
    assert "stats is BACKUP_DATABASE_URL's" in done.stderr
    assert site.archives == []


def test_one_that_cannot_be_reached_fails_the_backup(site: Site, beside: Database) -> None:
    taken(site)
    beside.execute("SELECT 1")
    execute(beside.server.url(), f'DROP DATABASE "{beside.name}"')

    done = site.run("backup")

    assert done.status == 6, done.output
    assert f'"{beside.name}"' in done.stderr
    assert len(site.archives) == 1
    assert site.run("doctor").status == 6


def test_without_the_journal_all_are_brought_back_by_their_names(
    site: Site, database: Database, beside: Database
) -> None:
    archive = taken(site)
    change(site, database, beside)
    old = state(site, database, beside)
    assert restored(site, archive).status == 0
    (record,) = Journal(site.backups).read()
    (site.backups / JOURNAL_NAME).unlink()

    site.environment["BACKUP_EXTRA_DATABASES"] = "stats=none"
    for verb in ("--undo", "--discard-previous"):
        refused = site.run("restore", verb, "--id", record.id, "--yes")
        assert refused.status == 8, refused.output
        assert "of more databases than BACKUP_EXTRA_DATABASES names" in refused.stderr
    assert len(beside_names(database, database, beside)) == 2
    site.environment["BACKUP_EXTRA_DATABASES"] = f"stats={beside.url}"
    done = site.run("restore", "--undo", "--id", record.id, "--yes")

    assert done.status == 0, done.output
    assert state(site, database, beside) == old


def test_a_bind_that_is_included_causes_no_warning(site: Site, database: Database, beside: Database) -> None:
    site.environment["BACKUP_EXTRA_DATABASES"] = "bind:stats"
    app = AppConfig({"SQLALCHEMY_BINDS": {"stats": beside.url}}, (site.root,))

    done = take_backup(load_settings(site.full_environment(), app))

    assert done.warnings == ()
    assert [each.name for each in done.databases] == ["stats"]
    site.environment["BACKUP_EXTRA_DATABASES"] = f"numbers={beside.superuser_url}"  # the same by another address
    assert take_backup(load_settings(site.full_environment(), app)).warnings == ()


def test_doctor_says_that_it_can_be_exchanged(site: Site, beside: Database) -> None:
    done = site.run("doctor")

    assert "stats can be reached, and exchanged together with the main one" in done.stdout
    no_secret(done)


def test_a_copy_leaves_it_out_and_extract_takes_its_dump(site: Site, database: Database, beside: Database) -> None:
    archive = taken(site)

    refused = site.run("copy", "--from", str(archive), "--to-database", beside.url, "--no-uploads", "--replace")
    assert refused.status == 8, refused.output
    assert "BACKUP_EXTRA_DATABASES (stats)" in refused.stderr
    target = database.url.replace(database.name, f"{database.name}_staging")
    done = site.run("copy", "--from", str(archive), "--to-database", target, "--no-uploads")
    assert done.status == 3, done.output
    assert "stats is skipped: only the main database is copied" in done.stderr
    done = site.run("extract", str(archive), "databases/stats.dump", "--to", str(site.root / "out"))
    assert done.status == 0, done.output
    assert (site.root / "out" / "databases" / "stats.dump").read_bytes().startswith(b"PGDMP")


def test_names_that_could_not_be_told_apart_when_set_aside_are_refused(site: Site, database: Database) -> None:
    one, other = (make_beside(database, f"{database.name}_{'n' * 40}_{end}") for end in "ab")
    site.environment["BACKUP_EXTRA_DATABASES"] = f"a={one.url},b={other.url}"
    archive = taken(site)
    before = state(site, database, one, other)

    done = restored(site, archive)

    assert done.status == 8, done.output
    assert "begin with the same 42 bytes" in done.stderr
    assert state(site, database, one, other) == before


def test_several_are_restored_together(site: Site, database: Database, beside: Database) -> None:
    third = make_beside(database)
    site.environment["BACKUP_EXTRA_DATABASES"] += f",audit={third.url}"
    archive = taken(site)
    new = state(site, database, beside, third)
    change(site, database, beside)
    third.execute("DROP TABLE visit")
    old = state(site, database, beside, third)

    assert restored(site, archive).status == 0

    assert state(site, database, beside, third) == new
    assert site.run("restore", "--undo").status == 0
    assert state(site, database, beside, third) == old


def test_a_load_that_fails_leaves_everything_as_it_was(site: Site, database: Database, beside: Database) -> None:
    """A function of the second database refuses its rows, when the first one is loaded already."""
    beside.execute(
        "CREATE FUNCTION odd(int) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS "
        "'BEGIN IF current_database() LIKE ''%\\_restore\\_%'' THEN RAISE ''not here''; END IF; RETURN true; END';"
        "ALTER TABLE visit ADD CHECK (odd(id))"
    )
    archive = taken(site)
    change(site, database, beside)
    before = state(site, database, beside)

    done = restored(site, archive)

    assert done.status == 8, done.output
    assert state(site, database, beside) == before
    assert beside_names(database, database, beside) == []
    assert Journal(site.backups).read() == ()


def test_archives_are_kept_when_one_beside_the_main_one_has_lost_its_rows_or_is_not_there(
    site: Site, database: Database, beside: Database
) -> None:
    site.environment["BACKUP_KEEP_LAST"] = "1"
    taken(site)
    beside.execute("DELETE FROM visit WHERE id = 1")

    shrunk = site.run("backup")

    assert shrunk.status == 3, shrunk.output
    assert "the archive has 1 row in stats, an earlier one had 2; public.visit has 1 of 2" in shrunk.output
    del site.environment["BACKUP_EXTRA_DATABASES"]
    without = site.run("backup")
    assert without.status == 3, without.output
    assert "the archive has no database stats, an earlier one had 2 rows in it" in without.output
    assert len(site.archives) == 3
    assert site.run("prune", "--adopt").status in (0, 3)
    assert site.run("backup").status in (0, 3)


def test_each_needs_a_connection_more(site: Site, database: Database, beside: Database) -> None:
    archive = taken(site)
    before = state(site, database, beside)
    limit = f"ALTER ROLE {database.owner} CONNECTION LIMIT"

    execute(database.server.url(), f"{limit} 3")
    refused = restored(site, archive, "--dry-run")
    assert refused.status == 8, refused.output
    assert "A restore needs 3 more connections to the server" in refused.stderr
    assert restored(site, archive).status == 8
    assert state(site, database, beside) == before
    backup = site.run("backup")
    assert (backup.status, "2 more for each of BACKUP_EXTRA_DATABASES" in backup.stderr) == (6, True), backup.output
    execute(database.server.url(), f"{limit} 4")
    done = restored(site, archive)
    assert done.status == 0, done.output
    assert "1 of 2 jobs load the dump" in done.stdout
    execute(database.server.url(), f"{limit} 5")
    backup = site.run("backup")
    assert backup.status == 0, backup.output


def test_names_that_show_two_states_are_not_followed(site: Site, database: Database, beside: Database) -> None:
    """The journal is lost, and the previous main database too: an undo would take back the uploads alone."""
    archive = taken(site)
    change(site, database, beside)
    assert restored(site, archive).status == 0
    new = state(site, database, beside)
    (record,) = Journal(site.backups).read()
    (site.backups / JOURNAL_NAME).unlink()
    execute(database.server.url(), f'DROP DATABASE "{database.name}_before_{record.id}"')

    done = site.run("restore", "--undo", "--id", record.id, "--yes")

    assert done.status == 8, done.output
    assert "does not show the same state for all" in done.stderr
    assert state(site, database, beside) == new
    done = site.run("restore", "--undo", "--id", record.id, "--yes", "--abandon-database")
    assert done.status in (0, 3), done.output


def test_another_database_by_the_same_name_is_noticed_until_it_is_adopted(
    site: Site, database: Database, beside: Database
) -> None:
    site.environment["BACKUP_KEEP_LAST"] = "1"
    taken(site)
    other = make_beside(database)
    site.environment["BACKUP_EXTRA_DATABASES"] = f"stats={other.url}"

    noticed = site.run("backup")

    assert noticed.status == 3, noticed.output
    assert f'the previous archive is of another database as stats ("{beside.name}" on another' in noticed.stderr
    assert len(site.archives) == 2
    assert site.run("prune", "--adopt").status == 0
    settled = site.run("backup")
    assert settled.status == 0, settled.output


def test_a_drill_of_one_without_an_address_says_that_a_restore_would_refuse_it(
    site: Site, database: Database, beside: Database
) -> None:
    taken(site)
    del site.environment["BACKUP_EXTRA_DATABASES"]

    done = site.run("drill", "--json")

    assert done.status == 3, done.output
    (warning,) = done.document["warnings"]
    assert warning.startswith("a restore would end with 8: The archive has the database stats beside the main one")
    assert f"BACKUP_EXTRA_DATABASES=stats=postgresql://USER:PASSWORD@HOST/{beside.name}" in warning
    assert "BACKUP_EXTRA_DATABASES=stats=none leaves that one as it is" in warning
    assert done.document["databases"]["stats"]["rows"] == 2  # it is restored all the same
    unusable = site.run("drill", "--json", BACKUP_EXTRA_DATABASES="stats=nonsense")
    assert unusable.status == 3, unusable.output
    (warning,) = unusable.document["warnings"]
    assert warning.startswith("a restore would end with 2: 1 setting cannot be used: BACKUP_EXTRA_DATABASES")
    assert "\n" not in warning
    left_alone = site.run("drill", BACKUP_EXTRA_DATABASES="stats=none")
    assert left_alone.status == 0, left_alone.output
    elsewhere = site.run("drill", BACKUP_DATABASE_URL="", BACKUP_DRILL_DATABASE_URL=database.url)
    assert elsewhere.status == 0, elsewhere.output


def test_rows_of_its_tables_are_taken_out_by_its_name(
    site: Site, database: Database, beside: Database, tmp_path: Path
) -> None:
    archive = taken(site)
    beside.execute("DELETE FROM visit WHERE id = 1")
    extract = ("extract", str(archive), "--table", "stats:visit")

    into_file = site.run(*extract, "--csv", str(tmp_path / "visits.csv"))
    aside = site.run(*extract, "--where", "id = 1", "--json")
    lacking = site.run(*extract, "--into-live")
    inserted = site.run(*extract, "--into-live", "--yes")

    assert into_file.status == 0, into_file.output
    assert (tmp_path / "visits.csv").read_text() == "id,page\n1,a\n2,b\n"
    assert "2 rows of stats:public.visit into " in into_file.stdout
    document = aside.document
    assert (aside.status, document["table"], document["rows"]) == (0, "stats:public.visit", 1), aside.output
    label, _, target = document["target"].partition(":")
    assert (label, beside.execute(f"SELECT * FROM {target}")) == ("stats", [(1, "a")])
    assert "the live stats:public.visit lacks 1 row of the archive" in lacking.stdout
    assert inserted.status == 0, inserted.output
    assert beside.execute("SELECT * FROM visit ORDER BY id") == [(1, "a"), (2, "b")]
    assert database.execute("SELECT count(*) FROM pg_class WHERE relname LIKE 'visit%'") == [(0,)]
    unknown = site.run("extract", str(archive), "--table", "logs:visit")
    assert (unknown.status, "no rows of a table logs:visit" in unknown.stderr) == (2, True), unknown.output
    homeless = site.run(*extract, "--into-live", BACKUP_EXTRA_DATABASES="stats=none")
    assert homeless.status == 8, homeless.output
    assert "BACKUP_EXTRA_DATABASES has no address of the live database stats" in homeless.stderr
    damaged = tmp_path / archive.name
    content = bytearray(archive.read_bytes())
    content[content.rindex(b"PGDMP") + 200] ^= 1
    damaged.write_bytes(content)
    refused = site.run("extract", str(damaged), "--table", "stats:visit", "--csv", str(tmp_path / "never.csv"))
    assert (refused.status, (tmp_path / "never.csv").exists()) == (5, False), refused.output
    assert "databases/stats.dump does not have the SHA-256" in refused.stderr
