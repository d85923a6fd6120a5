"""Faults of servers that speak German and Japanese give the same statuses and hints as those of one in English."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from safeharbor_backup.postgres.private_cluster import find_server_bins, private_server
from support.filesystems import mounted_tmpfs
from support.needs import missing, need_root
from support.postgres import Database, drop_database, execute, make_database
from support.runs import Site, make_site

if TYPE_CHECKING:
    from collections.abc import Iterator

    from safeharbor_backup.postgres.private_cluster import PrivateServer
    from support.runs import Outcome

pytestmark = pytest.mark.timeout(180)

# what each says where English says "permission denied for table"
WORDS = {"C": "permission denied", "de_DE.UTF-8": "keine Berechtigung", "ja_JP.UTF-8": "拒否されました"}


@pytest.fixture(scope="module", params=WORDS)
def speaking(request: pytest.FixtureRequest) -> Iterator[tuple[PrivateServer, str]]:
    """Debian's server of 15, which has translations, in a language, and how it refuses in that."""
    language = request.param
    bins = find_server_bins()
    if 15 not in bins:
        missing("there are no server programs of PostgreSQL 15 here")
    there = subprocess.run(["locale", "-a"], capture_output=True, text=True, check=True).stdout.split()
    if language != "C" and language.replace("UTF-8", "utf8") not in there:
        missing(f"the locale {language} is not here; `scripts/test-needs` makes it")
    with private_server(bins[15], tcp=True, options={"lc_messages": language}) as server:
        hba = "local all postgres trust\nlocal all all scram-sha-256\nhost all all 127.0.0.1/32 scram-sha-256\n"
        (server.data_dir / "pg_hba.conf").write_text(hba)
        execute(server.url(), "SELECT pg_reload_conf()")
        yield server, WORDS[language]


@pytest.fixture
def there(speaking: tuple[PrivateServer, str], tmp_path: Path) -> Iterator[tuple[Site, Database, str]]:
    server, words = speaking
    database = make_database(server)
    yield make_site(tmp_path, database), database, words
    drop_database(database)


def refused(done: Outcome, status: int, hint: str) -> None:
    assert done.status == status, done.output
    assert hint in done.stderr, done.output


def test_a_privilege_that_is_missing(there: tuple[Site, Database, str]) -> None:
    site, database, words = there
    database.execute("CREATE TABLE secret (a int); ALTER TABLE secret OWNER TO postgres", superuser=True)

    done = site.run("backup")

    refused(done, 1, "Hint: Back up as the role that owns the tables")
    assert words in done.stderr  # it does speak that language


def test_a_sequence_that_only_pg_dump_reads(there: tuple[Site, Database, str]) -> None:
    site, database, words = there
    database.execute("CREATE SEQUENCE secret; ALTER SEQUENCE secret OWNER TO postgres", superuser=True)

    done = site.run("backup")

    refused(done, 1, "Hint: Back up as the role that owns the tables")
    assert words in done.stderr


def test_rows_that_row_security_hides(there: tuple[Site, Database, str]) -> None:
    site, database, _ = there
    database.execute("ALTER TABLE entry ENABLE ROW LEVEL SECURITY; ALTER TABLE entry FORCE ROW LEVEL SECURITY")

    refused(site.run("backup"), 1, "Hint: Back up as the tables' owner without FORCE ROW LEVEL SECURITY")


def test_a_database_that_an_interrupted_restore_has_closed(there: tuple[Site, Database, str]) -> None:
    site, database, _ = there
    execute(database.server.url(), f'ALTER DATABASE "{database.name}" ALLOW_CONNECTIONS false')

    refused(site.run("backup"), 6, "Hint: If a restore was interrupted: `safeharbor restore --resume`")


def test_too_many_connections(there: tuple[Site, Database, str]) -> None:
    site, database, _ = there
    execute(database.server.url(), f"ALTER ROLE {database.owner} CONNECTION LIMIT 1")

    refused(site.run("backup"), 6, "A backup needs 3 connections at a time")


def test_a_wrong_password_and_a_database_that_is_not_there(there: tuple[Site, Database, str]) -> None:
    site, database, _ = there
    wrong = f"postgresql://{database.owner}:wr0ng@127.0.0.1:{database.server.port}/{database.name}"

    refused(site.run("backup", BACKUP_DATABASE_URL=wrong), 6, "Hint: Check BACKUP_DATABASE_URL")
    elsewhere = site.environment["BACKUP_DATABASE_URL"] + "_not"
    refused(site.run("backup", BACKUP_DATABASE_URL=elsewhere), 6, "Hint: Check BACKUP_DATABASE_URL")


