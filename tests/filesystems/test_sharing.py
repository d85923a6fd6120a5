"""An archive that shares blocks with the one before holds exactly what one that was read from the source holds."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import random
import shutil
import struct
import subprocess
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from safeharbor_backup.archive.read_back import prove_written
from safeharbor_backup.archive.source import Source
from safeharbor_backup.settings.upload_dirs import UploadDir
from safeharbor_backup.system.reflink import clone_range
from support.archives import Facts, examine, write_archive
from support.filesystems import mounted_in_memory
from support.needs import need_program
from support.sharing import Chain, Taken, real_clock, settled_clock
from support.states import tree_of

if TYPE_CHECKING:
    from collections.abc import Iterator

SIZES = {"ext4": 96 << 20, "xfs": 320 << 20, "btrfs": 256 << 20}
SEQUENCES = {"ext4": 20, "xfs": 100, "btrfs": 80}
BACKUPS = 5
NAMES = [b"a", b"b", b"new\nline", b"back\\slash", b"\xff\xfe", b"n" * 150, b"x.jpg", b"y.jpg", b"z", b"-rf"]


@contextmanager
def image(kind: str) -> Iterator[Path]:
    """A mounted filesystem."""
    with mounted_in_memory(kind, SIZES[kind]) as (place, _):
        yield place


class Tree:
    """A tree of uploads, and what can happen to one from one night to the next."""

    def __init__(self, root: Path, chance: random.Random) -> None:
        self.root = os.fsencode(root)
        self._chance = chance
        for _ in range(chance.randint(5, 25)):
            self.add()

    def change(self) -> None:
        """One thing, of any kind."""
        kinds = [
            self.add, self.add, self.delete, self.rename, self.touch, self.rewrite, self.chmod, self.replace,
            self.grow, self.hard_link, self.retarget, self.rename_directory,
        ]  # fmt: skip
        self._chance.choice(kinds)()

    def add(self) -> None:
        chance = self._chance
        parent = chance.choice([*self._all(os.path.isdir), self.root])
        path = parent + b"/" + chance.choice(NAMES) + b"%d" % chance.randrange(30)
        if os.path.lexists(path):
            return
        kind = chance.random()
        if kind < 0.2 and path.count(b"/") - self.root.count(b"/") < 5:
            os.mkdir(path, chance.choice([0o755, 0o2775]))
        elif kind < 0.3:
            os.symlink(chance.choice(NAMES), path)
        else:
            _write(path, chance.randbytes(chance.choice([0, 1, 511, 512, 513, 3000, 20_000, 50_000, 70_000])))

    def delete(self) -> None:
        path = self._some(os.path.lexists)
        if path is not None:
            shutil.rmtree(path) if os.path.isdir(path) and not os.path.islink(path) else os.unlink(path)

    def rename(self) -> None:
        path = self._some(_is_file)
        if path is not None:
            os.rename(path, os.path.dirname(path) + b"/renamed%d" % self._chance.randrange(10**6))

    def rename_directory(self) -> None:
        path = self._some(_is_directory)
        if path is not None:
            os.rename(path, os.path.dirname(path) + b"/moved%d" % self._chance.randrange(10**6))

    def touch(self) -> None:
        path = self._some(_is_file)
        if path is not None:
            os.utime(path, (1_700_000_000, self._chance.randrange(1_700_000_000)))

    def rewrite(self) -> None:
        """New content of the same size, and the time set back: only the change time tells."""
        path = self._some(_is_file)
        if path is not None:
            before = os.stat(path)
            _write(path, self._chance.randbytes(before.st_size))
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    def chmod(self) -> None:
        path = self._some(lambda path: _is_file(path) or _is_directory(path))
        if path is not None:
            os.chmod(path, 0o700 | self._chance.randrange(0o100))

    def replace(self) -> None:
        """A file's place is taken by a directory."""
        path = self._some(_is_file)
        if path is not None:
            os.unlink(path)
            os.mkdir(path)
            _write(path + b"/inside", self._chance.randbytes(5000))

    def grow(self) -> None:
        path = self._some(_is_file)
        if path is not None:
            with open(path, "ab") as file:
                file.write(self._chance.randbytes(700))

    def hard_link(self) -> None:
        path = self._some(_is_file)
        if path is not None:
            os.link(path, os.path.dirname(path) + b"/linked%d" % self._chance.randrange(10**6))

    def retarget(self) -> None:
        path = self._some(os.path.islink)
        if path is not None:
            os.unlink(path)
            os.symlink(self._chance.choice(NAMES), path)

    def _some(self, wanted: object) -> bytes | None:
        found = self._all(wanted)
        return self._chance.choice(found) if found else None

    def _all(self, wanted: object) -> list[bytes]:
        assert callable(wanted)
        paths = [
            directory + b"/" + name
            for directory, directories, files in os.walk(self.root)
            for name in sorted([*directories, *files])
        ]
        return [path for path in sorted(paths) if wanted(path)]


def _is_file(path: bytes) -> bool:
    return os.path.isfile(path) and not os.path.islink(path)


