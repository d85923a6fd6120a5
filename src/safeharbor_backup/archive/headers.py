"""Members as bytes: POSIX ustar headers, GNU `L` and `K` for long names, pax records for large numbers.

`encode_member` is canonical: one member has one encoding, and the reader accepts no other. Our own writer and not
`tarfile`'s, because that takes most of the time of a tree of small files.
"""

from __future__ import annotations

from dataclasses import dataclass
from zlib import adler32

from safeharbor_backup.archive.layout import BLOCK, DUMP_OFFSET, Member

MAX_OCTAL_SIZE = 8 * 1024**3  # eleven octal digits
MAX_OCTAL_ID = 8**7
MAX_OCTAL_MTIME = 8**11

_LONG_NAME = b"././@LongLink"
_PAX_NAME = b"././@PaxHeader"
_GLOBAL_NAME = b"pax_global_header"
_MAGIC = b"ustar\x0000"
_WIDTH_OF_COMMENT_WITH_X = 2048
_WIDTH_OF_COMMENT = 3072
WIDE_HEADER_BYTES = 3 * BLOCK  # what a header takes at most whose only large number is the size


@dataclass(frozen=True, slots=True)
class ManifestReference:
    """Where the manifest's data is in the archive (bytes from its start) and its SHA-256 in hex."""

    offset: int
    length: int
    sha256: str


def padding(size: int) -> int:
    """How many zero bytes follow `size` bytes of data, up to the next block."""
    return -size % BLOCK


def encode_member(member: Member) -> bytes:
    """All header blocks of a member: pax record, long link, long name as needed, and the header itself."""
    name, link, size, mtime, uid, gid = member.name, member.link, member.size, member.mtime, member.uid, member.gid
    fits = size < MAX_OCTAL_SIZE and 0 <= mtime < MAX_OCTAL_MTIME and uid < MAX_OCTAL_ID and gid < MAX_OCTAL_ID
    if fits and len(name) <= 100 and len(link) <= 100:  # nearly all of them
        return _header(name, member.kind, member.mode, uid, gid, b"%011o\0" % size, mtime, link, b"")
    before = []
    records = _pax_records(member)
    if records:
        before.append(_with_data(_PAX_NAME, b"x", records))
    if len(link) > 100:
        before.append(_with_data(_LONG_NAME, b"K", link + b"\0"))
    short, prefix = _split_name(name)
    if short is None:
        before.append(_with_data(_LONG_NAME, b"L", name + b"\0"))
        short = name[:100]
    header = _header(
        short,
        member.kind,
        member.mode,
        uid if uid < MAX_OCTAL_ID else 0,
        gid if gid < MAX_OCTAL_ID else 0,
        encode_size(size),
        mtime if 0 <= mtime < MAX_OCTAL_MTIME else 0,
        link[:100],
        prefix,
    )
    return b"".join([*before, header])


def encode_size(size: int) -> bytes:
    """The size field: octal, and from 8 GiB on base-256, for readers that know nothing of pax records."""
    if size < MAX_OCTAL_SIZE:
        return b"%011o\0" % size
    return b"\x80" + size.to_bytes(11, "big")


def encode_pad(blocks: int) -> bytes:
    """`blocks` (at least 1) times 512 bytes that every reader skips: a global header with nothing but a comment."""
    if blocks == 1:
        return _header(_GLOBAL_NAME, b"g", 0o644, 0, 0, b"%011o\0" % 0, 0, b"", b"")
    return _with_data(_GLOBAL_NAME, b"g", _comment(b"", BLOCK * (blocks - 1)))


def encode_wide(member: Member) -> bytes:
    """A pad and the header of a file with a short name: together always as long, whatever the file's size."""
    header = encode_member(member)
    blocks = (WIDE_HEADER_BYTES - len(header)) // BLOCK
    return (encode_pad(blocks) if blocks else b"") + header


def encode_front(reference: ManifestReference, dump: Member, version: int) -> bytes:
    """The archive's first 4096 bytes: the comment that leads to the manifest, and the dump's header.

    `version` is that of the format.
    """
    text = b"safeharbor=%d manifest=%020d length=%012d sha256=%b" % (
        version,
        reference.offset,
        reference.length,
        reference.sha256.encode(),
    )
    header = encode_member(dump)
    width = _WIDTH_OF_COMMENT_WITH_X if len(header) > BLOCK else _WIDTH_OF_COMMENT
    front = _with_data(_GLOBAL_NAME, b"g", _comment(text, width)) + header
    assert len(front) == DUMP_OFFSET  # noqa: S101 - the layout's own arithmetic
    return front


def _comment(text: bytes, width: int) -> bytes:
    start = b"%d comment=" % width
    return start + text.ljust(width - len(start) - 1) + b"\n"


def _pax_records(member: Member) -> bytes:
    records = []
    if member.gid >= MAX_OCTAL_ID:
        records.append(_pax_record(b"gid", member.gid))
    if not 0 <= member.mtime < MAX_OCTAL_MTIME:
        records.append(_pax_record(b"mtime", member.mtime))
    if member.size >= MAX_OCTAL_SIZE:  # decision 13
        records.append(_pax_record(b"size", member.size))
    if member.uid >= MAX_OCTAL_ID:
        records.append(_pax_record(b"uid", member.uid))
    return b"".join(records)


def _pax_record(key: bytes, value: int) -> bytes:
    """`length key=value\\n`, where the length counts itself."""
    rest = b" %b=%d\n" % (key, value)
    length = len(rest) + 1
    while len(b"%d" % length) + len(rest) != length:
        length += 1
    return b"%d" % length + rest


def _split_name(name: bytes) -> tuple[bytes | None, bytes]:
    """The name and prefix fields; (None, b"") if the name does not fit into them."""
    if len(name) <= 100:
        return name, b""
    cut = name.find(b"/", len(name) - 101)
    if cut <= 0 or cut > 155 or cut == len(name) - 1:
        return None, b""
    return name[cut + 1 :], name[:cut]


def _with_data(name: bytes, kind: bytes, data: bytes) -> bytes:
    header = _header(name, kind, 0o644, 0, 0, b"%011o\0" % len(data), 0, b"", b"")
    return header + data + bytes(padding(len(data)))


def _header(
    name: bytes,
    kind: bytes,
    mode: int,
    uid: int,
    gid: int,
    size: bytes,
    mtime: int,
    link: bytes,
    prefix: bytes,
) -> bytes:
    numbers = b"%07o\0%07o\0%07o\0%b%011o\0" % (mode, uid, gid, size, mtime)
    # The checksum is the sum of all bytes, itself counted as eight spaces. Adler-32's lower half is that sum, exact
    # below 65521, which 100 + 48 + 100 bytes cannot reach; it is many times faster than sum().
    total = (adler32(name + numbers + link) & 0xFFFF) - 1 + kind[0] + _CONSTANT_SUM
    if prefix:
        total += sum(prefix)
    return b"%b%b%06o\0 %b%b%b%b%b\0\0\0\0\0\0\0\0\0\0\0\0" % (
        name.ljust(100, b"\0"),
        numbers,
        total,
        kind,
        link.ljust(100, b"\0"),
        _MAGIC,
        _NO_OWNER_NAMES,
        prefix.ljust(155, b"\0"),
    )


_CONSTANT_SUM = 256 + sum(_MAGIC)
_NO_OWNER_NAMES = bytes(80)  # uname, gname, devmajor, devminor
