"""Backups of real databases by the real command, on every supported major."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest

from safeharbor_backup.postgres.client_tools import find_client_tools
from safeharbor_backup.postgres.private_cluster import PrivateServer, find_server_bins
from support.faults import fake_tools
from support.postgres import Database, Servers, drop_database, execute, make_database
from support.runs import Site, make_site

CHECKSUMS = """
    SELECT (SELECT (count(*), sum(hashtextextended(e::text, 0)))::text FROM entry e),
           (SELECT (count(*), sum(hashtextextended(p::text, 0)))::text FROM photo p)
"""


def extract(archive: Path, place: Path) -> Path:
    place.mkdir()
    subprocess.run(["tar", "-xf", archive, "-C", place], check=True)
    subprocess.run(["sha256sum", "--strict", "--quiet", "-c", "SHA256SUMS"], cwd=place, check=True)
    return place


def restore(dump: Path, into: Database) -> None:
    """Load a dump with the newest pg_restore, as the owner."""
    newest = max(find_client_tools(tuple(find_server_bins().values())), key=lambda tools: tools.major)
    major = into.server.major
    tools = next((t for t in find_client_tools(tuple(find_server_bins().values())) if t.major == major), newest)
    argv: list[str | Path] = [tools.pg_restore, "--exit-on-error", "--no-owner", f"--dbname={into.superuser_url}", dump]
    done = subprocess.run(argv, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


def manifest_of(archive: Path) -> dict[str, object]:
    done = subprocess.run(["tar", "-xOf", archive, "manifest.json"], capture_output=True, check=True)
    document: dict[str, object] = json.loads(done.stdout)
    return document


def test_a_backup_of_each_major_restores_equal(each_database: Database, tmp_path: Path) -> None:
    site = make_site(tmp_path, each_database)
    major = each_database.server.major

    done = site.run("backup")

    assert done.status == 0, done.output
    (archive,) = site.archives
    first, second, *_ = done.stdout.splitlines()
    assert first.startswith("Backing up database")
    assert f'"{each_database.name}" on 127.0.0.1:{each_database.server.port}' in first
    assert str(site.uploads) in first
    assert str(archive) in second
    assert f"{archive.stat().st_size:,} bytes" in second
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600
    assert site.leftovers == []
    out = extract(archive, tmp_path / "out")
    assert (out / "uploads" / "2026" / "3.jpg").read_bytes() == (site.uploads / "2026" / "3.jpg").read_bytes()
    database = manifest_of(archive)["database"]
    assert isinstance(database, dict)
    assert str(database["client_version"]).split(".")[0] == str(major)
    assert database["tables"] == {"public.entry": 500, "public.photo": 10}
    fresh = make_database(each_database.server)
    try:
        restore(out / "db.dump", fresh)
        assert fresh.execute(CHECKSUMS, superuser=True) == each_database.execute(CHECKSUMS)
    finally:
        drop_database(fresh)
    assert site.run("verify", "--latest").status == 0


def test_rows_are_counted_in_the_snapshot_of_the_dump(site: Site, database: Database, tmp_path: Path) -> None:
    done = threading.Event()

    def write() -> None:
        with psycopg.connect(database.url, autocommit=True) as session:
            number = 1000
            while not done.is_set():
                session.execute("INSERT INTO entry VALUES (%s, 'while it runs')", (number,))
                number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        outcomes = [site.run("backup") for _ in range(3)]
    finally:
        done.set()
        writer.join()

    assert [outcome.status for outcome in outcomes] == [0, 0, 0]
    for number, archive in enumerate(site.archives):
        out = extract(archive, tmp_path / f"out{number}")
        stated = manifest_of(archive)["database"]
        assert isinstance(stated, dict)
        fresh = make_database(database.server)
        try:
            restore(out / "db.dump", fresh)
            assert fresh.execute("SELECT count(*) FROM entry", superuser=True) == [(stated["tables"]["public.entry"],)]
        finally:
            drop_database(fresh)


def test_the_manifest_tells_what_a_restore_needs(site: Site, database: Database) -> None:
    name = database.name
    database.execute("CREATE TABLE alembic_version (version_num text); INSERT INTO alembic_version VALUES ('a1b2')")
    database.execute(f"COMMENT ON DATABASE {name} IS 'the reef'; ALTER DATABASE {name} SET work_mem = '7MB'")
    database.execute(f"ALTER DATABASE {name} CONNECTION LIMIT 17; REVOKE TEMP ON DATABASE {name} FROM PUBLIC")

    assert site.run("backup", SECRET_KEY="the app's secret").status == 0

    document = manifest_of(site.archives[0])
    properties = document["database"]
    assert isinstance(properties, dict)
    assert properties["comment"] == "the reef"
    assert properties["connection_limit"] == 17
    assert properties["settings"] == [{"role": "", "settings": ["work_mem=7MB"]}]
    assert properties["encoding"] == "UTF8"
    assert properties["owner"] == database.owner
    assert any("=c/" in entry for entry in properties["acl"])
    assert properties["alembic_revision"] == "a1b2"
    assert {extension["name"] for extension in properties["extensions"]} == {"plpgsql"}
    identifier = database.execute("SELECT system_identifier::text FROM pg_control_system()", superuser=True)[0][0]
    assert document["source"] == {"system_identifier": identifier, "database": name}
    fingerprint = document["secret_key"]
    assert isinstance(fingerprint, dict)
    assert fingerprint["method"].startswith("scrypt")
    assert b"the app's secret" not in site.archives[0].read_bytes()


def test_json_tells_everything_and_nothing_else(site: Site) -> None:
    done = site.run("backup", "--json")

    document = done.document
    assert done.status == 0
    assert done.stderr == ""
    assert document["schema"] == 1
    assert document["path"] == str(site.archives[0])
    assert document["size_bytes"] == site.archives[0].stat().st_size
    assert (document["tables"], document["rows"], document["upload_files"]) == (2, 510, 10)
    assert document["warnings"] == []


def test_quiet_is_silent(site: Site) -> None:
    done = site.run("backup", "--quiet")

    assert (done.status, done.output) == (0, "")


def test_pruning_follows_a_backup_and_is_told(site: Site) -> None:
    for day in range(1, 13):
        name = f"safeharbor-backup-2026-03-{day:02}T03-00-00Z.tar"
        (site.backups / name).write_bytes(b"an old one")
        os.utime(site.backups / name, (1_772_000_000 + day * 86400,) * 2)

    kept = site.run("backup", "--no-prune")
    pruned = site.run("backup", BACKUP_RETENTION_DAILY="3", BACKUP_RETENTION_WEEKLY="1")

    assert (kept.status, pruned.status) == (0, 0)
    assert "pruned" not in kept.stdout
    assert "pruned 11 archives" in pruned.stdout
    assert len(site.archives) == 3


def test_an_explicit_output_is_replaced_whole_and_is_never_retentions_business(site: Site, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    output = tmp_path / "elsewhere" / "pre-upgrade.tar"
    output.write_bytes(b"an older one")
    old = site.backups / "safeharbor-backup-2020-01-01T03-00-00Z.tar"
    old.write_bytes(b"old")
    os.utime(old, (0, 0))

    done = site.run("backup", "--output", str(output), BACKUP_RETENTION_DAILY="1", BACKUP_RETENTION_WEEKLY="1")
    inside = site.run("backup", "--output", str(site.backups / "pre-upgrade.tar"))
    again = site.run("backup", BACKUP_RETENTION_DAILY="1", BACKUP_RETENTION_WEEKLY="1")

    # the middle one warns that what stands there as an archive is damaged, and prunes nothing
    assert (done.status, inside.status, again.status) == (0, 3, 0)
    assert site.run("verify", str(output)).status == 0
    assert sorted(os.listdir(output.parent)) == [".safeharbor", ".safeharbor.lock", "pre-upgrade.tar"]
    assert (site.backups / "pre-upgrade.tar").exists()
    assert not old.exists()


def test_warnings_end_with_3_or_with_0_if_that_is_asked_for(site: Site) -> None:
    os.mkfifo(site.uploads / "pipe")

    assert site.run("backup").status == 3
    assert site.run("backup", "--warnings-ok").status == 0


def test_two_backups_in_one_second_get_two_names(site: Site) -> None:
    statuses = [site.run("backup").status for _ in range(3)]

    assert statuses == [0, 0, 0]
    assert len(site.archives) == 3


def test_of_twenty_runs_at_once_one_works_and_the_others_say_why(site: Site) -> None:
    runs = [site.start("backup") for _ in range(20)]
    ends = [(run.communicate()[1].decode(), run.returncode) for run in runs]

    statuses = [status for _, status in ends]
    assert statuses.count(0) >= 1
    assert set(statuses) <= {0, 4}
    assert all("Another" in said for said, status in ends if status == 4)
    assert len(site.archives) == statuses.count(0)
    assert site.run("verify", "--all").status == 0


def test_one_database_is_not_backed_up_from_two_places_at_once(site: Site, tmp_path: Path, database: Database) -> None:
    with psycopg.connect(database.url) as session:
        session.execute("SELECT pg_advisory_xact_lock(x'7361666568617262'::bigint)")
        done = site.run("backup")

    assert done.status == 4
    assert "another host" in done.stderr
    assert site.archives == []


def test_excluded_uploads_and_table_data_are_left_out(site: Site, database: Database, tmp_path: Path) -> None:
    database.execute(
        'CREATE SCHEMA cache; CREATE TABLE cache."Odd.Name" AS SELECT 1; CREATE TABLE cache.plain AS SELECT 1;'
        "CREATE TABLE session_a AS SELECT 1; CREATE TABLE session_b AS SELECT 1; CREATE TABLE keep AS SELECT 1"
    )
    (site.uploads / "thumbs").mkdir()
    (site.uploads / "thumbs" / "a.png").write_bytes(b"x")
    (site.uploads / "2026" / "x.tmp").write_bytes(b"x")

    done = site.run(
        "backup",
        BACKUP_EXCLUDE="/thumbs/, *.tmp",
        BACKUP_EXCLUDE_TABLE_DATA='session_?, cache."Odd.Name"\nCACHE.PL*',
    )

    assert done.status == 0, done.output
    document = manifest_of(site.archives[0])
    stated = document["database"]
    uploads = document["uploads"]
    assert isinstance(stated, dict)
    assert isinstance(uploads, dict)
    assert stated["tables_without_data"] == ['cache."Odd.Name"', "cache.plain", "public.session_a", "public.session_b"]
    assert stated["tables"] == {"public.entry": 500, "public.keep": 1, "public.photo": 10}
    assert uploads["excluded"] == {"count": 2, "names": ["2026/x.tmp", "thumbs"]}
    out = extract(site.archives[0], tmp_path / "out")
    assert not (out / "uploads" / "thumbs").exists()
    fresh = make_database(database.server)
    try:
        restore(out / "db.dump", fresh)
        rows = """
            SELECT (SELECT count(*) FROM cache."Odd.Name"), (SELECT count(*) FROM session_a),
                   (SELECT count(*) FROM keep)
        """
        assert fresh.execute(rows, superuser=True) == [(0, 0, 1)]
    finally:
        drop_database(fresh)


def test_an_app_without_uploads_says_so(site: Site) -> None:
    done = site.run("backup", BACKUP_UPLOAD_DIR="none")

    assert done.status == 0
    listed = subprocess.run(["tar", "-tf", site.archives[0]], capture_output=True, check=True).stdout.decode().split()
    assert listed == ["db.dump", "uploads/", "SHA256SUMS", "manifest.json"]


@pytest.mark.parametrize("setting", ["none", "gzip:1", "1", "lz4"])
def test_any_compression_that_pg_dump_takes_is_taken(servers: Servers, tmp_path: Path, setting: str) -> None:
    server = servers[17]
    made = make_database(server)
    try:
        site = make_site(tmp_path, made)
        done = site.run("backup", BACKUP_DUMP_COMPRESSION=setting)
        stated = manifest_of(site.archives[0])["database"]
    finally:
        drop_database(made)

    assert done.status == 0, done.output
    assert isinstance(stated, dict)
    assert stated["compression"] == setting


def test_auto_takes_zstd_where_the_client_has_it(servers: Servers, tmp_path: Path) -> None:
    found = {}
    for major in (15, 17, 18):
        made = make_database(servers[major])
        root = tmp_path / str(major)
        root.mkdir()
        try:
            site = make_site(root, made)
            assert site.run("backup").status == 0
            stated = manifest_of(site.archives[0])["database"]
            assert isinstance(stated, dict)
            found[major] = stated["compression"]
        finally:
            drop_database(made)

    assert found == {15: "1", 17: "zstd:3", 18: "gzip:1"}


def test_a_log_gets_sober_lines_and_a_terminal_a_bar(site: Site) -> None:
    assert "\x1b" not in site.run("backup").output

    done = subprocess.run(
        ["script", "-qefc", " ".join(f"'{part}'" for part in site.argv("backup")), "/dev/null"],
        env=site.full_environment({"TERM": "xterm"}),
        capture_output=True,
        check=False,
    )

    assert done.returncode == 0
    assert re.search(rb"\x1b\[", done.stdout)


def test_the_digest_of_the_dump_is_that_of_its_bytes(site: Site, tmp_path: Path) -> None:
    assert site.run("backup").status == 0

    out = extract(site.archives[0], tmp_path / "out")
    digests = manifest_of(site.archives[0])["digests"]

    assert isinstance(digests, dict)
    assert digests["db.dump"] == hashlib.sha256((out / "db.dump").read_bytes()).hexdigest()
    assert digests["SHA256SUMS"] == hashlib.sha256((out / "SHA256SUMS").read_bytes()).hexdigest()
    assert time.time() - site.archives[0].stat().st_mtime < 60


def test_tables_that_change_at_any_moment_are_restored_as_they_are_in_the_dump(site: Site, database: Database) -> None:
    """TRUNCATE is not transactional for those with an older snapshot: the dump can have no rows where a count had."""
    database.execute("CREATE TABLE queue AS SELECT g FROM generate_series(1, 1000) g")
    rounds = 0
    ended = threading.Event()

    def disturb() -> None:
        nonlocal rounds
        with psycopg.connect(database.url, autocommit=True) as session:
            while not ended.is_set():
                session.execute("TRUNCATE queue")
                session.execute("INSERT INTO queue SELECT g FROM generate_series(1, 1000) g")
                rounds += 1

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        for _ in range(5):
            before = rounds
            done = site.run("backup")
            assert done.status == 0, done.output
            assert rounds > before
            drilled = site.run("drill")
            assert drilled.status == 0, drilled.output
    finally:
        ended.set()
        thread.join()


def test_a_table_that_is_made_anew_before_pg_dump_locks_it_is_restored_as_it_is_in_the_dump(
    site: Site, database: Database, tmp_path: Path
) -> None:
    database.execute("CREATE TABLE import AS SELECT g FROM generate_series(1, 10) g")
    real = find_server_bins()[18]
    anew = f"SET ROLE {database.owner}; DROP TABLE import; CREATE TABLE import AS SELECT g FROM generate_series(1, 7) g"
    change = f"{real}/psql -qX1c '{anew}' '{database.superuser_url}'"
    dump = f'case "$*" in *--snapshot*) {change};; esac; exec {real}/pg_dump "$@"'
    tools = fake_tools(tmp_path / "tools", dump, f'exec {real}/pg_restore "$@"')

    done = site.run("backup", BACKUP_PG_BIN=str(tools))

    assert database.execute("SELECT count(*) FROM import", superuser=True) == [(7,)]
    assert done.status == 0, done.output
    (archive,) = site.archives
    drilled = site.run("drill")
    restored = site.run("restore", "--from", str(archive), "--yes")
    assert (drilled.status, restored.status) == (0, 0), drilled.output + restored.output


def test_the_rows_are_counted_in_the_dump_itself_under_every_kind_of_name(site: Site, database: Database) -> None:
    name = "COPY x.y (a) FROM stdin;\n\\.\n\"'-- ; é".replace('"', '""')
    database.execute(
        f"""
        CREATE TABLE "{name}" (a text); INSERT INTO "{name}" VALUES (E'a\\nb'), (E'\\\\.'), (NULL), ('');
        CREATE TABLE bare (); INSERT INTO bare DEFAULT VALUES; INSERT INTO bare DEFAULT VALUES;
        CREATE TABLE none (a int);
        CREATE TABLE made (a int GENERATED ALWAYS AS (1) STORED); INSERT INTO made DEFAULT VALUES;
        CREATE TABLE parent (a int); CREATE TABLE child () INHERITS (parent);
        INSERT INTO parent VALUES (1); INSERT INTO child VALUES (1), (2), (3);
        CREATE TABLE parts (a int) PARTITION BY LIST (a); CREATE TABLE part PARTITION OF parts FOR VALUES IN (1);
        INSERT INTO parts VALUES (1), (1);
        CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $x$ SELECT '