def _is_directory(path: bytes) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)


def _write(path: bytes, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)


def same_as_read(taken: Taken, chain: Chain, place: Path) -> None:
    """The archive verifies, and holds what one holds that is written without any sharing."""
    assert examine(taken.path, chain.settings).problems == ()
    plain = place / "plain.tar"
    write_archive(plain, uploads=chain.uploads, facts=Facts(tables={}))
    proof = examine(plain, chain.settings)
    plain.unlink()
    assert proof.manifest is not None
    assert taken.manifest.sums_sha256 == proof.manifest.sums_sha256
    assert taken.manifest.list_sha256 == proof.manifest.list_sha256
    assert taken.manifest.folders == proof.manifest.folders


def same_tree(taken: Taken, chain: Chain, place: Path, seed: int) -> None:
    """GNU tar and bsdtar extract what the source is, without a word, and sha256sum agrees."""
    out = place / "out"
    out.mkdir()
    program = "bsdtar" if seed % 2 else "tar"
    done = subprocess.run(
        [need_program(program), "-xpf", taken.path, "-C", out],
        capture_output=True,
        check=True,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
    )
    assert done.stderr == b""
    subprocess.run(["sha256sum", "--check", "--quiet", "--strict", "SHA256SUMS"], cwd=out, check=True)
    assert tree_of(out / "uploads") == tree_of(chain.uploads)
    shutil.rmtree(out)


@pytest.mark.parametrize("kind", SIZES)
def test_whatever_happens_to_the_tree_sharing_changes_nothing_but_the_price(kind: str) -> None:
    cloned = 0
    with image(kind) as place:
        for seed in range(SEQUENCES[kind]):
            chance = random.Random(seed)
            root = place / f"{seed}"
            root.mkdir()
            chain = Chain(root, settled_clock)
            tree = Tree(chain.uploads, chance)
            taken = []
            for night in range(BACKUPS):
                for _ in range(chance.randint(0, 3) if night else 0):
                    tree.change()
                # now and then by the true clock, by which everything here has just changed
                chain.clock = settled_clock if chance.random() < 0.85 else real_clock
                taken.append(chain.take(full=chance.random() < 0.1))
                cloned += taken[-1].cloned_bytes
                assert taken[-1].collected.refused == ""
                assert taken[-1].notes == ()
                same_as_read(taken[-1], chain, root)
            if seed % 5 == 0:
                same_tree(taken[-1], chain, root, seed)
            for gone in taken[:-1]:
                gone.path.unlink()
            assert examine(taken[-1].path, chain.settings).problems == (), seed
            shutil.rmtree(root)
    assert (cloned == 0) is (kind == "ext4")


@pytest.mark.parametrize("kind", ["xfs", "btrfs"])
def test_a_tree_that_changes_during_the_runs_is_right_once_it_stands_still(kind: str) -> None:
    with image(kind) as place:
        chain = Chain(place, real_clock)
        chance = random.Random(4)
        tree = Tree(chain.uploads, chance)
        for _ in range(60):
            tree.add()
        time.sleep(2.1)  # by the true clock, what has just changed is not trusted
        chain.take()
        over = threading.Event()

        def disturb() -> None:
            while not over.wait(0.005):
                tree.change()

        other = threading.Thread(target=disturb)
        other.start()
        try:
            during = [chain.take() for _ in range(10)]
        finally:
            over.set()
            other.join()

        same_as_read(chain.take(), chain, place)
        assert all(examine(taken.path, chain.settings).problems == () for taken in during)
        assert any(taken.cloned_bytes for taken in during)


@pytest.mark.parametrize("kind", ["xfs", "btrfs"])
def test_the_second_archive_takes_only_what_changed(kind: str) -> None:
    with image(kind) as place:
        chain = Chain(place, settled_clock)
        for number in range(300):
            (chain.uploads / f"{number}").write_bytes(os.urandom(100_000))
        chain.take()
        (chain.uploads / "7").write_bytes(os.urandom(100_000))
        before = free_after_sync(place)

        taken = chain.take()

        used = before - free_after_sync(place)
        assert taken.collected.shared_members == 300  # uploads/ itself, and all files but one
        assert taken.cloned_bytes > 299 * 98_000
        assert used < 1_500_000, used


def test_what_has_just_changed_is_read_again_until_it_is_older_than_the_run_before() -> None:
    with image("xfs") as place:
        chain = Chain(place, real_clock)
        for number in range(10):
            (chain.uploads / f"{number}").write_bytes(os.urandom(50_000))
        assert chain.take().cloned_bytes == 0
        assert chain.take().cloned_bytes == 0
        time.sleep(2.1)
        assert chain.take().cloned_bytes == 0
        assert chain.take().cloned_bytes > 400_000


