"""Archives for tests, made without a database: whole ones by our own writer, broken and hostile ones block by block.

The block-level builder follows `docs/archive-format.md` by itself and shares no code with the writer, so that the
two of them check each other.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from safeharbor_backup.actions.backup.manifest_content import DumpRecord, OtherRecord, manifest_document
from safeharbor_backup.actions.verification import Verification
from safeharbor_backup.actions.verify import verify_source
from safeharbor_backup.archive.layout import (
    DIRECTORY,
    DUMP_NAME,
    FILE,
    MANIFEST_NAME,
    SUMS_NAME,
    SYMLINK,
    UPLOADS_NAME,
    Member,
    archive_name,
    dump_name,
)
from safeharbor_backup.archive.manifest import Manifest
from safeharbor_backup.archive.manifest_json import encode_manifest
from safeharbor_backup.archive.source import Source
from safeharbor_backup.archive.writer import ArchiveWriter
from safeharbor_backup.postgres.client_tools import ClientTools
from safeharbor_backup.postgres.snapshot import DatabaseProperties
from safeharbor_backup.postgres.structure import Structure
from safeharbor_backup.progress import NoProgress
from safeharbor_backup.settings.model import Settings
from safeharbor_backup.settings.upload_dirs import UploadDir
from safeharbor_backup.uploads.collect import write_uploads
from safeharbor_backup.uploads.omissions import Omissions
from support.settings import settings_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from safeharbor_backup.archive.checksums import Tally

TAKEN_AT = datetime(2026, 5, 7, 3, 0, 0, tzinfo=UTC)
DUMP = b"PGDMP" + bytes(range(256)) * 3  # no multiple of 512
BLOCK = 512


@dataclass(frozen=True, slots=True)
class Facts:
    """What an archive's manifest tells, apart from what follows from its members."""

    taken_at: datetime = TAKEN_AT
    database: str = "reef"
    system_identifier: str = "7000000000000000001"
    tables: Mapping[str, int] = field(default_factory=lambda: {"public.entries": 3, "public.photos": 2})
    columns: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    omissions: Omissions = field(default_factory=Omissions)
    others: Mapping[str, bytes] = field(default_factory=dict)  # databases beside the main one: their dumps


def fake_client_tools(directory: Path, *, restore: str = "", major: int = 99) -> ClientTools:
    """A pg_dump and a pg_restore in `directory`, newer than any real one; pg_restore takes everything and is content.

    `restore` is a shell script to put in its place.
    """
    directory.mkdir(parents=True, exist_ok=True)
    write_program(directory / "pg_dump", f"echo 'pg_dump (PostgreSQL) {major}.1'")
    if restore:
        write_program(directory / "pg_restore", restore)
    else:
        (directory / "pg_restore").symlink_to("/bin/true")
    return ClientTools(directory, major, f"{major}.1")


def write_program(path: Path, script: str) -> Path:
    """An executable shell script."""
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def write_archive(
    path: Path, *, uploads: Path | None = None, dump: bytes = DUMP, facts: Facts | None = None
) -> Omissions:
    """Write a sound archive of format 1 with our own writer; what of `uploads` did not go into it."""
    facts = facts or Facts()
    dirs = (UploadDir(uploads),) if uploads is not None else ()
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    writer = ArchiveWriter(descriptor, path.parent, int(facts.taken_at.timestamp()))
    try:
        dumped = writer.write_dump([dump[:100], dump[100:]])
        others = {name: writer.write_other_dump(dump_name(name), [data]) for name, data in facts.others.items()}
        omissions = write_uploads(writer, dirs, None, NoProgress()).omissions
        writer.finish(
            lambda *digests: encode_manifest(manifest_of(facts, writer.tally, dumped, digests, omissions, others))
        )
    finally:
        writer.close()
        os.close(descriptor)
    return omissions


def manifest_of(
    facts: Facts,
    tally: Tally,
    dumped: tuple[int, str],
    digests: tuple[str, str, int],
    omissions: Omissions | None = None,
    others: Mapping[str, tuple[int, str]] | None = None,
) -> Manifest:
    """The manifest of an archive that a writer has written; `dumped` are the dump's size and digest."""
    record = DumpRecord(
        *dumped,
        "none",
        ClientTools(Path(), 17, "17.5"),
        DatabaseProperties(facts.database, facts.system_identifier, "17.5", 17, 8_000_000),
        facts.tables,
        [],
        Structure({}, 0, 0, columns=facts.columns) if facts.columns else None,
    )
    beside = [
        OtherRecord(
            name,
            facts.taken_at,
            replace(record, size=size, sha256=digest, properties=replace(record.properties, name=f"{name}_db")),
        )
        for name, (size, digest) in (others or {}).items()
    ]
    return manifest_document(
        facts.taken_at,
        settings_of(),
        record,
        tally,
        _first_of(facts.omissions, omissions or Omissions()),
        list(facts.warnings),
        block_size=4096,
        digests=digests,
        others=beside,
    )


