from __future__ import annotations

import hashlib
import itertools
import os
import random
import stat
import subprocess
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from safeharbor_backup.archive.headers import ManifestReference, encode_front, encode_member
from safeharbor_backup.archive.layout import DIRECTORY, FILE, Member
from safeharbor_backup.uploads.omissions import Omissions
from support.archives import BLOCK, DUMP, examine, write_archive
from support.needs import missing, need_program

if TYPE_CHECKING:
    from pathlib import Path

    from safeharbor_backup.settings.model import Settings

pytestmark = pytest.mark.slow

TREES = 200
LOCALES = ("C.UTF-8", "C")
PROGRAMS = ("tar", "bsdtar", "busybox")
READERS = [*itertools.product(PROGRAMS, LOCALES), ("tarfile", "")]

ODD_NAMES = [
    b"new\nline",
    b"\n",
    b"cr\rlf\r\n",
    b"tab\t",
    b"back\\slash",
    b"\\n",
    b"trailing\\",
    b" leading and trailing ",
    b"-rf",
    b"--checkpoint-action=exec=sh",
    b"\xff\xfe\x80",
    b"latin-1 gr\xfc\xdfe",
    "grüße 日本語 🐠".encode(),
    "e\u0301".encode(),
    b"'quotes\"`$(id)`",
    b"*?[a-z]{x,y}",
    b"%s%n",
    b"C:\\x",
    b"a:b",
    b"...",
    b"..x",
    b".hidden",
    b"~",
    b"#",
    b"\x01\x1b[31m\x7f",
    b"SHA256SUMS",
    b"manifest.json",
    b"db.dump",
    b"uploads",
    b"pax_global_header",
    b"lost+found ",
    b"n" * 255,
    b"\xf0" * 255,
    b"x" * 100,
    b"y" * 101,
]
SIZES = [0, 0, 1, 5, 100, 511, 512, 513, 1023, 1024, 1025]


def random_name(source: random.Random) -> bytes:
    if source.random() < 0.6:
        return source.choice(ODD_NAMES)
    length = source.choice([1, 2, 8, 20, 90, 99, 100, 101, 155, 156, 254, 255])
    name = bytes(source.choice([*range(1, 47), *range(48, 256)]) for _ in range(length))
    return name if name not in (b".", b"..") else b"dots"


def random_tree(root: bytes, seed: int) -> None:
    source = random.Random(seed)
    os.mkdir(root, 0o755)
    directories = [(root, 0)]
    if seed % 8 == 0:
        deep = root
        for level in range(40):
            deep += b"/" + bytes([97 + level % 26]) * source.choice([1, 1, 2, 60])
            os.mkdir(deep)
        directories.append((deep, 40))
    for _ in range(source.randint(0, 14)):
        parent, depth = source.choice(directories)
        path = parent + b"/" + random_name(source)
        if os.path.lexists(path) or len(path) - len(root) > 3000:
            continue
        kind = source.random()
        if kind < 0.25:
            os.mkdir(path, 0o755)
            directories.append((path, depth + 1))
        elif kind < 0.4:
            siblings = [name for name in os.listdir(parent) if not name.startswith(b"-")]
            targets = [b"nowhere", b"a b/\xff", b"t" * 150, *siblings]
            os.symlink(b"../" * source.randint(0, depth) + source.choice(targets), path)
        else:
            size = source.choice([*SIZES, source.randint(0, 9000)])
            if seed % 20 == 5:
                size = source.choice([65_536, 65_537, 200_000])
            write(path, source.randbytes(size), source)


def write(path: bytes, data: bytes, source: random.Random) -> None:
    with open(path, "wb") as file:
        file.write(data)
    os.chmod(path, 0o400 | source.randrange(0o1000))
    moment = source.choice([0, 1, 1_000_000_000, 1_750_000_000, source.randrange(1_700_000_000)])
    os.utime(path, (moment, moment))


Snapshot = dict[bytes, tuple[str, int, int, bytes]]


def snapshot(root: bytes) -> Snapshot:
    """Path below the root: kind, mode and mtime (of files only), content's digest or link target."""
    found: Snapshot = {}
    for directory, directories, files in os.walk(root):
        for name in directories + files:
            path = directory + b"/" + name
            status = os.lstat(path)
            if stat.S_ISLNK(status.st_mode):
                entry = ("link", 0, 0, os.readlink(path))
            elif stat.S_ISDIR(status.st_mode):
                entry = ("directory", 0, 0, b"")
            else:
                with open(path, "rb") as file:
                    digest = hashlib.sha256(file.read()).digest()
                entry = ("file", stat.S_IMODE(status.st_mode), int(status.st_mtime), digest)
            found[path[len(root) :]] = entry
    return found


@dataclass(frozen=True)
class Ran:
    status: int
    stderr: bytes
    stdout: bytes


def run(argv: list[str | Path], locale: str, cwd: Path | None = None) -> Ran:
    environment = {"PATH": os.environ["PATH"], "LC_ALL": locale, "TZ": "UTC"}
    done = subprocess.run(argv, env=environment, cwd=cwd, capture_output=True, timeout=60, check=False)
    return Ran(done.returncode, done.stderr, done.stdout)


def program(name: str) -> list[str | Path]:
    found = need_program(name)
    return [found, "tar"] if name == "busybox" else [found]


def list_and_extract(archive: Path, into: Path, reader: str, locale: str) -> None:
    into.mkdir()
    if reader == "tarfile":
        with tarfile.open(archive) as tar:
            tar.getnames()
            tar.extractall(into, filter="fully_trusted")
        return
    listed = run([*program(reader), "-tf", archive], locale)
    extracted = run([*program(reader), "-xpf", archive, "-C", into], locale)
    assert (listed.status, listed.stderr) == (0, b"")
    assert (extracted.status, extracted.stderr, extracted.stdout) == (0, b"", b"")


