"""One directory of uploads being staged: the members of an archive that belong there, extracted."""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from safeharbor_backup.errors import CannotRestore
from safeharbor_backup.settings.min_free import Floor, free_restores
from safeharbor_backup.uploads.extract import LACKS_MODES, LACKS_OWNERS, Extraction
from safeharbor_backup.uploads.movable import has_own_lost_and_found

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from safeharbor_backup.archive.layout import Member
    from safeharbor_backup.settings.min_free import MinFree

_LOST_AND_FOUND = b"uploads/lost+found/"
_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class UploadsPlace:
    """An empty directory for uploads.

    `instead_of` is the directory whose place these uploads are to take, where the filesystem's lost+found stays.
    `root` is this one held open, for where its path may lead elsewhere meanwhile.
    """

    path: Path
    instead_of: Path | None = None
    root: int | None = None


@dataclass(frozen=True, slots=True)
class UploadsStage:
    """A place with uploads on their way into it."""

    place: UploadsPlace
    extraction: Extraction

    def take(self, member: Member, data: Iterable[bytes]) -> None:
        """Write it there. Raises CannotRestore, ArchiveRejected, StorageUnavailable, OSError."""
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


@contextmanager
def opened_uploads(place: UploadsPlace, min_free: MinFree, *, in_order: bool) -> Iterator[UploadsStage]:
    """Held open while the block runs. `in_order`: members come as our own archives have them. Raises OSError."""
    with ExitStack() as stack:
        descriptor = os.open(place.path, _OPEN_DIRECTORY) if place.root is None else os.dup(place.root)
        stack.callback(os.close, descriptor)
        floor = Floor(descriptor, place.path, min_free, free_restores())
        extraction = Extraction(descriptor, in_order=in_order, require_room=floor.require)
        stack.callback(extraction.close)
        yield UploadsStage(place, extraction)
