"""Really full filesystems, missing and foreign directories, a mount that is not there: told before or without harm."""

from __future__ import annotations

import os
import pty
import subprocess
from pathlib import Path

import pytest

from safeharbor_backup.postgres.private_cluster import find_server_bins
from support.faults import Before, failed, fake_tools
from support.filesystems import mounted_image, mounted_tmpfs
from support.needs import need_program, need_root
from support.postgres import Database
from support.runs import Outcome, Site
from support.states import state_of


@pytest.fixture
def uncalled(tmp_path: Path) -> Path:
    """Tools that leave a mark if pg_dump is started to dump."""
    return fake_tools(tmp_path / "fake", f"touch {tmp_path}/pg_dump-was-called; exit 1")


def require_uncalled(site: Site) -> None:
    assert not (site.root / "pg_dump-was-called").exists()


def noise(size: int) -> bytes:
    return os.urandom(size)


@pytest.mark.parametrize("kind", ["tmpfs", "ext4"])
def test_a_filesystem_that_is_too_small_is_told_before_the_dump(site: Site, uncalled: Path, kind: str) -> None:
    (site.uploads / "large.bin").write_bytes(noise(12_000_000))
    place = site.root / "small"
    mount = mounted_tmpfs(place, 8 << 20) if kind == "tmpfs" else mounted_image("ext4", place, 9 << 20)
    with mount:
        done = site.run("backup", BACKUP_DIR=str(place), BACKUP_PG_BIN=str(uncalled))

        failed(done, 7, "bytes free", "BACKUP_RETENTION_DAILY")
        assert [name for name in os.listdir(place) if "backup" in name] == []
    require_uncalled(site)


@pytest.mark.parametrize("kind", ["tmpfs", "ext4"])
def test_a_filesystem_that_fills_up_during_the_run_loses_nothing(site: Site, database: Database, kind: str) -> None:
    place = site.root / "small"
    mount = mounted_tmpfs(place, 6 << 20) if kind == "tmpfs" else mounted_image("ext4", place, 7 << 20)
    with mount:
        elsewhere = Site.__new__(Site)
        elsewhere.root, elsewhere.uploads, elsewhere.backups = site.root, site.uploads, place
        elsewhere.environment = {**site.environment, "BACKUP_DIR": str(place)}
        assert elsewhere.run("backup").status == 0
        before = Before(elsewhere)
        # the estimate of the dump goes by the last archive; this dump is far larger
        rows = "SELECT md5(g::text) || md5(t::text || g) FROM generate_series(1, 300000) g, now() t"
        database.execute(f"CREATE TABLE large AS {rows}")

        done = elsewhere.run("backup")

        failed(done, 7, "is nearly full", "BACKUP_MIN_FREE", "1 existing archive is untouched")
        filled = elsewhere.run("backup", BACKUP_MIN_FREE="0")
        failed(filled, 7, "No space left", "1 existing archive is untouched")
        assert [name for name in os.listdir(place) if name.endswith(".tmp")] == []
        database.execute("DROP TABLE large")
        before.unharmed()


def test_one_huge_upload_is_refused_before_the_disk_is_touched(site: Site, uncalled: Path) -> None:
    place = site.root / "small"
    with mounted_image("ext4", place, 300 << 20):
        assert site.run("backup", BACKUP_DIR=str(place)).status == 0
        with open(site.uploads / "huge", "wb") as huge:
            huge.truncate(20 << 30)  # sparse: any web app can make one

        done = site.run("backup", BACKUP_DIR=str(place), BACKUP_PG_BIN=str(uncalled))

        failed(done, 7, "bytes free", "stay free (BACKUP_MIN_FREE)", "takes about 21,47", "1 existing archive")
    require_uncalled(site)


