"""Restores of real archives into real servers, by the real command."""

from __future__ import annotations

import os
import pty
import re
import shutil
import subprocess
from pathlib import Path

import psycopg
import pytest

from support.postgres import MAJORS, Database, Servers, drop_database, execute, make_database
from support.runs import Outcome, Site, make_site
from support.states import State, state_of


def state(site: Site, database: Database, *, superuser: bool = False) -> State:
    url = database.superuser_url if superuser else database.url
    return state_of(url, database.server.major, site.uploads)


def backed_up(site: Site) -> Path:
    done = site.run("backup")
    assert done.status in (0, 3), done.output
    return site.archives[-1]


def change_everything(site: Site, database: Database) -> None:
    database.execute(
        "DELETE FROM photo WHERE id > 3; UPDATE entry SET remark = 'changed'; INSERT INTO entry VALUES (9001, 'new');"
        "CREATE TABLE newer (id int PRIMARY KEY, entry int REFERENCES entry); INSERT INTO newer VALUES (1, 9001);"
        "CREATE VIEW newer_view AS SELECT * FROM entry; CREATE FUNCTION newer_function() RETURNS int LANGUAGE sql "
        "AS 'SELECT 1'; ALTER TABLE photo ADD COLUMN extra text"
    )
    (site.uploads / "2026" / "3.jpg").write_bytes(b"other")
    (site.uploads / "2026" / "4.jpg").unlink()
    (site.uploads / "new.txt").write_text("new")
    (site.uploads / "deep" / "er").mkdir(parents=True)
    (site.uploads / "deep" / "er" / "x").write_text("x")


def kept_id(done: Outcome) -> str:
    found = re.search(r"--discard-previous --id ([0-9a-f]{12})", done.stdout)
    assert found is not None, done.output
    return found[1]


def databases(database: Database) -> list[str]:
    rows = execute(database.server.url(), "SELECT datname FROM pg_database WHERE datname LIKE 'app%' ORDER BY 1")
    return [row[0] for row in rows if row[0].startswith(database.name[:20])]


def staging(site: Site) -> list[str]:
    return sorted(path.name for path in site.uploads.glob(".safeharbor-restore-*"))


def test_a_restore_brings_everything_back_and_undo_the_state_before(site: Site, database: Database) -> None:
    before = state(site, database)
    archive = backed_up(site)
    change_everything(site, database)
    changed = state(site, database)

    done = site.run("restore", "--from", str(archive), "--yes")

    assert done.status == 0, done.output
    assert done.stdout.splitlines()[0].startswith(f'Restoring database "{database.name}" on 127.0.0.1')
    assert f"restored 2 tables and 10 upload files from {archive}" in done.stdout
    assert state(site, database) == before
    undone = site.run("restore", "--undo")
    assert undone.status == 0, undone.output
    assert state(site, database) == changed
    again = site.run("restore", "--undo")
    assert again.status == 0, again.output
    assert state(site, database) == before
    dropped = site.run("restore", "--discard-previous", "--yes")
    assert dropped.status == 0, dropped.output
    assert databases(database) == [database.name]
    assert staging(site) == []
    assert state(site, database) == before
    assert site.run("backup").status == 0


def test_the_dry_run_tells_everything_and_changes_nothing(site: Site, database: Database) -> None:
    archive = backed_up(site)
    change_everything(site, database)
    before = state(site, database)
    files = sorted(path.name for path in site.backups.iterdir())

    done = site.run("restore", "--from", str(archive), "--dry-run", SECRET_KEY="now")

    assert done.status == 0, done.output
    first, *rest = done.stdout.splitlines()
    assert first == f"would restore 2 tables, 10 upload files (total 58.6 KiB) from {archive}"
    told = "\n".join(rest)
    assert f'database: "{database.name}" on 127.0.0.1' in told
    assert f"uploads: {site.uploads}" in told
    assert "  You would lose 1 table made since this backup: public.newer\n" in told
    assert "  You would lose 1 row added since this backup: public.entry (1)\n" in told
    assert "  You would lose 2 uploads added since this backup: deep/er/x, new.txt\n" in told
    assert "To go back: safeharbor restore --undo" in told
    assert "server 18" in told
    assert "the restored uploads take" in told
    assert "Nothing was changed." in told
    assert state(site, database) == before
    assert sorted(path.name for path in site.backups.iterdir()) == files
    assert staging(site) == []
    assert databases(database) == [database.name]


