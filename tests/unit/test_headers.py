from __future__ import annotations

import io
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safeharbor_backup.archive.headers import (
    MAX_OCTAL_ID,
    MAX_OCTAL_MTIME,
    MAX_OCTAL_SIZE,
    ManifestReference,
    encode_front,
    encode_member,
    encode_pad,
    padding,
)
from safeharbor_backup.archive.layout import BLOCK, DIRECTORY, DUMP_NAME, FILE, SYMLINK, Member
from support.archives import Facts, assemble, uploads_root

_TYPES = {FILE: tarfile.REGTYPE, SYMLINK: tarfile.SYMTYPE, DIRECTORY: tarfile.DIRTYPE}


def read_with_tarfile(header: bytes) -> tarfile.TarInfo:
    """What tarfile makes of the headers of one member; its data is not needed for that."""
    with tarfile.open(fileobj=io.BytesIO(header + bytes(2 * BLOCK)), mode="r:") as tar:
        found = tar.next()
    assert found is not None
    return found


def as_tarfile_tells(member: Member) -> Member:
    found = read_with_tarfile(encode_member(member))
    name = found.name.encode("utf-8", "surrogateescape") + (b"/" if found.isdir() else b"")
    kind = {value: key for key, value in _TYPES.items()}[found.type]
    link = found.linkname.encode("utf-8", "surrogateescape")
    return Member(name, kind, found.mode, found.uid, found.gid, int(found.mtime), found.size, link)


def tarfile_header(member: Member) -> bytes:
    """The same member as tarfile writes it."""
    info = tarfile.TarInfo(member.name.decode().rstrip("/"))
    info.type, info.mode, info.uid, info.gid = _TYPES[member.kind], member.mode, member.uid, member.gid
    info.mtime, info.size, info.linkname = member.mtime, member.size, member.link.decode()
    return info.tobuf(tarfile.USTAR_FORMAT, "utf-8", "surrogateescape")


@pytest.mark.parametrize(
    "member",
    [
        Member(b"uploads/a.jpg", FILE, 0o644, 1000, 1000, 1_700_000_000, 12345),
        Member(b"uploads/empty", FILE, 0, 0, 0, 0, 0),
        Member(b"uploads/", DIRECTORY, 0o3777, 33, 33, 1_700_000_000, 0),
        Member(b"uploads/a", SYMLINK, 0o777, 1, 2, 3, 0, b"b/c"),
        Member(b"n" * 100, FILE, 0o600, MAX_OCTAL_ID - 1, MAX_OCTAL_ID - 1, MAX_OCTAL_MTIME - 1, MAX_OCTAL_SIZE - 1),
        Member("uploads/grüße.txt".encode(), FILE, 0o644, 0, 0, 1, 1),
        Member(b"uploads/l", SYMLINK, 0o777, 0, 0, 1, 0, b"t" * 100),
    ],
    ids=lambda member: member.name[:20].decode(),
)
def test_an_ordinary_member_is_the_very_header_that_tarfile_writes(member: Member) -> None:
    assert encode_member(member) == tarfile_header(member)


@pytest.mark.parametrize("above", [1, 50, 99, 100, 101, 154, 155, 156, 200])
@pytest.mark.parametrize("below", [1, 50, 99, 100, 101, 154, 155])
def test_a_name_of_two_parts_is_read_back_however_it_is_stored(above: int, below: int) -> None:
    member = Member(b"d" * above + b"/" + b"f" * below, FILE, 0o644, 0, 0, 1, 0)

    assert as_tarfile_tells(member) == member


def test_a_name_that_can_be_split_needs_no_second_header() -> None:
    longest = Member(b"d" * 155 + b"/" + b"f" * 100, FILE, 0o644, 0, 0, 1, 0)
    longer = Member(b"d" * 156 + b"/" + b"f" * 100, FILE, 0o644, 0, 0, 1, 0)

    assert len(encode_member(longest)) == BLOCK
    assert len(encode_member(longer)) == 3 * BLOCK


def test_the_slash_that_ends_a_directory_is_no_place_to_split() -> None:
    directory = Member(b"d" * 101 + b"/", DIRECTORY, 0o755, 0, 0, 1, 0)

    assert as_tarfile_tells(directory) == directory


@pytest.mark.parametrize("length", [99, 100, 101, 255, 511, 512, 513, 4095])
def test_links_of_any_length_are_read_back(length: int) -> None:
    member = Member(b"uploads/l", SYMLINK, 0o777, 0, 0, 1, 0, b"t" * length)

    assert as_tarfile_tells(member) == member