def put_archive(
    directory: Path, taken_at: datetime, *, uploads: Path | None = None, facts: Facts | None = None
) -> Path:
    """A small sound archive in `directory` under its own name, last modified when it was taken."""
    path = directory / archive_name(taken_at)
    write_archive(path, uploads=uploads, facts=replace(facts or Facts(), taken_at=taken_at))
    set_mtime(path, taken_at)
    return path


def set_mtime(path: Path, moment: datetime) -> None:
    """Set the modification time."""
    os.utime(path, (moment.timestamp(), moment.timestamp()))


def examine(path: Path, settings: Settings, dump: bytes = DUMP) -> Verification:
    """A full verification; `dump` counts as decoded, so that one of format 1 is not decoded again."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        decoded = {DUMP_NAME: hashlib.sha256(dump).hexdigest()}
        return verify_source(Source(descriptor, path), settings, decoded_sha256=decoded)
    finally:
        os.close(descriptor)


@dataclass(frozen=True, slots=True)
class Part:
    """Some blocks of an archive: header blocks, data (padded by the builder), and the member that they count as."""

    header: bytes
    data: bytes = b""
    member: Member | None = None


def raw_header(
    name: bytes,
    kind: bytes = FILE,
    *,
    size: int | bytes = 0,
    mode: int = 0o644,
    mtime: int = 1_700_000_000,
    link: bytes = b"",
    prefix: bytes = b"",
    magic: bytes = b"ustar\x0000",
    uid: bytes = b"0000000\0",
    devices: bytes = b"",
) -> bytes:
    """One header block with a right checksum, whatever stands in it."""
    sized = size if isinstance(size, bytes) else b"%011o\0" % size
    block = bytearray(BLOCK)
    block[0:100] = name[:100].ljust(100, b"\0")
    block[100:108] = b"%07o\0" % mode
    block[108:116] = uid
    block[116:124] = b"0000000\0"
    block[124:136] = sized
    block[136:148] = b"%011o\0" % mtime
    block[148:156] = b" " * 8
    block[156:157] = kind
    block[157:257] = link[:100].ljust(100, b"\0")
    block[257:265] = magic
    block[329:345] = devices.ljust(16, b"\0")
    block[345:500] = prefix.ljust(155, b"\0")
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def raw_extra(kind: bytes, data: bytes) -> bytes:
    """A header of type `x`, `g`, `L` or `K` with its data, as our own writer names it."""
    name = {b"x": b"././@PaxHeader", b"g": b"pax_global_header"}.get(kind, b"././@LongLink")
    return raw_header(name, kind, size=len(data), mtime=0) + data + bytes(-len(data) % BLOCK)


def pax_record(key: bytes, value: bytes) -> bytes:
    """`length key=value\\n`, where the length counts itself."""
    rest = b" " + key + b"=" + value + b"\n"
    length = len(rest) + 1
    while len(str(length)) + len(rest) != length:
        length += 1
    return str(length).encode() + rest


def upload(
    name: bytes, kind: bytes = FILE, data: bytes = b"", *, link: bytes = b"", mode: int | None = None, **other: int
) -> Part:
    """A member below uploads/ whose header fits one block, as it should be whatever its name is."""
    full = UPLOADS_NAME + name
    if mode is None:
        mode = 0o777 if kind == SYMLINK else 0o644
    member = Member(full, kind, mode, 0, 0, other.get("mtime", 1_700_000_000), len(data), link)
    extras = b""
    if len(link) > 100:
        extras += raw_extra(b"K", link + b"\0")
    if len(full) > 100:
        extras += raw_extra(b"L", full + b"\0")
    header = raw_header(full, kind, size=len(data), mode=mode, mtime=member.mtime, link=link)
    return Part(extras + header, data, member)


def uploads_root() -> Part:
    """The member `uploads/`."""
    return upload(b"", DIRECTORY, mode=0o755)


@dataclass(frozen=True, slots=True)
class Lies:
    """Where a built archive is to say something else than the truth; None: the truth."""

    version: int = 1
    manifest_length: int | None = None
    manifest_sha256: str | None = None
    document: Mapping[str, object] = field(default_factory=dict)
    raw_manifest: bytes | None = None
    sums: bytes | None = None
    dump_bytes: int | None = None


def assemble(
    parts: Sequence[Part],
    *,
    listed: Iterable[Member] | None = None,
    counted: Sequence[Part] | None = None,
    facts: Facts | None = None,
    lies: Lies | None = None,
) -> bytes:
    """An archive of format 1 that holds DUMP and `parts` (which begin with `uploads_root()`).

    All its digests, counts and offsets match `counted` (default: `parts`), or for the member list `listed`.
    """
    facts, lies = facts or Facts(), lies or Lies()
    taken = int(facts.taken_at.timestamp())
    counted = parts if counted is None else counted
    dump = Member(DUMP_NAME, FILE, 0o600, 0, 0, taken, len(DUMP))
    members = list(listed) if listed is not None else [dump, *(part.member for part in counted if part.member)]
    body = _padded(DUMP) + b"".join(part.header + _padded(part.data) for part in parts)
    sums = _sums_line(DUMP_NAME, DUMP) + b"".join(
        _sums_line(part.member.name, part.data) for part in counted if part.member and part.member.kind == FILE
    )
    sums = sums if lies.sums is None else lies.sums
    body += raw_header(SUMS_NAME, size=len(sums), mode=0o600, mtime=taken)
    sums_offset = 4096 + len(body)
    body += _padded(sums)
    below = [part.member for part in counted if part.member and part.member.name != UPLOADS_NAME]
    document = {
        "format": 1,
        "taken_at": facts.taken_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "safeharbor_version": "0",
        "block_size": 4096,
        "sums_offset": sums_offset,
        "digests": {"SHA256SUMS": _sha256(sums), "members": _sha256(b"".join(map(_line, members)))},
        "source": {"system_identifier": facts.system_identifier, "database": facts.database},
        "counts": {
            "dump_bytes": len(DUMP) if lies.dump_bytes is None else lies.dump_bytes,
            "upload_files": sum(member.kind == FILE for member in below),
            "upload_directories": sum(member.kind == DIRECTORY for member in below),
            "upload_links": sum(member.kind == SYMLINK for member in below),
            "upload_bytes": sum(member.size for member in below),
        },
        "database": {"client_version": "18.4", "tables": dict(facts.tables)},
        "uploads": {"unreadable": {"count": 0, "names": []}, "unreadable_directories": 0},
        "warnings": list(facts.warnings),
        **lies.document,
    }
    manifest = json.dumps(document).encode() if lies.raw_manifest is None else lies.raw_manifest
    body += raw_header(MANIFEST_NAME, size=len(manifest), mode=0o600, mtime=taken)
    text = b"safeharbor=%d manifest=%020d length=%012d sha256=%b" % (
        lies.version,
        4096 + len(body),
        len(manifest) if lies.manifest_length is None else lies.manifest_length,
        (lies.manifest_sha256 or _sha256(manifest)).encode(),
    )
    comment = b"3072 comment=" + text.ljust(3072 - len(b"3072 comment=") - 1) + b"\n"
    front = raw_extra(b"g", comment) + raw_header(DUMP_NAME, size=len(DUMP), mode=0o600, mtime=taken)
    return front + body + _padded(manifest) + bytes(2 * BLOCK)


def foreign_archive(parts: Sequence[Part], *, dump: bytes = DUMP, dump_last: bool = False) -> bytes:
    """An archive by another implementation: db.dump and `parts`, no marks of ours."""
    first = raw_header(DUMP_NAME, size=len(dump)) + _padded(dump)
    others = b"".join(part.header + _padded(part.data) for part in parts)
    return (others + first if dump_last else first + others) + bytes(2 * BLOCK)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % BLOCK)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _sums_line(name: bytes, data: bytes) -> bytes:
    escaped = name.replace(b"\\", b"\\\\").replace(b"\n", b"\\n").replace(b"\r", b"\\r")
    return (b"\\" if escaped != name else b"") + _sha256(data).encode() + b"  " + escaped + b"\n"


def _line(member: Member) -> bytes:
    fields = (
        member.name,
        member.kind,
        b"%o" % member.mode,
        b"%d" % member.uid,
        b"%d" % member.gid,
        b"%d" % member.mtime,
        b"%d" % member.size,
        member.link,
    )
    return b"".join(each + b"\0" for each in fields) + b"\n"


def _first_of(given: Omissions, found: Omissions) -> Omissions:
    """What the test says was omitted, else what really was."""
    return given if given != Omissions() else found
