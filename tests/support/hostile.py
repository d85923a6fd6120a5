"""Archives made to harm, each against one rule; the tests of reading and of restoring share them."""

from __future__ import annotations

from dataclasses import dataclass

from safeharbor_backup.archive.headers import encode_member
from safeharbor_backup.archive.layout import DIRECTORY, FILE, SYMLINK, Member
from support.archives import DUMP, Part, pax_record, raw_extra, raw_header, upload, uploads_root


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
        "",
    ),
}

# archives by another implementation that lack one of the two members that the contract wants, and what must be said
PILLARLESS = {
    "a link as the dump": (
        raw_header(b"db.dump", SYMLINK, link=b"/etc/passwd") + uploads_root().header,
        "db.dump is not a file",
    ),
    "a directory as the dump": (raw_header(b"db.dump", DIRECTORY) + uploads_root().header, "db.dump is not a file"),
    "a link as the uploads": (
        raw_header(b"db.dump") + raw_header(b"uploads", SYMLINK, link=b"/etc"),
        "uploads is not a directory",
    ),
    "a file as the uploads": (raw_header(b"db.dump") + raw_header(b"uploads"), "uploads is not a directory"),
    "a file below a link as the uploads": (
        raw_header(b"db.dump") + raw_header(b"uploads", SYMLINK, link=b"/etc") + raw_header(b"uploads/passwd"),
        "uploads is not a directory",
    ),
    "a link as the uploads, after a file": (
        raw_header(b"db.dump") + raw_header(b"uploads/a") + raw_header(b"uploads/", SYMLINK, link=b"/etc"),
        "uploads",
    ),
    "no dump": (uploads_root().header, "no db.dump"),
    "no uploads": (raw_header(b"db.dump"), "no uploads/"),
    "two dumps": (raw_header(b"db.dump") + raw_header(b"db.dump") + uploads_root().header, "twice"),
}