@pytest.mark.parametrize("kind", ["tmpfs", "ext4"])
def test_a_run_that_reaches_what_is_to_stay_free_stops_there(site: Site, database: Database, kind: str) -> None:
    rows = "SELECT g, repeat(md5(g::text), 4) FROM generate_series(1, 200000) g"
    place = site.root / "small"
    mount = mounted_tmpfs(place, 48 << 20) if kind == "tmpfs" else mounted_image("ext4", place, 56 << 20)
    with mount:
        assert site.run("backup", BACKUP_DIR=str(place)).status == 0
        database.execute(f"CREATE TABLE large AS {rows}")
        run = site.start("backup", BACKUP_DIR=str(place), BACKUP_MIN_FREE="40MiB", BACKUP_DUMP_COMPRESSION="none")
        least = free_bytes(place)
        while run.poll() is None:
            least = min(least, free_bytes(place))
        done = Outcome(run.returncode, *(each.decode() for each in run.communicate()))

        failed(done, 7, f"{place} is nearly full", "1 existing archive is untouched")
        assert least >= (38 << 20)  # the filesystem's own bookkeeping takes a little
        assert [name for name in os.listdir(place) if name.endswith(".tmp")] == []


def free_bytes(place: Path) -> int:
    system = os.statvfs(place)
    return system.f_bavail * system.f_frsize


def test_a_restore_leaves_free_what_is_to_stay_free(site: Site) -> None:
    place = site.root / "place"
    with mounted_tmpfs(place, 64 << 20):
        uploads = place / "uploads"
        uploads.mkdir()
        (uploads / "a.bin").write_bytes(noise(2_000_000))
        assert site.run("backup", BACKUP_UPLOAD_DIR=str(uploads)).status == 0
        site.environment.update(BACKUP_UPLOAD_DIR=str(uploads), BACKUP_MIN_FREE="95%")

        for verb in ("--dry-run", "--yes"):
            done = site.run("restore", "--from", str(site.archives[-1]), verb)
            failed(done, 7, "stay free (BACKUP_MIN_FREE)", "the restored uploads take about")
        assert os.listdir(place) == ["uploads"]


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_restore_stops_before_it_fills_the_disk_that_somebody_else_fills(
    site: Site, database: Database, jobs: str
) -> None:
    place = site.root / "place"
    with mounted_tmpfs(place, 64 << 20):
        uploads = place / "uploads"
        uploads.mkdir()
        for number in range(12):
            (uploads / f"{number}.bin").write_bytes(noise(1 << 20))
        site.environment.update(BACKUP_UPLOAD_DIR=str(uploads), BACKUP_MIN_FREE="20MiB")
        assert site.run("backup").status == 0
        before = state_of(database.url, database.server.major, uploads)
        leader, follower = pty.openpty()
        run = subprocess.Popen(
            site.argv("restore", "--from", str(site.archives[0]), "--jobs", jobs),
            env=site.full_environment(), stdin=follower, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=site.root,
        )  # fmt: skip
        os.close(follower)
        assert run.stdout is not None
        said = b""
        while b"to confirm" not in said:  # the plan has found room, then
            said += os.read(run.stdout.fileno(), 65536)
        (place / "filler").write_bytes(noise(26 << 20))
        least = free_bytes(place)
        os.write(leader, b"restore\n")
        while run.poll() is None:
            least = min(least, free_bytes(place))
        done = Outcome(run.returncode, *(each.decode() for each in run.communicate()))
        os.close(leader)

        failed(done, 7, "is nearly full", "stay free there (BACKUP_MIN_FREE)", "as they were", "--discard-previous")
        assert (19 << 20) <= least < (24 << 20)  # it had begun to write
        assert state_of(database.url, database.server.major, uploads) == before
        assert sorted(os.listdir(place)) == ["filler", "uploads"]


