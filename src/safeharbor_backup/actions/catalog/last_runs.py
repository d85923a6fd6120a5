"""What the history shows about the last runs, as data: how they ended, what failed since, which archives were proven.

The history is what runs could write down. Whatever it lacks is not known, and what is in it may be of archives that
are gone.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from safeharbor_backup.actions.catalog.entries import State, read_catalog
from safeharbor_backup.errors import ExitStatus
from safeharbor_backup.state.history import read_history

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from safeharbor_backup.actions.catalog.entries import CatalogEntry
    from safeharbor_backup.state.history import Outcome

BACKUP, VERIFY, DRILL = "backup", "verify", "drill"
SCHEDULER = "scheduler"  # a run that it waived
_LISTED_REJECTED = 50  # verify names no more of them
_CLOCK_TICK = timedelta(seconds=1)  # the history has whole seconds


@dataclass(frozen=True, slots=True)
class LastRuns:
    """The last run of each kind, however it ended, and the failures since which there was no success.

    `failures` has one of a command at most, the newest first. A quick verify does not count.
    """

    backup: Outcome | None = None
    verify: Outcome | None = None
    drill: Outcome | None = None
    failures: tuple[Outcome, ...] = ()


@dataclass(frozen=True, slots=True)
class Proofs:
    """What was found out of the archives that are there, by name, and when."""

    verified: Mapping[str, datetime] = field(default_factory=dict)
    rejected: Mapping[str, datetime] = field(default_factory=dict)
    drilled: Mapping[str, datetime] = field(default_factory=dict)


def judge_runs(history: Iterable[Outcome], newest: CatalogEntry | None) -> LastRuns:
    """The last runs; the history is in the order in which they ended, `newest` is the newest complete archive.

    A drill of what was fetched from a copy elsewhere says nothing about those here, nor of another copy.

    One that was made while a backup failed, or since, makes that good, also if the history knows nothing of it.
    What the history knows was made before, whatever its time says: clocks are set back.
    """
    made: set[str | None] = set()
    last: dict[str, Outcome] = {}
    failed: dict[str, Outcome] = {}
    for outcome in history:
        command = _kind_of(outcome)
        if outcome.command not in (BACKUP, VERIFY, DRILL) or _is_quick(outcome):
            continue
        if outcome.exit_status == ExitStatus.LOCKED:  # it was refused: that says nothing about the one before
            last.setdefault(command, outcome)
            failed.setdefault(command, outcome)
            continue
        last[command] = outcome
        failed.pop(command, None)  # put in again, so that their order is that of the history
        if not outcome.is_success:
            failed[command] = outcome
        elif command == BACKUP:
            made.add(outcome.archive)
    backup = failed.get(BACKUP)
    if backup is not None and newest is not None and newest.taken_at >= backup.started_at and newest.name not in made:
        del failed[BACKUP]
    return LastRuns(last.get(BACKUP), last.get(VERIFY), last.get(DRILL), tuple(reversed(failed.values())))


def find_proofs(history: Iterable[Outcome], archives: Sequence[CatalogEntry]) -> Proofs:
    """What full verifies and drills found out of these archives.

    An archive that was touched afterwards in any way may be another one; nothing is known about it then.
    """
    touched = {each.name: datetime.fromtimestamp(each.ctime_ns // 10**9, UTC) - _CLOCK_TICK for each in archives}
    verified: dict[str, datetime] = {}
    rejected: dict[str, datetime] = {}
    drilled: dict[str, datetime] = {}
    for outcome in history:
        known = [
            name for name in _names_in(outcome, touched) if name in touched and touched[name] <= outcome.started_at
        ]
        if outcome.command == DRILL and outcome.is_success:
            drilled.update(dict.fromkeys(known, outcome.started_at))
        elif outcome.command == VERIFY and not _is_quick(outcome):
            bad = _rejected_in(outcome)
            for name in known:
                if name in bad:
                    verified.pop(name, None)
                    rejected[name] = outcome.started_at
                elif outcome.is_success or (outcome.details and len(bad) < _LISTED_REJECTED):
                    rejected.pop(name, None)
                    verified[name] = outcome.started_at
    return Proofs(verified, rejected, drilled)


def read_archives(directory: Path, by: Callable[[Path], Iterable[Outcome]] = read_history) -> list[CatalogEntry]:
    """The archives in a directory, newest first; one that a full verify has rejected since it was touched last is
    damaged, however whole it seems at a quick look. Raises StorageUnavailable, and what `by` raises.

    `by` reads the history that says it: `require_history` for who must know.
    """
    archives = read_catalog(directory).archives
    proofs = find_proofs(by(directory), archives)
    return [as_verified(entry, proofs) for entry in archives]


def as_verified(entry: CatalogEntry, proofs: Proofs) -> CatalogEntry:
    """The archive, damaged if a full verify has rejected it."""
    if entry.state in (State.DAMAGED, State.UNREADABLE) or entry.name not in proofs.rejected:
        return entry
    problem = f"verify rejected it on {proofs.rejected[entry.name]:%Y-%m-%d %H:%M:%S} UTC"
    return replace(entry, state=State.DAMAGED, problem=problem)


def tells_of_archives(failure: Outcome) -> bool:
    """Whether a failed verify or drill has found something wrong, rather than that it could not be done."""
    return failure.exit_status in (ExitStatus.FAILED, ExitStatus.REJECTED, ExitStatus.CANNOT_RESTORE)


def _kind_of(outcome: Outcome) -> str:
    """Its command, and for a drill of what was elsewhere, which copy that is."""
    offsite = outcome.details.get("offsite")
    return f"{outcome.command} {offsite}" if isinstance(offsite, str) else outcome.command


def _is_quick(outcome: Outcome) -> bool:
    return outcome.command == VERIFY and outcome.details.get("quick") is True


def _names_in(outcome: Outcome, names: Iterable[str]) -> list[str]:
    """The archives that a run was about: the one that it names, or that one and all older ones."""
    newest = outcome.archive
    if newest is None or _kind_of(outcome) != outcome.command:  # one elsewhere only has the same name
        return []
    count = outcome.details.get("archives")
    if outcome.command == VERIFY and isinstance(count, int) and count > 1:
        return [name for name in names if name <= newest]  # names are in the order of their times
    return [newest]


def _rejected_in(outcome: Outcome) -> frozenset[str]:
    names = outcome.details.get("rejected")
    return frozenset(map(str, names)) if isinstance(names, list) else frozenset()
