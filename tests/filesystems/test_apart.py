"""Dump and uploads written at the same time: the archive is the one that writing them in turn makes."""

from __future__ import annotations

import _thread
import hashlib
import os
import random
import signal
import subprocess
import threading
import time
from typing import IO, TYPE_CHECKING

import pytest

import safeharbor_backup.actions.backup.write as backup_module
from safeharbor_backup.actions.backup.run import take_backup
from safeharbor_backup.actions.backup.self_check import prove_uploads_in_parallel
from safeharbor_backup.actions.verify import verify_archive
from safeharbor_backup.archive import checksums as sums
from safeharbor_backup.archive import parallel_dump as apart
from safeharbor_backup.archive.headers import padding
from safeharbor_backup.archive.layout import DUMP_OFFSET
from safeharbor_backup.archive.parallel_dump import Abandoned, DumpRegion, pwrite_all, reserve_dump_region, write_apart
from safeharbor_backup.archive.read_back import prove_uploads
from safeharbor_backup.archive.source import Source
from safeharbor_backup.archive.writer import ArchiveWriter
from safeharbor_backup.errors import Interrupted, OutOfResources, SafeHarborError, ToolFailed
from safeharbor_backup.progress import NoProgress
from safeharbor_backup.settings.load import load_settings
from safeharbor_backup.settings.upload_dirs import UploadDir
from safeharbor_backup.system import sparse as holes
from safeharbor_backup.system.atomic_file import unnamed_file
from safeharbor_backup.system.signals import signals_interrupt
from safeharbor_backup.system.sparse import can_move, insert_range
from safeharbor_backup.uploads.collect import write_uploads
from support.faults import fake_tools
from support.filesystems import mounted_image, mounted_tmpfs
from support.postgres import execute

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from safeharbor_backup.actions.backup.run import BackupResult
    from support.runs import Site

SIZES = {"ext4": 96 << 20, "xfs": 320 << 20, "btrfs": 160 << 20, "tmpfs": 64 << 20}
MOVING = ("ext4", "xfs")


@pytest.fixture(params=MOVING)
def place(request: pytest.FixtureRequest, site: Site) -> Iterator[Path]:
    """The backup directory of `site`, on a filesystem that can take a hole out of a file."""
    with mounted_image(request.param, site.root / request.param, SIZES[request.param]) as place:
        site.backups = place
        site.environment["BACKUP_DIR"] = str(place)
        for number in range(30):
            (site.uploads / f"{number}.jpg").write_bytes(os.urandom(number * 3_000))
        (site.uploads / "large.bin").write_bytes(os.urandom(3_000_000))
        (site.uploads / "link").symlink_to("0.jpg")
        yield place


def take(site: Site, **settings: str) -> BackupResult:
    return take_backup(load_settings({**site.full_environment(), **settings}))


def sessions_of(site: Site) -> int:
    """How many sessions its database has, beside the one that asks."""
    others = "datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
    query = f"SELECT count(*) FROM pg_stat_activity WHERE {others}"
    return int(execute(site.environment["BACKUP_DATABASE_URL"], query)[0][0])


def until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def extracted(archive: Path, into: Path) -> str:
    """A digest of everything that GNU tar makes of an archive, but for the manifest; SHA256SUMS is checked."""
    into.mkdir()
    subprocess.run(["tar", "-xf", archive, "-C", into], check=True)
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=into, check=True)
    (into / "manifest.json").unlink()
    listing = subprocess.run(["tar", "--numeric-owner", "-tvf", archive, "uploads"], check=True, capture_output=True)
    digest = hashlib.sha256(listing.stdout)
    for path in sorted((into / "uploads").rglob("*")):
        digest.update(path.read_bytes() if path.is_file() else b"")
    return digest.hexdigest()


@pytest.mark.parametrize("kind", SIZES)
def test_holes_can_be_taken_out_on_ext4_and_xfs_only(tmp_path: Path, kind: str) -> None:
    where = tmp_path / kind
    mount = mounted_tmpfs(where, SIZES[kind]) if kind == "tmpfs" else mounted_image(kind, where, SIZES[kind])
    with mount, open(where / "trial", "w+b") as file:
        assert can_move(file.fileno(), 4096) is (kind in MOVING)
        assert os.fstat(file.fileno()).st_size == 0