def test_a_table_that_stays_locked(there: tuple[Site, Database, str]) -> None:
    site, database, _ = there
    with psycopg.connect(database.superuser_url) as other:
        other.execute("LOCK TABLE entry IN ACCESS EXCLUSIVE MODE")

        refused(site.run("backup", BACKUP_LOCK_TIMEOUT="1s"), 1, "Hint: Somebody holds a lock on a table.")


def test_a_table_in_use_by_another_while_it_is_restored_in_place(there: tuple[Site, Database, str]) -> None:
    site, database, _ = there
    assert site.run("backup").status == 0
    with psycopg.connect(database.superuser_url) as other:
        other.execute("LOCK TABLE entry IN ACCESS SHARE MODE")

        done = site.run("restore", "--from", "latest", "--yes", "--in-place", BACKUP_LOCK_TIMEOUT="1s")

    refused(done, 8, "Hint: Somebody uses a table.")


def test_an_extension_and_a_locale_that_the_server_has_not(there: tuple[Site, Database, str]) -> None:
    site, database, _ = there
    database.execute("CREATE COLLATION gone (provider = libc, locale = 'C')")
    database.execute(
        "UPDATE pg_collation SET collcollate = 'xx_XX', collctype = 'xx_XX' WHERE collname = 'gone';"
        "CREATE EXTENSION pg_trgm; UPDATE pg_extension SET extname = 'gone' WHERE extname = 'pg_trgm'",
        superuser=True,
    )
    assert site.run("backup").status in (0, 3)
    restore = ("restore", "--from", "latest", "--yes")

    refused(site.run(*restore), 8, "Hint: Install the package with that extension on the database server")
    refused(site.run(*restore, "--in-place"), 8, "Hint: Install the package with that extension on the database server")
    site.archives[-1].unlink()
    database.execute("DROP EXTENSION gone", superuser=True)
    assert site.run("backup").status == 0

    refused(site.run(*restore), 8, "Hint: Install that locale on the database server")


def test_a_disk_that_fills_up_while_the_dump_is_loaded(there: tuple[Site, Database, str], tmp_path: Path) -> None:
    need_root()
    site, database, _ = there
    server = database.server
    with tempfile.TemporaryDirectory(prefix="sh") as short, mounted_tmpfs(Path(short) / "disk", 64 << 20) as disk:
        owner = server.data_dir.stat()
        for path in (Path(short), disk):
            os.chown(path, owner.st_uid, owner.st_gid)
        execute(server.url(), f"CREATE TABLESPACE small LOCATION '{disk}'")
        execute(server.url(), f"GRANT CREATE ON TABLESPACE small TO {database.owner}")
        execute(server.url(), f'ALTER DATABASE "{database.name}" SET TABLESPACE small')
        database.execute("CREATE TABLE large AS SELECT repeat('x', 900) AS t FROM generate_series(1, 20000)")
        assert site.run("backup").status == 0
        (disk / "ballast").write_bytes(bytes(shutil.disk_usage(disk).free - (16 << 20)))

        done = site.run("restore", "--from", "latest", "--yes")

        refused(done, 8, "Hint: The database server's disk is full.")
        assert "again with one job" not in done.output
        execute(server.url(), f'ALTER DATABASE "{database.name}" SET TABLESPACE pg_default')
        execute(server.url(), "DROP TABLESPACE small")


def test_a_session_of_pg_dump_that_the_server_ends(there: tuple[Site, Database, str]) -> None:
    site, database, _ = there
    waits = f"FROM pg_stat_activity WHERE datname = '{database.name}' AND wait_event_type = 'Lock'"
    with (
        psycopg.connect(database.superuser_url) as blocker,
        psycopg.connect(database.server.url(), autocommit=True) as other,
    ):
        blocker.execute("LOCK TABLE entry IN ACCESS EXCLUSIVE MODE")
        process = site.start("backup", BACKUP_LOCK_TIMEOUT="60s")
        while other.execute(f"SELECT count(*) {waits}").fetchone() == (0,):
            assert process.poll() is None
        assert other.execute(f"SELECT pg_terminate_backend(pid) {waits}").fetchall() == [(True,)]
        _, errors = process.communicate(timeout=60)

    assert process.returncode == 6, errors
