"""The strict reader by itself, on archives in memory: what it refuses, and that it names what is wrong."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from safeharbor_backup.archive import headers, layout
from safeharbor_backup.archive.layout import BLOCK, DIRECTORY, DUMP_OFFSET, SYMLINK, Member
from safeharbor_backup.archive.reader import (
    Rejected,
    bears_leading_mark,
    read_front,
    read_header,
    read_members,
    show,
    skip_padding,
)
from safeharbor_backup.archive.source import Source, Truncated
from safeharbor_backup.errors import ArchiveRejected
from support.archives import (
    DUMP,
    TAKEN_AT,
    Lies,
    Part,
    assemble,
    pax_record,
    raw_extra,
    raw_header,
    upload,
    uploads_root,
)
from support.hostile import CASES

LARGE = ("a pax header of 64 MB", "a long name of 64 MB")


@pytest.fixture
def descriptor() -> Iterator[int]:
    number = os.memfd_create("archive", os.MFD_CLOEXEC)
    yield number
    os.close(number)


def source_of(descriptor: int, data: bytes) -> Source:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, data, 0)
    return Source(descriptor, Path("in-memory.tar"))


def members_of(descriptor: int, data: bytes) -> list[Member]:
    """All that the reader gives of an archive. Raises ArchiveRejected, Rejected, Truncated."""
    source = source_of(descriptor, data)
    found = []
    for member, offset in read_members(source, read_front(source)):
        assert source.position == offset
        for _ in source.chunks(member.size):
            pass
        found.append(member)
    return found


def refusal(descriptor: int, data: bytes) -> str:
    try:
        members_of(descriptor, data)
    except (ArchiveRejected, Rejected) as error:
        return str(error)
    except Truncated:
        return "cut"
    return ""


@pytest.mark.parametrize("name", [name for name in CASES if name not in LARGE])
def test_each_hostile_member_is_refused_by_its_rule(name: str, descriptor: int) -> None:
    case = CASES[name]

    said = refusal(descriptor, assemble([uploads_root(), *case.parts]))

    assert said
    assert case.says in said
    assert len(said) < 1000


def test_every_member_comes_as_it_was_written(descriptor: int) -> None:
    parts = [
        uploads_root(),
        upload(b"EndsWithX", data=b"x"),
        upload(b"a", data=b"x" * 700),
        upload(b"d/", DIRECTORY, mode=0o2755),
        upload(b"d/" + b"n" * 120, data=b"y" * 512),
        upload(b"d/up", SYMLINK, link=b"../a"),
        upload(b"l", SYMLINK, link=b"d/" + b"n" * 120),
        Part(headers.encode_pad(1)),
        upload(b"m", SYMLINK, link=b"EndsWithX"),
        Part(headers.encode_pad(4)),
        upload(b"z"),
    ]

    found = members_of(descriptor, assemble(parts))

    assert found[1:-2] == [part.member for part in parts if part.member is not None]
    assert [each.name for each in (found[0], *found[-2:])] == [b"db.dump", b"SHA256SUMS", b"manifest.json"]
    assert (found[0].size, found[0].mode, found[0].mtime) == (len(DUMP), 0o600, 1778122800)


@pytest.mark.parametrize(
    "member",
    [
        Member(b"uploads/x", b"0", 0o644, 0o7654321, 0o6543217, 0o76543210123, 0o65432101237),
        Member(b"uploads/" + b"d" * 100 + b"X/x", b"0", 0o644, 5, 6, 7, 8),
        Member(b"uploads/x", b"0", 0o644, 8**7, 5, 1, 3),
        Member(b"uploads/x", b"0", 0o644, 5, 8**7, 1, 3),
        Member(b"uploads/x", b"0", 0o644, 5, 6, -9, 3),
        Member(b"uploads/x", b"0", 0o644, 5, 6, 8**11, 3),
        Member(b"uploads/x", b"0", 0o644, 5, 6, 7, 8 * 1024**3),
        Member(b"uploads/" + b"d/" * 70 + b"x", b"0", 0o644, 5, 6, 7, 8),
        Member(b"uploads/" + b"d" * 100 + b"/" + b"x" * 100, b"0", 0o644, 8**7, 8**7, -7, 8),
        Member(b"uploads/" + b"d" * 200, b"0", 0o644, 0o7654321, 0o6543217, 0o76543210123, 0o65432101237),
        Member(b"uploads/" + b"d" * 200, b"2", 0o777, 8**7, 8**7, -7, 0, b"t" * 150),
    ],
)
def test_numbers_and_names_of_any_length_are_read_back(member: Member, descriptor: int) -> None:
    encoded = headers.encode_member(member)

    assert read_header(source_of(descriptor, encoded)) == member
    with pytest.raises(Rejected):  # nothing but the canonical form
        read_header(source_of(descriptor, raw_extra(b"x", pax_record(b"uid", b"9")) + encoded))


@pytest.mark.parametrize(
    ("block", "why"),
    [
        (bytes(BLOCK), "it ends before its SHA256SUMS and manifest"),
        (raw_header(b"uploads/evil", b"3"), "uploads/evil is of a kind that archives do not hold (type '3')"),
        (raw_header(b"uploads/evil", uid=b"00000x0\0"), "the header of uploads/evil has a field that is not an octal"),
        (raw_header(b"uploads/evil", uid=b"-000001\0"), "the header of uploads/evil has a negative number"),
        (raw_header(b"uploads/evil", size=b"00000000008\0"), "a header has a size that is not an octal number"),
        (raw_header(b"uploads/evil", size=b"00000000009\0"), "a header has a size that is not an octal number"),
        (raw_header(b"uploads/evil", size=b"0000000000x\0"), "a header has a size that is not an octal number"),
        (raw_header(b"uploads/evil", magic=b"ustar  \0"), "the header of uploads/evil is not as the format prescribes"),
        (raw_header(b"evil", prefix=b"uploads", magic=b"ustar  \0"), "the header of uploads/evil is not"),
        (headers.encode_pad(1) * 2 + raw_header(b"uploads/x"), "two global headers follow each other"),
        (
            raw_extra(b"g", b"x" * BLOCK) + raw_header(b"uploads/x"),
            "a global header holds something other than padding",
        ),
        (raw_header(b"pax_global_header", b"g", size=100), "a global header has a size that the format does not allow"),
        (raw_header(b"g", b"g", size=65 * 1024), "a global header has a size that the format does not allow"),
        (raw_header(b"g", b"g", size=64 * 1024) + bytes(64 * 1024), "a global header holds something other"),
        (raw_extra(b"L", b"n" * 8193), "a header of type L states a size of 8193 bytes"),
        (raw_header(b"././@LongLink", b"K"), "a header of type K states a size of 0 bytes"),
        (raw_extra(b"L", b"n\0") * 2, "a header of type L appears twice for one member"),
        (raw_extra(b"x", pax_record(b"uid", b"9") * 2) + raw_header(b"x"), "a pax header has a record that archives"),
        (raw_extra(b"x", pax_record(b"size", b"-1")) + raw_header(b"x"), "a pax header has a negative number"),
        (raw_extra(b"x", pax_record(b"uid", b"-1")) + raw_header(b"x"), "a pax header has a negative number"),
        (raw_extra(b"x", pax_record(b"gid", b"-1")) + raw_header(b"x"), "a pax header has a negative number"),
        (raw_extra(b"x", pax_record(b"path", b"1")) + raw_header(b"x"), "a pax header has a record that archives"),
        (raw_extra(b"L", b"n" * 8192) + raw_header(b"x"), "is not as the format prescribes"),
    ],
)
def test_a_header_that_the_writer_never_writes_is_refused_with_the_reason(
    block: bytes, why: str, descriptor: int
) -> None:
    with pytest.raises(Rejected) as error:
        read_header(source_of(descriptor, block))

    assert why in str(error.value)


@pytest.mark.parametrize("length", [0, 1, 511, BLOCK, BLOCK + 100])
def test_a_header_that_is_cut_is_said_to_be_cut(length: int, descriptor: int) -> None:
    whole = headers.encode_member(Member(b"uploads/" + b"n" * 200, b"0", 0o644, 0, 0, 1, 0))

    with pytest.raises(Truncated):
        read_header(source_of(descriptor, whole[:length]))


def test_padding_is_zeros_up_to_the_next_block(descriptor: int) -> None:
    member = Member(b"uploads/x", b"0", 0o644, 0, 0, 1, 500)
    source = source_of(descriptor, bytes(12) + b"next")
    skip_padding(source, member)
    assert source.position == 12
    skip_padding(source, Member(b"uploads/x", b"0", 0o644, 0, 0, 1, 512))
    assert source.position == 12
    for position in range(12):
        data = bytearray(12)
        data[position] = 1
        with pytest.raises(Rejected, match="uploads/x is not padded with zeros"):
            skip_padding(source_of(descriptor, bytes(data)), member)


def test_a_name_is_shown_so_that_no_terminal_obeys_it_and_not_longer_than_it_helps() -> None:
    assert show(b"a\x1b[2J\n\xff") == "a\\x1b[2J\\n\\xff"
    assert show("ä".encode()) == "ä"
    assert len(show(b"n" * 4000)) == 200


def test_the_mark_at_the_start_tells_whose_archive_it_is(descriptor: int) -> None:
    data = assemble([uploads_root()])
    assert bears_leading_mark(source_of(descriptor, data))
    assert bears_leading_mark(source_of(descriptor, data[: 2 * BLOCK]))
    assert not bears_leading_mark(source_of(descriptor, data[DUMP_OFFSET - BLOCK :]))
    assert not bears_leading_mark(source_of(descriptor, b""))
    assert not bears_leading_mark(source_of(descriptor, bytes(BLOCK) + data))
    assert not bears_leading_mark(source_of(descriptor, bytes(2 * BLOCK) + data))
    assert not bears_leading_mark(source_of(descriptor, b"x" * 100))


SOUND = assemble([uploads_root(), upload(b"a", data=b"alpha")])


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (SOUND[: DUMP_OFFSET + BLOCK], "too short"),
        (bytes(DUMP_OFFSET + 1024), "does not name a manifest"),
        (SOUND + b"\0", "not a multiple of 512"),
        (SOUND + bytes(BLOCK), "is not where its first header says"),
        (SOUND[:-1024] + b"x" * 1024, "not followed by two zero blocks"),
        (SOUND.replace(b"safeharbor=1", b"safeharbor=7"), "it is of format 7; this program reads formats 1 and 2"),
        (assemble([uploads_root()], lies=Lies(manifest_length=16 * 1024**2 + 1)), "larger than the format allows"),
        (assemble([uploads_root()], lies=Lies(manifest_length=16 * 1024**2)), "is not where its first header says"),
        (assemble([uploads_root()], lies=Lies(dump_bytes=10**6)), "states a dump that is larger than the file"),
        (assemble([uploads_root()], lies=Lies(dump_bytes=1)), "its first 4096 bytes are not as the format prescribes"),
        (SOUND[:100] + b"x" + SOUND[101:], "its first 4096 bytes are not as the format prescribes"),
        (assemble([]), "it has no uploads/"),
        (assemble([upload(b"a")]), "uploads/a is where uploads/ must be"),
        (assemble([upload(b"a/", DIRECTORY, mode=0o755)]), "uploads/a/ is where uploads/ must be"),
        (assemble([upload(b"", mode=0o755)]), "uploads/ is where uploads/ must be"),
        (assemble([uploads_root(), upload(b"a")], lies=Lies(document={"sums_offset": 512})), "its SHA256SUMS is not"),
        (assemble([upload(b"", DIRECTORY, mode=0o4755)]), "uploads/: its mode, size or target is not"),
        (assemble([upload(b"", DIRECTORY, mode=0o755, link=b"x")]), "uploads/: its mode, size or target is not"),
        (assemble([upload(b"", DIRECTORY, data=b"x" * 512, mode=0o755)]), "uploads/: its mode, size or target is not"),
        (assemble([uploads_root(), upload(b"d/", DIRECTORY, data=b"x", mode=0o755)]), "it states a size"),
        (assemble([uploads_root(), upload(b"f", link=b"x")]), "it states a target"),
        (assemble([uploads_root(), upload(b"f", mode=0o4644)]), "its mode is 4644"),
    ],
)  # fmt: skip
def test_the_front_and_the_order_are_as_the_format_prescribes(data: bytes, why: str, descriptor: int) -> None:
    assert why in refusal(descriptor, data)


TAKEN = int(TAKEN_AT.timestamp())


def test_a_directory_with_the_name_of_a_stage_is_refused_by_its_marker_alone(descriptor: int) -> None:
    stage = upload(b".safeharbor-restore-0a1b/", DIRECTORY, mode=0o755)
    file = upload(b".safeharbor-restore-0a1b/x")
    marker = upload(b".safeharbor-restore-0a1b/.safeharbor-staging")

    assert members_of(descriptor, assemble([uploads_root(), stage, file]))[2:-2] == [stage.member, file.member]
    assert "it belongs to an unfinished restore" in refusal(descriptor, assemble([uploads_root(), stage, marker]))


def only_a_manifest(header: bytes) -> bytes:
    """A manifest of an archive without a dump and uploads, right behind the first 4096 bytes and this."""
    document = json.JSONDecoder().raw_decode(SOUND[SOUND.index(b'{"format"') :].decode("latin-1"))[0]
    document["counts"]["dump_bytes"] = 0
    data = json.dumps(document).encode()
    reference = headers.ManifestReference(DUMP_OFFSET + len(header), len(data), hashlib.sha256(data).hexdigest())
    dump = Member(layout.DUMP_NAME, layout.FILE, 0o600, 0, 0, TAKEN, 0)
    return headers.encode_front(reference, dump, 1) + header + data + bytes(-len(data) % BLOCK + 2 * BLOCK)


def test_a_manifest_has_at_least_its_own_header_before_it(descriptor: int) -> None:
    header = raw_header(b"manifest.json", mode=0o600, mtime=TAKEN)

    said = [refusal(descriptor, only_a_manifest(each)) for each in (b"", header)]

    assert said == [
        "in-memory.tar: its manifest is not where its first header says, just before the end.",
        "manifest.json is where uploads/ must be",
    ]


def with_header(data: bytes, name: bytes, header: bytes) -> bytes:
    """The archive with another header for one of our own files."""
    at = data.index(name.ljust(100, b"\0"))
    return data[:at] + header + data[at + BLOCK :]


def test_our_own_files_stand_where_they_must_and_with_the_headers_that_they_must_have(descriptor: int) -> None:
    start = DUMP_OFFSET + len(DUMP) + -len(DUMP) % BLOCK + BLOCK
    early = Part(raw_header(b"SHA256SUMS", mode=0o600, mtime=TAKEN))
    lies = Lies(document={"sums_offset": start + BLOCK})
    assert refusal(descriptor, assemble([uploads_root(), early], lies=lies)) == (
        "SHA256SUMS is where the manifest must be"
    )
    size = read_front(source_of(descriptor, SOUND)).manifest_length
    other = raw_header(b"manifest.json", size=size, mode=0o644, mtime=TAKEN)
    assert refusal(descriptor, with_header(SOUND, b"manifest.json", other)) == (
        "its manifest's own header is not as the format prescribes"
    )
    huge = raw_header(b"SHA256SUMS", size=len(SOUND) + 1, mode=0o600, mtime=TAKEN)
    assert refusal(descriptor, with_header(SOUND, b"SHA256SUMS", huge)) == "cut"
    source = source_of(descriptor, SOUND)
    os.ftruncate(descriptor, 100)  # while it is looked at
    assert not bears_leading_mark(source)


def test_what_is_refused_at_the_front_is_named_with_the_reason_alone_beside_it(descriptor: int) -> None:
    for data, reason in (
        (SOUND[:512], "it is too short to be an archive"),
        (SOUND[: DUMP_OFFSET + 1024], "its manifest is not where its first header says, just before the end"),
    ):
        with pytest.raises(ArchiveRejected) as error:
            read_front(source_of(descriptor, data))
        assert error.value.reason == reason
        assert error.value.message == f"in-memory.tar: {reason}."
    source = source_of(descriptor, SOUND)
    os.ftruncate(descriptor, DUMP_OFFSET - 1)  # while it is read
    with pytest.raises(ArchiveRejected) as error:
        read_front(source)
    assert error.value.message == "in-memory.tar: it was cut: it ends in the middle."


def test_the_front_says_where_everything_is(descriptor: int) -> None:
    front = read_front(source_of(descriptor, SOUND))

    start, length = front.manifest_offset, front.manifest_length
    assert SOUND[start : start + length].startswith(b'{"format": 1')
    assert SOUND[start : start + length].endswith(b"}")
    assert front.manifest.dump_size == front.dump.size == len(DUMP)
    assert front.dump.name == layout.DUMP_NAME
