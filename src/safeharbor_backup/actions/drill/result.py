"""What a drill came to: the result that a front end shows, its exit status and its verdict."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from safeharbor_backup.errors import ExitStatus

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from safeharbor_backup.actions.drill.app_check import AppCheck
    from safeharbor_backup.state.evidence import DrilledDatabase, Evidence


@dataclass(frozen=True, slots=True)
class DrillResult:
    """A drill that was done. No problems: the archive restores. `document` is its evidence; sizes in bytes."""

    archive: Path
    evidence: Path | None
    signature: Path | None
    server: str
    tables: int
    rows: int | None
    upload_files: int
    upload_bytes: int
    restore_seconds: float
    seconds: float
    app_check: AppCheck | None
    compared: Mapping[str, Mapping[str, Any]]
    not_recorded: tuple[str, ...]
    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    document: Evidence
    databases: Mapping[str, DrilledDatabase] = field(default_factory=dict)  # beside the main one

    @property
    def exit_status(self) -> ExitStatus:
        """The status that `drill` ends with."""
        return status_of(self.problems, self.warnings)


def status_of(problems: Sequence[str], warnings: Sequence[str]) -> ExitStatus:
    """The status of a drill that could be done."""
    if problems:
        return ExitStatus.REJECTED
    return ExitStatus.WARNINGS if warnings else ExitStatus.DONE


def verdict_of(status: ExitStatus, *, given_up: bool) -> str:
    """The same as the evidence has it; `given_up`: the drill could not be done."""
    if given_up:
        return "impossible"
    return {ExitStatus.REJECTED: "failed", ExitStatus.WARNINGS: "warnings"}.get(status, "passed")
