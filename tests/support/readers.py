"""Both readers, given any bytes: they read or refuse it, and anything else is a failure. Archives to begin with."""

from __future__ import annotations

import json
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from safeharbor_backup.archive import layout
from safeharbor_backup.archive.foreign_reader import read_foreign_members
from safeharbor_backup.archive.headers import encode_member
from safeharbor_backup.archive.layout import BLOCK, DIRECTORY, FILE, SYMLINK, Member
from safeharbor_backup.archive.reader import Rejected, bears_leading_mark, read_front, read_members
from safeharbor_backup.archive.source import Source, Truncated
from safeharbor_backup.archive.verified_reader import CheckedPass, run_foreign_pass
from safeharbor_backup.errors import ArchiveRejected
from support.archives import Part, assemble, foreign_archive, pax_record, raw_extra, raw_header, upload, uploads_root

SMALL_DUMP = b"PGDMP" + bytes(range(200))
REFUSALS = (Rejected, ArchiveRejected, Truncated)


class Refused(Exception):
    """What a pass reports."""


def report(problem: str) -> None:
    raise Refused(problem)


class Nowhere:
    """Takes all data of all members."""

    def take_dump(self, member: Member, read: Callable[[], Iterator[bytes]]) -> None:
        for _ in read():
            pass

    def take_upload(self, member: Member, data: Iterable[bytes]) -> None:
        for _ in data:
            pass


class Readers:
    """Gives inputs to both readers, in one file that is written over and over."""

    def __init__(self) -> None:
        self._descriptor = os.memfd_create("fuzzed", os.MFD_CLOEXEC)
        self._path = Path("fuzzed.tar")
        self.inputs = 0
        self.batches = 0
        self.own_members = 0  # how deep the inputs came
        self.foreign_members = 0
        self.passed = 0
        self.slowest = 0.0

    def close(self) -> None:
        os.close(self._descriptor)

    def feed(self, data: bytes) -> None:
        """Read it in each of the ways; anything else than a refusal is a failure."""
        self.inputs += 1
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, data, 0)
        started = time.process_time()
        for read in (self._own, self._own_checked, self._foreign, self._foreign_used):
            refusal = ""
            try:
                read(Source(self._descriptor, self._path))
                self.passed += 1
            except (*REFUSALS, Refused) as error:
                refusal = str(error)
            except Exception as error:
                raise AssertionError(f"{read.__name__}: {error!r} for {self._kept(data)}") from error
            if len(refusal) > 20_000:
                raise AssertionError(f"{read.__name__}: a message of {len(refusal)} characters for {self._kept(data)}")
        self.slowest = max(self.slowest, time.process_time() - started)

    def _kept(self, data: bytes) -> str:
        with tempfile.NamedTemporaryFile(prefix="safeharbor-fuzz-", suffix=".tar", delete=False) as file:
            file.write(data)
        return f"input {self.inputs}, which is in {file.name}"

    def _own(self, source: Source) -> None:
        """As `verify` does before it takes any data, but to the end of the members."""
        front = read_front(source)
        for member, offset in read_members(source, front):
            assert source.position == offset
            self.own_members += 1
            if member.name not in (layout.SUMS_NAME, layout.MANIFEST_NAME):
                require_harmless(member)
            for _ in source.chunks(member.size):
                pass
            assert member.name == layout.MANIFEST_NAME or source.position == offset + member.size

    def _own_checked(self, source: Source) -> None:
        """As `verify` and `restore` do."""
        if not bears_leading_mark(source):
            raise Refused
        CheckedPass(source, read_front(source), Nowhere(), report).run()

    def _foreign(self, source: Source) -> None:
        """As `restore` looks for the dump: over the data, by its size."""
        names = set()
        for member, offset in read_foreign_members(source):
            self.foreign_members += 1
            require_harmless(member)
            assert member.name not in names or member.kind == DIRECTORY
            names.add(member.name)
            if offset + member.size > source.size:
                raise Truncated
            source.seek(offset + member.size)

    def _foreign_used(self, source: Source) -> None:
        """As `restore` extracts."""
        run_foreign_pass(source, Nowhere())


def require_harmless(member: Member) -> None:
    """What no reader may hand out, said in other words than the reader's own."""
    assert re.fullmatch(rb"db\.dump|uploads/([^\0]*[^\0/])?/?", member.name), member
    parts = member.name.rstrip(b"/").split(b"/")
    assert not {b"", b".", b".."} & set(parts), member
    assert member.kind in (FILE, DIRECTORY, SYMLINK, b"1"), member
    assert member.size >= 0
    assert member.uid >= 0
    assert member.gid >= 0
    assert 0 <= member.mode <= 0o7777
    if member.kind == SYMLINK:
        base = b"/".join([b"/r", *parts[1:-1]])
        landed = os.path.normpath(os.path.join(base, member.link))
        assert landed == b"/r" or landed.startswith(b"/r/"), member
    if member.kind == b"1":
        assert member.link.startswith(b"uploads/")


def sound(name: bytes, kind: bytes = FILE, data: bytes = b"", link: bytes = b"", mtime: int = 1_700_000_000) -> Part:
    """A member whose header is as our own writer writes it."""
    mode = {FILE: 0o644, DIRECTORY: 0o2755, SYMLINK: 0o777}[kind]
    member = Member(b"uploads/" + name, kind, mode, 0, 3_000_000 if mtime < 0 else 0, mtime, len(data), link)
    return Part(encode_member(member), data, member)


SOUND = [
    uploads_root(),
    sound(b"a.txt", data=b"a" * 100),
    sound(b"b" * 120, data=b"b" * 600),
    sound(b"d/", DIRECTORY),
    sound(b"d/" + b"c" * 90 + b"/", DIRECTORY),
    sound(b"d/" + b"c" * 90 + b"/e"),
    sound(b"k", data=b"k", mtime=-5),
    sound(b"l", SYMLINK, link=b"a.txt"),
    sound(b"m", SYMLINK, link=b"x/" * 70 + b"y"),
    sound(b"z\n\\\xff", data=b"z"),
]
PAX = raw_extra(b"x", pax_record(b"mtime", b"1700000000.5") + pax_record(b"uid", b"3000000"))
THEIRS = [
    *SOUND,
    Part(raw_header(b"uploads/hard", b"1", link=b"uploads/a.txt")),
    Part(PAX + raw_header(b"uploads/pax", size=3), b"pax"),
    Part(raw_header(b"uploads/old/", b"\0")),
    Part(raw_extra(b"g", pax_record(b"comment", b"hello")) + raw_header(b"./uploads/dotted", b"7", size=1), b"7"),
    Part(raw_header(b"in", prefix=b"uploads/prefix/of")),
]
FOREIGN = [
    foreign_archive(THEIRS, dump=SMALL_DUMP),
    foreign_archive(THEIRS[:5], dump=SMALL_DUMP, dump_last=True),
    foreign_archive([Part(raw_header(b"./uploads/x", magic=b"ustar  \0"))], dump=b""),
]
BODY = b"".join(part.header + part.data + bytes(-len(part.data) % BLOCK) for part in SOUND)
OWN = [assemble(SOUND), assemble(SOUND[:1]), assemble([*SOUND[:2], upload(b"b", data=b"x" * 70_000)])]
MANIFEST = json.loads(OWN[0][OWN[0].rindex(b'{"format"') :].rstrip(b"\0"))
