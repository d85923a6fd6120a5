"""Runs as the status document has them: how each ended, and the numbers of those in its history."""

from __future__ import annotations

from msgspec import Struct

from safeharbor_backup.actions.status.schema_types import Amount, Moment, Texts
from safeharbor_backup.system.documents import Count


class AnyRun(Struct, frozen=True, kw_only=True):
    """How one run of a command ended."""

    command: str = ""
    started_at: Moment
    seconds: Amount = 0.0
    exit_status: Count
    archive: str | None = None
    reason: str = ""

    @property
    def is_success(self) -> bool:
        """Whether it did what it is for, with or without warnings."""
        return self.exit_status in (0, 3)


class LastRun(AnyRun, frozen=True, kw_only=True):
    """The newest run of a command, with what it said."""

    warnings: Texts = ()
    notes: Texts = ()
    advice: str = ""


class PastRun(AnyRun, frozen=True, kw_only=True):
    """A run of the history, with its numbers; `phases` are seconds by the name of the phase."""

    size_bytes: Count | None = None
    rows: Count | None = None
    upload_files: Count | None = None
    restore_seconds: Amount | None = None
    phases: dict[str, Amount] = {}
