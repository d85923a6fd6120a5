"""What an uploads tree can hold or do while it is read: recorded, left out or retried, and the rest is complete."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.faults import Before, failed
from support.needs import need_program, need_root
from support.postgres import Database, drop_database, make_database
from support.runs import Site, make_site


def uploads_of(archive: Path) -> dict[str, Any]:
    """What the manifest says of uploads."""
    done = subprocess.run(["tar", "-xOf", archive, "manifest.json"], capture_output=True, check=True)
    document: dict[str, Any] = json.loads(done.stdout)["uploads"]
    return document


def names_in(archive: Path) -> set[str]:
    listed = subprocess.run(
        ["tar", "-tf", archive, "--quoting-style=literal"], capture_output=True, check=True
    ).stdout.decode("utf-8", "surrogateescape")
    return {name.removeprefix("uploads/") for name in listed.splitlines()}


def extract(archive: Path, place: Path) -> Path:
    place.mkdir()
    subprocess.run(["tar", "-xf", archive, "-C", place], check=True)
    subprocess.run(["sha256sum", "--strict", "--quiet", "-c", "SHA256SUMS"], cwd=place, check=True)
    return place / "uploads"


def make_special(directory: Path, kind: str) -> None:
    path = directory / "special"
    if kind == "FIFO":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as listener:
            before = Path.cwd()
            os.chdir(directory)  # a socket's path must be short
            try:
                listener.bind("special")
            finally:
                os.chdir(before)
    elif kind == "device":
        need_root()
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 7))
    else:
        path.symlink_to(kind)


@pytest.mark.parametrize(
    "kind", ["FIFO", "socket", "device", "/etc/passwd", "../outside", "2026/../../outside", "../uploads/2026"]
)
def test_what_cannot_be_archived_is_left_out_and_listed(site: Site, kind: str) -> None:
    make_special(site.uploads, kind)

    done = site.run("backup", timeout=60)

    failed(done, 3, "special", "cannot be archived")
    (archive,) = site.archives
    assert "special" not in names_in(archive)
    assert uploads_of(archive)["skipped"]["count"] == 1
    assert site.run("verify", "--latest").status == 0


def test_links_inside_loops_hard_links_and_shared_directories_are_kept(site: Site, tmp_path: Path) -> None:
    (site.uploads / "cover.jpg").symlink_to("2026/1.jpg")
    (site.uploads / "2026" / "up").symlink_to("../cover.jpg")
    (site.uploads / "loop").symlink_to("loop")
    os.link(site.uploads / "2026" / "1.jpg", site.uploads / "same.jpg")
    (site.uploads / "shared").mkdir()
    (site.uploads / "shared").chmod(0o3775)
    (site.uploads / "2026" / "2.jpg").chmod(0o6755)

    done = site.run("backup")

    assert done.status == 0, done.output
    out = extract(site.archives[0], tmp_path / "out")
    assert os.readlink(out / "cover.jpg") == "2026/1.jpg"
    assert os.readlink(out / "2026" / "up") == "../cover.jpg"
    assert os.readlink(out / "loop") == "loop"
    assert (out / "same.jpg").stat().st_nlink == 1
    assert (out / "same.jpg").read_bytes() == (site.uploads / "same.jpg").read_bytes()
    assert stat.S_IMODE((out / "2026" / "2.jpg").stat().st_mode) == 0o755
    if os.geteuid() == 0:
        assert stat.S_IMODE((out / "shared").stat().st_mode) == 0o3775


def test_lost_found_and_an_unfinished_restore_are_left_out_knowingly(site: Site) -> None:
    need_root()
    (site.uploads / "lost+found").mkdir()
    (site.uploads / "lost+found" / "#12").touch()
    (site.uploads / ".safeharbor-restore-0a1b").mkdir()
    (site.uploads / ".safeharbor-restore-0a1b" / ".safeharbor-staging").touch()
    (site.uploads / ".safeharbor-restore-users-own").mkdir()

    done = site.run("backup")

    assert done.status == 3, done.output  # no journal knows that restore
    assert ".safeharbor-restore-0a1b" in done.stderr
    assert uploads_of(site.archives[0])["excluded"]["names"] == [".safeharbor-restore-0a1b", "lost+found"]
    assert ".safeharbor-restore-users-own/" in names_in(site.archives[0])


def test_names_and_times_of_all_kinds_round_trip(site: Site, tmp_path: Path) -> None:
    root = os.fsencode(site.uploads)
    names = [b"new\nline", b"back\\slash", b"caf\xe9", b"-rf", b" ", b"n" * 255, "入港 ⚓".encode()]
    for name in names:
        with open(root + b"/" + name, "wb") as file:
            file.write(name)
    deep = root
    for level in range(40):
        deep += b"/level-%02d" % level
        os.mkdir(deep)
    with open(deep + b"/bottom", "wb") as file:
        file.write(b"x")
    os.utime(root + b"/back\\slash", (-5, -5))
    os.utime(root + b"/caf\xe9", (9_000_000_000, 9_000_000_000))
    (site.uploads / "empty").touch()

    done = site.run("backup")

    assert done.status == 0, done.output
    out = os.fsencode(extract(site.archives[0], tmp_path / "out"))
    for name in names:
        with open(out + b"/" + name, "rb") as file:
            assert file.read() == name
    assert os.stat(out + b"/back\\slash").st_mtime == -5
    assert os.stat(out + b"/caf\xe9").st_mtime == 9_000_000_000
    assert os.path.exists(out + deep[len(root) :] + b"/bottom")
    assert site.run("verify", "--latest").status == 0


READ_FAILURES = {
    "may not be opened": ("openat:error=EACCES", "unreadable"),
    "is on a bad block": ("read:error=EIO", "unreadable"),
    "is on a share that lost it": ("openat:error=ESTALE", "unreadable"),
    "vanished before it was opened": ("openat:error=ENOENT", "vanished"),
}


@pytest.mark.parametrize(("inject", "recorded"), READ_FAILURES.values(), ids=READ_FAILURES.keys())
@pytest.mark.parametrize("size", [5_000, 3_000_000])
def test_an_upload_that_cannot_be_read_is_recorded_and_the_rest_is_there(
    site: Site, inject: str, recorded: str, size: int
) -> None:
    bad = site.uploads / "2026" / "bad.jpg"
    bad.write_bytes(b"b" * size)
    done = site.run_traced(("-f", "-o", "/dev/null", "-P", bad, "-P", "bad.jpg", "-e", f"inject={inject}"), "backup")

    assert done.returncode == 3, done.stderr.decode()
    (archive,) = site.archives
    assert uploads_of(archive)[recorded]["count"] == 1
    assert {f"2026/{number}.jpg" for number in range(1, 11)} <= names_in(archive)
    assert "2026/bad.jpg" not in names_in(archive)
    assert site.run("verify", str(archive)).status == 0


def test_a_directory_that_cannot_be_read_is_recorded_and_nothing_is_pruned(site: Site) -> None:
    assert site.run("backup").status == 0
    old = site.backups / "safeharbor-backup-2020-01-01T03-00-00Z.tar"
    old.write_bytes(b"old")
    os.utime(old, (1_577_847_600,) * 2)
    (site.uploads / "private").mkdir()
    (site.uploads / "private" / "a").touch()
    inject = ["-P", str(site.uploads / "private"), "-P", "private", "-e", "inject=openat:error=EACCES"]
    site.environment |= {"BACKUP_RETENTION_DAILY": "1", "BACKUP_RETENTION_WEEKLY": "0"}
    done = site.run_traced(("-f", "-o", "/dev/null", *inject), "backup")

    assert done.returncode == 3, done.stderr.decode()
    assert b"nothing was pruned" in done.stderr
    assert old.exists()
    assert uploads_of(site.archives[-1])["unreadable_directories"] == 1


def grow(path: Path, _turn: int) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def cut(path: Path, turn: int) -> None:
    os.truncate(path, 1000 + turn % 2000)


def rewrite(path: Path, turn: int) -> None:
    with path.open("r+b") as file:
        file.write(bytes([turn % 256]) * 4000)


def rewrite_and_set_time_back(path: Path, turn: int) -> None:
    rewrite(path, turn)
    os.utime(path, (1_700_000_000, 1_700_000_000))


def come_and_go(path: Path, _turn: int) -> None:
    if path.exists():
        path.unlink()
    else:
        path.write_bytes(b"back" * 1000)


@pytest.mark.parametrize("write", [grow, cut, rewrite, rewrite_and_set_time_back, come_and_go])
@pytest.mark.parametrize("size", [20_000, 2_500_000])
def test_a_file_that_changes_all_the_time_never_spoils_an_archive(
    site: Site, tmp_path: Path, write: Callable[[Path, int], None], size: int
) -> None:
    busy = site.uploads / "2026" / "busy.bin"
    busy.write_bytes(b"s" * size)
    stop = threading.Event()

    def keep_writing() -> None:
        turn = 0
        while not stop.is_set():
            turn += 1
            write(busy, turn)
            time.sleep(0.0002)

    thread = threading.Thread(target=keep_writing)
    thread.start()
    try:
        outcomes = [site.run("backup", "--no-prune") for _ in range(2)]
    finally:
        stop.set()
        thread.join()

    assert {outcome.status for outcome in outcomes} <= {0, 3}
    for number, archive in enumerate(site.archives):
        assert site.run("verify", str(archive)).status == 0
        out = extract(archive, tmp_path / f"out{number}")
        assert (out / "2026" / "10.jpg").read_bytes() == (site.uploads / "2026" / "10.jpg").read_bytes()


def test_a_tree_that_changes_during_the_walk_is_archived_as_it_is_met(site: Site) -> None:
    stop = threading.Event()

    def churn() -> None:
        turn = 0
        while not stop.is_set():
            turn += 1
            place = site.uploads / f"churn-{turn % 7}"
            try:
                place.mkdir()
                (place / "a").write_bytes(b"a")
                (place / "a").rename(place / "b")
                (place / "b").unlink()
                place.rmdir()
            except OSError:
                continue

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        statuses = {site.run("backup", "--no-prune").status for _ in range(3)}
    finally:
        stop.set()
        thread.join()

    assert statuses <= {0, 3}
    assert site.run("verify", "--all").status == 0


SHORTFALLS = {
    "all uploads are gone": ("rm -r uploads/2026", "upload files"),
    "half of them are gone": ("rm uploads/2026/[1-5].jpg", "upload files"),
    "half of the bytes are gone": ("truncate -s 1 uploads/2026/[1-9].jpg", "bytes of uploads"),
}


@pytest.mark.parametrize(("change", "words"), SHORTFALLS.values(), ids=SHORTFALLS.keys())
def test_a_backup_that_is_suddenly_much_smaller_prunes_nothing(site: Site, change: str, words: str) -> None:
    old = site.backups / "safeharbor-backup-2020-01-01T03-00-00Z.tar"
    old.write_bytes(b"old")
    os.utime(old, (1_577_847_600,) * 2)
    assert site.run("backup", "--no-prune").status == 0
    subprocess.run(["sh", "-c", change], cwd=site.root, check=True)

    done = site.run("backup", BACKUP_RETENTION_DAILY="1", BACKUP_RETENTION_WEEKLY="0")

    failed(done, 3, "nothing was pruned", words, "--adopt")
    assert old.exists()
    assert site.run("prune", "--adopt", BACKUP_RETENTION_DAILY="1", BACKUP_RETENTION_WEEKLY="0").status == 0
    assert not old.exists()


def test_a_quiet_run_still_says_that_nothing_was_pruned(site: Site) -> None:
    assert site.run("backup").status == 0
    subprocess.run(["sh", "-c", "rm -r uploads/2026"], cwd=site.root, check=True)

    done = site.run("backup", "--quiet")

    failed(done, 3, "nothing was pruned", "upload files")
    assert done.output.count("nothing was pruned") == 1


def test_names_full_of_braces_cost_no_backup(site: Site) -> None:
    for number in range(300):
        (site.uploads / f"{'{' * 200}{number}.tmp").touch()

    assert site.run("backup", BACKUP_EXCLUDE="*.tmp").status == 0
    assert uploads_of(site.archives[0])["excluded"]["count"] == 300


def test_a_database_that_lost_half_its_rows_prunes_nothing(site: Site, database: Database) -> None:
    assert site.run("backup").status == 0
    database.execute("TRUNCATE entry CASCADE")

    failed(site.run("backup"), 3, "nothing was pruned", "rows")


def test_two_applications_in_one_directory_keep_all_their_archives(
    site: Site, database: Database, tmp_path: Path
) -> None:
    other_database = make_database(database.server)
    try:
        (tmp_path / "other").mkdir()
        other = make_site(tmp_path / "other", other_database)
        few = {"BACKUP_RETENTION_DAILY": "1", "BACKUP_RETENTION_WEEKLY": "0"}
        assert site.run("backup").status == 0

        theirs = other.run("backup", timeout=60, BACKUP_DIR=str(site.backups), **few)
        ours = site.run("backup", timeout=60, **few)

        failed(theirs, 3, "another database", "own BACKUP_DIR")
        failed(ours, 3, "another database")
        assert len(site.archives) == 3
    finally:
        drop_database(other_database)


@pytest.mark.parametrize(
    "bad",
    [
        {"BACKUP_RETENTION_DAILY": "0", "BACKUP_RETENTION_WEEKLY": "0"},
        {"BACKUP_RETENTION_DAILY": "-1"},
        {"BACKUP_RETENTION_WEEKLY": "many"},
        {"BACKUP_SCHEDULE": "0 3 * * *"},
        {"BACKUP_SCHEDULE": "whenever"},
    ],
    ids=str,
)
def test_a_broken_policy_costs_no_backup_and_deletes_nothing(site: Site, bad: dict[str, str]) -> None:
    old = site.backups / "safeharbor-backup-2020-01-01T03-00-00Z.tar"
    old.write_bytes(b"old")

    failed(site.run("backup", timeout=60, **bad), 3, "nothing was pruned", next(iter(bad)))
    failed(site.run("prune", timeout=60, **bad), 2, next(iter(bad)))
    assert old.exists()
    assert len(site.archives) == 2


def test_empty_settings_are_the_defaults(site: Site) -> None:
    done = site.run("backup", BACKUP_RETENTION_DAILY="", BACKUP_SCHEDULE="", BACKUP_SENTINEL="", BACKUP_EXCLUDE="")

    assert done.status == 0


@pytest.mark.parametrize("shift", ["-1h", "+1h", "-10y", "+10y"])
def test_a_wrong_clock_costs_no_archive(site: Site, shift: str) -> None:
    faketime = need_program("faketime")
    assert site.run("backup").status == 0
    before = Before(site)
    few = {"BACKUP_RETENTION_DAILY": "2", "BACKUP_RETENTION_WEEKLY": "1"}

    done = subprocess.run(
        [faketime, "-f", shift, *site.argv("backup")],
        env=site.full_environment(few),
        cwd=site.root,
        capture_output=True,
        check=False,
        timeout=120,
    )

    assert done.returncode in (0, 3), done.stderr.decode()
    assert len(site.archives) == 2
    before.unharmed()
    assert len(site.archives) == 3


def test_backup_prune_and_verify_at_once_never_lose_what_is_read(site: Site) -> None:
    assert site.run("backup").status == 0
    deadline = time.monotonic() + 6
    failures: list[str] = []

    def loop(*arguments: str, allowed: tuple[int, ...]) -> None:
        while time.monotonic() < deadline:
            done = site.run(*arguments, BACKUP_RETENTION_DAILY="1", BACKUP_RETENTION_WEEKLY="0")
            if done.status not in allowed:
                failures.append(f"{arguments}: {done.status}: {done.output}")

    threads = [
        threading.Thread(target=loop, args=("backup",), kwargs={"allowed": (0, 4)}),
        threading.Thread(target=loop, args=("prune",), kwargs={"allowed": (0, 4)}),
        threading.Thread(target=loop, args=("verify", "--latest"), kwargs={"allowed": (0,)}),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert site.run("verify", "--all").status == 0


def test_forty_thousand_small_files_take_little_memory(site: Site) -> None:
    for number in range(40_000):
        if number % 5000 == 0:
            place = site.uploads / f"{number:06}"
            place.mkdir()
        with open(place / f"{number:06}", "wb", buffering=0) as file:
            file.write(b"x")
    process = subprocess.Popen(site.argv("backup", "--quiet"), env=site.full_environment(), cwd=site.root)
    peak = 0
    while process.poll() is None:
        try:
            status = Path(f"/proc/{process.pid}/status").read_text()
            peak = max([peak, *(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))])
        except OSError:
            break
        time.sleep(0.05)

    assert process.wait() == 0
    assert 0 < peak < 100 * 1024
