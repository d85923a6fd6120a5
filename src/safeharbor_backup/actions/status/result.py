"""The state of the backups as one value, which front ends show and the status document is made from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from safeharbor_backup.actions.catalog.entries import State
from safeharbor_backup.actions.status.health import Health

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from safeharbor_backup.actions.catalog.entries import CatalogEntry
    from safeharbor_backup.actions.catalog.last_runs import LastRuns, Proofs
    from safeharbor_backup.actions.catalog.latest import Choice
    from safeharbor_backup.actions.catalog.retention import Verdict
    from safeharbor_backup.actions.prune_guards import Notice
    from safeharbor_backup.actions.status.free_space import Room
    from safeharbor_backup.actions.status.gone import Gone
    from safeharbor_backup.actions.status.health import Reason
    from safeharbor_backup.actions.status.schedule_seen import Seen
    from safeharbor_backup.state.history import Outcome
    from safeharbor_backup.state.offsite import OffsiteCopy
    from safeharbor_backup.state.restore_record import RestoreRecord


@dataclass(frozen=True, slots=True)
class Outlook:
    """What retention says of each archive now, and which ones the next backup will delete."""

    verdicts: Mapping[str, Verdict] = field(default_factory=dict)
    next_deleted: tuple[str, ...] = ()
    notices: tuple[Notice, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What keeps it from deleting, in words."""
        return self.problems + tuple(notice.text for notice in self.notices)


@dataclass(frozen=True, slots=True)
class Status:
    """What an operator wants to know, the first things first. Ages in seconds; archives newest first.

    `newest` is the newest complete archive that is not from the future; `latest` is what a restore would take.
    `next_backup` is what follows from the schedule, None if that cannot be used; `seen` is whether something goes by
    it. `gone` is set if there were archives and are none. `copies` are those elsewhere, None if there are none on
    purpose.
    """

    health: Health
    newest: CatalogEntry | None
    age_seconds: float | None
    max_age_seconds: float
    archives: tuple[CatalogEntry, ...]
    findings: tuple[Reason, ...]
    latest: Choice
    runs: LastRuns
    proofs: Proofs
    history: tuple[Outcome, ...]
    room: Room
    outlook: Outlook
    next_backup: datetime | None
    seen: Seen | None
    kept: tuple[RestoreRecord, ...] = ()
    interrupted: RestoreRecord | None = None
    gone: Gone | None = None
    copies: tuple[OffsiteCopy, ...] | None = ()

    @property
    def reasons(self) -> tuple[str, ...]:
        """The reasons for the state in words, the worst first."""
        return tuple(finding.text for finding in self.findings)

    @property
    def is_healthy(self) -> bool:
        """Whether nobody needs to be woken: fresh, or too early for a first backup.

        A failed run wakes nobody as long as the newest archive is young enough: the next run may make it good. Archives
        that are gone wake somebody.
        """
        return self.health not in (Health.STALE, Health.INTERRUPTED) and self.gone is None

    @property
    def damaged(self) -> int:
        """How many archives are damaged."""
        return sum(entry.state is State.DAMAGED for entry in self.archives)
