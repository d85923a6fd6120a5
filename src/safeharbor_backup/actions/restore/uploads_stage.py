"""One directory of uploads being staged: the members of an archive that belong there, extracted."""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from safeharbor_backup.archive.layout import SYMLINK, UPLOADS_NAME, is_staging_name, link_stays_inside
from safeharbor_backup.errors import CannotRestore
from safeharbor_backup.settings.min_free import Floor, free_restores
from safeharbor_backup.text import ascii_safe
from safeharbor_backup.uploads.extract import LACKS_MODES, LACKS_OWNERS, Extraction
from safeharbor_backup.uploads.movable import has_own_lost_and_found

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from safeharbor_backup.archive.layout import Member
    from safeharbor_backup.settings.min_free import MinFree

_LOST_AND_FOUND = b"uploads/lost+found/"
ONE_DIRECTORY = "Give one directory for all (BACKUP_UPLOAD_DIR=DIR), or take it out by `extract --to DIR`."
_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class UploadsPlace:
    """An empty directory for uploads.

    `instead_of` is the directory whose place these uploads are to take, where the filesystem's lost+found stays.
    `root` is this one held open, for where its path may lead elsewhere meanwhile. `prefix`: what the paths that belong
    there begin with in the tree.
    """

    path: Path
    instead_of: Path | None = None
    root: int | None = None
    prefix: bytes = b""


@dataclass(frozen=True, slots=True)
class UploadsStage:
    """A place with uploads on their way into it."""

    place: UploadsPlace
    extraction: Extraction

    def take(self, member: Member, data: Iterable[bytes]) -> None:
        """Write it there. Raises CannotRestore, ArchiveRejected, StorageUnavailable, OSError."""
        member = _inside(member, self.place.prefix)
        instead_of = self.place.instead_of
        if member.name == _LOST_AND_FOUND and instead_of is not None and has_own_lost_and_found(instead_of):
            raise CannotRestore(
                f"The archive holds a directory lost+found, and the one in {instead_of} is the filesystem's.",
                hint="Restore into another directory with --upload-dir, or extract it by hand.",
            )
        self.extraction.add(member, data)

    @property
    def warnings(self) -> list[str]:
        """What the filesystem there does not keep."""
        lacks_owners = [LACKS_OWNERS] if self.extraction.lacks_owners else []
        return lacks_owners + ([LACKS_MODES] if self.extraction.lacks_modes else [])


def stage_of(member: Member, stages: Sequence[UploadsStage]) -> UploadsStage | None:
    """Where a member belongs; None if there is no place for any. Raises CannotRestore if there is none for this one."""
    prefix = _prefix_of(member, [stage.place.prefix for stage in stages])
    return next((stage for stage in stages if stage.place.prefix == prefix), None)


def check_places(members: Iterable[Member], prefixes: Sequence[bytes]) -> None:
    """Each member finds its place in directories whose paths in the tree begin so. Raises CannotRestore."""
    for member in members:
        if member.name.startswith(UPLOADS_NAME) and (prefix := _prefix_of(member, prefixes)) is not None:
            _inside(member, prefix)


def _prefix_of(member: Member, prefixes: Sequence[bytes]) -> bytes | None:
    path = member.name[len(UPLOADS_NAME) :]
    for prefix in prefixes:
        if path.startswith(prefix):
            return prefix
    if path and prefixes:
        name = ascii_safe(os.fsdecode(member.name))
        raise CannotRestore(
            f"The archive has {name}, and BACKUP_UPLOAD_DIR names no directory for it.",
            hint=f"Name one for it there. {ONE_DIRECTORY}",
        )
    return None


def _inside(member: Member, prefix_in_tree: bytes) -> Member:
    """The member as it is in a tree that its directory is the top of. Raises CannotRestore if it leaves that."""
    if not prefix_in_tree:
        return member
    prefix = UPLOADS_NAME + prefix_in_tree
    path = member.name[len(prefix) :]
    link = member.link
    top = ascii_safe(os.fsdecode(prefix))
    why = ""
    if is_staging_name(path.partition(b"/")[0]):
        why = "has the name of what a restore keeps there"
    elif member.kind == SYMLINK and not link_stays_inside(path.rpartition(b"/")[0], link):
        why = f"is a link that leaves {top}, which is a directory of its own here"
    elif member.kind != SYMLINK and link:  # a hard link, in another program's archive
        why = (
            ""
            if link.startswith(prefix)
            else f"is a link to a file outside of {top}, which is a directory of its own here"
        )
        link = UPLOADS_NAME + link[len(prefix) :]
    if why:
        raise CannotRestore(
            f"{ascii_safe(os.fsdecode(member.name))} {why}.",
            hint=ONE_DIRECTORY,
        )
    return member._replace(name=UPLOADS_NAME + path, link=link)


@contextmanager
def opened_uploads(place: UploadsPlace, min_free: MinFree, *, in_order: bool, hint: str = "") -> Iterator[UploadsStage]:
    """Held open while the block runs. `in_order`: members come as our own archives have them. Raises OSError.

    `hint` is what to do if there is no room.
    """
    with ExitStack() as stack:
        descriptor = os.open(place.path, _OPEN_DIRECTORY) if place.root is None else os.dup(place.root)
        stack.callback(os.close, descriptor)
        floor = Floor(descriptor, place.path, min_free, hint or free_restores())
        extraction = Extraction(descriptor, in_order=in_order, require_room=floor.require)
        stack.callback(extraction.close)
        yield UploadsStage(place, extraction)
