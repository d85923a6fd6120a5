"""What goes wrong while restoring: named, in bounded time, with the old state whole and nothing left behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from safeharbor_backup.actions.restore.request import RestoreRequest
from safeharbor_backup.actions.restore.result import RestoreResult
from safeharbor_backup.actions.restore.run import restore_archive
from safeharbor_backup.errors import RestorePending
from safeharbor_backup.postgres.private_cluster import find_server_bins, private_server
from safeharbor_backup.progress import NoProgress, Progress
from safeharbor_backup.settings.load import load_settings
from safeharbor_backup.state.journal import JOURNAL_NAME
from support.faults import failed, fake_tools
from support.filesystems import mounted_tmpfs
from support.needs import need_root
from support.pooler import pooled
from support.postgres import Database, execute, make_database
from support.runs import Outcome, Site, make_site
from support.states import State, state_of, tree_of

NOBODY = 65534


def state(site: Site, database: Database) -> State:
    return state_of(database.superuser_url, database.server.major, site.uploads)


def backed_up(site: Site) -> Path:
    done = site.run("backup")
    assert done.status in (0, 3), done.output
    return site.archives[-1]


def change(site: Site, database: Database) -> None:
    database.execute("DELETE FROM photo; UPDATE entry SET remark = 'changed'; CREATE TABLE newer (id int)")
    (site.uploads / "2026" / "3.jpg").write_bytes(b"other")
    (site.uploads / "new.txt").write_text("new")


def restore(site: Site, archive: Path, *more: str, **extra: Any) -> Outcome:
    live = ["--live-database"] if "--upload-dir" in more else []
    return site.run("restore", "--from", str(archive), "--yes", *more, *live, **extra)


def nothing_left(site: Site, database: Database) -> None:
    """No stage, no journal, and the next plain backup succeeds."""
    assert list(site.uploads.glob(".safeharbor-restore-*")) == []
    assert site.leftovers == []
    pattern = f"{database.name[:42]}_restore_%".replace("_", r"\_")
    assert execute(database.server.url(), f"SELECT datname FROM pg_database WHERE datname LIKE '{pattern}'") == []
    again = site.run("backup")
    assert again.status in (0, 3), again.output


def test_uploads_without_room_are_refused_before_anything_is_staged(site: Site, database: Database) -> None:
    (site.uploads / "large.bin").write_bytes(os.urandom(3_000_000))
    archive = backed_up(site)
    with mounted_tmpfs(site.root / "small", 4 << 20) as small:
        (small / "present.bin").write_bytes(os.urandom(2_500_000))
        before = tree_of(small)

        done = restore(site, archive, "--upload-dir", str(small))

        failed(done, 7, "bytes free", "--discard-previous")
        assert tree_of(small) == before
        assert list(small.glob(".safeharbor*")) == []
    nothing_left(site, database)


def test_a_disk_that_fills_up_while_uploads_are_staged_loses_nothing(site: Site, database: Database) -> None:
    for number in range(300):
        (site.uploads / f"{number}.txt").write_bytes(b"x")
    archive = backed_up(site)
    before = state(site, database)
    with mounted_tmpfs(site.root / "small", 64 << 20, inodes=150) as small:  # room enough, inodes too few
        (small / "present.txt").write_bytes(b"present")
        tree = tree_of(small)

        done = restore(site, archive, "--upload-dir", str(small))

        failed(done, 7, "No space left on device", "as they were")
        assert tree_of(small) == tree
        assert list(small.glob(".safeharbor*")) == []
    assert state(site, database) == before
    nothing_left(site, database)


@contextmanager
def short_directory() -> Iterator[Path]:
    """A directory whose path is short enough for a socket, and open to the server's user."""
    with tempfile.TemporaryDirectory(prefix="sh") as name:
        os.chmod(name, 0o755)
        yield Path(name)


