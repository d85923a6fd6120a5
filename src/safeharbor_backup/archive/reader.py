"""The strict reader of our own archives: every header must be exactly what the writer would have written.

A member is parsed, encoded again, and compared byte by byte; so each byte of an archive is either data under a
SHA-256, a header under the member list's digest, or a constant. Restore uses the same reader.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from safeharbor_backup.archive import headers, layout
from safeharbor_backup.archive.headers import ManifestReference
from safeharbor_backup.archive.layout import BLOCK, DUMP_NAME, DUMP_OFFSET, END, Member
from safeharbor_backup.archive.manifest_json import ManifestInvalid, parse_manifest
from safeharbor_backup.archive.source import Source, Truncated
from safeharbor_backup.errors import ArchiveRejected

if TYPE_CHECKING:
    from collections.abc import Iterator

    from safeharbor_backup.archive.manifest import Manifest

_COMMENT = re.compile(
    rb"(?:2048|3072) comment=safeharbor=(?P<version>\d+) manifest=(?P<offset>\d{20}) length=(?P<length>\d{12}) "
    rb"sha256=(?P<sha256>[0-9a-f]{64}) *\n"
)
_LEADING_MARK = b"comment=safeharbor="
_PLAIN_KINDS = (layout.FILE, layout.SYMLINK, layout.DIRECTORY)
_STAGING_END = b"/" + layout.STAGING_MARKER
_LONGEST_EXTRA = 8192  # a name or link of 4095 bytes and some; anything longer is not ours


class Rejected(Exception):
    """Why the bytes at hand are not an archive of ours; the front ends see ArchiveRejected."""


@dataclass(frozen=True, slots=True)
class Front:
    """The start, the manifest and the end of an archive, all found sound.

    `others` are the dumps of databases beside the main one, and where their data is.
    """

    dump: Member
    manifest: Manifest
    manifest_offset: int
    manifest_length: int
    others: tuple[tuple[Member, int], ...] = ()


def bears_leading_mark(source: Source) -> bool:
    """Whether the file starts as an archive of ours does. Raises OSError."""
    try:
        return _LEADING_MARK in source.read_at(0, min(2 * BLOCK, source.size))
    except Truncated:
        return False


def read_front(source: Source) -> Front:
    """The first header, the manifest and the end marker, checked against each other; constant time whatever the size.

    Raises ArchiveRejected, OSError.
    """
    try:
        return _read_front(source)
    except Truncated:
        raise rejected(source, "it was cut: it ends in the middle") from None
    except Rejected as error:
        raise rejected(source, str(error)) from None


def rejected(source: Source, reason: str) -> ArchiveRejected:
    """The error for an archive with which this is wrong."""
    return ArchiveRejected(f"{source.path}: {reason}.", reason=reason)


def _read_front(source: Source) -> Front:
    if source.size < DUMP_OFFSET + len(END):
        raise Rejected("it is too short to be an archive")
    if source.size % BLOCK:
        raise Rejected("its length is not a multiple of 512 bytes: it was cut, or something was appended")
    start = source.read_at(0, DUMP_OFFSET)
    found = _COMMENT.match(start, BLOCK)
    if found is None:
        raise Rejected("its first header does not name a manifest")
    if int(found["version"]) not in (layout.FORMAT_VERSION, layout.FORMAT_WITH_DATABASES):
        raise Rejected(f"it is of format {int(found['version'])}; this program reads formats 1 and 2")
    reference = ManifestReference(int(found["offset"]), int(found["length"]), found["sha256"].decode())
    if reference.length > layout.MANIFEST_LIMIT_BYTES:
        raise Rejected("its manifest is larger than the format allows")
    end = reference.offset + reference.length + headers.padding(reference.length)
    if reference.offset % BLOCK or reference.offset < DUMP_OFFSET + BLOCK or end + len(END) != source.size:
        raise Rejected("its manifest is not where its first header says, just before the end")
    after = source.read_at(reference.offset + reference.length, source.size - reference.offset - reference.length)
    if any(after):
        raise Rejected("the manifest is not followed by two zero blocks and the end of the file")
    data = source.read_at(reference.offset, reference.length)
    if hashlib.sha256(data).hexdigest() != reference.sha256:
        raise Rejected("its manifest does not have the SHA-256 that its first header states")
    try:
        manifest = parse_manifest(data)
    except ManifestInvalid as error:
        raise Rejected(f"its manifest is not valid: {error}") from None
    sizes = (manifest.dump_size, *(each.dump_bytes for each in manifest.databases))
    if max(sizes) > source.size:  # before a header is made from a number that fits none
        raise Rejected("its manifest states a dump that is larger than the file")
    dump = own_member(DUMP_NAME, manifest.dump_size, manifest)
    if headers.encode_front(reference, dump, manifest.format) != start:
        raise Rejected("its first 4096 bytes are not as the format prescribes")
    return Front(dump, manifest, reference.offset, reference.length, tuple(_find_others(source, manifest)))


def _find_others(source: Source, manifest: Manifest) -> Iterator[tuple[Member, int]]:
    """The dumps that follow the main one, as the manifest says. Raises Rejected, Truncated, OSError."""
    at = DUMP_OFFSET + manifest.dump_size + headers.padding(manifest.dump_size)
    for each in manifest.databases:
        expected = own_member(layout.dump_name(each.name), each.dump_bytes, manifest)
        there = Source(source.descriptor, source.path, headers.WIDE_HEADER_BYTES)
        there.seek(at)
        if read_header(there) != expected:
            raise Rejected(f"{show(expected.name)} is not where its manifest says")
        yield expected, there.position
        at = there.position + expected.size + headers.padding(expected.size)


def own_member(name: bytes, size: int, manifest: Manifest) -> Member:
    """The member that holds one of our own files, as it must be in an archive with this manifest."""
    return Member(name, layout.FILE, 0o600, 0, 0, int(manifest.taken_at.timestamp()), size)


def read_members(source: Source, front: Front) -> Iterator[tuple[Member, int]]:
    """Every member from the dump on to the manifest, in order, with the offset of its data.

    The caller reads exactly `member.size` bytes from `source` before it asks for the next one; their padding is
    checked here. Raises Rejected where the structure ends to make sense, Truncated, OSError.
    """
    source.seek(DUMP_OFFSET)
    yield front.dump, DUMP_OFFSET
    skip_padding(source, front.dump)
    for dump, at in front.others:
        if read_header(source) != dump or source.position != at:
            raise Rejected(f"{show(dump.name)} is not where its manifest says")
        yield dump, at
        skip_padding(source, dump)
    tree = layout.TreeOrder()
    root_seen = False
    while True:
        member = read_header(source)
        offset = source.position
        if member.name == layout.SUMS_NAME:
            break
        if not root_seen:
            refuse_root(member)
            root_seen = True
        else:
            refuse_upload(member, tree)
        yield member, offset
        skip_padding(source, member)
    if not root_seen:
        raise Rejected("it has no uploads/")
    if offset != front.manifest.sums_offset or member != own_member(layout.SUMS_NAME, member.size, front.manifest):
        raise Rejected("its SHA256SUMS is not where its manifest says, as the format prescribes")
    if member.size > source.size:
        raise Truncated
    yield member, offset
    skip_padding(source, member)
    last = read_header(source)
    if source.position != front.manifest_offset:
        raise Rejected(f"{show(last.name)} is where the manifest must be")
    if last != own_member(layout.MANIFEST_NAME, front.manifest_length, front.manifest):
        raise Rejected("its manifest's own header is not as the format prescribes")
    yield last, source.position


def refuse_root(member: Member) -> None:
    """Raises Rejected if it is not uploads/ itself."""
    if member.name != layout.UPLOADS_NAME or member.kind != layout.DIRECTORY:
        raise Rejected(f"{show(member.name)} is where uploads/ must be")
    if member.size or member.link or member.mode not in layout.modes_of(layout.DIRECTORY):
        raise Rejected(f"{show(member.name)}: its mode, size or target is not that of a directory")


def refuse_upload(member: Member, tree: layout.TreeOrder) -> None:
    """Raises Rejected, naming the member, if it may not be below uploads/ at this place."""
    if not member.name.startswith(layout.UPLOADS_NAME):
        raise Rejected(f"{show(member.name)} is not below uploads/")
    is_directory = member.kind == layout.DIRECTORY
    path = member.name[len(layout.UPLOADS_NAME) : -1 if is_directory else None]
    if is_directory != member.name.endswith(b"/"):
        raise Rejected(f"{show(member.name)}: its name does not fit its kind")
    why = tree.accept(path, is_directory=is_directory)
    if not why and member.mode not in layout.modes_of(member.kind):
        why = f"its mode is {member.mode:o}, which archives do not hold for its kind"
    if not why and member.kind != layout.FILE and member.size:
        why = "it states a size, which only files have"
    if not why and member.kind != layout.SYMLINK and member.link:
        why = "it states a target, which only links have"
    if (
        not why
        and member.kind == layout.SYMLINK
        and not layout.link_stays_inside(path.rpartition(b"/")[0], member.link)
    ):
        why = f"it is a link that can leave the tree, to {show(member.link)}"
    if not why and path.endswith(_STAGING_END) and layout.is_staging_name(path.removesuffix(_STAGING_END)):
        why = "it belongs to an unfinished restore"
    if why:
        raise Rejected(f"{show(member.name)}: {why}")


def show(name: bytes) -> str:
    """A member's name for a message, whatever bytes it has."""
    text = name[:200].decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def skip_padding(source: Source, member: Member) -> None:
    """Go on behind the zeros after a member's data. Raises Rejected if they are none, Truncated, OSError."""
    if member.size % BLOCK and any(source.take(headers.padding(member.size))):
        raise Rejected(f"{show(member.name)} is not padded with zeros")


