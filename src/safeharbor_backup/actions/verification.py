"""What a verify found in one archive."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from safeharbor_backup.errors import ArchiveRejected

if TYPE_CHECKING:
    from pathlib import Path

    from safeharbor_backup.archive.manifest import Manifest


class ArchiveKind(StrEnum):
    """Who wrote an archive: we, or another program."""

    FORMAT_1 = "format 1"
    FORMAT_2 = "format 2"
    FOREIGN = "another implementation"


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found in one archive. No problems: it would restore. Sizes in bytes."""

    path: Path
    kind: ArchiveKind
    quick: bool
    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    manifest: Manifest | None
    size: int
    members: int
    seconds: float

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong with it."""
        return not self.problems

    def require_sound(self) -> None:
        """Raises ArchiveRejected with all problems."""
        if self.problems:
            raise ArchiveRejected(f"{self.path}: {self.problems[0]}", problems=self.problems)