def test_a_filesystem_that_would_copy_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    smb = 0xFE534D42
    monkeypatch.setattr(holes, "filesystem_of", lambda _: smb)
    where = tmp_path / "ext4"
    with mounted_image("ext4", where, SIZES["ext4"]) as place, open(place / "trial", "w+b") as file:
        assert not can_move(file.fileno(), 4096)


def test_both_ways_of_writing_make_the_same_archive(site: Site, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gaps: list[DumpRegion | None] = []

    def watched(descriptor: int, expected: int) -> DumpRegion | None:
        gaps.append(reserve_dump_region(descriptor, expected))
        return gaps[-1]

    monkeypatch.setattr(backup_module, "reserve_dump_region", watched)
    at_once = take(site)
    monkeypatch.setattr(backup_module, "reserve_dump_region", lambda *_: None)
    (place / ".safeharbor" / "index").unlink()
    in_turn = take(site)

    assert len(gaps) == 1
    assert gaps[0] is not None
    assert verify_archive(at_once.path, load_settings(site.full_environment())).is_sound
    assert extracted(at_once.path, site.root / "a") == extracted(in_turn.path, site.root / "b")
    assert (site.root / "a" / "db.dump").stat().st_size == (site.root / "b" / "db.dump").stat().st_size
    assert abs(at_once.size - in_turn.size) <= 4096 + 512
    assert at_once.path.stat().st_blocks * 512 < at_once.size + 65_536  # no part of the gap is left


def test_what_is_told_is_what_is_written(site: Site, place: Path) -> None:
    told: dict[str, int] = {}

    class Watcher(NoProgress):
        def phase(self, name: str, total_bytes: int | None = None) -> None:
            self.name = name

        def advance(self, size_bytes: int, items: int = 0) -> None:
            told[self.name] = told.get(self.name, 0) + size_bytes

    result = take_backup(load_settings(site.full_environment()), progress=Watcher())

    assert 0.9 * result.size < told["dump and uploads"] <= result.size


def test_the_next_backup_finds_the_members_where_they_are_now(site: Site, place: Path) -> None:
    time.sleep(2.1)  # until the uploads are old enough to be trusted

    first = take(site)
    second = take(site)

    if place.name == "xfs":
        assert second.shared is not None
        assert second.shared.archive == first.path.name
    assert verify_archive(second.path, load_settings(site.full_environment())).is_sound
    assert extracted(first.path, site.root / "a") == extracted(second.path, site.root / "b")


def test_a_dump_that_is_larger_than_expected_moves_the_uploads_further(
    site: Site, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apart, "_LEAST_ROOM", 4096)
    monkeypatch.setattr(backup_module, "reserve_dump_region", lambda descriptor, _: reserve_dump_region(descriptor, 0))
    moved: list[int] = []

    def watched(descriptor: int, offset: int, size: int) -> None:
        moved.append(size)
        insert_range(descriptor, offset, size)

    monkeypatch.setattr(apart, "insert_range", watched)

    result = take(site, BACKUP_DUMP_COMPRESSION="none")
    again = take(site, BACKUP_DUMP_COMPRESSION="none")

    assert moved
    for each in (result, again):
        assert verify_archive(each.path, load_settings(site.full_environment())).is_sound
    assert extracted(result.path, site.root / "a") == extracted(again.path, site.root / "b")


def test_a_dump_that_fails_ends_the_work_beside_it(site: Site, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = fake_tools(site.root / "fake", "head -c 100000 /dev/zero; echo 'pg_dump: error: no' >&2; exit 1")
    proven = False

    def prove(*_: object) -> None:
        nonlocal proven
        proven = True

    def slow(*arguments: object) -> object:
        time.sleep(1)  # so that the failure is there before the first upload is
        return write_uploads(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(backup_module, "write_uploads", slow)
    monkeypatch.setattr(backup_module, "prove_uploads_in_parallel", prove)

    with pytest.raises(ToolFailed, match="pg_dump failed"):
        take(site, BACKUP_PG_BIN=str(tools))

    assert not proven
    assert not list(place.glob("safeharbor-backup-*"))


@pytest.mark.parametrize("place", ["ext4"], indirect=True)
@pytest.mark.parametrize(
    ("pg_dump", "pg_restore"),
    [
        ("trap '' TERM; touch busy; sleep 300", "cat >/dev/null"),
        ("touch busy; sleep 300", "cat >/dev/null"),
        ("head -c 30000000 /dev/zero", "touch busy; sleep 300"),
    ],
    ids=["ignores TERM", "child holds the pipe", "decoder's child holds the pipe"],
)
def test_a_run_that_is_told_to_stop_waits_for_no_stubborn_tool(
    site: Site, place: Path, pg_dump: str, pg_restore: str
) -> None:
    tools = fake_tools(site.root / "fake", pg_dump, pg_restore)
    run = site.start("backup", BACKUP_PG_BIN=str(tools))
    try:
        until(lambda: (site.root / "busy").exists())
        run.terminate()
        _, said = run.communicate(timeout=20)
    finally:
        run.kill()

    assert run.returncode == 143, said
    assert not list(place.glob("safeharbor-backup-*"))


def threads_of_ours() -> int:
    return len(os.listdir("/proc/self/task"))


class AtThread:
    """Does something as the thread of a given number is started; counts them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, number: int, do: Callable[[], None], *, after: bool) -> None:
        self.started = 0
        start = _thread.start_new_thread

        def disturbed(function: Callable[..., object], arguments: tuple[object, ...], *more: object) -> int:
            self.started += 1
            if self.started == number and not after:
                do()
            identity = start(function, arguments, *more)
            if self.started == number and after:
                do()
            return identity

        monkeypatch.setattr(_thread, "start_new_thread", disturbed)


@pytest.mark.parametrize("place", ["ext4"], indirect=True)
def test_a_signal_that_comes_as_any_thread_begins_leaves_none(site: Site, place: Path) -> None:
    tools = fake_tools(site.root / "fake", "sleep 300")
    before = threads_of_ours()

    for number in range(1, 100):
        with pytest.MonkeyPatch.context() as patched, signals_interrupt():
            at_thread = AtThread(patched, number, lambda: os.kill(os.getpid(), signal.SIGTERM), after=True)
            watch = threading.Timer(20, os.kill, (os.getpid(), signal.SIGTERM))
            watch.start()
            began = time.monotonic()
            try:
                with pytest.raises(Interrupted):
                    take(site, BACKUP_PG_BIN=str(tools))
            finally:
                watch.cancel()
                watch.join()
            took = time.monotonic() - began
        if at_thread.started < number:
            break  # the dump slept until the watch ended it: there are no more threads
        assert took < 19, number
        until(lambda: threads_of_ours() == before)
        until(lambda: sessions_of(site) == 0)  # the server lets go of the lock a moment later
    assert number > 5


@pytest.mark.parametrize("place", ["ext4"], indirect=True)
def test_a_signal_that_comes_as_the_uploads_begin_leaves_no_file_open(
    site: Site, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[IO[bytes]] = []

    def disturbed(directory: Path) -> IO[bytes]:
        made.append(unnamed_file(directory))
        if len(made) == 2:  # the writer's own is the first
            os.kill(os.getpid(), signal.SIGTERM)
        return made[-1]

    monkeypatch.setattr(sums, "unnamed_file", disturbed)
    with signals_interrupt(), pytest.raises(Interrupted):
        take(site)

    assert [file.closed for file in made] == [True, True]


@pytest.mark.parametrize("place", ["ext4"], indirect=True)
def test_where_no_thread_can_be_started_the_run_fails(site: Site, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise RuntimeError("can't start new thread")

    for number in range(1, 100):
        with monkeypatch.context() as patched:
            at_thread = AtThread(patched, number, refuse, after=False)
            try:
                take(site)
            except OutOfResources:
                assert not list(place.glob("safeharbor-backup-*"))
            else:
                break
    assert at_thread.started == number - 1 > 5


def test_uploads_that_are_not_what_was_written_are_noticed(
    site: Site, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoiled(draft: object, start: int, writer: ArchiveWriter, look_up: object) -> None:
        path = next(place.glob("*.tmp"))
        with open(path, "r+b") as file:
            file.seek(writer.position - 3000)
            byte = file.read(1)
            file.seek(writer.position - 3000)
            file.write(bytes([byte[0] ^ 1]))
        prove_uploads_in_parallel(draft, start, writer, look_up)  # type: ignore[arg-type]

    monkeypatch.setattr(backup_module, "prove_uploads_in_parallel", spoiled)

    with pytest.raises(SafeHarborError, match="would not restore"):
        take(site)

    assert not list(place.glob("safeharbor-backup-*"))


@pytest.mark.parametrize("limit", [["prlimit", "--fsize=1000000000"], ["taskset", "--cpu-list", "0"]])
def test_where_it_is_of_no_use_or_not_allowed_they_are_written_in_turn(
    site: Site, place: Path, limit: list[str]
) -> None:
    traced = ["strace", "-f", "-qq", "-e", "trace=fallocate", "-o", str(site.root / "calls")]

    done = subprocess.run(
        [*limit, *traced, *site.argv("backup")],
        env=site.full_environment(),
        cwd=site.root,
        capture_output=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "fallocate" not in (site.root / "calls").read_text()


def test_any_size_of_dump_meets_its_uploads(tmp_path: Path) -> None:
    chance = random.Random(5)
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "a").write_bytes(b"a" * 5000)
    (tree / "b").write_bytes(b"b" * 700)
    with mounted_image("ext4", tmp_path / "ext4", SIZES["ext4"]) as place:
        for number in range(60):
            size = chance.choice([0, 1, 511, 512, 513, 4095, 4096, 4097, chance.randrange(200_000)])
            room = chance.choice([0, size, size * 2, 4096, 300_000])
            block = chance.choice([4096, 8192, 65_536])
            dump = chance.randbytes(size)
            path = place / str(number)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
            gap = DumpRegion(descriptor, DUMP_OFFSET + -(-room // block) * block + (block - DUMP_OFFSET) % block, block)
            writer = ArchiveWriter(descriptor, place, 1)
            found: list[tuple[int, str]] = []
            pieces = iter([dump[at : at + 7000] for at in range(0, size, 7000)])

            def pump(
                descriptor: int = descriptor,
                gap: DumpRegion = gap,
                pieces: Iterator[bytes] = pieces,
                found: list[tuple[int, str]] = found,
            ) -> None:
                found.append(write_apart(descriptor, gap, pieces, lambda _: None))

            thread = threading.Thread(target=pump)
            thread.start()
            start = gap.start
            writer.begin_parallel(start)
            write_uploads(writer, (UploadDir(tree),), None, NoProgress())
            writer.flush()
            proven = prove_uploads(
                Source(descriptor, path), start, writer.position, writer.witness_sha256, lambda _: None
            )
            gap.uploads_are_written()
            thread.join()
            writer.join_dump(*found[0], gap)

            (run,) = writer.runs
            source = Source(descriptor, path)
            assert proven == ()
            assert source.read_at(DUMP_OFFSET, size) == dump
            assert run.begin == DUMP_OFFSET + size + padding(size)
            assert run.end == writer.position == os.fstat(descriptor).st_size
            assert 0 <= run.start - run.begin < block
            assert run.start == start - writer.moved_bytes
            assert source.read_at(run.start, 8) == b"uploads/"
            assert source.read_at(run.end - 1024, 700) == b"b" * 700
            writer.close()
            os.close(descriptor)
            path.unlink()


def test_whoever_waits_for_room_is_let_go_when_the_uploads_fail(tmp_path: Path) -> None:
    with open(tmp_path / "file", "w+b") as file:
        gap = DumpRegion(file.fileno(), DUMP_OFFSET, 4096)
        failures: list[BaseException] = []

        def pump() -> None:
            try:
                write_apart(file.fileno(), gap, iter([b"x" * 5000]), lambda _: None)
            except Abandoned as failure:
                failures.append(failure)

        thread = threading.Thread(target=pump)
        thread.start()
        gap.abandon()
        thread.join(10)

        assert len(failures) == 1


def test_a_short_write_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda descriptor, data, offset: real(descriptor, data[:3], offset))
    with open(tmp_path / "file", "w+b") as file:
        pwrite_all(file.fileno(), b"0123456789", 5)

    assert (tmp_path / "file").read_bytes() == bytes(5) + b"0123456789"
