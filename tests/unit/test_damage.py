from __future__ import annotations

import gzip
import hashlib
import json
import os
from typing import TYPE_CHECKING

import pytest

from safeharbor_backup.actions.verification import ArchiveKind
from safeharbor_backup.actions.verify import verify_archive, verify_source
from safeharbor_backup.archive.layout import DIRECTORY, DUMP_NAME, SYMLINK
from safeharbor_backup.archive.source import Source
from safeharbor_backup.errors import ArchiveNotFound
from safeharbor_backup.settings.model import Settings
from support.archives import (
    BLOCK,
    DUMP,
    Lies,
    Part,
    assemble,
    examine,
    fake_client_tools,
    raw_header,
    upload,
    uploads_root,
    write_archive,
)
from support.settings import settings_of

if TYPE_CHECKING:
    from pathlib import Path

SMALL_DUMP = DUMP[:600]
LONG_NAME = b"long/" + b"n" * 120 + b"\n"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An archive of a few KiB by our own writer, with a member of each kind."""
    directory = tmp_path_factory.mktemp("small")
    tree = directory / "tree"
    (tree / "empty").mkdir(parents=True)
    (tree / "long").mkdir()
    (tree / "a.txt").write_bytes(b"hello")
    (tree / os.fsdecode(LONG_NAME)).write_bytes(b"x" * 513)
    (tree / "link").symlink_to("a.txt")
    path = directory / "small.tar"
    write_archive(path, uploads=tree, dump=SMALL_DUMP)
    return path.read_bytes()


def parts() -> list[Part]:
    """The uploads of an archive that the block builder makes."""
    return [
        uploads_root(),
        upload(b"a.txt", data=b"alpha"),
        upload(b"b.txt", data=b"beta!"),
        upload(b"d/", DIRECTORY, mode=0o755),
        upload(b"d/c.txt", data=b"gamma" * 200),
        upload(b"link", SYMLINK, link=b"d/c.txt"),
    ]


def problems_of(data: bytes, path: Path, settings: Settings) -> tuple[str, ...]:
    path.write_bytes(data)
    return examine(path, settings, SMALL_DUMP if SMALL_DUMP.ljust(1024, b"\0") in data else DUMP).problems


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "archive.tar"


def test_an_archive_by_the_writer_is_sound(small: bytes, file: Path, settings: Settings) -> None:
    assert problems_of(small, file, settings) == ()


def test_an_archive_by_the_block_builder_is_sound_too(file: Path, settings: Settings) -> None:
    file.write_bytes(assemble(parts()))

    found = examine(file, settings)

    assert found.problems == ()
    assert (found.kind, found.members, found.warnings) == (ArchiveKind.FORMAT_1, 9, ())


@pytest.mark.fuzz
def test_any_single_byte_that_changes_is_noticed(small: bytes, file: Path, settings: Settings) -> None:
    file.write_bytes(small)
    digest = {DUMP_NAME: hashlib.sha256(SMALL_DUMP).hexdigest()}
    unnoticed = []
    with open(file, "r+b", buffering=0) as archive:
        for position, byte in enumerate(small):
            os.pwrite(archive.fileno(), bytes([byte ^ (1 << position % 8)]), position)
            if verify_source(Source(archive.fileno(), file), settings, decoded_sha256=digest).is_sound:
                unnoticed.append(position)
            os.pwrite(archive.fileno(), bytes([byte]), position)

    assert len(small) > 8 * 1024
    assert unnoticed == []


@pytest.mark.parametrize("bit", range(8))
def test_any_bit_of_a_header_that_changes_is_noticed(small: bytes, file: Path, settings: Settings, bit: int) -> None:
    start = small.index(b"uploads/link\0")
    changed = [
        small[:position] + bytes([small[position] ^ (1 << bit)]) + small[position + 1 :]
        for position in range(start, start + BLOCK, 16)
    ]

    unnoticed = [number for number, data in enumerate(changed) if not problems_of(data, file, settings)]

    assert unnoticed == []


def test_a_cut_at_any_block_or_a_byte_beside_it_is_noticed(small: bytes, file: Path, settings: Settings) -> None:
    lengths = {block + shift for block in range(0, len(small), BLOCK) for shift in (-1, 0, 1)}

    unnoticed = [
        length for length in sorted(lengths) if length >= 0 and not problems_of(small[:length], file, settings)
    ]

    assert unnoticed == []


@pytest.mark.parametrize(
    "appended",
    [b"\0", b"x", b"garbage\n", bytes(BLOCK), bytes(2 * BLOCK), bytes(10240), b"x" * BLOCK],
    ids=["a zero", "a byte", "a line", "a zero block", "two zero blocks", "a record of zeros", "a block"],
)
def test_anything_appended_is_noticed(small: bytes, file: Path, settings: Settings, appended: bytes) -> None:
    assert problems_of(small + appended, file, settings)


def test_two_archives_in_one_file_are_noticed(small: bytes, file: Path, settings: Settings) -> None:
    assert problems_of(small + small, file, settings)
    assert problems_of(small[: -2 * BLOCK] + small, file, settings)


def test_a_block_that_is_repeated_or_left_out_is_noticed(small: bytes, file: Path, settings: Settings) -> None:
    blocks = [small[start : start + BLOCK] for start in range(0, len(small), BLOCK)]

    unnoticed = []
    for number in range(len(blocks)):
        doubled = b"".join([*blocks[: number + 1], *blocks[number:]])
        without = b"".join([*blocks[:number], *blocks[number + 1 :]])
        unnoticed += [number for data in (doubled, without) if not problems_of(data, file, settings)]

    assert unnoticed == []


@pytest.mark.parametrize(
    "order",
    [
        [0, 2, 1, 3, 4, 5],
        [1, 0, 2, 3, 4, 5],
        [0, 1, 2, 4, 3, 5],
        [0, 1, 1, 2, 3, 4, 5],
        [0, 1, 2, 3, 4, 5, 5],
        [0, 2, 3, 4, 5],
        [0, 1, 2, 3, 4],
        [0, 1, 2, 4, 5],
        [1, 2, 3, 4, 5],
        [0],
    ],
)
def test_members_swapped_doubled_or_removed_are_noticed(order: list[int], file: Path, settings: Settings) -> None:
    members = parts()

    assert problems_of(assemble([members[index] for index in order], counted=members), file, settings)


@pytest.mark.parametrize(
    "order",
    [[0, 2, 1], [1, 0, 2], [0, 1, 1], [0, 1, 2, 4], [1, 2], [0, 0, 1], [0, 1, 3, 2]],
)
def test_a_wrong_order_is_noticed_though_all_digests_match_it(order: list[int], file: Path, settings: Settings) -> None:
    members = parts()

    assert problems_of(assemble([members[index] for index in order]), file, settings)


def test_a_member_that_no_digest_covers_is_noticed(file: Path, settings: Settings) -> None:
    smuggled = [*parts(), upload(b"smuggled", data=b"not listed")]

    assert any("smuggled" in problem for problem in problems_of(assemble(smuggled, counted=parts()), file, settings))


@pytest.mark.parametrize(
    ("lies", "why"),
    [
        (Lies(version=3), "format 3"),
        (Lies(version=2), "4096"),
        (Lies(document={"format": 3}), "format 3"),
        (Lies(document={"format": 2}), "it is of format 2, and has 0 databases"),
        (Lies(document={"format": "1"}), "format is not a number"),
        (Lies(manifest_sha256="0" * 64), "SHA-256"),
        (Lies(manifest_length=100 * 1024 * 1024), "larger than the format allows"),
        (Lies(manifest_length=999_999_999_999), "larger than the format allows"),
        (Lies(manifest_length=512), "is not where"),
        (Lies(raw_manifest=b"[]"), "not an object"),
        (Lies(raw_manifest=b"{"), "not JSON"),
        (Lies(raw_manifest=b"\xff\xfe"), "not JSON"),
        (Lies(raw_manifest=b"[" * 40_000), "not JSON"),
        (Lies(raw_manifest=b'{"format": ' + b"9" * 5000 + b"}"), "not JSON"),
        (Lies(raw_manifest=b""), "not JSON"),
        (Lies(document={"taken_at": "2026-13-01T00:00:00Z"}), "taken_at"),
        (Lies(document={"taken_at": 5}), "taken_at"),
        (Lies(document={"counts": {}}), "dump_bytes"),
        (Lies(document={"counts": None}), "counts"),
        (Lies(document={"sums_offset": -1}), "sums_offset"),
        (Lies(document={"sums_offset": 4096}), "SHA256SUMS"),
        (Lies(document={"sums_offset": 10**3000}), "SHA256SUMS"),
        (Lies(document={"digests": {"SHA256SUMS": "0" * 64, "members": "0" * 64}}), "SHA-256"),
        (Lies(document={"database": {"client_version": "18.0", "tables": {"t": "many"}}}), "t is not a number"),
        (Lies(document={"database": {"client_version": "18.0", "tables": {"t": True}}}), "t is not a number"),
        (Lies(document={"warnings": [1]}), "warnings"),
        (Lies(dump_bytes=600), "4096"),
        (Lies(dump_bytes=2**40), "dump"),
        (Lies(dump_bytes=2**100), "dump"),
        (Lies(dump_bytes=10**4000), "dump"),
        (Lies(sums=b""), "does not list"),
        (Lies(sums=b"0" * 64 + b"  db.dump\n"), "db.dump"),
        (Lies(sums=b"nonsense" * 1000), "does not list"),
    ],
    ids=lambda value: str(value)[:60] if isinstance(value, str) else None,
)
def test_a_manifest_that_lies_is_rejected_with_the_reason(lies: Lies, why: str, file: Path, settings: Settings) -> None:
    problems = problems_of(assemble(parts(), lies=lies), file, settings)

    assert any(why in problem for problem in problems), problems


def test_a_manifest_of_100_megabytes_is_rejected_without_being_read(file: Path, settings: Settings) -> None:
    huge = b'{"format": 1, "x": "' + b"x" * (100 * 1024 * 1024) + b'"}'

    problems = problems_of(assemble(parts(), lies=Lies(raw_manifest=huge)), file, settings)

    assert problems == ("its manifest is larger than the format allows",)


def test_sums_that_list_more_than_the_archive_holds_are_noticed(file: Path, settings: Settings) -> None:
    members = parts()
    lines = b"".join(
        hashlib.sha256(data).hexdigest().encode() + b"  " + name + b"\n"
        for name, data in [
            (b"db.dump", DUMP),
            *((part.member.name, part.data) for part in members if part.member and part.member.kind == b"0"),
            (b"uploads/more", b""),
        ]
    )

    problems = problems_of(assemble(members, lies=Lies(sums=lines)), file, settings)

    assert problems == ("SHA256SUMS lists files that are not in the archive",)


@pytest.mark.parametrize(
    "counts",
    [{"upload_files": 4}, {"upload_directories": 0}, {"upload_links": 2}, {"upload_bytes": 1}],
    ids=lambda counts: next(iter(counts)),
)
def test_counts_that_do_not_fit_the_members_are_noticed(counts: dict[str, int], file: Path, settings: Settings) -> None:
    right = {
        "dump_bytes": len(DUMP),
        "upload_files": 3,
        "upload_directories": 1,
        "upload_links": 1,
        "upload_bytes": 1010,
    }

    honest = problems_of(assemble(parts(), lies=Lies(document={"counts": right})), file, settings)
    problems = problems_of(assemble(parts(), lies=Lies(document={"counts": {**right, **counts}})), file, settings)

    assert honest == ()
    assert any("the manifest states" in problem for problem in problems)


def without_comment(data: bytes) -> bytes:
    """The archive without its leading comment: as if another implementation had written it."""
    return data[4096 - BLOCK :]


def without_member(data: bytes, name: bytes) -> bytes:
    start = data.index(raw_start(name))
    size = int(data[start + 124 : start + 135], 8)
    return data[:start] + data[start + BLOCK + -(-size // BLOCK) * BLOCK :]


def raw_start(name: bytes) -> bytes:
    return name.ljust(100, b"\0") + b"0000600\0"


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("no comment", without_comment(assemble(parts()))),
        ("no SHA256SUMS", without_member(assemble(parts()), b"SHA256SUMS")),
        ("no manifest", without_member(assemble(parts()), b"manifest.json")),
        ("manifest only", without_member(without_comment(assemble(parts())), b"SHA256SUMS")),
        ("SHA256SUMS only", without_member(without_comment(assemble(parts())), b"manifest.json")),
        (
            "comment only",
            without_member(without_member(assemble(parts()), b"SHA256SUMS"), b"manifest.json"),
        ),
    ],
)
def test_an_archive_that_lost_a_mark_of_format_1_is_not_taken_for_a_foreign_one(
    name: str, data: bytes, file: Path, settings: Settings
) -> None:
    assert problems_of(data, file, settings)


def test_without_any_mark_it_is_another_implementations_archive(file: Path, settings: Settings) -> None:
    bare = without_member(without_member(without_comment(assemble(parts())), b"SHA256SUMS"), b"manifest.json")
    file.write_bytes(bare)

    found = examine(file, settings)

    assert (found.problems, found.kind) == ((), ArchiveKind.FOREIGN)
    assert found.warnings


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        bytes(BLOCK),
        bytes(10240),
        bytes(1024 * 1024),
        b"<!DOCTYPE html><html><body>502 Bad Gateway</body></html>",
        b"<!DOCTYPE html>" + b"<p>502 Bad Gateway</p>" * 1000,
        gzip.compress(assemble(parts())),
        b"PGDMP" + bytes(5000),
        os.urandom(4096),
        raw_header(b"db.dump"),
        raw_header(b"db.dump", size=2**33 - 1),
    ],
    ids=[
        "empty",
        "one zero",
        "a zero block",
        "a record of zeros",
        "a megabyte of zeros",
        "a line of HTML",
        "HTML",
        "gzip",
        "a bare dump",
        "noise",
        "a header",
        "a header that promises",
    ],
)
def test_what_is_no_archive_is_rejected(data: bytes, file: Path, settings: Settings) -> None:
    file.write_bytes(data)

    found = verify_archive(file, settings)

    assert found.problems


@pytest.mark.timeout(10)
@pytest.mark.parametrize("quick", [False, True])
def test_what_is_no_file_says_nothing_of_an_archive_at_once(tmp_path: Path, settings: Settings, quick: bool) -> None:
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "dangling").symlink_to("nothing")

    for name in ("directory", "fifo", "dangling", "missing"):
        with pytest.raises(ArchiveNotFound, match=name):
            verify_archive(tmp_path / name, settings, quick=quick)


def test_every_damaged_file_is_named(file: Path, settings: Settings) -> None:
    data = assemble(parts()).replace(b"alpha", b"alphA").replace(b"gammagamma", b"gammaGamma")

    problems = problems_of(data, file, settings)

    assert problems == (
        "uploads/a.txt does not have the SHA-256 that SHA256SUMS states",
        "uploads/d/c.txt does not have the SHA-256 that SHA256SUMS states",
    )


def test_a_damaged_name_is_shown_so_that_no_terminal_obeys_it(file: Path, settings: Settings) -> None:
    members = [uploads_root(), upload(b"\x1b[2J\n\xff", data=b"alpha")]

    problems = problems_of(assemble(members).replace(b"alpha", b"alphA"), file, settings)

    assert problems == ("uploads/\\x1b[2J\\n\\xff does not have the SHA-256 that SHA256SUMS states",)


def test_a_dump_that_does_not_decode_is_rejected(tmp_path: Path, file: Path) -> None:
    fake_client_tools(tmp_path / "bin", restore='echo "pg_restore: error: unexpected end of file" >&2; exit 1')
    file.write_bytes(assemble(parts()))

    found = verify_archive(file, settings_of(pg_bin=(tmp_path / "bin",)))

    assert found.problems == ("db.dump does not decode to its end: error: unexpected end of file",)


def test_a_dump_too_new_for_the_client_here_is_a_warning(tmp_path: Path, file: Path) -> None:
    fake_client_tools(
        tmp_path / "bin", restore='echo "pg_restore: error: unsupported version (1.99) in file header" >&2; exit 1'
    )
    file.write_bytes(assemble(parts()))

    found = verify_archive(file, settings_of(pg_bin=(tmp_path / "bin",)))

    assert found.problems == ()
    assert "unsupported version" in found.warnings[0]


def test_the_decoder_gets_the_whole_dump(tmp_path: Path, file: Path) -> None:
    fake_client_tools(tmp_path / "bin", restore=f"cat > {tmp_path}/received")
    file.write_bytes(assemble(parts()))

    found = verify_archive(file, settings_of(pg_bin=(tmp_path / "bin",)))

    assert found.problems == ()
    assert (tmp_path / "received").read_bytes() == DUMP


def test_a_dump_other_than_the_one_that_was_decoded_before_is_rejected(file: Path, settings: Settings) -> None:
    file.write_bytes(assemble(parts()))

    found = examine(file, settings, b"another dump")

    assert found.problems == ("db.dump is not, byte for byte, what pg_dump wrote",)


def test_a_quick_look_finds_what_a_broken_copy_leaves(small: bytes, file: Path, settings: Settings) -> None:
    for data in (small[:-1], small[:-BLOCK], small[: len(small) // 2], small + b"\0", bytes(len(small))):
        file.write_bytes(data)
        assert verify_archive(file, settings, quick=True).problems
    file.write_bytes(small)
    assert verify_archive(file, settings, quick=True).problems == ()


def test_the_manifest_is_plain_json_at_the_place_that_the_comment_names(small: bytes) -> None:
    fields = dict(field.split(b"=") for field in small[BLOCK : BLOCK + 3072].partition(b"comment=")[2].split())
    start, length = int(fields[b"manifest"]), int(fields[b"length"])

    document = json.loads(small[start : start + length])

    assert document["format"] == 1
    assert hashlib.sha256(small[start : start + length]).hexdigest().encode() == fields[b"sha256"]
