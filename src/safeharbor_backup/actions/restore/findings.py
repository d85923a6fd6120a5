"""What a look at the target tells before a restore: facts, warnings, and what would make it fail."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from safeharbor_backup.errors import ExitStatus

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from safeharbor_backup.errors import SafeHarborError


@dataclass(slots=True)
class Findings:
    """Collected while looking; `problems` in the order in which the restore would meet them.

    `losses` are what is live now and not in the archive; `ways_back` what is kept of it, and how to return to it;
    `afterwards` what stops with the restore, and what to type then.
    """

    facts: list[str] = field(default_factory=list)
    losses: list[str] = field(default_factory=list)
    ways_back: list[str] = field(default_factory=list)
    afterwards: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    problems: list[SafeHarborError] = field(default_factory=list)

    def require_none(self) -> None:
        """Raises the first problem."""
        if self.problems:
            raise self.problems[0]


@dataclass(frozen=True, slots=True)
class RestorePlan:
    """What a restore would do, and how it would end. Sizes in bytes."""

    archive: Path
    taken_at: datetime | None
    tables: int
    upload_files: int
    upload_bytes: int
    database: str
    uploads: str
    jobs: int
    facts: tuple[str, ...]
    losses: tuple[str, ...]
    ways_back: tuple[str, ...]
    afterwards: tuple[str, ...]
    warnings: tuple[str, ...]
    problems: tuple[SafeHarborError, ...]

    @property
    def exit_status(self) -> ExitStatus:
        """The status that the restore would end with."""
        if self.problems:
            return self.problems[0].exit_status
        return ExitStatus.WARNINGS if self.warnings else ExitStatus.DONE


@dataclass(frozen=True, slots=True)
class RestoreResult:
    """A restore that was done."""

    id: str
    archive: Path
    tables: int
    rows: int | None
    upload_files: int
    upload_bytes: int
    seconds: dict[str, float]
    warnings: tuple[str, ...]
    afterwards: tuple[str, ...]
    keeps_previous: bool
    can_be_undone: bool
    kept_bytes: int
