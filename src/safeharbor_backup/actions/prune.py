"""Deletes the archives that retention no longer keeps, and says why each of the others stays."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from safeharbor_backup.actions.catalog.entries import find_candidates
from safeharbor_backup.actions.catalog.guards import identities_of
from safeharbor_backup.actions.catalog.last_runs import read_archives
from safeharbor_backup.actions.catalog.retention import Reason, Verdict, Why, judge_archives, tiers_of
from safeharbor_backup.actions.deletion import delete_archive
from safeharbor_backup.actions.prune_guards import (
    Notice,
    find_from_elsewhere,
    judge_newest,
    judge_retention,
    notice_disorder,
    notice_others,
    notice_unreadable,
    read_entries,
)
from safeharbor_backup.errors import translate_os_error
from safeharbor_backup.settings.model import Concern
from safeharbor_backup.state.adopted import Adopted, read_adopted, write_adopted
from safeharbor_backup.state.marks import read_marks
from safeharbor_backup.system.atomic_file import fsync_directory
from safeharbor_backup.system.lock import directory_lock
from safeharbor_backup.text import ascii_safe

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from safeharbor_backup.actions.catalog.entries import CatalogEntry
    from safeharbor_backup.actions.catalog.retention import Candidate
    from safeharbor_backup.settings.model import Settings


@dataclass(frozen=True, slots=True)
class PrunePlan:
    """The verdicts on all archives, and the notices of guards that keep more than the contract asks for."""

    verdicts: tuple[Verdict, ...]
    notices: tuple[Notice, ...]

    @property
    def warnings(self) -> tuple[str, ...]:
        """What its notices say, in words, for people."""
        return tuple(notice.text for notice in self.notices)

    @property
    def to_delete(self) -> list[str]:
        """The names of the archives that do not stay."""
        return [verdict.name for verdict in self.verdicts if not verdict.keep]


@dataclass(frozen=True, slots=True)
class PruneResult:
    """What was deleted (or, in a dry run, would be) and what stays, with reasons. Size in bytes."""

    verdicts: tuple[Verdict, ...]
    deleted: tuple[str, ...]
    freed_bytes: int
    warnings: tuple[str, ...]


def prune_archives(settings: Settings, *, dry_run: bool = False, adopt: bool = False) -> PruneResult:
    """Apply retention to the backup directory.

    `adopt` declares the newest archive the new normal, whatever database it is of and however small it is.
    Raises SettingsInvalid, LockHeld, StorageUnavailable.
    """
    settings.require(Concern.RETENTION, Concern.SCHEDULE, Concern.DIRECTORY)
    if dry_run:
        plan = plan_prune(settings, adopt=adopt)
        return PruneResult(
            plan.verdicts, tuple(plan.to_delete), _total(settings.backup_dir, plan.to_delete), plan.warnings
        )
    find_candidates(settings.backup_dir)  # a missing directory is reported before its lock
    with directory_lock(settings.backup_dir):
        if adopt:
            _remember(settings.backup_dir)
        return prune_under_lock(settings)


def prune_under_lock(settings: Settings, *, just_written: str = "") -> PruneResult:
    """The same for a caller that holds the directory's lock; `just_written` stays in any case."""
    plan = plan_prune(settings, just_written=just_written)
    verdicts = {verdict.name: verdict for verdict in plan.verdicts}
    warnings = list(plan.warnings)
    deleted, freed = [], 0
    for name in plan.to_delete:
        size, why_not = delete_archive(settings.backup_dir / name)
        if why_not is None:
            deleted.append(name)
            freed += size
            continue
        verdicts[name] = Verdict(name, True, (why_not,))
        if why_not.code not in (Why.IN_USE, Why.KEPT):
            warnings.append(f"{name} was not deleted: {why_not.text}")
    if deleted:
        try:
            fsync_directory(settings.backup_dir)
        except OSError as error:
            warnings.append(f"the deletions may come back after a power cut: {error.strerror}")
    return PruneResult(tuple(verdicts.values()), tuple(deleted), freed, tuple(warnings))


def plan_prune(
    settings: Settings,
    *,
    just_written: str = "",
    adopt: bool = False,
    upcoming: Candidate | None = None,
    archives: Sequence[CatalogEntry] | None = None,
    now: datetime | None = None,
) -> PrunePlan:
    """What retention says of every archive; touches nothing. Raises StorageUnavailable.

    `upcoming` is an archive that is not there yet, but will be when this is done, and like the newest that is.
    `archives` are those in the directory, for a caller that knows them already.
    """
    entries, unread = (list(archives), None) if archives is not None else read_entries(settings.backup_dir)
    judged = [entry.candidate for entry in entries] + ([upcoming] if upcoming is not None else [])
    adopted = adopt_all(settings.backup_dir, entries) if adopt else read_adopted(settings.backup_dir)
    protected = {just_written: Reason(Why.JUST_WRITTEN, "just written")} if just_written else {}
    for name, why in read_marks(settings.backup_dir, [entry.name for entry in entries]).items():
        protected[name] = Reason(Why.KEPT, f"kept: {ascii_safe(why)}")

    def judge(hold: str = "") -> tuple[Verdict, ...]:
        held = Reason(Why.HELD, f"nothing is deleted: {hold}") if hold else None
        return tuple(judge_archives(judged, tiers_of(settings), protected=protected, hold=held))

    newest, hold = judge_newest(entries, just_written, adopted, now or datetime.now(UTC))
    hold = hold or unread or judge_retention(settings)
    if hold is not None:
        return PrunePlan(judge(hold.text), (Notice(hold.code, f"nothing was pruned: {hold.text}; {hold.remedy}"),))
    from_elsewhere = find_from_elsewhere(entries, newest, judge(), adopted)
    protected |= {name: Reason(Why.OTHER_DATABASE, f"it is {why}") for name, why in from_elsewhere.items()}
    notices = (*notice_others(from_elsewhere), *notice_disorder(judged), *notice_unreadable(entries))
    return PrunePlan(judge(), notices)


def adopt_all(directory: Path, archives: Sequence[CatalogEntry]) -> Adopted:
    """What is adopted already, and all databases that have archives here, and the newest archive."""
    before = read_adopted(directory)
    newest = max((entry.name for entry in archives), default="")  # an earlier acceptance is overtaken by this one
    databases, others = identities_of([entry.manifest for entry in archives if entry.manifest is not None])
    others |= before.others or set()
    return Adopted(before.databases | databases, frozenset({newest} if newest else ()), frozenset(others))


def _remember(directory: Path) -> None:
    try:
        write_adopted(directory, adopt_all(directory, read_archives(directory)))
    except OSError as error:
        raise translate_os_error(error, "remembering the adoption") from error


def _total(directory: Path, names: list[str]) -> int:
    return sum(os.lstat(directory / name).st_size for name in names)