def test_a_database_disk_that_fills_up_loses_nothing(tmp_path: Path) -> None:
    need_root()
    with (
        short_directory() as short,
        mounted_tmpfs(short / "disk", 256 << 20) as disk,
        private_server(find_server_bins()[18], parent=disk, tcp=True, options={"max_wal_size": "32MB"}) as server,
    ):
        database = make_database(server)
        site = make_site(tmp_path, database)
        database.execute(
            "CREATE TABLE large AS SELECT md5(g::text) || md5((g+1)::text) t FROM generate_series(1, 400000) g"
        )
        archive = backed_up(site)
        for _ in range(2):  # what the WAL can give back it gives back now, not while the restore runs
            server.execute("CHECKPOINT")
        free = shutil.disk_usage(disk).free
        (disk / "ballast").write_bytes(bytes(max(free - (20 << 20), 0)))
        before = state(site, database)

        done = restore(site, archive)

        failed(done, 8, "No space left on device")
        (disk / "ballast").unlink()
        assert state(site, database) == before
        nothing_left(site, database)


def test_a_dump_that_no_client_here_can_read_is_named(site: Site, database: Database, tmp_path: Path) -> None:
    archive = backed_up(site)
    before = state(site, database)
    # only the tools of 16, which cannot read a dump of 18
    tools = fake_tools(
        tmp_path / "old", "exit 1", 'echo "pg_restore: error: unsupported version (1.16) in file header" >&2; exit 1',
        version="18.4",
    )  # fmt: skip

    done = restore(site, archive, BACKUP_PG_BIN=str(tools), PATH=str(tools))

    assert done.status == 5, done.output
    assert "unsupported version" in done.stderr
    assert "Install the client of PostgreSQL 17 or newer" in done.stderr
    assert state(site, database) == before
    nothing_left(site, database)


def test_a_missing_role_is_named_and_nothing_changes(site: Site, database: Database) -> None:
    database.execute("CREATE ROLE vanishing; GRANT vanishing TO CURRENT_USER", superuser=True)
    database.execute("ALTER TABLE photo OWNER TO vanishing", superuser=True)
    site.environment["BACKUP_DATABASE_URL"] = database.superuser_url
    archive = backed_up(site)
    database.execute("DROP OWNED BY vanishing; DROP ROLE vanishing", superuser=True)
    before = state(site, database)

    dry = site.run("restore", "--from", str(archive), "--dry-run")
    done = restore(site, archive)

    assert dry.status == 8
    assert "vanishing" in dry.stderr
    failed(done, 8, "vanishing", "CREATE ROLE")
    assert state(site, database) == before
    nothing_left(site, database)


def test_privileges_of_a_missing_role_are_left_out_and_told(site: Site, database: Database) -> None:
    database.execute("CREATE ROLE reader", superuser=True)
    database.execute("GRANT SELECT ON entry TO reader")
    archive = backed_up(site)
    database.execute("DROP OWNED BY reader; DROP ROLE reader", superuser=True)
    before = state(site, database)

    done = restore(site, archive)

    assert done.status == 3, done.output
    assert "the server has no role reader" in done.stderr
    assert state(site, database) == before
    assert site.run("restore", "--discard-previous", "--yes").status == 0


def test_a_missing_tablespace_is_named_and_nothing_changes(site: Site, database: Database) -> None:
    need_root()
    place = Path(tempfile.mkdtemp(dir=database.server.data_dir.parent))
    owner = os.stat(database.server.data_dir)
    os.chown(place, owner.st_uid, owner.st_gid)
    execute(database.server.url(), f"CREATE TABLESPACE faraway OWNER {database.owner} LOCATION '{place}'")
    database.execute("CREATE TABLE apart (id int) TABLESPACE faraway")
    archive = backed_up(site)
    database.execute("DROP TABLE apart")
    execute(database.server.url(), "DROP TABLESPACE faraway")
    before = state(site, database)

    dry = site.run("restore", "--from", str(archive), "--dry-run")
    done = restore(site, archive)

    assert dry.status == 8, dry.output
    failed(done, 8, "tablespace faraway")
    assert state(site, database) == before
    nothing_left(site, database)


