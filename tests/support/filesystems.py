"""Small real filesystems: loop-mounted or tmpfs, of a given size, always unmounted."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.needs import missing, need_program, need_root

_MAKE = {
    "ext4": ["mkfs.ext4", "-q", "-F", "-m", "0"],
    "xfs": ["mkfs.xfs", "-q", "-f"],
    "btrfs": ["mkfs.btrfs", "-q", "-f"],
}


@contextmanager
def mounted_tmpfs(place: Path, size_bytes: int, inodes: int | None = None) -> Iterator[Path]:
    """A tmpfs of this size at `place`."""
    need_root()
    options = f"size={size_bytes},mode=0755" + (f",nr_inodes={inodes}" if inodes is not None else "")
    place.mkdir(parents=True, exist_ok=True)
    _mount(["-t", "tmpfs", "-o", options, "tmpfs", place])
    try:
        yield place
    finally:
        _unmount(place)


@contextmanager
def mounted_bind(source: Path, place: Path) -> Iterator[Path]:
    """The directory `source` at `place` too, on the same filesystem."""
    need_root()
    _mount(["--bind", source, place])
    try:
        yield place
    finally:
        _unmount(place)


@contextmanager
def mounted_pool(branches: list[Path], place: Path, policy: str) -> Iterator[Path]:
    """These directories as one, by mergerfs (FUSE); `policy` says on which of them new files go."""
    need_root()
    for each in (*branches, place):
        each.mkdir(parents=True, exist_ok=True)
    pool = [
        str(need_program("mergerfs")),
        "-o",
        f"allow_other,use_ino,category.create={policy}",
        ":".join(map(str, branches)),
        str(place),
    ]
    done = subprocess.run(pool, capture_output=True, check=False)
    if done.returncode != 0:
        missing(f"this machine does not let root mount mergerfs: {done.stderr.decode().strip()}")
    try:
        yield place
    finally:
        _unmount(place)


@contextmanager
def mounted_by_program(source: Path, place: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The directory `source` at `place` too, by a program (mergerfs, FUSE): killed, it leaves a dead mount."""
    need_root()
    program = str(need_program("mergerfs"))
    for each in (source, place):
        each.mkdir(parents=True, exist_ok=True)
    with subprocess.Popen([program, "-f", "-o", "allow_other,use_ino,category.create=ff", source, place]) as process:
        try:
            deadline = time.monotonic() + 20
            while not place.is_mount():
                if process.poll() is not None or time.monotonic() > deadline:
                    missing("this machine does not let root mount mergerfs")
                time.sleep(0.02)
            yield process
        finally:
            _unmount(place)
            process.kill()


@contextmanager
def mounted_overlay(place: Path) -> Iterator[Path]:
    """An overlay at `place` of two directories of a tmpfs, as a container's own files are."""
    with mounted_tmpfs(place.with_name(f"{place.name}.layers"), 64 << 20) as layers:
        for name in ("lower", "upper", "work"):
            (layers / name).mkdir()
        place.mkdir(parents=True, exist_ok=True)
        options = f"lowerdir={layers}/lower,upperdir={layers}/upper,workdir={layers}/work"
        _mount(["-t", "overlay", "-o", options, "overlay", place])
        try:
            yield place
        finally:
            _unmount(place)


@contextmanager
def mounted_image(kind: str, place: Path, size_bytes: int, mount_options: str = "loop") -> Iterator[Path]:
    """A filesystem of this kind (ext4, xfs, btrfs) and size in a file, mounted at `place`.

    XFS wants at least 300 MiB, Btrfs 114 MiB; the file is sparse.
    """
    need_root()
    make = _MAKE[kind]
    need_program(make[0])
    image = place.with_suffix(f".{kind}.img")
    place.mkdir(parents=True, exist_ok=True)
    with open(image, "wb") as file:
        os.truncate(file.fileno(), size_bytes)
    environment = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
    subprocess.run([*make, image], check=True, env=environment, stdout=subprocess.DEVNULL)
    try:
        _mount(["-o", mount_options, image, place])
        try:
            yield place
        finally:
            _unmount(place)
    finally:
        image.unlink()


_FUSE = {
    "exfat": (["mkfs.exfat"], ["mount.exfat-fuse"]),
    "ntfs": (["mkfs.ntfs", "--fast", "--force", "--quiet"], ["ntfs-3g", "-o", "windows_names"]),
}


@contextmanager
def mounted_foreign(kind: str, place: Path, size_bytes: int = 32 << 20) -> Iterator[Path]:
    """A filesystem made for other systems ("exfat", "ntfs") in a file, mounted at `place` by a program (FUSE)."""
    need_root()
    make, mount = _FUSE[kind]
    image = place.with_suffix(f".{kind}.img")
    place.mkdir(parents=True, exist_ok=True)
    with open(image, "wb") as file:
        os.truncate(file.fileno(), size_bytes)
    environment = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
    for program in (make[0], mount[0]):
        need_program(program)
    subprocess.run([*make, image], check=True, env=environment, stdout=subprocess.DEVNULL)
    device = subprocess.run(["losetup", "--find", "--show", image], capture_output=True, text=True, check=True)
    loop = device.stdout.strip()
    try:
        done = subprocess.run([*mount, loop, place], env=environment, capture_output=True, check=False)
        if done.returncode != 0:
            missing(f"this machine does not let root mount {kind}: {done.stderr.decode().strip()}")
        try:
            yield place
        finally:
            _unmount(place)
    finally:
        subprocess.run(["losetup", "--detach", loop], check=True)
        image.unlink()


@contextmanager
def mounted_in_memory(kind: str, size_bytes: int) -> Iterator[tuple[Path, Path]]:
    """The same at a place of its own, with the file that holds it; in memory, if there is any for files.

    Waiting for a disk is most of what an fsync costs, and says nothing of ours.
    """
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as root:
        place = Path(root) / kind
        with mounted_image(kind, place, size_bytes):
            yield place, place.with_suffix(f".{kind}.img")


def _mount(arguments: list[str | Path]) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, check=False)
    if done.returncode != 0:
        missing(f"this machine does not let root mount here: {done.stderr.decode().strip()}")


def _unmount(place: Path) -> None:
    if subprocess.run(["umount", place], check=False).returncode != 0:
        subprocess.run(["umount", "--lazy", place], check=True)
