"""Archives made to harm, each against one rule.

In those of format 1 every digest and count matches, so that only the rule can refuse them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from safeharbor.archive.headers import encode_member
from safeharbor.archive.layout import DIRECTORY, FILE, SYMLINK, Member
from safeharbor.archive.manifest import ManifestInvalid, encode_manifest, parse_manifest
from safeharbor.verify import ArchiveKind, verify_archive
from support.archives import (
    BLOCK,
    DUMP,
    Lies,
    Part,
    assemble,
    examine,
    foreign_archive,
    pax_record,
    raw_extra,
    raw_header,
    upload,
    uploads_root,
)

if TYPE_CHECKING:
    from pathlib import Path

    from safeharbor.settings import Settings


def at(name: bytes, kind: bytes = FILE, data: bytes = b"", link: bytes = b"") -> Part:
    """A member with this very name."""
    member = Member(name, kind, 0o644, 0, 0, 1_700_000_000, len(data), link)
    long = raw_extra(b"L", name + b"\0") if len(name) > 100 else b""
    return Part(long + raw_header(name, kind, size=len(data), link=link), data, member)


def link(name: bytes, target: bytes) -> Part:
    return upload(name, SYMLINK, link=target)


def directory(name: bytes) -> Part:
    member = Member(b"uploads/" + name + b"/", DIRECTORY, 0o755, 0, 0, 1_700_000_000, 0)
    return Part(encode_member(member), b"", member)


def special(kind: bytes, name: bytes = b"evil") -> Part:
    return Part(raw_header(b"uploads/" + name, kind, devices=b"0000001\00000003\0"), b"", None)


def sized(size: int | bytes, data: bytes = b"", before: bytes = b"") -> Part:
    return Part(before + raw_header(b"uploads/evil", size=size), data, None)


def pax(*records: tuple[bytes, bytes], kind: bytes = b"x") -> bytes:
    return raw_extra(kind, b"".join(pax_record(key, value) for key, value in records))


def raw(header: bytes, data: bytes = b"") -> Part:
    return Part(header, data, None)


@dataclass(frozen=True)
class Case:
    """Members after `uploads/`, and what a problem must say of them in either kind of archive ("" = not refused)."""

    parts: list[Part]
    says: str
    says_if_foreign: str | None = None

    @property
    def foreign(self) -> str:
        return self.says if self.says_if_foreign is None else self.says_if_foreign


OCTAL_8_GIB = b"77777777777\0"
EVIL = raw_header(b"uploads/evil")

CASES = {
    # names
    "absolute": Case([at(b"/etc/passwd")], "/etc/passwd"),
    "absolute below a prefix": Case([at(b"uploads//etc/passwd")], "uploads//etc/passwd"),
    "absolute file at the root": Case([at(b"uploads//evil")], "uploads//evil"),
    "absolute directory at the root": Case([at(b"uploads//evil/", DIRECTORY)], "uploads//evil"),
    "up at the start": Case([at(b"../evil")], "../evil"),
    "up out of uploads": Case([at(b"uploads/../evil")], "uploads/../evil"),
    "up as a directory": Case([at(b"uploads/../", DIRECTORY)], "uploads/.."),
    "up as a file": Case([at(b"uploads/..")], "uploads/.."),
    "up through a directory": Case([directory(b"d"), at(b"uploads/d/../../evil")], "uploads/d/../../evil"),
    "a dot": Case([at(b"uploads/.")], "uploads/."),
    "a dot in the middle": Case([directory(b"d"), at(b"uploads/d/./evil")], "uploads/d/./evil"),
    "an empty component": Case([directory(b"d"), at(b"uploads/d//evil")], "uploads/d//evil"),
    "a NUL in a long name": Case([raw(raw_extra(b"L", b"uploads/ok\0evil\0") + EVIL)], "uploads/ok"),
    "beside uploads": Case([at(b"etc/passwd")], "etc/passwd"),
    "almost uploads": Case([at(b"uploadsevil/x")], "uploadsevil/x"),
    "a second dump": Case([at(b"db.dump", data=DUMP)], "db.dump"),
    "a second manifest": Case([at(b"manifest.json", data=b"{}")], "manifest.json"),
    "a second SHA256SUMS": Case([at(b"SHA256SUMS", data=b"x")], "SHA256SUMS"),
    "a component of 256 bytes": Case([at(b"uploads/" + b"n" * 256)], "longer than 255"),
    "a path beyond the limit": Case([directory(b"/".join([b"n" * 250] * depth)) for depth in range(1, 18)], "too long"),
    "300 directories deep": Case([directory(b"/".join([b"d"] * depth)) for depth in range(1, 301)], "deep"),
    "a path of 2,000 components": Case([at(b"uploads/" + b"a/" * 2000 + b"x")], "uploads/a/a/"),
    # links
    "a link to an absolute path": Case([link(b"evil", b"/etc")], "uploads/evil"),
    "a link to the root of everything": Case([link(b"evil", b"/")], "uploads/evil"),
    "a link above uploads": Case([link(b"evil", b"..")], "uploads/evil"),
    "a link far above uploads": Case([link(b"evil", b"../../../../etc")], "uploads/evil"),
    "a link one too high": Case([directory(b"d"), link(b"d/evil", b"../../x")], "uploads/d/evil"),
    "a link down and up": Case([link(b"evil", b"a/../b")], "uploads/evil"),
    "a link through another link": Case([link(b"a", b"d"), link(b"evil", b"a/../..")], "uploads/evil"),
    "a link with hidden ups": Case([link(b"evil", b"./.././..")], "uploads/evil"),
    "a link to nothing": Case([link(b"evil", b"")], "uploads/evil"),
    "a long link above uploads": Case([link(b"evil", b"../" * 60 + b"etc")], "uploads/evil"),
    "a link that pax overrides": Case(
        [raw(pax((b"linkpath", b"/etc")) + raw_header(b"uploads/evil", SYMLINK, link=b"a", mode=0o777))],
        "pax header has a record",
        "uploads/evil",
    ),
    "a link with a slash at its end": Case([at(b"uploads/evil/", SYMLINK, link=b"a")], "uploads/evil/", ""),
    "a file below a link": Case([directory(b"d"), link(b"l", b"d"), at(b"uploads/l/evil")], "uploads/l/evil"),
    "a directory below a link": Case([link(b"l", b"."), at(b"uploads/l/evil/", DIRECTORY)], "uploads/l/evil/"),
    "a link below a link": Case([link(b"l", b"."), link(b"l/evil", b"x")], "uploads/l/evil"),
    "a link in the place of a directory": Case([directory(b"d"), link(b"d", b"x")], "uploads/d"),
    "a directory in the place of a link": Case([link(b"d", b"x"), directory(b"d")], "uploads/d"),
    "a file below a file": Case([upload(b"f"), at(b"uploads/f/evil")], "uploads/f/evil"),
    # hard links
    "a hard link outside": Case([at(b"uploads/evil", b"1", link=b"/etc/passwd")], "uploads/evil"),
    "a hard link above": Case([at(b"uploads/evil", b"1", link=b"../../etc/passwd")], "uploads/evil"),
    "a hard link to a link": Case([link(b"a", b"b"), at(b"uploads/evil", b"1", link=b"uploads/a")], "uploads/evil"),
    "a hard link to what comes later": Case(
        [at(b"uploads/evil", b"1", link=b"uploads/z"), upload(b"z")], "uploads/evil"
    ),
    "a hard link to the dump": Case([at(b"uploads/evil", b"1", link=b"db.dump")], "uploads/evil"),
    "a hard link to itself": Case([at(b"uploads/evil", b"1", link=b"uploads/evil")], "uploads/evil"),
    # kinds
    "a character device": Case([special(b"3")], "uploads/evil"),
    "a block device": Case([special(b"4")], "uploads/evil"),
    "a FIFO": Case([special(b"6")], "uploads/evil"),
    "an unknown kind": Case([special(b"Z")], "uploads/evil"),
    "a sparse file of GNU": Case([special(b"S")], "uploads/evil"),
    "a directory with its listing": Case([special(b"D")], "uploads/evil"),
    "a file of several volumes": Case([special(b"M")], "uploads/evil"),
    "a volume's label": Case([special(b"V")], "uploads/evil"),
    "a contiguous file": Case([special(b"7")], "uploads/evil", ""),
    # doubles
    "a file twice": Case([upload(b"evil"), upload(b"evil")], "uploads/evil"),
    "a directory twice": Case([directory(b"evil"), directory(b"evil")], "uploads/evil"),
    "a file that becomes a directory": Case([upload(b"evil"), directory(b"evil")], "uploads/evil"),
    "uploads twice": Case([uploads_root()], "uploads/", "twice"),
    "out of order": Case([upload(b"b"), upload(b"a")], "uploads/a", ""),
    "back into a directory": Case([directory(b"a"), directory(b"b"), upload(b"a/x")], "uploads/a/x", ""),
    # sizes
    "a negative size": Case([sized(b"\xff" * 12)], "size", "negative size"),
    "a negative octal size": Case([sized(b"-0000000001\0")], "size", "octal"),
    "a size of 1 TiB": Case([sized(b"\x80" + (2**40).to_bytes(11, "big"))], "size", "cut"),
    "a size of 2**80": Case([sized(b"\x80" + (2**80).to_bytes(11, "big"))], "size", "cut"),
    "a size of 8 GiB": Case([sized(OCTAL_8_GIB)], "cut"),
    "a size that pax makes smaller": Case([sized(1024, b"a" * 1024, pax((b"size", b"512")))], "uploads/evil", "octal"),
    "a size that pax makes larger": Case([sized(0, b"", pax((b"size", b"512")))], "uploads/evil", ""),
    "a size that pax makes 1 TiB": Case([sized(0, b"", pax((b"size", b"1099511627776")))], "uploads/evil", "cut"),
    "a negative size by pax": Case([sized(0, b"", pax((b"size", b"-1")))], "negative"),
    "a size by pax that is none": Case([sized(0, b"", pax((b"size", b"0x10")))], "pax header"),
    "a size by pax of 5,000 digits": Case([sized(0, b"", pax((b"size", b"9" * 5000)))], "pax header"),
    "a sparse file by pax": Case(
        [sized(0, b"", pax((b"GNU.sparse.major", b"1"), (b"GNU.sparse.realsize", b"1099511627776")))],
        "pax header has a record",
        "sparse",
    ),
    # headers
    "a pax header of 64 MB": Case([raw(raw_extra(b"x", b"x" * 64_000_000) + EVIL)], "64000000 bytes"),
    "a long name of 64 MB": Case([raw(raw_extra(b"L", b"x" * 64_000_000) + EVIL)], "64000000 bytes"),
    "a pax header of 8 GiB": Case([raw(raw_header(b"x", b"x", size=OCTAL_8_GIB) + EVIL)], "8589934591 bytes"),
    "a negative pax header": Case([raw(raw_header(b"x", b"x", size=b"\xff" * 12) + EVIL)], "size"),
    "a pax header with a name": Case([raw(pax((b"path", b"/etc/passwd")) + EVIL)], "pax header", "/etc/passwd"),
    "two pax headers": Case([raw(pax((b"mtime", b"-5")) + pax((b"mtime", b"-6")) + EVIL)], "twice", ""),
    "a name for all that follows": Case([raw(pax((b"path", b"/etc"), kind=b"g") + EVIL)], "global header"),
    "a size for all that follows": Case([raw(pax((b"size", b"0"), kind=b"g") + EVIL)], "global header"),
    "a link for all that follows": Case([raw(pax((b"linkpath", b"/etc"), kind=b"g") + EVIL)], "global header"),
    "a pax header without a length": Case([raw(raw_extra(b"x", b"path=/etc\n") + EVIL)], "pax header"),
    "a pax record of length 0": Case([raw(raw_extra(b"x", b"0 path=/etc\n") + EVIL)], "pax header"),
    "a pax record beyond the header": Case([raw(raw_extra(b"x", b"999 path=/etc\n") + EVIL)], "pax header"),
    "a pax record without its end": Case([raw(raw_extra(b"x", b"13 path=/etc_") + EVIL)], "pax header"),
    "a pax header with nothing after it": Case([raw(pax((b"mtime", b"-5")))], "", ""),
    "a wrong checksum": Case([raw(EVIL.replace(b"uploads/evil", b"uploads/good"))], "uploads/good", "checksum"),
    "words for numbers": Case([raw(raw_header(b"uploads/evil", uid=b"nobody!\0"))], "uploads/evil", "octal"),
    "a negative owner": Case([raw(raw_header(b"uploads/evil", uid=b"-000001\0"))], "uploads/evil", "octal"),
    "hidden bytes in the header": Case([raw(raw_header(b"uploads/evil\0hidden"))], "uploads/evil", ""),
    # our own staging directory
    "a restore's marker": Case(
        [directory(b".safeharbor-restore-0a1b2c3d"), upload(b".safeharbor-restore-0a1b2c3d/.safeharbor-staging")],
        "unfinished restore",
    ),
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "archive.tar"


@pytest.mark.timeout(10)
@pytest.mark.parametrize("name", CASES)
def test_a_hostile_archive_of_format_1_is_rejected_by_its_rule(name: str, file: Path, settings: Settings) -> None:
    case = CASES[name]
    file.write_bytes(assemble([uploads_root(), *case.parts]))

    found = examine(file, settings)

    assert found.kind is ArchiveKind.FORMAT_1
    assert found.problems
    assert case.says in found.problems[0]
    assert len(found.problems[0]) < 1000


@pytest.mark.timeout(10)
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.foreign])
def test_a_hostile_archive_by_another_implementation_is_rejected(name: str, file: Path, settings: Settings) -> None:
    case = CASES[name]
    # the dump last, so that the rest is judged before it is decoded, which takes time
    dump_last = name != "a hard link to the dump"
    file.write_bytes(foreign_archive([uploads_root(), *case.parts], dump_last=dump_last))

    found = verify_archive(file, settings)

    assert found.kind is ArchiveKind.FOREIGN
    assert len(found.problems) == 1
    assert case.foreign in found.problems[0]
    assert len(found.problems[0]) < 1000


@pytest.mark.parametrize(
    "name",
    [name for name, case in CASES.items() if case.says and not case.foreign],
)
def test_what_harms_nobody_is_taken_from_another_implementation(name: str, file: Path, settings: Settings) -> None:
    file.write_bytes(foreign_archive([uploads_root(), *CASES[name].parts]))

    found = verify_archive(file, settings)

    assert found.problems == ()


def test_there_are_enough_of_them() -> None:
    assert len(CASES) >= 80


@pytest.mark.parametrize(
    ("archive", "why"),
    [
        (raw_header(b"db.dump", SYMLINK, link=b"/etc/passwd") + uploads_root().header, "db.dump is not a file"),
        (raw_header(b"db.dump", DIRECTORY) + uploads_root().header, "db.dump is not a file"),
        (raw_header(b"db.dump") + raw_header(b"uploads", SYMLINK, link=b"/etc"), "uploads is not a directory"),
        (raw_header(b"db.dump") + raw_header(b"uploads"), "uploads is not a directory"),
        (
            raw_header(b"db.dump") + raw_header(b"uploads", SYMLINK, link=b"/etc") + raw_header(b"uploads/passwd"),
            "uploads is not a directory",
        ),
        (raw_header(b"db.dump") + raw_header(b"uploads/a") + raw_header(b"uploads/", SYMLINK, link=b"/etc"), "uploads"),
        (uploads_root().header, "no db.dump"),
        (raw_header(b"db.dump"), "no uploads/"),
        (raw_header(b"db.dump") + raw_header(b"db.dump") + uploads_root().header, "twice"),
    ],
)
def test_a_foreign_archive_without_its_two_pillars_is_rejected(
    archive: bytes, why: str, file: Path, settings: Settings
) -> None:
    file.write_bytes(archive + bytes(2 * BLOCK))

    problems = verify_archive(file, settings).problems

    assert len(problems) == 1
    assert why in problems[0]


MEASURED = """
import json, sys
from pathlib import Path
from safeharbor.settings import Settings
from safeharbor.verify import verify_archive
found = verify_archive(Path(sys.argv[1]), Settings(pg_bin=(Path(sys.argv[2]),)))
status = Path("/proc/self/status").read_text()
peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
print(json.dumps({"problems": found.problems, "peak_kib": peak}))
"""


def many_pax_records() -> bytes:
    """As many headers as possible, each as large as is allowed and full of the shortest records."""
    full = raw_extra(b"x", b"5 a=\n" * 13_000)
    members = b"".join(full + raw_header(b"uploads/%04d" % number) for number in range(300))
    return foreign_archive([uploads_root(), raw(members), raw(special(b"3").header)])


WORST = {
    "64 MB of pax": assemble([uploads_root(), *CASES["a pax header of 64 MB"].parts]),
    "64 MB of pax, foreign": foreign_archive([uploads_root(), *CASES["a pax header of 64 MB"].parts]),
    "1 TiB, foreign": foreign_archive([uploads_root(), *CASES["a size that pax makes 1 TiB"].parts]),
    "32,000 directories in one name": foreign_archive(
        [uploads_root(), raw(raw_extra(b"L", b"uploads/" + b"a/" * 32_000 + b"x\0") + EVIL)]
    ),
    "pax headers full of records": many_pax_records(),
    "a manifest of 100 MB": assemble([uploads_root()], lies=Lies(raw_manifest=b'"' + b"x" * 100_000_000 + b'"')),
    "a deeply nested manifest": assemble([uploads_root()], lies=Lies(raw_manifest=b"[" * 16_000_000)),
    "a million names in the sums": assemble([uploads_root()], lies=Lies(sums=b"0" * 64 + b"  x\n" * 10_000_000)),
}


@pytest.mark.parametrize("name", WORST)
def test_the_worst_of_them_cost_neither_time_nor_memory(name: str, file: Path, settings: Settings) -> None:
    file.write_bytes(WORST[name])
    arguments: list[str | Path] = [sys.executable, "-c", MEASURED, file, settings.pg_bin[0]]

    done = subprocess.run(
        arguments, env={"PATH": os.environ["PATH"], "PYTHONPATH": ":".join(sys.path)}, capture_output=True, timeout=10
    )

    assert done.stderr == b""
    answer = json.loads(done.stdout)
    assert answer["problems"]
    assert answer["peak_kib"] < 256 * 1024


def test_a_manifest_of_millions_of_values_is_refused_before_it_is_parsed() -> None:
    for data in (b"[" + b"{}," * 60_000 + b"{}]", b'{"a":[' + b"1," * 600_000 + b"1]}"):
        with pytest.raises(ManifestInvalid, match="more values"):
            parse_manifest(data)


FORBIDDEN = {
    "a set-uid file": upload(b"x", data=b"x", mode=0o4755),
    "a sticky file": upload(b"x", data=b"x", mode=0o1644),
    "a set-uid directory": upload(b"x/", DIRECTORY, mode=0o4755),
    "a link with a mode of its own": upload(b"x", SYMLINK, link=b"y", mode=0o644),
    "a file with a target": upload(b"x", data=b"x", link=b"y"),
    "a directory with a target": upload(b"x/", DIRECTORY, mode=0o755, link=b"y"),
}


@pytest.mark.parametrize("part", FORBIDDEN.values(), ids=FORBIDDEN.keys())
def test_a_header_that_says_what_its_kind_cannot_have_is_rejected(
    tmp_path: Path, settings: Settings, part: Part
) -> None:
    path = tmp_path / "hostile.tar"
    path.write_bytes(assemble([uploads_root(), part]))

    problems = examine(path, settings).problems

    assert any("uploads/x" in problem for problem in problems), problems


def test_names_full_of_braces_and_commas_fit_a_manifest() -> None:
    names = {"names": ['{[,"\\' * 40_000, "," * 600_000], "tables": {"a{,": 1}}

    data = encode_manifest(names)

    assert json.loads(data) == names
    with pytest.raises(ManifestInvalid, match="format is not a number"):  # and not: too many values
        parse_manifest(data)