def test_a_missing_collation_is_named_and_nothing_changes(site: Site, database: Database) -> None:
    # what a database server without that locale would say, at the moment when pg_restore creates it
    database.execute("CREATE COLLATION odd (provider = libc, locale = 'C.UTF-8'); CREATE TABLE c (t text COLLATE odd)")
    database.execute(
        "UPDATE pg_collation SET collcollate = 'xx_XX.utf8', collctype = 'xx_XX.utf8' WHERE collname = 'odd'",
        superuser=True,
    )
    archive = backed_up(site)
    database.execute("DROP TABLE c; DROP COLLATION odd")
    before = state(site, database)

    done = restore(site, archive)

    failed(done, 8, "xx_XX.utf8", "locale")
    assert state(site, database) == before
    nothing_left(site, database)


def test_a_missing_extension_is_named_and_nothing_changes(tmp_path: Path, site: Site, database: Database) -> None:
    """Its control file is there when the backup is taken, and gone when it is restored."""
    server = database.server
    share = Path(str(server.execute("SELECT setting FROM pg_config WHERE name = 'SHAREDIR'")[0][0])) / "extension"
    control, script = share / "harbor_test.control", share / "harbor_test--1.0.sql"
    control.write_text("default_version = '1.0'\ntrusted = true\nrelocatable = true\n")
    script.write_text("CREATE FUNCTION harbor_test() RETURNS int LANGUAGE sql AS 'SELECT 1';\n")
    try:
        database.execute("CREATE EXTENSION harbor_test")
        archive = backed_up(site)
        before = state(site, database)
    finally:
        control.unlink()
        script.unlink()

    dry = site.run("restore", "--from", str(archive), "--dry-run", "--quick")
    done = restore(site, archive)

    assert dry.status == 8, dry.output
    failed(done, 8, "extension harbor_test")
    assert state(site, database) == before
    nothing_left(site, database)


def test_a_prepared_transaction_is_named_and_nothing_changes(tmp_path: Path) -> None:
    options = {"max_prepared_transactions": "5"}
    with private_server(find_server_bins()[18], tcp=True, options=options) as server:
        database = make_database(server)
        site = make_site(tmp_path, database)
        archive = backed_up(site)
        database.execute("BEGIN; INSERT INTO entry VALUES (7000, 'pending'); PREPARE TRANSACTION 'left over'")
        before = state(site, database)

        done = restore(site, archive)

        failed(done, 8, "prepared transactions: left over", "ROLLBACK PREPARED")
        assert state(site, database) == before


def test_through_a_transaction_pooler_it_says_so_and_offers_in_place(site: Site, database: Database) -> None:
    archive = backed_up(site)
    before_change = state(site, database)
    change(site, database)
    before = state(site, database)
    place = site.root / "pooler"
    place.mkdir()
    with pooled(database.server, place) as port:
        url = database.url.replace(f":{database.server.port}/", f":{port}/")

        done = restore(site, archive, BACKUP_DATABASE_URL=url)
        direct = restore(site, archive, BACKUP_DATABASE_URL=url, RESTORE_DATABASE_URL=database.url)
        undone = site.run("restore", "--undo")
        in_place = restore(site, archive, "--in-place", BACKUP_DATABASE_URL=url)

    failed(done, 6, "connection pooler", "--in-place", "RESTORE_DATABASE_URL")
    assert direct.status == 0, direct.output
    assert undone.status == 0, undone.output
    assert in_place.status == 0, in_place.output
    assert before != before_change
    assert state(site, database) == before_change


