from __future__ import annotations

import io
import os
import subprocess
import tarfile
from typing import TYPE_CHECKING

import pytest

from safeharbor_backup.actions.restore.request import opened_for_restore
from safeharbor_backup.actions.verification import ArchiveKind, Verification
from safeharbor_backup.actions.verify import verify_archive, verify_source
from safeharbor_backup.archive.foreign_reader import read_foreign_members
from safeharbor_backup.archive.source import opened_archive
from safeharbor_backup.archive.verified_reader import run_foreign_pass
from safeharbor_backup.errors import ArchiveRejected
from safeharbor_backup.uploads.extract import Extraction
from support.archives import DUMP
from support.needs import need_program

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from safeharbor_backup.archive.layout import Member
    from safeharbor_backup.settings.model import Settings

pytestmark = pytest.mark.slow

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
LONG = "n" * 120


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """What another implementation would pack: db.dump and uploads/ side by side."""
    root = tmp_path / "root"
    (root / "uploads" / "photos" / "empty").mkdir(parents=True)
    (root / "db.dump").write_bytes(DUMP)
    (root / "uploads" / "a.txt").write_bytes(b"a")
    (root / "uploads" / "grüße.txt").write_bytes(b"g" * 513)
    (root / "uploads" / "photos" / LONG).write_bytes(b"long")
    (root / "uploads" / "photos" / "link").symlink_to("../a.txt")
    os.utime(root / "uploads" / "a.txt", (1_700_000_000.25, 1_700_000_000.25))
    return root


def assert_sound(found: Verification) -> None:
    assert found.problems == ()
    assert found.kind is ArchiveKind.FOREIGN
    assert found.warnings == ("it was written by another implementation and carries no checksums of its content",)
    assert found.manifest is None


@pytest.mark.parametrize("dialect", FORMATS)
@pytest.mark.parametrize("order", [("db.dump", "uploads"), ("uploads", "db.dump")], ids=["dump first", "dump last"])
def test_an_archive_by_pythons_tarfile_is_sound(
    dialect: str, order: tuple[str, str], tree: Path, tmp_path: Path, settings: Settings
) -> None:
    if dialect == "ustar":  # which cannot hold it
        (tree / "uploads" / "photos" / LONG).unlink()
    with tarfile.open(tmp_path / "a.tar", "w", format=FORMATS[dialect]) as tar:
        for name in order:
            tar.add(tree / name, name)

    found = verify_archive(tmp_path / "a.tar", settings)

    assert_sound(found)
    assert found.members == (7 if dialect == "ustar" else 8)


@pytest.mark.parametrize("prefix", ["", "./"])
@pytest.mark.parametrize("slash", ["", "/"])
def test_names_with_and_without_dot_and_slash_are_the_same(
    prefix: str, slash: str, tmp_path: Path, settings: Settings
) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, data in ((f"{prefix}uploads/a", b"a"), (f"{prefix}db.dump", DUMP)):
            file = tarfile.TarInfo(name)
            file.size = len(data)
            tar.addfile(file, io.BytesIO(data))
        directory = tarfile.TarInfo(f"{prefix}uploads/d{slash}")
        directory.type = tarfile.DIRTYPE
        tar.addfile(directory)

    assert_sound(verify_archive(tmp_path / "a.tar", settings))


@pytest.mark.parametrize("dialect", ["gnu", "oldgnu", "posix", "ustar", "v7"])
@pytest.mark.parametrize("names", [["db.dump", "uploads"], ["uploads/", "db.dump"], ["."], ["./uploads", "./db.dump"]])
def test_an_archive_by_gnu_tar_is_sound(
    dialect: str, names: list[str], tree: Path, tmp_path: Path, settings: Settings
) -> None:
    if dialect in ("ustar", "v7"):  # which cannot hold it
        (tree / "uploads" / "photos" / LONG).unlink()
    run([need_program("tar"), f"--format={dialect}", "-C", tree, "-cf", tmp_path / "a.tar", *names])

    assert_sound(verify_archive(tmp_path / "a.tar", settings))


@pytest.mark.parametrize("dialect", ["ustar", "pax", "gnutar", "v7"])
@pytest.mark.parametrize("names", [["db.dump", "uploads"], ["."]])
def test_an_archive_by_bsdtar_is_sound(
    dialect: str, names: list[str], tree: Path, tmp_path: Path, settings: Settings
) -> None:
    if dialect in ("ustar", "v7"):  # which cannot hold it
        (tree / "uploads" / "photos" / LONG).unlink()
    run([need_program("bsdtar"), "--format", dialect, "-C", tree, "-cf", tmp_path / "a.tar", *names])

    assert_sound(verify_archive(tmp_path / "a.tar", settings))


