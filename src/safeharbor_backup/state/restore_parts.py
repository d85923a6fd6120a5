"""The parts of a restore: each directory of uploads and each database, with the two sides that each has."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from safeharbor_backup.settings.upload_dirs import UploadDir


class Side(StrEnum):
    """One of the two states of a restore."""

    NEW = "new"  # what was restored
    OLD = "old"  # what was live before

    @property
    def other(self) -> Side:
        """What is not live while this one is."""
        return Side.OLD if self is Side.NEW else Side.NEW


class SwapPhase(StrEnum):
    """How far the last exchange of uploads has come."""

    AT_REST = "at rest"  # one side is live as a whole, the other one in the stage
    OUT = "out"  # live entries are being moved out
    IN = "in"  # the other side's entries are being moved in


@dataclass(frozen=True, slots=True)
class Mark:
    """`going` is the side that the last exchange of uploads brings in, or has brought in."""

    going: Side
    leg: SwapPhase


@dataclass(frozen=True, slots=True)
class StageIdentity:
    """What tells the stage in the uploads from whatever somebody else puts in its place.

    `inode`, `new` and `old` are inode numbers of the stage and of its two sides; `device` and `owner` are those that
    it was made with. `secret_sha256` is the hash of the secret in its marker, in hexadecimal digits.
    """

    device: int
    inode: int
    new: int
    old: int
    owner: int
    secret_sha256: str


@dataclass(frozen=True, slots=True)
class UploadsPart:
    """One directory of uploads in a restore, and the name that it has in the archive ("": the tree itself).

    `mark`: how far its exchange is; None in a record of the first version, whose stage has it. `frontier` and `stays`
    are paths below it: directories whose entries are exchanged one by one, and entries that stay where they are.
    `old_entries` and `new_entries`: how many there were in each side of the stage when it was last whole; -1: unknown.
    """

    path: str
    name: str = ""
    stage: StageIdentity | None = None
    mark: Mark | None = Mark(Side.OLD, SwapPhase.AT_REST)
    frontier: tuple[str, ...] = ()
    stays: tuple[str, ...] = ()
    old_entries: int = -1
    new_entries: int = -1

    @property
    def directory(self) -> UploadDir:
        """As the settings have it."""
        return UploadDir(Path(self.path), self.name)

    def entries(self, side: Side) -> int:
        """How many entries that side of the stage had when it was last whole; -1 if that is not known."""
        return self.new_entries if side is Side.NEW else self.old_entries

    def with_entries(self, side: Side, count: int) -> UploadsPart:
        """The same with that many entries in that side of the stage."""
        return replace(self, new_entries=count) if side is Side.NEW else replace(self, old_entries=count)


@dataclass(frozen=True, slots=True)
class DatabasePart:
    """One database in a restore, and the name that it has in the archive ("": the main one).

    `had_database`: there was one to keep. `old_oid` and `new_oid`: the numbers of both databases, which they keep under
    any name; 0 before the swap began.
    """

    database: str
    name: str = ""
    had_database: bool = True
    old_oid: int = 0
    new_oid: int = 0

    def oid(self, side: Side) -> int:
        """The number of that side's database; 0 if it is not known."""
        return self.new_oid if side is Side.NEW else self.old_oid
