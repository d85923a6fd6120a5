"""What an archive may contain and in which order: the names, the kinds, the order, the rules for links.

Both sides use these functions: backup leaves out what they refuse, verify and restore reject it.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import NamedTuple

FORMAT_VERSION = 1
FORMAT_WITH_DATABASES = 2  # written only if there are databases beside the main one: decision 116
BLOCK = 512
DUMP_OFFSET = 4096
DUMP_NAME = b"db.dump"
DATABASES_NAME = b"databases/"
SUMS_NAME = b"SHA256SUMS"
MANIFEST_NAME = b"manifest.json"
UPLOADS_NAME = b"uploads/"
MANIFEST_LIMIT_BYTES = 16 * 1024 * 1024
END = bytes(2 * BLOCK)

FILE = b"0"
SYMLINK = b"2"
DIRECTORY = b"5"

FILE_MODE = 0o0777  # no set-uid, set-gid: a restore must not hand out rights
DIRECTORY_MODE = 0o3777  # set-gid and sticky make shared directories work

# Linux refuses longer paths; a restore that resolves them from a directory descriptor could not be read back
PATH_LIMIT_BYTES = 4096 - len("uploads/") - 1
LINK_LIMIT_BYTES = 4095
DEPTH_LIMIT = 256

ARCHIVE_NAME = re.compile(r"safeharbor-backup-(\d{4})-(\d\d)-(\d\d)T(\d\d)-(\d\d)-(\d\d)Z\.tar", re.ASCII)

_STAGING = re.compile(rb"\.safeharbor-restore-[0-9a-f]+")
STAGING_MARKER = b".safeharbor-staging"
_DOTS = (b".", b"..")


class Member(NamedTuple):
    """One member as its header tells it; a directory's `name` ends with `/`. Size in bytes, mtime in seconds."""

    name: bytes
    kind: bytes
    mode: int
    uid: int
    gid: int
    mtime: int
    size: int
    link: bytes = b""


def archive_name(taken_at: datetime) -> str:
    """The default file name of an archive taken at this moment."""
    return taken_at.astimezone(UTC).strftime("safeharbor-backup-%Y-%m-%dT%H-%M-%SZ.tar")


def time_in_name(name: str) -> datetime | None:
    """The moment that an archive's name states; None if it is not an archive's name."""
    found = ARCHIVE_NAME.fullmatch(name)
    if found is None:
        return None
    year, month, day, hour, minute, second = map(int, found.groups())
    try:
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None


def format_of(extra_databases: int) -> int:
    """The format of an archive with so many databases beside the main one."""
    return FORMAT_WITH_DATABASES if extra_databases else FORMAT_VERSION


def dump_name(database: str) -> bytes:
    """The member with the dump of the database that has this name in the archive; "" is the main one."""
    return DATABASES_NAME + database.encode() + b".dump" if database else DUMP_NAME


def is_dump(name: bytes) -> bool:
    """Whether a member of that name is the dump of a database."""
    return name == DUMP_NAME or name.startswith(DATABASES_NAME)


def modes_of(kind: bytes) -> range:
    """The modes that a member of this kind can have."""
    return {FILE: range(FILE_MODE + 1), DIRECTORY: range(DIRECTORY_MODE + 1)}.get(kind, range(0o777, 0o777 + 1))


def canonical_line(member: Member) -> bytes:
    """The member's line in the list whose SHA-256 the manifest holds; each field ends with NUL, which no name has."""
    return b"%b\0%b\0%o\0%d\0%d\0%d\0%d\0%b\0\n" % (
        member.name,
        member.kind,
        member.mode,
        member.uid,
        member.gid,
        member.mtime,
        member.size,
        member.link,
    )


def sums_line(name: bytes, digest: str) -> bytes:
    """A line of SHA256SUMS as coreutils 9 writes it: backslash, LF and CR in names are escaped."""
    if b"\\" in name or b"\n" in name or b"\r" in name:
        escaped = name.replace(b"\\", b"\\\\").replace(b"\n", b"\\n").replace(b"\r", b"\\r")
        return b"\\%b  %b\n" % (digest.encode(), escaped)
    return b"%b  %b\n" % (digest.encode(), name)


def link_stays_inside(directory: bytes, target: bytes) -> bool:
    """Whether a symlink in `directory` (relative to the tree, "" for its root) can only lead into the tree.

    `..` is allowed only at the start and no oftener than there are directories above: these are real
    directories, since no member lies below a link. A `..` after another component could follow a second link
    first, and leave the tree although the text does not.
    """
    if not target or target.startswith(b"/") or b"\0" in target or len(target) > LINK_LIMIT_BYTES:
        return False
    above = len(directory.split(b"/")) if directory else 0
    ups = 0
    descending = False
    for part in target.split(b"/"):
        if part in (b"", b"."):
            continue
        if part != b"..":
            descending = True
        elif descending:  # decision 12
            return False
        else:
            ups += 1
    return ups <= above


def refuse_path(path: bytes) -> str:
    """Why `path` (relative to the tree, no trailing slash) cannot be a member; "" if it can."""
    if len(path) > PATH_LIMIT_BYTES:
        return "its path is too long"
    parts = path.split(b"/")
    if len(parts) > DEPTH_LIMIT:
        return f"it lies more than {DEPTH_LIMIT} directories deep"
    for part in parts:
        if part in (b"", b".", b".."):
            return "its path has an empty, '.' or '..' component"
        if len(part) > 255:
            return "a component of its path is longer than 255 bytes"
    if b"\0" in path:
        return "its path contains a NUL byte"
    return ""


def is_staging_name(name: bytes) -> bool:
    """Whether a top-level entry of uploads has the name of our own staging directory."""
    return _STAGING.fullmatch(name) is not None


class TreeOrder:
    """Checks that members come depth first, in byte order within a directory, each below a directory that came before.

    That order makes duplicates and members below links impossible in constant memory.
    """

    def __init__(self) -> None:
        self._directories: list[bytes] = []
        self._parent = b""
        self._last: list[bytes] = [b""]

    def accept(self, path: bytes, *, is_directory: bool) -> str:
        """Why this path (relative to the tree, no trailing slash) cannot come now; "" if it can.

        Everything above the last component was accepted before, so only that one is looked at.
        """
        parent, slash, name = path.rpartition(b"/")
        if slash and not parent:  # an absolute path, whose parent looks like the root's
            return refuse_path(path)
        if parent != self._parent:
            above = parent.split(b"/") if parent else []
            if above != self._directories[: len(above)]:
                return "the directory above it is not in the archive, or its members are not together"
            del self._directories[len(above) :]
            del self._last[len(above) + 1 :]
            self._parent = parent
        if name <= self._last[-1]:
            return "its name is empty, appears twice, or is out of order"
        self._last[-1] = name
        if len(path) > PATH_LIMIT_BYTES or len(name) > 255 or len(self._last) > DEPTH_LIMIT or name in _DOTS:
            return refuse_path(path)
        if b"\0" in name:
            return "its name contains a NUL byte"
        if is_directory:
            self._directories.append(name)
            self._last.append(b"")
            self._parent = path
        return ""