def plan_in(output: str) -> list[str]:
    return [line for line in output.splitlines() if line.startswith("  ") and "bytes free" not in line]


def test_the_restore_shows_the_plan_of_the_dry_run_before_it_asks(site: Site, database: Database) -> None:
    archive = backed_up(site)
    change_everything(site, database)
    later = site.uploads / "2026" / "3.jpg"
    os.utime(later, (later.stat().st_mtime + 60,) * 2)

    dry = site.run("restore", "--from", str(archive), "--dry-run")
    asked = answer(site, archive, b"no\n")[1]
    done = site.run("restore", "--from", str(archive), "--yes")

    shown = [line for line in plan_in(dry.stdout) if not line.startswith(("  database: ", "  uploads: "))]
    assert shown == plan_in(done.stdout)
    assert shown == plan_in(asked)
    assert asked.index("You would lose") < asked.index("WILL OVERWRITE")
    for line in (
        f'a backup of database "{database.name}"',
        "You would lose 1 table made since this backup: public.newer",
        "You would lose 1 row added since this backup: public.entry (1)",
        "You would lose 2 uploads added since this backup: deep/er/x, new.txt",
        "You would lose the present content of 1 upload changed since this backup: 2026/3.jpg",
        "Kept until `safeharbor restore --discard-previous`: the present database and the present uploads. "
        "To go back: safeharbor restore --undo",
    ):
        assert line in "\n".join(shown)


def test_the_plan_says_where_there_is_no_way_back(site: Site, database: Database) -> None:
    archive = backed_up(site)

    kept = site.run("restore", "--from", str(archive), "--dry-run").stdout
    deleted = site.run("restore", "--from", str(archive), "--dry-run", "--no-keep-previous").stdout
    wiped = site.run("restore", "--from", str(archive), "--dry-run", "--in-place").stdout

    assert "no way back" not in kept
    assert "You would lose" not in kept
    assert "Deleted at the end (--no-keep-previous): the present database and the present uploads." in deleted
    assert "there will be no way back" in wiped
    assert "Kept until `safeharbor restore --discard-previous`: the present uploads." in wiped


def test_the_dry_run_compares_the_secret_key_and_the_migrations(site: Site, database: Database) -> None:
    database.execute("CREATE TABLE alembic_version (version_num text); INSERT INTO alembic_version VALUES ('aaa')")
    site.environment["SECRET_KEY"] = "one"
    archive = backed_up(site)
    database.execute("UPDATE alembic_version SET version_num = 'bbb'")

    same = site.run("restore", "--from", str(archive), "--dry-run")
    other = site.run("restore", "--from", "latest", "--dry-run", SECRET_KEY="two")

    assert "SECRET_KEY is the same as when the archive was taken" in same.stdout
    assert "SECRET_KEY has changed" in other.stdout
    assert "migrations: the archive is at aaa, the database now at bbb" in other.stdout
    assert "flask db upgrade" in other.stdout


def test_a_quick_dry_run_reads_the_manifest_only(site: Site, database: Database) -> None:
    archive = backed_up(site)
    with open(archive, "r+b") as file:  # damage that only a full look finds
        file.seek(20_000)
        file.write(b"damage")

    quick = site.run("restore", "--from", str(archive), "--dry-run", "--quick")
    full = site.run("restore", "--from", str(archive), "--dry-run")

    assert quick.status == 0, quick.output
    assert "not verified (--quick)" in quick.stdout
    assert full.status == 5, full.output