def test_uploads_that_are_a_mount_point_with_lost_and_found_are_swapped_by_entries(
    site: Site, database: Database
) -> None:
    archive = backed_up(site)
    wanted = tree_of(site.uploads)
    with mounted_tmpfs(site.root / "mounted", 16 << 20) as mounted:
        (mounted / "lost+found").mkdir(mode=0o700)
        (mounted / "old.txt").write_text("old")
        before = tree_of(mounted)

        done = restore(site, archive, "--upload-dir", str(mounted))

        assert done.status == 0, done.output
        after = tree_of(mounted)
        assert {name: what for name, what in after.items() if name != "lost+found"} == wanted
        assert "lost+found" in after
        assert site.run("restore", "--undo", "--upload-dir", str(mounted)).status == 0
        assert tree_of(mounted) == before
        assert site.run("restore", "--discard-previous", "--yes").status == 0


def test_a_lost_and_found_of_the_archive_never_displaces_the_filesystems_own(site: Site, database: Database) -> None:
    need_root()
    (site.uploads / "lost+found").mkdir()
    os.chown(site.uploads / "lost+found", NOBODY, NOBODY)  # an app's own, which is archived
    archive = backed_up(site)
    with mounted_tmpfs(site.root / "mounted", 16 << 20) as mounted:
        (mounted / "lost+found").mkdir(mode=0o700)
        before = tree_of(mounted)

        done = restore(site, archive, "--upload-dir", str(mounted))

        failed(done, 8, "lost+found", "--upload-dir")
        assert tree_of(mounted) == before


def test_a_mount_inside_of_uploads_is_refused_before_anything_changes(site: Site, database: Database) -> None:
    archive = backed_up(site)
    with mounted_tmpfs(site.uploads / "share", 1 << 20):
        before = tree_of(site.uploads)

        done = restore(site, archive)

        failed(done, 7, "share", "mount point")
        assert tree_of(site.uploads) == before
        nothing_left(site, database)


def test_uploads_that_are_read_only_are_refused_before_anything_changes(site: Site, database: Database) -> None:
    archive = backed_up(site)
    before = state(site, database)
    with mounted_tmpfs(site.root / "mounted", 1 << 20) as mounted:
        subprocess.run(["mount", "-o", "remount,ro", mounted], check=True)

        done = restore(site, archive, "--upload-dir", str(mounted))

        failed(done, 7, "read-only")
    assert state(site, database) == before
    nothing_left(site, database)


def test_what_the_app_writes_meanwhile_is_not_in_the_new_state(site: Site, database: Database) -> None:
    for number in range(2000):
        (site.uploads / f"{number}.txt").write_text(str(number))
    archive = backed_up(site)
    wanted = tree_of(site.uploads)
    stop = threading.Event()
    written: list[tuple[float, str]] = []

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            for name in (f"app-{number}.txt", f"2026/app-{number}.txt", f"{number % 2000}.txt"):
                try:
                    moment = time.time()
                    path = site.uploads / name
                    if not name.startswith(("app", "2026")):
                        continue
                    path.write_text("app")
                    written.append((moment, name))
                except OSError:
                    pass
            time.sleep(0.001)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        time.sleep(0.2)
        started = time.time()
        done = restore(site, archive)
    finally:
        stop.set()
        thread.join()

    assert done.status == 0, done.output
    now = tree_of(site.uploads)
    early = {name for moment, name in written if moment < started}
    assert early
    assert not early & set(now)
    same = {name for name in wanted if not name.endswith("2026")}
    assert {name: now.get(name) for name in same} == {name: wanted[name] for name in same}
    assert site.run("restore", "--discard-previous", "--yes").status == 0


