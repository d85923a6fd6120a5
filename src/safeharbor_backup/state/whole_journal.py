"""What a journal of ours has in full: what has a default in the program must not be made up when one is read."""

from __future__ import annotations

from dataclasses import dataclass

from safeharbor_backup.state.restore_parts import Side  # noqa: TC001 - msgspec reads the annotations


@dataclass(frozen=True, slots=True)
class _WholeUploads:
    """Each directory of uploads."""

    path: str
    name: str
    frontier: tuple[str, ...]
    stays: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _WholeDatabase:
    """Each database beside the main one."""

    database: str
    name: str
    had_database: bool
    old_oid: int
    new_oid: int


@dataclass(frozen=True, slots=True)
class _WholeRecord:
    """Each record."""

    live: Side
    towards: Side
    others: tuple[_WholeDatabase, ...]
    uploads: tuple[_WholeUploads, ...]


@dataclass(frozen=True, slots=True)
class WholeJournal:
    """The least that is in a journal of today's schema, or of an earlier one that was upgraded."""

    restores: tuple[_WholeRecord, ...]