def test_a_filesystem_that_refuses_in_the_middle_gets_everything_from_the_source(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = 0

    def refuse_the_second(*arguments: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        clone_range(*arguments)

    with image("xfs") as place:
        chain = Chain(place, settled_clock)
        for number in range(60):
            (chain.uploads / f"{number}").write_bytes(os.urandom(20_000))
        chain.take()
        (chain.uploads / "30").write_bytes(b"in the middle, so that there are two runs")
        monkeypatch.setattr("safeharbor_backup.archive.splice.clone_range", refuse_the_second)

        taken = chain.take()

        assert calls == 2
        assert taken.collected.refused == "Invalid argument"
        assert (taken.cloned_bytes, taken.collected.shared_members) == (0, 0)
        same_as_read(taken, chain, place)
        assert chain.take().cloned_bytes > 1_000_000


def test_the_proof_notices_any_change_to_what_was_written_and_to_the_edges_of_runs() -> None:
    with image("xfs") as place:
        chain = Chain(place, settled_clock)
        for number in range(40):
            (chain.uploads / f"{number}").write_bytes(os.urandom(5000))
        chain.take()
        (chain.uploads / "25").write_bytes(os.urandom(5000))
        (chain.uploads / "new").write_bytes(b"new")
        taken = chain.take()
        runs = list(taken.written.runs)
        assert len(runs) == 2
        edges = [at for run in runs for at in (run.start, run.last_start)]
        looked_at = [at for edge in edges for at in range(edge, edge + 512, 31)]
        own = [at for at in range(0, os.stat(taken.path).st_size, 53) if not any(r.start <= at < r.end for r in runs)]
        assert len(own) > 200

        assert [at for at in (*looked_at, *own) if not is_noticed(taken, at)] == []
        inside = runs[0].start + 1000
        assert not is_noticed(taken, inside)  # which `verify` does
        flip(taken.path, inside)
        assert examine(taken.path, chain.settings).problems != ()


def is_noticed(taken: Taken, at: int) -> bool:
    """Whether the proof finds fault with the archive if one bit of this byte is another."""
    flip(taken.path, at)
    descriptor = os.open(taken.path, os.O_RDONLY)
    try:
        source = Source(descriptor, taken.path)
        return prove_written(source, taken.written.runs, taken.written.witness_sha256, lambda _: None) != ()
    finally:
        os.close(descriptor)
        flip(taken.path, at)


def flip(path: Path, at: int) -> None:
    """Change one bit of a byte, or change it back."""
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1 << at % 8]))


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_a_bit_that_flips_on_the_disk_is_noticed_by_a_full_read(kind: str) -> None:
    with mounted_in_memory(kind, SIZES[kind]) as (place, image_file):
        chain = Chain(place, settled_clock)
        photo = chain.uploads / "photo.jpg"
        photo.write_bytes(b"\1" * 100_000)
        (chain.uploads / "sound").write_bytes(b"\2" * 100_000)
        chain.take()
        before = os.stat(photo)

        flip_on_disk(photo, image_file)
        taken = chain.take(full=True)

        assert photo.read_bytes()[5000] == 0xFE
        assert os.stat(photo).st_ctime_ns == before.st_ctime_ns
        altered = taken.collected.omissions.altered
        now, then = (hashlib.sha256(data).hexdigest() for data in (photo.read_bytes(), b"\1" * 100_000))
        assert altered.names == [f"photo.jpg: now {now}, before {then}"]
        assert "1 upload has other content" in taken.collected.omissions.warnings()[0]


def flip_on_disk(path: Path, image_file: Path) -> None:
    """Invert byte 5000 of a file below its filesystem, which does not get to know."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        size = os.fstatvfs(descriptor).f_bsize
        block = struct.unpack("i", fcntl.ioctl(descriptor, 1, struct.pack("i", 5000 // size)))[0]  # FIBMAP
        with open(image_file, "r+b") as disk:
            disk.seek(block * size + 5000 % size)
            byte = disk.read(1)
            assert byte == b"\1"
            disk.seek(-1, os.SEEK_CUR)
            disk.write(bytes([byte[0] ^ 0xFF]))
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def free_after_sync(place: Path) -> int:
    """Free bytes, once the filesystem has counted everything."""
    subprocess.run(["sync", "-f", place], check=True)
    system = os.statvfs(place)
    return system.f_bfree * system.f_frsize


def test_several_directories_are_shared_as_one_tree_is() -> None:
    with image("btrfs") as place:
        chain = Chain(place, settled_clock)
        (place / "static").mkdir()
        dirs = (UploadDir(chain.uploads, "media"), UploadDir(place / "static", "static"))
        chain.settings = replace(chain.settings, upload_dirs=dirs)
        for directory in (chain.uploads, place / "static"):
            for number in range(40):
                (directory / f"{number:02}.bin").write_bytes(os.urandom(9000))
        chain.take()
        (place / "static" / "20.bin").write_bytes(b"other")

        second = chain.take()

        assert second.cloned_bytes > 500_000
        assert examine(second.path, chain.settings).problems == ()
        done = subprocess.run(["tar", "-xOf", second.path, "uploads/static/20.bin"], capture_output=True, check=True)
        assert done.stdout == b"other"
        chain.settings = replace(chain.settings, upload_dirs=(dirs[1],))
        assert chain.take().cloned_bytes == 0