class Nobody:
    """The command as a user who owns nothing but `uploads` and a journal of its own."""

    def __init__(self, site: Site) -> None:
        need_root()
        self._site = site
        self.uploads = site.root / "mine"
        self._journal = site.root / "journal"
        for path in (self.uploads, self._journal):
            path.mkdir()
            os.chown(path, NOBODY, NOBODY)
        for path in (site.root, *site.root.parents):
            if path != Path("/"):
                os.chmod(path, os.stat(path).st_mode | 0o055)

    def restore(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        argv = self._site.argv("restore", *arguments, "--live-database", "--upload-dir", str(self.uploads))
        return subprocess.run(
            ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *argv],
            env=self._site.full_environment({"BACKUP_DIR": str(self._journal), "HOME": str(self.uploads)}),
            capture_output=True,
            check=False,
            cwd="/",
        )


def readable(archive: Path) -> Path:
    os.chmod(archive, 0o644)
    return archive


def test_another_users_files_are_told_to_belong_to_whoever_restores(site: Site, database: Database) -> None:
    nobody = Nobody(site)
    os.chown(site.uploads / "2026" / "3.jpg", 4711, 4711)
    archive = readable(backed_up(site))

    dry = nobody.restore("--from", str(archive), "--dry-run")
    asked = nobody.restore("--from", str(archive))  # nobody is there to answer
    done = nobody.restore("--from", str(archive), "--yes")

    assert [each.returncode for each in (dry, asked, done)] == [3, 1, 3], dry.stderr + asked.stderr + done.stderr
    for each in (dry, asked, done):
        assert each.stderr.count(b"owners in the archive cannot be set here") == 1
    restored = nobody.uploads / "2026" / "3.jpg"
    assert restored.read_bytes() == (site.uploads / "2026" / "3.jpg").read_bytes()
    assert os.stat(restored).st_uid == NOBODY


def test_an_upload_that_this_user_cannot_move_is_named_before_anything_changes(site: Site, database: Database) -> None:
    nobody = Nobody(site)
    (nobody.uploads / "theirs").mkdir(mode=0o755)
    archive = readable(backed_up(site))

    dry = nobody.restore("--from", str(archive), "--dry-run")
    done = nobody.restore("--from", str(archive), "--yes")

    assert dry.returncode == 7, dry.stderr
    assert done.returncode == 7, done.stderr
    assert b"theirs" in done.stderr
    assert b"uid 0" in done.stderr


def test_directories_without_write_permission_are_restored_undone_and_discarded_by_their_owner(
    site: Site, database: Database
) -> None:
    nobody = Nobody(site)
    (site.uploads / "closed" / "deep").mkdir(parents=True)
    (site.uploads / "closed" / "deep" / "file").write_text("new")
    os.chmod(site.uploads / "closed" / "deep", 0o555)
    os.chmod(site.uploads / "closed", 0o555)
    (nobody.uploads / "shut" / "deep").mkdir(parents=True)
    for path, mode in ((nobody.uploads / "shut" / "deep", 0o500), (nobody.uploads / "shut", 0o500)):
        os.chown(path, NOBODY, NOBODY)
        os.chmod(path, mode)
    archive = readable(backed_up(site))
    before = tree_of(nobody.uploads)

    done = nobody.restore("--from", str(archive), "--yes")

    assert done.returncode == 3, done.stderr
    assert os.stat(nobody.uploads / "closed").st_mode & 0o777 == 0o555
    assert (nobody.uploads / "closed" / "deep" / "file").read_text() == "new"
    undone = nobody.restore("--undo")
    assert undone.returncode == 0, undone.stderr
    assert tree_of(nobody.uploads) == before
    assert nobody.restore("--undo").returncode == 0
    discarded = nobody.restore("--discard-previous", "--yes")
    assert discarded.returncode == 0, discarded.stderr
    assert list(nobody.uploads.glob(".safeharbor*")) == []