@pytest.mark.parametrize("size", [MAX_OCTAL_SIZE - 1, MAX_OCTAL_SIZE, MAX_OCTAL_SIZE + 1, 2**40, 2**62])
def test_sizes_beyond_eight_gibibytes_are_read_back(size: int) -> None:
    member = Member(b"uploads/large", FILE, 0o644, 0, 0, 1, size)

    assert read_with_tarfile(encode_member(member)).size == size


def test_a_reader_without_pax_finds_the_large_size_in_the_header_itself() -> None:
    header = encode_member(Member(b"uploads/large", FILE, 0o644, 0, 0, 1, MAX_OCTAL_SIZE))[-BLOCK:]

    assert header[124:136] == b"\x80" + MAX_OCTAL_SIZE.to_bytes(11, "big")


@pytest.mark.parametrize("mtime", [-1, -(2**31), -(10**11), 0, 2**31, MAX_OCTAL_MTIME - 1, MAX_OCTAL_MTIME, 10**12])
def test_times_before_1970_and_far_ahead_are_read_back(mtime: int) -> None:
    member = Member(b"uploads/a", FILE, 0o644, 0, 0, mtime, 0)

    assert as_tarfile_tells(member) == member


@pytest.mark.parametrize("owner", [MAX_OCTAL_ID - 1, MAX_OCTAL_ID, 2**31, 2**32 - 2])
def test_owners_that_ustar_cannot_hold_are_read_back(owner: int) -> None:
    member = Member(b"uploads/a", FILE, 0o644, owner, owner, 1, 0)

    assert as_tarfile_tells(member) == member


components = st.binary(min_size=1, max_size=255).filter(lambda name: b"/" not in name and b"\0" not in name)


@pytest.mark.slow
@given(
    parts=st.lists(components, min_size=1, max_size=6),
    mode=st.integers(0, 0o777),
    uid=st.integers(0, 2**32 - 1),
    gid=st.integers(0, 2**32 - 1),
    mtime=st.integers(-(2**40), 2**40),
    size=st.integers(0, 2**50),
)
@settings(max_examples=300, deadline=None)
def test_any_member_is_read_back_as_it_was(
    parts: list[bytes], mode: int, uid: int, gid: int, mtime: int, size: int
) -> None:
    member = Member(b"uploads/" + b"/".join(parts), FILE, mode, uid, gid, mtime, size)

    encoded = encode_member(member)

    assert len(encoded) % BLOCK == 0
    assert as_tarfile_tells(member) == member


@pytest.mark.parametrize("blocks", range(1, 129))
def test_a_pad_of_any_length_is_skipped_by_tarfile_and_leaves_no_trace(blocks: int) -> None:
    member = Member(b"uploads/a", FILE, 0o644, 0, 0, 1, 0)

    pad = encode_pad(blocks)
    found = read_with_tarfile(pad + encode_member(member))

    assert len(pad) == blocks * BLOCK
    assert (found.name, found.size, found.mtime) == ("uploads/a", 0, 1)


@pytest.mark.parametrize("size", [0, 1, 777, MAX_OCTAL_SIZE - 1, MAX_OCTAL_SIZE, 2**45])
@pytest.mark.parametrize("mtime", [0, 1_778_122_800, -5])
def test_the_front_is_4096_bytes_and_ends_with_the_dumps_header(size: int, mtime: int) -> None:
    dump = Member(DUMP_NAME, FILE, 0o600, 0, 0, mtime, size)

    front = encode_front(ManifestReference(10**19, 10**11, "a" * 64), dump, 1)
    found = read_with_tarfile(front)

    assert len(front) == 4096
    assert (found.name, found.size, found.mtime, found.offset_data) == ("db.dump", size, mtime, 4096)


def test_the_front_is_what_the_specification_says_byte_by_byte() -> None:
    built = assemble([uploads_root()], facts=Facts())
    front = built[:4096]
    comment = front[BLOCK : BLOCK + 3072]
    fields = dict(field.split(b"=") for field in comment.partition(b"comment=")[2].split())
    dump = Member(DUMP_NAME, FILE, 0o600, 0, 0, int(Facts().taken_at.timestamp()), 773)

    ours = encode_front(
        ManifestReference(int(fields[b"manifest"]), int(fields[b"length"]), fields[b"sha256"].decode()), dump, 1
    )

    assert ours == front


@pytest.mark.parametrize(("size", "zeros"), [(0, 0), (1, 511), (511, 1), (512, 0), (513, 511)])
def test_data_is_padded_to_whole_blocks(size: int, zeros: int) -> None:
    assert padding(size) == zeros