def read_header(source: Source) -> Member:
    """The member whose header comes next, perhaps after a pad. Raises Rejected, Truncated, OSError."""
    block = source.take(BLOCK)
    if block[156:157] == b"g":
        _check_pad(source, block)
        block = source.take(BLOCK)
        if block[156:157] == b"g":
            raise Rejected("two global headers follow each other")
    if block[156:157] in _PLAIN_KINDS:  # nearly all of them
        member = _parse(block, {})
        if headers.encode_member(member) != block:
            raise Rejected(f"the header of {show(member.name)} is not as the format prescribes")
        return member
    raw = [block]
    extras: dict[bytes, bytes] = {}
    while block[156:157] in (b"x", b"K", b"L"):
        kind = block[156:157]
        if kind in extras:
            raise Rejected(f"a header of type {kind.decode()} appears twice for one member")
        size = _octal(block[124:136])
        if not 0 < size <= _LONGEST_EXTRA:
            raise Rejected(f"a header of type {kind.decode()} states a size of {size} bytes")
        padded = source.take(size + headers.padding(size))
        extras[kind] = padded[:size]
        block = source.take(BLOCK)
        raw += [padded, block]
    member = _parse(block, extras)
    if headers.encode_member(member) != b"".join(raw):
        raise Rejected(f"the header of {show(member.name)} is not as the format prescribes")
    return member