def test_an_upload_that_grows_before_it_is_read_stops_the_run_at_what_is_to_stay_free(
    site: Site, database: Database
) -> None:
    real = find_server_bins()[database.server.major]
    tools = site.root / "tools"
    tools.mkdir()
    (tools / "pg_restore").symlink_to(real / "pg_restore")
    grow = f'case "$*" in *--snapshot*) truncate -s 60M {site.uploads}/growing;; esac'
    (tools / "pg_dump").write_text(f'#!/bin/sh\n{grow}\nexec {real}/pg_dump "$@"\n')
    (tools / "pg_dump").chmod(0o755)
    (site.uploads / "growing").write_text("small")
    place = site.root / "small"
    with mounted_tmpfs(place, 48 << 20):
        run = site.start("backup", BACKUP_DIR=str(place), BACKUP_MIN_FREE="20MiB", BACKUP_PG_BIN=str(tools))
        least = free_bytes(place)
        while run.poll() is None:
            least = min(least, free_bytes(place))
        done = Outcome(run.returncode, *(each.decode() for each in run.communicate()))

        assert (site.uploads / "growing").stat().st_size == 60 << 20
        failed(done, 7, f"{place} is nearly full", "No archive was written")
        assert least >= (19 << 20)
        assert [name for name in os.listdir(place) if name.endswith((".tmp", ".tar"))] == []


def test_a_filesystem_without_inodes_is_told(site: Site) -> None:
    place = site.root / "few"
    with mounted_tmpfs(place, 8 << 20, inodes=3):
        (place / "one").touch()
        (place / "two").touch()

        failed(site.run("backup", BACKUP_DIR=str(place)), 7, "No space left")
        assert sorted(os.listdir(place)) == ["one", "two"]


def test_older_archives_are_never_deleted_to_make_room(site: Site) -> None:
    place = site.root / "small"
    with mounted_tmpfs(place, 4 << 20):
        old = place / "safeharbor-backup-2020-01-01T03-00-00Z.tar"
        old.write_bytes(noise(3_900_000))
        os.utime(old, (1_577_847_600,) * 2)

        done = site.run("backup", BACKUP_DIR=str(place), BACKUP_RETENTION_DAILY="1", BACKUP_RETENTION_WEEKLY="0")

        assert done.status == 7
        assert old.stat().st_size == 3_900_000


def test_a_missing_directory_is_told_with_the_command_that_makes_it(site: Site, uncalled: Path) -> None:
    missing = site.root / "nowhere" / "backups"

    done = site.run("backup", BACKUP_DIR=str(missing), BACKUP_PG_BIN=str(uncalled))

    failed(
        done, 7, f"{missing} does not exist", f"sudo install -d -m 0700 -o {os.geteuid()} -g {os.getegid()} {missing}"
    )
    require_uncalled(site)


def test_a_dangling_symlink_says_where_it_leads(site: Site, uncalled: Path) -> None:
    (site.root / "share").symlink_to(site.root / "not-mounted")

    done = site.run("backup", BACKUP_DIR=str(site.root / "share"), BACKUP_PG_BIN=str(uncalled))

    failed(done, 7, str(site.root / "not-mounted"), "mount it")
    require_uncalled(site)


def test_a_file_in_the_place_of_the_directory_is_told(site: Site) -> None:
    (site.root / "file").touch()

    failed(site.run("backup", BACKUP_DIR=str(site.root / "file")), 7, "not a directory")


def test_a_directory_mounted_read_only_is_told_with_the_remedy(site: Site, uncalled: Path) -> None:
    place = site.root / "ro"
    with mounted_tmpfs(place, 4 << 20):
        subprocess.run(["mount", "-o", "remount,ro", place], check=True)

        done = site.run("backup", BACKUP_DIR=str(place), BACKUP_PG_BIN=str(uncalled))

    failed(done, 7, "read-only", f"mount -o remount,rw {place}")
    require_uncalled(site)


def run_as(site: Site, user: int, *arguments: str, **extra: str) -> tuple[int, str]:
    """The command as another user: its status, and what it said."""
    done = site.run_as(user, *arguments, **extra)
    return done.status, done.stderr


