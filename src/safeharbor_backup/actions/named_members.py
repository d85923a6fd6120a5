"""What an archive has under the paths that somebody named: uploads, and dumps of databases beside the main one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from safeharbor_backup.archive.layout import UPLOADS_NAME
from safeharbor_backup.archive.pick import Wanted, pick_dump, pick_members
from safeharbor_backup.errors import ArchiveNotFound
from safeharbor_backup.text import ascii_safe, typed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from safeharbor_backup.archive.layout import Member
    from safeharbor_backup.archive.reader import Front
    from safeharbor_backup.archive.source import Source


def dumps_of(front: Front | None, paths: Sequence[str]) -> dict[str, tuple[Member, int]]:
    """By path those that name the dump of a database beside the main one: the member, and where its data is."""
    there = {member.name: (member, at) for member, at in front.others} if front is not None else {}
    named = {path: os.fsencode(path).removeprefix(b"./") for path in paths}
    return {path: there[name] for path, name in named.items() if name in there}


def path_below_uploads(path: str) -> bytes:
    """The path as it is below uploads/, whether that is named or not; "" is all of it."""
    plain = os.fsencode(path).removeprefix(b"./").strip(b"/")
    return b"" if plain + b"/" == UPLOADS_NAME else plain.removeprefix(UPLOADS_NAME)


def pick_named(
    source: Source,
    front: Front | None,
    below: Sequence[bytes],
    dumps: Mapping[str, tuple[Member, int]],
    take: Callable[[Member, Iterable[bytes]], None],
) -> None:
    """Give `take` the uploads of these paths, and these dumps as if they were uploads.

    Raises ArchiveNotFound, ArchiveRejected, OSError, and what `take` raises.
    """
    if below:
        wanted = Wanted(below)
        pick_members(source, front, wanted, take)
        _require_found(wanted, source.path)

    def take_dump(member: Member, data: Iterable[bytes]) -> None:
        take(member._replace(name=UPLOADS_NAME + member.name), data)

    if front is not None:
        for member, at in dumps.values():
            pick_dump(source, front, member, at, take_dump)


def _require_found(wanted: Wanted, archive: Path) -> None:
    """Raises ArchiveNotFound for paths that the archive does not have."""
    if wanted.missing:
        names = ", ".join(ascii_safe(os.fsdecode(each)) for each in sorted(wanted.missing)[:5])
        raise ArchiveNotFound(
            f"{archive.name} has no upload {names}.",
            hint=f"`{typed('find NAME')}` shows which archive has a file, and its path.",
        )