def test_an_archive_by_busybox_is_sound(tree: Path, tmp_path: Path, settings: Settings) -> None:
    run([need_program("busybox"), "tar", "-C", tree, "-cf", tmp_path / "a.tar", "db.dump", "uploads"])

    assert_sound(verify_archive(tmp_path / "a.tar", settings))


def by_tarfile(tree: Path, path: Path) -> None:
    with tarfile.open(path, "w") as tar:
        tar.add(tree / "db.dump", "db.dump")
        tar.add(tree / "uploads", "uploads")


def by_gnu_tar(tree: Path, path: Path) -> None:
    run([need_program("tar"), "-C", tree, "-cf", path, "./db.dump", "./uploads"])


def by_bsdtar(tree: Path, path: Path) -> None:
    run([need_program("bsdtar"), "--format", "pax", "-C", tree, "-cf", path, "db.dump", "uploads"])


@pytest.mark.parametrize("pack", [by_tarfile, by_gnu_tar, by_bsdtar])
def test_hard_links_between_uploads_are_sound(
    pack: Callable[[Path, Path], None], tree: Path, tmp_path: Path, settings: Settings
) -> None:
    for name in ("b.txt", "photos/c.txt"):
        os.link(tree / "uploads" / "a.txt", tree / "uploads" / name)
    pack(tree, tmp_path / "a.tar")

    assert_sound(verify_archive(tmp_path / "a.tar", settings))


def test_without_any_directory_member_the_directories_are_implied(tmp_path: Path, settings: Settings) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name in ("uploads/x/y/z", "db.dump", "uploads/x/w"):
            file = tarfile.TarInfo(name)
            file.size = 3
            tar.addfile(file, io.BytesIO(b"abc"))

    assert_sound(verify_archive(tmp_path / "a.tar", settings))


def test_a_sparse_archive_is_refused_by_name_of_the_reason(tree: Path, tmp_path: Path, settings: Settings) -> None:
    with open(tree / "uploads" / "holes", "wb") as file:
        file.truncate(10 * 1024 * 1024)
    for dialect in ("gnu", "posix"):
        archive = tmp_path / f"{dialect}.tar"
        run([need_program("tar"), f"--format={dialect}", "-S", "-C", tree, "-cf", archive, "db.dump", "uploads"])
        problems = verify_archive(archive, settings).problems
        assert len(problems) == 1
        assert "sparse" in problems[0] or "uploads/holes" in problems[0]


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9])
def test_a_foreign_archive_that_was_cut_is_rejected(
    keep: float, tree: Path, tmp_path: Path, settings: Settings
) -> None:
    by_tarfile(tree, tmp_path / "a.tar")
    with tarfile.open(tmp_path / "a.tar") as tar:
        end = max(member.offset_data + member.size for member in tar)
    os.truncate(tmp_path / "a.tar", int(end * keep))

    assert verify_archive(tmp_path / "a.tar", settings).problems


def test_what_follows_the_end_of_a_foreign_archive_is_rejected(tree: Path, tmp_path: Path, settings: Settings) -> None:
    by_tarfile(tree, tmp_path / "a.tar")
    with open(tmp_path / "a.tar", "ab") as file:
        file.write(b"more")

    assert verify_archive(tmp_path / "a.tar", settings).problems == ("something follows after its end",)