def test_the_dry_run_writes_nothing_outside_of_the_temporary_directory(site: Site, database: Database) -> None:
    archive = backed_up(site)
    trace = site.root / "trace"
    calls = "openat,open,creat,mkdir,mkdirat,rename,renameat,renameat2,unlink,unlinkat,link,linkat,symlinkat,truncate"
    argv = ["strace", "-f", "-y", "-e", f"trace={calls}", "-o", str(trace), *site.argv("restore", "--from")]

    done = subprocess.run(
        [*argv, str(archive), "--dry-run"], env=site.full_environment(), capture_output=True, check=False
    )

    assert done.returncode == 0, done.stderr
    touched = [
        line
        for line in trace.read_text(errors="replace").splitlines()
        if ("O_CREAT" in line or "O_WRONLY" in line or "O_RDWR" in line or "O_TRUNC" in line or "open" not in line)
        and " = -1 " not in line
        and ("(" in line and "resumed" not in line)
        and '"/dev/' not in line
        and "__pycache__" not in line
    ]
    assert [line for line in touched if str(site.uploads) in line or str(site.backups) in line] == []


def answer(site: Site, archive: Path, typed: bytes) -> tuple[int, str]:
    """The command at a terminal where somebody types this."""
    leader, follower = pty.openpty()
    child = subprocess.Popen(
        site.argv("restore", "--from", str(archive), "--quiet"),
        env=site.full_environment(),
        stdin=follower,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=site.root,
    )
    os.close(follower)
    os.write(leader, typed)
    out, err = child.communicate(timeout=60)
    os.close(leader)
    return child.returncode, out.decode() + err.decode()


LIVE = ("--live-database", "--live-uploads")
PROMPT = "Type 'restore' to confirm — this WILL OVERWRITE the database and uploads:"


@pytest.mark.parametrize("typed", [b"yes\n", b"Restore\n", b" restore\n", b"\n", b"\x04"], ids=repr)
def test_any_other_answer_than_restore_aborts(site: Site, database: Database, typed: bytes) -> None:
    archive = backed_up(site)
    change_everything(site, database)
    before = state(site, database)

    status, said = answer(site, archive, typed)

    assert status == 1
    assert PROMPT in said
    assert "Nothing was changed" in said
    assert state(site, database) == before
    assert not (site.backups / ".safeharbor-restore.json").exists()


def test_the_answer_restore_restores(site: Site, database: Database) -> None:
    before = state(site, database)
    archive = backed_up(site)
    change_everything(site, database)

    status, said = answer(site, archive, b"restore\n")

    assert status == 0, said
    assert PROMPT in said
    assert state(site, database) == before


def test_without_a_terminal_only_yes_confirms(site: Site, database: Database) -> None:
    archive = backed_up(site)
    change_everything(site, database)
    before = state(site, database)

    done = site.run("restore", "--from", str(archive))

    assert done.status == 1
    assert "--yes" in done.stderr
    assert "Nothing was changed" in done.stderr
    assert state(site, database) == before


def test_after_two_wrong_restores_the_first_original_can_be_brought_back(site: Site, database: Database) -> None:
    archive = backed_up(site)
    change_everything(site, database)
    original = state(site, database)
    first = kept_id(site.run("restore", "--from", str(archive), "--yes"))
    database.execute("DELETE FROM photo")
    wrong = state(site, database)
    second = kept_id(site.run("restore", "--from", str(archive), "--yes"))

    listed = site.run("status")
    assert first in listed.stdout
    assert second in listed.stdout
    assert site.run("restore", "--undo").status == 0
    assert state(site, database) == wrong
    assert site.run("restore", "--undo").status == 0
    assert state(site, database) == original
    assert site.run("restore", "--undo", "--id", "0123").status == 8


def test_no_keep_previous_leaves_nothing(site: Site, database: Database) -> None:
    before = state(site, database)
    archive = backed_up(site)
    change_everything(site, database)

    done = site.run("restore", "--from", str(archive), "--yes", "--no-keep-previous", *LIVE)

    assert done.status == 0, done.output
    assert state(site, database) == before
    assert databases(database) == [database.name]
    assert staging(site) == []
    assert site.leftovers == []
    assert site.run("restore", "--undo").status == 8