def _check_pad(source: Source, block: bytes) -> None:
    size = _octal(block[124:136])
    if size % BLOCK or size > 64 * 1024:
        raise Rejected("a global header has a size that the format does not allow")
    if block + source.take(size) != headers.encode_pad(1 + size // BLOCK):
        raise Rejected("a global header holds something other than padding")


def _parse(block: bytes, extras: dict[bytes, bytes]) -> Member:
    kind = block[156:157]
    if not any(block):
        raise Rejected("it ends before its SHA256SUMS and manifest")
    if kind not in _PLAIN_KINDS:
        raise Rejected(
            f"{show(block[:100].rstrip(bytes(1)))} is of a kind that archives do not hold (type {show(kind)!r})"
        )
    name = block[:100].rstrip(b"\0")
    link = block[157:257].rstrip(b"\0")
    try:
        numbers = [int(field, 8) for field in (block[100:107], block[108:115], block[116:123], block[136:147])]
    except ValueError:
        raise Rejected(f"the header of {show(name)} has a field that is not an octal number") from None
    if min(numbers) < 0:  # which the comparison after parsing would let pass
        raise Rejected(f"the header of {show(name)} has a negative number")
    mode, uid, gid, mtime = numbers
    prefix = block[345:500].rstrip(b"\0")
    if prefix:
        name = prefix + b"/" + name
    if not extras:
        return Member(name, kind, mode, uid, gid, mtime, _octal(block[124:136]), link)
    large = _pax_numbers(extras.get(b"x", b""))
    return Member(
        extras[b"L"][:-1] if b"L" in extras else name,
        kind,
        mode,
        large.get(b"uid", uid),
        large.get(b"gid", gid),
        large.get(b"mtime", mtime),
        large[b"size"] if b"size" in large else _octal(block[124:136]),
        extras[b"K"][:-1] if b"K" in extras else link,
    )


def _octal(field: bytes) -> int:
    """A size as the writer writes it; the comparison after parsing sees to the exact form."""
    digits = field[:-1]
    if not digits.isdigit() or b"8" in digits or b"9" in digits:
        raise Rejected("a header has a size that is not an octal number")
    return int(digits, 8)


def _pax_numbers(data: bytes) -> dict[bytes, int]:
    numbers: dict[bytes, int] = {}
    for record in data.splitlines():
        found = re.fullmatch(rb"\d{1,3} (gid|mtime|size|uid)=(-?\d{1,19})", record)
        if found is None or found[1] in numbers:
            raise Rejected("a pax header has a record that archives do not hold")
        numbers[found[1]] = int(found[2])
    if numbers.get(b"size", 0) < 0 or numbers.get(b"uid", 0) < 0 or numbers.get(b"gid", 0) < 0:
        raise Rejected("a pax header has a negative number")
    return numbers