@pytest.mark.parametrize("seed", range(TREES))
def test_a_tree_comes_back_from_every_tar_without_a_word(seed: int, tmp_path: Path, settings: Settings) -> None:
    tree, archive = tmp_path / "tree", tmp_path / "a.tar"
    random_tree(os.fsencode(tree), seed)
    expected = snapshot(os.fsencode(tree))

    omissions = write_archive(archive, uploads=tree)

    assert omissions == Omissions()
    assert examine(archive, settings).problems == ()
    for shift in (0, 2, 4):
        reader, locale = READERS[(seed + shift) % len(READERS)]
        into = tmp_path / f"{reader}-{locale}"
        list_and_extract(archive, into, reader, locale)
        assert snapshot(os.fsencode(into / "uploads")) == expected, (reader, locale)
        assert (into / "db.dump").read_bytes() == DUMP
    checked = run([need_program("sha256sum"), "--check", "--quiet", "--strict", "SHA256SUMS"], locale or "C", into)
    assert (checked.status, checked.stderr, checked.stdout) == (0, b"", b"")


def test_the_sums_cover_the_dump_and_every_file(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "a").write_bytes(b"a")
    write_archive(tmp_path / "a.tar", uploads=tmp_path / "tree")
    list_and_extract(tmp_path / "a.tar", tmp_path / "out", "tarfile", "")
    (tmp_path / "out" / "uploads" / "a").write_bytes(b"b")

    checked = run([need_program("sha256sum"), "-c", "SHA256SUMS"], "C", tmp_path / "out")

    assert checked.status == 1
    assert checked.stdout.splitlines() == [b"db.dump: OK", b"uploads/a: FAILED"]


@pytest.mark.parametrize("mtime", [-1, -(2**31), 2**33])
@pytest.mark.parametrize("reader", ["bsdtar", "tarfile"])
def test_times_before_1970_and_after_2242_come_back(mtime: int, reader: str, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "old").write_bytes(b"x")
    os.utime(tmp_path / "tree" / "old", (mtime, mtime))
    if int(os.lstat(tmp_path / "tree" / "old").st_mtime) != mtime:
        missing("a filesystem that holds times from 1901 to 2446")
    write_archive(tmp_path / "a.tar", uploads=tmp_path / "tree")

    list_and_extract(tmp_path / "a.tar", tmp_path / "out", reader, "C.UTF-8")

    assert int(os.lstat(tmp_path / "out/uploads/old").st_mtime) == mtime


@pytest.mark.parametrize("program_name", PROGRAMS)
@pytest.mark.parametrize("locale", LOCALES)
def test_times_and_owners_that_ustar_cannot_hold_disturb_no_listing(
    program_name: str, locale: str, tmp_path: Path
) -> None:
    members = [
        Member(b"uploads/old", FILE, 0o644, 0, 0, -5, 0),
        Member(b"uploads/far", FILE, 0o644, 0, 0, 2**34, 0),
        Member(b"uploads/owner", FILE, 0o644, 2**31, 2**31, 1, 0),
        Member(b"uploads/" + b"\xff" * 200, FILE, 0o644, 2**31, 2**31, -1, 0),
        Member(b"uploads/plain", FILE, 0o644, 0, 0, 1, 0),
    ]
    (tmp_path / "a.tar").write_bytes(b"".join(map(encode_member, members)) + bytes(2 * BLOCK))

    listed = run([*program(program_name), "-tf", tmp_path / "a.tar"], locale)

    assert (listed.status, listed.stderr) == (0, b"")
    assert len(listed.stdout.splitlines()) == 5


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dump and an upload of 8 GiB and a byte each, all holes."""
    path = tmp_path_factory.mktemp("large") / "large.tar"
    size = 8 * 1024**3 + 1
    front = encode_front(ManifestReference(2**40, 1, "0" * 64), Member(b"db.dump", FILE, 0o600, 0, 0, 1, size), 1)
    with open(path, "wb") as archive:
        archive.write(front)
        archive.seek(-(-size // BLOCK) * BLOCK, os.SEEK_CUR)
        archive.write(encode_member(Member(b"uploads/", DIRECTORY, 0o755, 0, 0, 1, 0)))
        archive.write(encode_member(Member(b"uploads/film", FILE, 0o644, 0, 0, 1, size)))
        archive.seek(-(-size // BLOCK) * BLOCK, os.SEEK_CUR)
        archive.write(encode_member(Member(b"uploads/next", FILE, 0o644, 0, 0, 1, 0)) + bytes(2 * BLOCK))
    return path


@pytest.mark.parametrize("program_name", PROGRAMS)
def test_every_tar_sees_a_file_beyond_8_gib_and_the_one_after_it(large: Path, program_name: str) -> None:
    listed = run([*program(program_name), "-tvf", large], "C")

    lines = listed.stdout.decode().splitlines()
    assert (listed.status, listed.stderr) == (0, b"")
    assert [line.split()[-1] for line in lines] == ["db.dump", "uploads/", "uploads/film", "uploads/next"]
    assert ["8589934593" in line for line in lines] == [True, False, True, False]


def test_tarfile_sees_a_file_beyond_8_gib_and_the_one_after_it(large: Path) -> None:
    with tarfile.open(large) as tar:
        members = [(member.name, member.size) for member in tar]

    size = 8 * 1024**3 + 1
    assert members == [("db.dump", size), ("uploads", 0), ("uploads/film", size), ("uploads/next", 0)]