COPY public.none (a) FROM stdin;
1
' $x$;
        CREATE SEQUENCE "COPY public.none (a) FROM stdin;
1
\\.
";
        SELECT lo_from_bytea(0, decode(repeat('0a5c2e0a', 100000), 'hex'));
        """
    )

    done = site.run("backup")

    assert done.status == 0, done.output
    stated = manifest_of(site.archives[0])["database"]
    assert isinstance(stated, dict)
    assert stated["tables"] == {
        f'public."{name}"': 4, "public.bare": 2, "public.child": 3, "public.entry": 500, "public.made": 1,
        'public."none"': 0, "public.parent": 1, "public.part": 2, "public.photo": 10,
    }  # fmt: skip
    drilled = site.run("drill")
    assert drilled.status == 0, drilled.output


def test_a_table_of_another_shape_under_the_name_of_alembics_costs_no_backup(site: Site, database: Database) -> None:
    for shape in (
        "TABLE alembic_version(version text)",
        "SEQUENCE alembic_version",
        "VIEW alembic_version AS SELECT 1/0",
    ):
        database.execute(f"CREATE {shape}")
        done = site.run("backup")
        assert done.status == 0, done.output
        database.execute(f"DROP {shape.split()[0]} alembic_version")


def test_names_in_a_database_without_an_encoding_need_not_be_text(server: PrivateServer, tmp_path: Path) -> None:
    made = make_database(server)
    try:
        execute(server.url(), f'DROP DATABASE "{made.name}"')
        execute(
            server.url(),
            f"CREATE DATABASE {made.name} OWNER {made.owner} TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'",
        )
        site = make_site(tmp_path, made)
        with psycopg.connect(made.url, autocommit=True, client_encoding="latin1") as session:
            session.execute('CREATE TABLE "caf\xe9" (id serial primary key, "\xe9" text)')
            session.execute('INSERT INTO "caf\xe9" ("\xe9") VALUES (\'\xe9\')')
        assert site.run("backup").status == 0
        stated = manifest_of(site.archives[0])["database"]
        assert isinstance(stated, dict)
        assert stated["tables"]['public."caf\udce9"'] == 1
        for command in (["verify", "--latest"], ["drill"], ["restore", "--from", "latest", "--yes"]):
            done = site.run(*command)
            assert done.status == 0, done.output
        with psycopg.connect(made.url, client_encoding="latin1") as session:
            assert session.execute('SELECT count(*) FROM "caf\xe9"').fetchall() == [(1,)]
        in_place = site.run("restore", "--from", "latest", "--in-place", "--yes")
        assert in_place.status == 0, in_place.output
        table, csv = ("extract", "latest", "--table", "caf\udce9"), tmp_path / "rows.csv"
        for way in (("--csv", str(csv)), ("--sql", str(tmp_path / "rows.sql")), (), ("--into-live",)):
            extracted = site.run(*table, *way)
            assert extracted.status == 0, extracted.output
        assert csv.read_bytes() == b"id,\xe9\n1,\xe9\n"
    finally:
        drop_database(made)


def test_a_schema_that_may_not_be_read_is_left_out_knowingly(site: Site, database: Database) -> None:
    database.execute(
        f"CREATE SCHEMA hooks; CREATE TABLE hooks.h(id int); CREATE TABLE secret(id int); "
        f"GRANT USAGE ON SCHEMA hooks TO {database.owner}",
        superuser=True,
    )
    refused = site.run("backup")
    assert refused.status == 1
    assert "BACKUP_EXCLUDE_SCHEMA" in refused.stderr
    assert "BACKUP_EXCLUDE_TABLE" in refused.stderr
    settings: dict[str, Any] = {"BACKUP_EXCLUDE_SCHEMA": "hooks", "BACKUP_EXCLUDE_TABLE": "secret"}

    done = site.run("backup", **settings)

    assert done.status == 0, done.output
    assert "left out 2 tables" in done.output
    stated = manifest_of(site.archives[0])["database"]
    assert isinstance(stated, dict)
    assert stated["tables_left_out"] == ["hooks.h", "public.secret"]
    assert stated["tables"] == {"public.entry": 500, "public.photo": 10}
    kept = site.run("restore", "--from", "latest", "--yes", **settings)
    assert kept.status == 8
    assert "hooks.h" in kept.stderr
    database.execute("DROP SCHEMA hooks CASCADE; DROP TABLE secret", superuser=True)
    restored = site.run("restore", "--from", "latest", "--yes", **settings)
    assert restored.status == 0, restored.output


def test_a_backup_of_nothing_at_all_is_a_warning(database: Database, tmp_path: Path) -> None:
    site = Site(tmp_path, database.url, str(find_server_bins()[database.server.major]))

    nothing = site.run("backup")
    (site.uploads / "1.jpg").write_bytes(b"1")
    something = site.run("backup")

    assert nothing.status == 3, nothing.output
    assert f'the database "{database.name}" and the uploads ({site.uploads}) are empty' in nothing.stderr
    assert something.status == 0, something.output