@pytest.mark.parametrize("signal_name", ["TERM", "INT", "HUP"])
def test_a_signal_while_staging_leaves_the_old_state_and_nothing_else(
    site: Site, database: Database, signal_name: str
) -> None:
    database.execute("CREATE TABLE large AS SELECT md5(g::text) t FROM generate_series(1, 400000) g")
    archive = backed_up(site)
    before = state(site, database)
    child = site.start("restore", "--from", str(archive), "--yes")
    while not list(site.uploads.glob(".safeharbor-restore-*/new/2026/*")) and child.poll() is None:
        time.sleep(0.005)

    subprocess.run(["kill", f"-{signal_name}", str(child.pid)], check=True)
    child.communicate(timeout=60)

    assert child.returncode == 128 + {"TERM": 15, "INT": 2, "HUP": 1}[signal_name]
    assert state(site, database) == before
    nothing_left(site, database)


def test_the_server_killed_while_loading_is_the_databases_failure(tmp_path: Path) -> None:
    with private_server(find_server_bins()[18], tcp=True, durable=True) as server:
        database = make_database(server)
        site = make_site(tmp_path, database)
        database.execute("CREATE TABLE large AS SELECT md5(g::text) t FROM generate_series(1, 400000) g")
        archive = backed_up(site)
        before = state(site, database)
        child = site.start("restore", "--from", str(archive), "--yes")
        while not list(site.uploads.glob(".safeharbor-restore-*/new/2026/*")) and child.poll() is None:
            time.sleep(0.005)

        server.kill()
        _, err = child.communicate(timeout=60)
        server.start()

        assert child.returncode in (6, 8), err
        assert site.run("restore", "--undo").status in (0, 8)
        assert state(site, database) == before
        nothing_left(site, database)


def test_a_backup_during_an_interrupted_restore_is_refused(site: Site, database: Database) -> None:
    archive = backed_up(site)
    database.execute("CREATE TABLE large AS SELECT md5(g::text) t FROM generate_series(1, 400000) g")
    large = backed_up(site)
    child = site.start("restore", "--from", str(large), "--yes")
    while not list(site.uploads.glob(".safeharbor-restore-*/new/2026/*")) and child.poll() is None:
        time.sleep(0.005)
    child.kill()
    child.communicate()

    refused = site.run("backup")
    listed = site.run("list")
    status = site.run("status")
    another = restore(site, archive)
    dry = site.run("restore", "--from", str(archive), "--dry-run")

    failed(refused, 9, "interrupted", "--resume", "--undo")
    assert "was interrupted" in listed.stderr
    assert status.status == 1
    assert "INTERRUPTED RESTORE" in status.stdout
    assert site.run("status", "--healthcheck").status == 1
    failed(another, 9, "interrupted")
    failed(dry, 9, "interrupted", "--resume")
    assert site.run("restore", "--undo").status == 0
    nothing_left(site, database)


@pytest.fixture
def logical(tmp_path: Path) -> Iterator[tuple[Site, Database]]:
    """A site on a server that can replicate, restored to by a superuser."""
    with private_server(find_server_bins()[18], tcp=True, options={"wal_level": "logical"}) as server:
        database = make_database(server)
        site = make_site(tmp_path, database)
        site.environment["RESTORE_DATABASE_URL"] = server.url()
        yield site, database


def test_a_kept_database_with_a_subscription_is_told_with_the_way_out_and_can_still_come_back(
    logical: tuple[Site, Database],
) -> None:
    site, database = logical
    archive = backed_up(site)
    database.execute(
        "CREATE SUBSCRIPTION follower CONNECTION 'host=nowhere' PUBLICATION x WITH (connect = false)", superuser=True
    )
    done = restore(site, archive)
    assert done.status == 0, done.output

    refused = site.run("restore", "--discard-previous", "--yes")

    failed(refused, 8, "cannot be dropped", "DROP SUBSCRIPTION")
    undone = site.run("restore", "--undo")
    assert undone.status == 0, undone.output
    assert database.execute("SELECT subname FROM pg_subscription", superuser=True) == [("follower",)]