@pytest.mark.parametrize("role", ["owner", "superuser"])
def test_in_place_restores_in_one_transaction(site: Site, database: Database, role: str) -> None:
    before = state(site, database)
    archive = backed_up(site)
    change_everything(site, database)
    database.execute("SELECT lo_from_bytea(0, 'newer')")
    if role == "superuser":
        site.environment["BACKUP_DATABASE_URL"] = database.superuser_url
    else:
        database.server.execute(f"ALTER ROLE {database.owner} NOCREATEDB")
    refused = site.run("restore", "--from", str(archive), "--yes") if role == "owner" else None

    done = site.run("restore", "--from", str(archive), "--yes", "--in-place")

    assert done.status == 0, done.output
    assert state(site, database) == before
    assert "there will be no way back" in done.stdout
    undo = site.run("restore", "--undo")
    assert undo.status == 8
    assert "in place" in undo.stderr
    if refused is not None:
        assert refused.status == 6, refused.output
        assert "may not create databases" in refused.stderr
        assert "--in-place" in refused.stderr
    assert site.run("restore", "--discard-previous", "--yes").status == 0
    assert site.leftovers == []
    assert staging(site) == []


def test_in_place_with_things_of_other_roles_is_refused(site: Site, database: Database) -> None:
    archive = backed_up(site)
    database.execute("CREATE TABLE theirs (id int)", superuser=True)
    before = state(site, database, superuser=True)

    done = site.run("restore", "--from", str(archive), "--yes", "--in-place")

    assert done.status == 8, done.output
    assert "table theirs of postgres" in done.stderr
    assert state(site, database, superuser=True) == before


def test_in_place_that_fails_half_way_changes_nothing(site: Site, database: Database) -> None:
    archive = backed_up(site)
    change_everything(site, database)
    before = state(site, database)
    holder = psycopg.connect(database.url)
    holder.execute("LOCK TABLE entry")

    done = site.run("restore", "--from", str(archive), "--yes", "--in-place", BACKUP_LOCK_TIMEOUT="1s")

    holder.close()
    assert done.status == 8, done.output
    assert "Somebody uses a table" in done.stderr
    assert state(site, database) == before
    assert staging(site) == []
    assert site.run("backup").status == 0


@pytest.mark.parametrize("part", ["database", "uploads"])
def test_only_one_part_is_restored(site: Site, database: Database, part: str) -> None:
    before = state(site, database)
    archive = backed_up(site)
    change_everything(site, database)
    changed = state(site, database)

    done = site.run("restore", "--from", str(archive), "--yes", "--only", part)

    assert done.status == 0, done.output
    told = "0 tables and 10 upload files" if part == "uploads" else "2 tables and 0 upload files"
    assert f"restored {told} from {archive}" in done.stdout
    after = state(site, database)
    assert after.database == (before if part == "database" else changed).database
    assert after.uploads == (before if part == "uploads" else changed).uploads
    assert site.run("restore", "--undo").status == 0
    assert state(site, database) == changed


def test_to_another_database_and_directory(site: Site, database: Database) -> None:
    before = state(site, database)
    archive = backed_up(site)
    other = make_database(database.server)
    elsewhere = site.root / "elsewhere"
    elsewhere.mkdir()
    try:
        done = site.run(
            "restore", "--from", str(archive), "--yes", "--database-url", other.url, "--upload-dir", str(elsewhere)
        )

        assert done.status == 0, done.output
        assert f'database "{other.name}"' in done.stdout
        there = state_of(other.url, 18, elsewhere)
        assert there.uploads == before.uploads
        assert other.execute("SELECT count(*) FROM entry") == [(500,)]
        assert state(site, database) == before
        assert site.run("restore", "--discard-previous", "--yes", "--database-url", other.url).status == 0
    finally:
        drop_database(other)


