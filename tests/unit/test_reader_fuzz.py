"""Both readers on what was damaged, or made, at random: each input is read or refused, and never breaks them.

Most of the inputs are damaged by a seeded generator, which is many times faster than hypothesis: the same inputs come
on every run, and a failure names its input, so that it can be looked at alone. Hypothesis builds the others, member by
member, and shrinks them.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from safeharbor_backup.archive.layout import BLOCK, DUMP_OFFSET
from support.archives import (
    Lies,
    Part,
    assemble,
    foreign_archive,
    pax_record,
    raw_extra,
    raw_header,
    uploads_root,
)
from support.readers import BODY, FOREIGN, MANIFEST, OWN, SMALL_DUMP, SOUND, Readers

INPUTS = int(os.environ.get("SAFE_HARBOR_INPUTS", "12_000"))
BATCHES = 4


@pytest.fixture(scope="module")
def readers() -> Iterator[Readers]:
    made = Readers()
    yield made
    made.close()


# -- what is damaged --------------------------------------------------------------------------------------------------

NUMBERS = [(100, 8), (108, 8), (116, 8), (124, 12), (136, 12), (148, 8), (329, 8), (337, 8)]  # offset, width
WORDS = [
    b"uploads/", b"uploads", b"db.dump", b"SHA256SUMS", b"manifest.json", b"..", b"../", b"/", b"//", b"./", b".", b"",
    b"\0", b"\xff", b"uploads/..", b"uploads/../x", b"uploads//x", b"uploads/a.txt", b"uploads/d/", b"/etc/passwd",
    b"uploads/" + b"n" * 256, b"uploads/.safeharbor-restore-0a/.safeharbor-staging", b"ustar\x0000", b"ustar  \0",
    b"5 a=\n", b"11 path=/x\n", b"12 size=1e3\n", b"30 size=99999999999999999999\n", b"13 size=-99\n", b"9 uid=\n",
    b"20 mtime=999999999.\n", b"0 a=b\n", b"9999999 a=b\n", b"22 GNU.sparse.major=1\n", b"13 linkpath=\n",
]  # fmt: skip
JSON_VALUES: list[object] = [
    None, True, False, 0, -1, 1, 512, 4096, 2**31, 2**63, 2**64, 10**30, 1.5, 1e308, "", "a", "\0", "\ud800",
    "\u00e9" * 50, [], {}, [[]], [None], {"": 0}, {"a": -1}, "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z",
    "1969-12-31T23:59:59Z", "0" * 64, "18", "\uff19\uff19", "\u00b2", "-1.2",
]  # fmt: skip


def extreme(source: random.Random, width: int) -> bytes:
    """A numeric field as nobody expects it."""
    kind = source.randrange(10)
    if kind == 0:
        return b"7" * (width - 1) + b"\0"
    if kind == 1:
        return b"7" * width
    if kind == 2:
        return (
            b"\x80"
            + source.choice((0, 1, 511, 2**31, 2**32, 2**53, 2**63 - 1, 2**63, 2**64)).to_bytes(12, "big")[1 - width :]
        )
    if kind == 3:
        return b"\x80" + source.randbytes(width - 1)
    if kind == 4:
        return b"\xff" * (width - 1) + source.randbytes(1)
    if kind == 5:
        return source.choice((b"-1", b" 1", b"+1", b"0x1", b"0o7", b"1_0", b"8", b"1 1", b"\0" + b"1")).ljust(
            width, source.choice((b"\0", b" "))
        )
    if kind == 6:
        return source.choice((b"\0", b" ", b"0", b"9")) * width
    if kind == 7:
        return b"%0*o" % (width - 1, source.randrange(0, 3000)) + source.choice((b"\0", b" ", b"7"))
    if kind == 8:
        return source.randbytes(width)
    return b"%0*o\0" % (width - 1, 2 ** source.randrange(3 * (width - 1)))


def one_change(data: bytearray, source: random.Random) -> None:
    """Damage it in one way, in place."""
    if not data:
        return
    blocks = max(1, len(data) // BLOCK)
    at = source.randrange(blocks) * BLOCK
    kind = source.randrange(13)
    if kind == 0:
        data[source.randrange(len(data))] ^= 1 << source.randrange(8)
    elif kind == 1:
        data[source.randrange(len(data))] = source.choice((0, 0x20, 0x2F, 0x2E, 0x30, 0x37, 0x39, 0x80, 0xFF))
    elif kind == 2:
        del data[source.randrange(len(data)) :]
    elif kind == 3:  # a whole number of blocks
        del data[at:]
    elif kind == 4:
        del data[at : at + BLOCK]
    elif kind == 5:
        data[at:at] = data[at : at + BLOCK * source.choice((1, 1, 2, 3))]
    elif kind == 6:
        other = source.randrange(blocks) * BLOCK
        if len(data) >= max(at, other) + BLOCK:
            data[at : at + BLOCK], data[other : other + BLOCK] = data[other : other + BLOCK], data[at : at + BLOCK]
    elif kind == 7:
        other = source.randrange(blocks) * BLOCK
        data[other:other] = data[at : at + BLOCK]
    elif kind in (8, 9):
        offset, width = source.choice(NUMBERS)
        data[at + offset : at + offset + width] = extreme(source, width)
    elif kind == 10:  # the kind of a member
        if at + 156 < len(data):
            data[at + 156] = source.choice(b"0\x001234567xgLKSDMVN \xff")
    elif kind == 11:
        word = source.choice(WORDS)
        place = at + source.choice((0, 0, 0, 8, 157, 257, 345, source.randrange(BLOCK)))
        data[place : place + len(word)] = word
    else:
        data[at : at + BLOCK] = source.choice((bytes(BLOCK), b"\xff" * BLOCK, source.randbytes(BLOCK)))


def with_sums_repaired(data: bytearray) -> bytearray:
    """Every header's checksum made right again, so that the reader goes on to what lies behind it."""
    for at in range(0, len(data) - BLOCK + 1, BLOCK):
        if data[at + 257 : at + 262] == b"ustar":
            data[at + 148 : at + 156] = b" " * 8
            data[at + 148 : at + 156] = b"%06o\0 " % sum(data[at : at + BLOCK])
    return data