@pytest.fixture
def shared(site: Site) -> Site:
    """A site whose directories an ordinary user can reach, wherever pytest put it."""
    need_root()
    for directory in (site.root, *site.root.parents):
        if directory != Path("/") and not directory.stat().st_mode & 0o001:
            directory.chmod(directory.stat().st_mode | 0o011)
    return site


def test_someone_elses_directory_is_told_with_the_exact_chown(shared: Site) -> None:
    os.chown(shared.backups, 0, 0)
    shared.backups.chmod(0o755)

    status, said = run_as(shared, 12345, "backup")

    assert status == 7, said
    assert f"sudo chown 12345:12345 {shared.backups}" in said


def test_a_run_as_root_between_runs_as_the_user_changes_nothing_for_the_user(shared: Site) -> None:
    os.chown(shared.backups, 12345, 12345)
    first = run_as(shared, 12345, "backup")
    as_root = shared.run("backup")
    third = run_as(shared, 12345, "backup", BACKUP_RETENTION_DAILY="1", BACKUP_RETENTION_WEEKLY="0")

    assert first[0] == 0, first[1]
    assert as_root.status == 0
    assert third[0] == 0, third[1]
    owners = {(path.stat().st_uid, path.stat().st_gid) for path in shared.backups.iterdir()}
    assert owners == {(12345, 12345)}
    assert len(shared.archives) == 1


def test_what_a_restore_by_root_keeps_hinders_no_backup_of_the_user_who_may_discard_it(shared: Site) -> None:
    for path in (shared.backups, shared.uploads, *shared.uploads.rglob("*")):
        os.chown(path, 12345, 12345)
    first = run_as(shared, 12345, "backup")
    restored = shared.run("restore", "--from", "latest", "--yes")

    second = run_as(shared, 12345, "backup")
    discarded = run_as(shared, 12345, "restore", "--discard-previous", "--yes")

    assert [first[0], restored.status, second[0], discarded[0]] == [0, 0, 0, 0], (restored.output, second, discarded)
    assert list(shared.uploads.glob(".safeharbor-restore-*")) == []
    assert {path.stat().st_uid for path in shared.uploads.rglob("*")} == {12345}


def test_a_share_that_is_not_mounted_is_noticed_by_its_sentinel(site: Site, uncalled: Path) -> None:
    failed(
        site.run("backup", BACKUP_SENTINEL=".this-is-the-nas", BACKUP_PG_BIN=str(uncalled)),
        7,
        ".this-is-the-nas is missing",
        "not mounted",
    )
    require_uncalled(site)
    (site.backups / ".this-is-the-nas").touch()
    assert site.run("backup", BACKUP_SENTINEL=".this-is-the-nas").status == 0


@pytest.mark.parametrize("below", [True, False])
def test_backups_and_uploads_inside_one_another_are_refused(site: Site, below: bool) -> None:
    if below:
        inner = site.uploads / "backups"
        inner.mkdir()
        done = site.run("backup", BACKUP_DIR=str(inner))
    else:
        inner = site.backups / "uploads"
        inner.mkdir()
        done = site.run("backup", BACKUP_UPLOAD_DIR=str(inner))

    failed(done, 2, "apart from the uploads")


def test_uploads_that_are_missing_are_a_lost_mount_not_an_empty_backup(site: Site) -> None:
    failed(
        site.run("backup", BACKUP_UPLOAD_DIR=str(site.root / "lost")),
        2,
        "BACKUP_UPLOAD_DIR",
        "BACKUP_UPLOAD_DIR=none",
    )
    assert site.archives == []


def test_an_archive_is_private_whatever_the_umask(site: Site) -> None:
    done = subprocess.run(
        ["sh", "-c", 'umask 000; exec "$0" "$@"', *site.argv("backup")],
        env=site.full_environment(),
        cwd=site.root,
        capture_output=True,
        check=False,
    )

    assert done.returncode == 0
    assert site.archives[0].stat().st_mode & 0o777 == 0o600


