"""What a restore came to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


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