def test_to_a_database_that_does_not_exist_yet(site: Site, database: Database) -> None:
    database.execute(
        f"ALTER DATABASE {database.name} SET search_path TO public, other;COMMENT ON DATABASE {database.name} IS 'ours'"
    )
    before = state(site, database)
    archive = backed_up(site)
    database.server.execute(f'DROP DATABASE "{database.name}" WITH (FORCE)')
    shutil.rmtree(site.uploads)
    site.uploads.mkdir()

    dry = site.run("restore", "--from", str(archive), "--dry-run")
    done = site.run("restore", "--from", str(archive), "--yes")

    assert dry.status == 0, dry.output
    assert "does not exist yet and will be created" in dry.stdout
    assert done.status == 0, done.output
    assert state(site, database) == before
    query = f"SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = '{database.name}'"
    assert database.execute(query) == [("ours",)]
    assert database.execute("SHOW search_path") == [("public, other",)]
    assert site.run("restore", "--undo").status == 8
    assert site.run("restore", "--discard-previous", "--yes").status == 0


def test_a_superusers_session_stops_an_owner_and_nothing_changes(site: Site, database: Database) -> None:
    archive = backed_up(site)
    change_everything(site, database)
    before = state(site, database)
    holder = psycopg.connect(database.superuser_url)

    done = site.run("restore", "--from", str(archive), "--yes")

    holder.close()
    assert done.status == 8, done.output
    assert "postgres" in done.stderr
    assert "in use" in done.stderr
    assert state(site, database) == before
    assert databases(database) == [database.name]
    assert staging(site) == []
    assert site.run("backup").status == 0


def test_a_backup_at_the_same_time_waits_its_turn(site: Site, database: Database) -> None:
    archive = backed_up(site)
    child = site.start("restore", "--from", str(archive), "--yes")
    statuses = []
    while child.poll() is None:
        statuses.append(site.run("backup", "--no-prune").status)
    child.communicate()

    assert child.returncode in (0, 4)
    assert set(statuses) <= {0, 4}
    assert site.run("verify", "--all").status == 0


@pytest.mark.parametrize("major", MAJORS)
def test_each_major_restores_its_own(tmp_path: Path, servers: Servers, major: int) -> None:
    database = make_database(servers[major])
    try:
        site = make_site(tmp_path, database)
        before = state(site, database)
        archive = backed_up(site)
        change_everything(site, database)

        done = site.run("restore", "--from", str(archive), "--yes")

        assert done.status == 0, done.output
        assert state(site, database) == before
        assert site.run("restore", "--discard-previous", "--yes").status == 0
    finally:
        drop_database(database)


@pytest.mark.parametrize("how", ["--dry-run", "--yes"])
def test_an_archive_of_another_database_is_a_problem_unless_it_is_asked_for(
    site: Site, database: Database, how: str
) -> None:
    archive = backed_up(site)
    other = make_database(database.server)
    try:
        other.execute("CREATE TABLE theirs AS SELECT 1 AS id")
        refused = site.run("restore", "--from", str(archive), how, BACKUP_DATABASE_URL=other.url)
        assert other.execute("SELECT id FROM theirs") == [(1,)]
        accepted = site.run("restore", "--from", str(archive), how, "--from-another", BACKUP_DATABASE_URL=other.url)

        assert refused.status == 8, refused.output
        assert f'is of the database "{database.name}", and the target is of "{other.name}"' in refused.stderr
        assert "--from-another" in refused.stderr
        assert accepted.status == 0, accepted.output
        assert (other.execute("SELECT to_regclass('theirs')")[0][0] is None) is (how == "--yes")
    finally:
        site.run("restore", "--discard-previous", "--yes", BACKUP_DATABASE_URL=other.url)
        drop_database(other)


def test_restore_database_url_is_no_other_target(site: Site, database: Database, servers: Servers) -> None:
    archive = backed_up(site)
    before = state(site, database)
    elsewhere = servers[15 if database.server.major != 15 else 18]

    done = site.run("restore", "--from", str(archive), "--yes", RESTORE_DATABASE_URL=elsewhere.url())

    assert done.status == 8, done.output
    assert "leads to another server than BACKUP_DATABASE_URL" in done.stderr
    assert state(site, database) == before