def run(argv: list[str | Path]) -> None:
    subprocess.run(argv, check=True, env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"})


STAGE = ".safeharbor-restore-0a1b2c3d"


def by_hand(path: Path, *members: tarfile.TarInfo | tuple[str, bytes]) -> None:
    """A tar of these members: entries with no data, or names with it."""
    with tarfile.open(path, "w") as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
                continue
            file = tarfile.TarInfo(member[0])
            file.size = len(member[1])
            tar.addfile(file, io.BytesIO(member[1]))


def entry(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, link
    return made


@pytest.mark.parametrize(
    "planted",
    [
        [entry(f"uploads/{STAGE}", tarfile.DIRTYPE), (f"uploads/{STAGE}/.safeharbor-staging", b"old at rest\n")],
        [(f"uploads/{STAGE}/old/photo.jpg", b"x" * 70_000)],
        [entry(f"./uploads/{STAGE}", tarfile.SYMTYPE, "/etc")],
        [(f"uploads/{STAGE}", b"no directory at all")],
        [entry(f"uploads/{STAGE}/.safeharbor-staging", tarfile.FIFOTYPE)],
        [entry(f"uploads/{STAGE}/out", tarfile.SYMTYPE, "/etc"), entry(f"uploads/{STAGE}/null", tarfile.CHRTYPE)],
        [(f"uploads/{STAGE}/twice", b"1"), (f"uploads/{STAGE}/twice", b"2")],
    ],
    ids=["a stage", "kept files", "a link", "a file", "a FIFO for a marker", "links and devices", "a name twice"],
)
def test_what_bears_the_name_of_a_restores_own_directory_is_skipped_with_a_warning(
    planted: list[tarfile.TarInfo | tuple[str, bytes]], tmp_path: Path, settings: Settings
) -> None:
    by_hand(tmp_path / "a.tar", ("uploads/a.txt", b"a"), *planted, ("uploads/z.txt", b"zz"), ("db.dump", DUMP))

    with opened_archive(tmp_path / "a.tar") as source:
        found = verify_source(source, settings)
        seen = []
        for member, at in read_foreign_members(source):
            seen.append(member.name)
            source.seek(at + member.size)

    assert found.problems == ()
    assert [text for text in found.warnings if STAGE in text and "skipped" in text] == [found.warnings[-1]]
    assert seen == [b"uploads/a.txt", b"uploads/z.txt", b"db.dump"]


def test_a_hard_link_to_a_skipped_file_is_that_file(tmp_path: Path) -> None:
    by_hand(
        tmp_path / "a.tar",
        (f"uploads/{STAGE}/old/first", b"content"),
        ("db.dump", DUMP),
        entry("uploads/second", tarfile.LNKTYPE, f"uploads/{STAGE}/old/first"),
        entry("uploads/third", tarfile.LNKTYPE, f"uploads/{STAGE}/old/first"),
    )
    tree = tmp_path / "tree"
    tree.mkdir()
    root = os.open(tree, os.O_RDONLY)

    with opened_archive(tmp_path / "a.tar") as source:
        run_foreign_pass(source, Extracting(Extraction(root, in_order=False)))
    os.close(root)

    assert sorted(os.listdir(tree)) == ["second", "third"]
    assert (tree / "second").read_bytes() == (tree / "third").read_bytes() == b"content"
    assert (tree / "second").stat().st_ino == (tree / "third").stat().st_ino


class Extracting:
    """Writes the uploads and reads the dump."""

    def __init__(self, extraction: Extraction) -> None:
        self._extraction = extraction

    def take_dump(self, member: Member, read: Callable[[], Iterator[bytes]]) -> None:
        assert b"".join(read()) == DUMP

    def take_upload(self, member: Member, data: Iterable[bytes]) -> None:
        self._extraction.add(member, data)


def test_a_fifo_elsewhere_is_still_refused(tmp_path: Path, settings: Settings) -> None:
    by_hand(tmp_path / "a.tar", entry("uploads/fifo", tarfile.FIFOTYPE), ("db.dump", DUMP))

    assert "of a kind that archives do not hold" in verify_archive(tmp_path / "a.tar", settings).problems[0]


def test_no_end_of_names_below_a_skipped_directory_eats_the_memory(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("safeharbor_backup.archive.foreign_reader._NAMES_LIMIT_BYTES", 10_000)
    names = [(f"uploads/{STAGE}/{number}", b"") for number in range(1000)]
    by_hand(tmp_path / "a.tar", *names, ("db.dump", DUMP))

    assert "too many names" in verify_archive(tmp_path / "a.tar", settings).problems[0]


def bytes_read() -> int:
    """How many bytes this process has read with read calls so far."""
    with open("/proc/self/io", encoding="ascii") as counters:
        return int(dict(line.split(": ") for line in counters)["rchar"])


@pytest.mark.parametrize(
    ("count", "size"), [(8000, 0), (3000, 600), (40, 300_000)], ids=["empty", "small", "larger than what is read ahead"]
)
def test_the_content_is_read_once_and_headers_once_more(tmp_path: Path, count: int, size: int) -> None:
    archive = tmp_path / "a.tar"
    by_hand(archive, ("db.dump", DUMP), *((f"uploads/{number:05}", bytes(size)) for number in range(count)))
    root = os.open(tmp_path, os.O_RDONLY)

    before = bytes_read()
    with opened_for_restore(archive) as opened:
        opening = bytes_read() - before
        run_foreign_pass(opened.source, Extracting(Extraction(root, in_order=False)))
    reading = bytes_read() - before - opening
    os.close(root)

    assert archive.stat().st_size <= reading <= archive.stat().st_size + 4096
    assert opening <= min(archive.stat().st_size, (count + 10) * 33 * 1024) + 4096


def test_an_archive_of_many_headers_and_no_dump_is_read_once(tmp_path: Path) -> None:
    archive = tmp_path / "a.tar"
    by_hand(archive, *((f"uploads/{number:05}", b"") for number in range(20_000)))

    before = bytes_read()
    with pytest.raises(ArchiveRejected, match=r"holds no db\.dump"), opened_for_restore(archive):
        pass

    assert bytes_read() - before <= archive.stat().st_size + 4096