def test_a_planted_draft_is_swept_and_not_followed(site: Site) -> None:
    victim = site.root / "precious"
    victim.write_text("precious")
    (site.backups / "safeharbor-backup-2026-01-01T03-00-00Z.tar.0123abcd.tmp").symlink_to(victim)
    (site.backups / "somebody-elses.tmp").write_text("kept")
    of_a_mark = site.backups / "safeharbor-backup-2026-01-01T03-00-00Z.tar.keep.0123abcd.tmp"
    of_a_mark.write_text("")
    os.utime(of_a_mark, (1_577_847_600,) * 2)  # a young one may be in use

    done = site.run("backup")

    assert done.status == 0
    assert victim.read_text() == "precious"
    assert site.leftovers == ["somebody-elses.tmp"]


def test_an_unlink_that_fails_does_not_spoil_the_backup(site: Site) -> None:
    need_root()
    chattr = need_program("chattr")
    place = site.root / "ext4"
    with mounted_image("ext4", place, 64 << 20):
        old = place / "safeharbor-backup-2020-01-01T03-00-00Z.tar"
        old.write_bytes(b"old")
        os.utime(old, (1_577_847_600,) * 2)
        subprocess.run([chattr, "+i", old], check=True)

        done = site.run("backup", BACKUP_DIR=str(place), BACKUP_RETENTION_DAILY="1", BACKUP_RETENTION_WEEKLY="0")

        subprocess.run([chattr, "-i", old], check=True)
        failed(done, 3, "was not deleted")
        assert old.exists()
        assert site.run("verify", "--latest", BACKUP_DIR=str(place)).status == 0


POWER_CUTS = {"before anything is synced": ("fsync", 1), "before the rename": ("renameat2", 1)}


@pytest.mark.parametrize(("call", "number"), POWER_CUTS.values(), ids=POWER_CUTS.keys())
def test_a_power_cut_leaves_no_archive_or_a_whole_one(site: Site, call: str, number: int) -> None:
    strace, xfs_io = need_program("strace"), need_program("xfs_io")
    need_root()
    place = site.root / "xfs"
    image = place.with_suffix(".xfs.img")
    with mounted_image("xfs", place, 320 << 20):
        first = site.run("backup", BACKUP_DIR=str(place))
        assert first.status == 0
        subprocess.run(
            [
                strace,
                "-f",
                "-qq",
                "-o",
                "/dev/null",
                "-e",
                f"inject={call}:signal=KILL:when={number}",
                *site.argv("backup"),
            ],
            env=site.full_environment({"BACKUP_DIR": str(place)}),
            capture_output=True,
            check=False,
        )
        subprocess.run([xfs_io, "-x", "-c", "shutdown", place], check=True)
        subprocess.run(["umount", place], check=True)
        subprocess.run(["mount", "-o", "loop", image, place], check=True)

        assert site.run("verify", "--all", BACKUP_DIR=str(place)).status == 0
        assert site.run("backup", BACKUP_DIR=str(place)).status == 0
        assert [name for name in os.listdir(place) if name.endswith(".tmp")] == []


def test_a_power_cut_after_success_keeps_the_archive(site: Site) -> None:
    xfs_io = need_program("xfs_io")
    need_root()
    place = site.root / "xfs"
    with mounted_image("xfs", place, 320 << 20):
        done = site.run("backup", "--json", BACKUP_DIR=str(place))
        subprocess.run([xfs_io, "-x", "-c", "shutdown", place], check=True)
        subprocess.run(["umount", place], check=True)
        subprocess.run(["mount", "-o", "loop", place.with_suffix(".xfs.img"), place], check=True)

        assert Path(done.document["path"]).stat().st_size == done.document["size_bytes"]
        assert site.run("verify", "--latest", BACKUP_DIR=str(place)).status == 0