def damaged(sound: bytes, source: random.Random) -> bytearray:
    """A few changes, and in most cases right checksums after them."""
    data = bytearray(sound)
    for _ in range(source.choice((1, 1, 1, 2, 3, 8))):
        one_change(data, source)
    return with_sums_repaired(data) if source.random() < 0.7 else data


def spliced(source: random.Random) -> bytes:
    """The start of one archive and the end of another, mostly at blocks."""
    first, second = source.choice((*OWN[:2], *FOREIGN)), source.choice((*OWN[:2], *FOREIGN))
    unit = source.choice((BLOCK, BLOCK, BLOCK, 1))
    return (
        first[: source.randrange(len(first) // unit + 1) * unit]
        + second[source.randrange(len(second) // unit + 1) * unit :]
    )


def with_damaged_members(source: random.Random) -> bytes:
    """Of format 1: all that leads to the members is right, but not the members themselves."""
    start = source.choice((0, 0, BLOCK))
    return assemble([Part(BODY[:start] + bytes(damaged(BODY[start:], source)))], counted=SOUND)


def with_damaged_manifest(source: random.Random) -> bytes:
    """Of format 1 with a manifest that has the right digest."""
    if source.random() < 0.4:
        text = bytearray(json.dumps(MANIFEST).encode())
        for _ in range(source.choice((1, 1, 2, 4))):
            at = source.randrange(len(text))
            text[at : at + source.choice((0, 1, 1, 9))] = source.choice(
                (b"", b"9", b"-", b"[", b"{", b'"', b",", b"\xff", b"\\u", b"null", b"1e999", b"NaN", b"9" * 5000)
            )
        return assemble(SOUND[:1], lies=Lies(raw_manifest=bytes(text)))
    document = json.loads(json.dumps(MANIFEST))
    section = document
    while True:  # somewhere in it
        key = source.choice([*section, "other"])
        if isinstance(section.get(key), dict) and section[key] and source.random() < 0.8:
            section = section[key]
            continue
        break
    if source.random() < 0.2:
        section.pop(key, None)
    else:
        section[key] = source.choice(JSON_VALUES)
    return assemble(SOUND, lies=Lies(raw_manifest=json.dumps(document).encode()))


def made_up(source: random.Random) -> bytes:
    """Random bytes, some of them behind what is sound."""
    kind = source.randrange(4)
    noise = source.randbytes(source.choice((0, 1, 511, 512, 513, 1024, 5000)))
    if kind == 0:
        return noise
    if kind == 1:
        return OWN[1][: source.choice((BLOCK, 2 * BLOCK, DUMP_OFFSET))] + noise
    if kind == 2:
        return FOREIGN[0][:BLOCK] + noise
    headers = bytearray(source.randbytes(BLOCK * source.randrange(1, 6)))
    for at in range(0, len(headers), BLOCK):
        headers[at + 257 : at + 265] = b"ustar\x0000"
        headers[at + 156] = source.choice(b"0125xgLK")
        for offset, width in NUMBERS:
            headers[at + offset : at + offset + width] = extreme(source, width)
    return bytes(with_sums_repaired(headers))


def any_input(source: random.Random) -> bytes:
    kind = source.randrange(20)
    if kind < 9:
        return bytes(damaged(source.choice(FOREIGN), source))
    if kind < 14:
        return with_damaged_members(source)
    if kind < 16:
        return with_damaged_manifest(source)
    if kind < 17:
        return bytes(damaged(source.choice(OWN[:2]), source))
    if kind < 19:
        return spliced(source)
    return made_up(source)


def test_the_sound_archives_are_read_to_their_ends(readers: Readers) -> None:
    for data in OWN:
        before = readers.passed
        readers.feed(data)
        assert readers.passed == before + 2
    for data in FOREIGN:
        before = readers.passed
        readers.feed(data)
        assert readers.passed == before + 2


@pytest.mark.parametrize("batch", range(BATCHES))
@pytest.mark.fuzz
def test_whatever_is_damaged_is_read_or_refused(readers: Readers, batch: int) -> None:
    source = random.Random(batch)
    before, own, foreign = readers.inputs, readers.own_members, readers.foreign_members

    for _ in range(INPUTS // BATCHES):
        readers.feed(any_input(source))

    readers.batches += 1
    assert readers.inputs - before == INPUTS // BATCHES
    assert readers.own_members - own > INPUTS // BATCHES  # they do not all end at the front
    assert readers.foreign_members - foreign > INPUTS // BATCHES
    assert readers.slowest < 5


# -- what is built ----------------------------------------------------------------------------------------------------

BUILT = 1_000

components = st.sampled_from(
    [b"a", b"b", b"", b".", b"..", b"n" * 60, b"n" * 255, b"n" * 256, b"\xff", b"a\n", b"a\0b"]
)
paths = st.lists(components, max_size=5).map(b"/".join)
names = st.one_of(
    st.builds(bytes.__add__, st.sampled_from([b"uploads/", b"./uploads/", b"uploads", b"db.dump", b"/", b""]), paths),
    st.binary(max_size=300),
)
targets = st.one_of(paths, names, st.just(b"/etc"))
kinds = st.sampled_from([b"0", b"0", b"0", b"1", b"2", b"2", b"5", b"5", b"7", b"\0", b"3", b"S", b"x", b"g", b"L"])
sizes = st.one_of(st.integers(0, 1100), st.binary(min_size=12, max_size=12))
numbers = st.one_of(st.integers(-(10**20), 10**20).map(lambda number: b"%d" % number), st.binary(max_size=25))
keys = st.sampled_from([b"path", b"linkpath", b"size", b"mtime", b"uid", b"gid", b"comment", b"GNU.sparse.map", b"a"])
records = st.lists(st.builds(pax_record, keys, st.one_of(numbers, names)), max_size=3).map(b"".join)
extras = st.one_of(
    st.just(b""),
    st.builds(raw_extra, st.sampled_from([b"x", b"g"]), st.one_of(records, st.binary(max_size=600))),
    st.builds(raw_extra, st.sampled_from([b"L", b"K"]), names.map(lambda name: name + b"\0")),
)


@st.composite
def parts(draw: st.DrawFn) -> Part:
    """A member of any kind with any header; as often as not its data is as long as the header says."""
    size = draw(sizes)
    data = draw(st.sampled_from([b"", b"x" * 100, b"\0" * 513]))
    if isinstance(size, int) and draw(st.booleans()):
        data = b"x" * size
    header = raw_header(
        draw(names),
        draw(kinds),
        size=size,
        mode=draw(st.sampled_from([0o644, 0o777, 0o755, 0o7777, 0o7777777])),
        mtime=draw(st.sampled_from([0, 1_700_000_000, 8**11 - 1])),
        link=draw(targets),
        prefix=draw(st.sampled_from([b"", b"", b"", b"uploads", b"/", b"..", b"p" * 155]))[:155],
    )
    return Part(draw(extras) + header, data)


@hypothesis_settings(max_examples=BUILT // 2, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(st.lists(parts(), max_size=6), st.booleans(), st.booleans())
@pytest.mark.fuzz
def test_whatever_is_built_is_read_or_refused(
    readers: Readers, members: list[Part], with_root: bool, dump_last: bool
) -> None:
    every = [uploads_root(), *members] if with_root else members

    readers.feed(assemble(every))
    readers.feed(foreign_archive(every, dump=SMALL_DUMP, dump_last=dump_last))