def test_a_logical_slot_is_told_stays_with_the_previous_database_and_goes_with_it(
    logical: tuple[Site, Database],
) -> None:
    site, database = logical
    archive = backed_up(site)
    database.execute("SELECT pg_create_logical_replication_slot('follower', 'pgoutput')", superuser=True)
    slots = "SELECT database FROM pg_replication_slots"

    dry = site.run("restore", "--from", str(archive), "--dry-run")
    assert restore(site, archive).status == 0

    assert "logical replication slots follower stay with the previous database" in dry.stdout
    ((kept,),) = database.server.execute(slots)
    assert kept.startswith(f"{database.name}_before_")
    assert "1 logical slot holding WAL" in site.run("status").stdout
    assert site.run("restore", "--discard-previous", "--yes").status == 0
    assert database.server.execute(slots) == []


@pytest.mark.parametrize("where", ["live", "postgres"])
def test_a_transaction_that_holds_the_database_itself_is_ended_or_stops_the_restore_in_bounded_time(
    site: Site, database: Database, where: str
) -> None:
    archive = backed_up(site)
    change(site, database)
    before = state(site, database)
    url = database.url if where == "live" else database.server.url()
    with psycopg.connect(url) as holder:
        holder.execute(f"GRANT CONNECT ON DATABASE {database.name} TO pg_monitor")

        done = restore(site, archive, timeout=60)

        if where == "live":
            assert done.status == 0, done.output
            holder.close()
            return
        failed(done, 8, "cannot be closed", "lock timeout")
        assert state(site, database) == before
    nothing_left(site, database)


def test_a_live_database_that_lets_nobody_in_any_more_is_replaced_and_kept(tmp_path: Path) -> None:
    with private_server(find_server_bins()[18], tcp=True) as server:
        database = make_database(server)
        site = make_site(tmp_path, database)
        before = state(site, database)
        archive = backed_up(site)
        ((number,),) = server.execute(f"SELECT oid FROM pg_database WHERE datname = '{database.name}'")
        server.execute("CHECKPOINT")
        (server.data_dir / "base" / str(number) / "pg_filenode.map").unlink()  # the damage that is to be repaired

        done = restore(site, archive)

        assert done.status == 0, done.output
        assert "pg_filenode.map" in done.output
        assert state(site, database) == before
        assert len(server.execute("SELECT FROM pg_database WHERE datname LIKE '%_before_%'")) == 1


@pytest.mark.parametrize("verb", ["restore", "undo"])
def test_a_signal_during_the_swap_waits_and_tells_that_it_was_done(site: Site, database: Database, verb: str) -> None:
    for number in range(300):
        (site.uploads / f"{number}.txt").write_text("x")
    before = state(site, database)
    archive = backed_up(site)
    change(site, database)
    changed = state(site, database)
    arguments = ["--from", str(archive), "--yes"]
    moved = ".safeharbor-restore-*/old/*"
    if verb == "undo":
        assert restore(site, archive).status == 0
        arguments = ["--undo"]
        moved = ".safeharbor-restore-*/new/*"
    run = site.start("restore", *arguments)
    while not list(site.uploads.glob(moved)):
        time.sleep(0.001)
    run.terminate()
    said = run.communicate()[1].decode()

    assert run.returncode == 143, said
    assert ("To go back" if verb == "restore" else "was finished first") in said
    assert state(site, database) == (before if verb == "restore" else changed)
    assert site.run("backup").status == 0


class Acting(NoProgress):
    """Does something at one step of a restore."""

    def __init__(self, name: str, act: Callable[[], object]) -> None:
        self._name = name
        self._act = act

    def step(self, name: str) -> None:
        if name == self._name:
            self._act()


def restored_here(site: Site, archive: Path, progress: Progress, *, in_place: bool = False) -> RestoreResult:
    request = RestoreRequest(archive, in_place=in_place)
    return restore_archive(load_settings(site.environment), request, lambda _plan: True, progress)


def test_what_fails_after_the_commit_in_place_does_not_say_that_nothing_was_changed(
    site: Site, database: Database
) -> None:
    before = state(site, database)
    archive = backed_up(site)
    change(site, database)
    closing = f"ALTER DATABASE {database.name} ALLOW_CONNECTIONS"

    done = restored_here(
        site, archive, Acting("settled", lambda: execute(database.server.url(), f"{closing} false")), in_place=True
    )

    execute(database.server.url(), f"{closing} true")
    assert done.keeps_previous
    assert state(site, database) == before
    assert site.run("backup").status == 0


def test_a_journal_that_cannot_be_written_after_the_commit_in_place_leaves_it_to_be_resumed(
    site: Site, database: Database
) -> None:
    before = state(site, database)
    archive = backed_up(site)
    change(site, database)
    journal = site.backups / JOURNAL_NAME

    def block() -> None:
        journal.rename(site.root / "journal")
        journal.mkdir()

    with pytest.raises(RestorePending, match=r"The swap is done\. Now live: the restored data"):
        restored_here(site, archive, Acting("committed", block), in_place=True)

    journal.rmdir()
    (site.root / "journal").rename(journal)
    assert site.run("restore", "--resume").status == 0
    assert state(site, database) == before
    assert site.run("backup").status == 0


@pytest.mark.parametrize("at", ["swapping", "closed"])
def test_a_server_that_hangs_during_the_swap_is_given_up_and_the_swap_can_be_ended(
    site: Site, database: Database, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    archive = backed_up(site)
    change(site, database)
    before = state(site, database)
    site.environment["BACKUP_NETWORK_TIMEOUT"] = "4s"
    monkeypatch.setattr("safeharbor_backup.postgres.target._OWN_WAITS_SECONDS", -3)  # one second in all
    ours = f"SELECT pid FROM pg_stat_activity WHERE application_name = 'safeharbor' AND usename = '{database.owner}'"
    hanging: list[int] = []

    def stop() -> None:
        hanging.extend(pid for (pid,) in execute(database.server.url(), ours))
        for pid in hanging:
            os.kill(pid, signal.SIGSTOP)

    try:
        with pytest.raises(RestorePending):
            restored_here(site, archive, Acting(at, stop))
    finally:
        for pid in hanging:
            os.kill(pid, signal.SIGCONT)

    assert site.run("restore", "--undo").status == 0
    assert state(site, database) == before
    nothing_left(site, database)


def test_thousands_of_large_objects_go_in_place_without_a_stop(tmp_path: Path) -> None:
    options = {"max_locks_per_transaction": "1000"}
    with private_server(find_server_bins()[15], tcp=True, options=options) as server:
        database = make_database(server)
        site = make_site(tmp_path, database)
        database.execute("SELECT count(lo_from_bytea(0, 'content')) FROM generate_series(1, 8000)")
        archive = backed_up(site)
        before = state(site, database)
        change(site, database)

        done = restore(site, archive, "--in-place", timeout=60)

        assert done.status == 0, done.output
        assert state(site, database) == before


def test_a_signal_while_loading_in_place_rolls_back_in_the_middle_of_a_statement(
    site: Site, database: Database
) -> None:
    database.execute("CREATE TABLE large AS SELECT md5(g::text) t FROM generate_series(1, 600000) g")
    database.execute("CREATE INDEX ON large (t); CREATE INDEX ON large (md5(t)); CREATE INDEX ON large (md5(md5(t)))")
    archive = backed_up(site)
    change(site, database)
    before = state(site, database)
    run = site.start("restore", "--from", str(archive), "--yes", "--in-place")
    creating = f"SELECT FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX%' AND datname = '{database.name}'"
    while not execute(database.server.url(), creating):
        assert run.poll() is None
        time.sleep(0.01)

    run.terminate()
    said = run.communicate(timeout=30)[1].decode()

    assert run.returncode == 143, said
    assert state(site, database) == before
    nothing_left(site, database)
