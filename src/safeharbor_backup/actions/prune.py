"""Deletes the archives that retention no longer keeps, and says why each of the others stays."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from safeharbor_backup.actions.catalog.entries import State, find_candidates, is_from_future
from safeharbor_backup.actions.catalog.guards import find_shortfall, identities_of, judge_identity
from safeharbor_backup.actions.catalog.last_runs import read_archives
from safeharbor_backup.actions.catalog.retention import (
    Condition,
    Reason,
    Verdict,
    Why,
    judge_archives,
    orders_disagree,
    tiers_of,
)
from safeharbor_backup.actions.deletion import delete_archive
from safeharbor_backup.errors import translate_os_error
from safeharbor_backup.settings.model import Concern
from safeharbor_backup.state.adopted import Adopted, read_adopted, write_adopted
from safeharbor_backup.state.history import require_history
from safeharbor_backup.state.known_settings import find_retention_not_given
from safeharbor_backup.state.marks import read_marks
from safeharbor_backup.system.atomic_file import fsync_directory
from safeharbor_backup.system.lock import directory_lock
from safeharbor_backup.text import ascii_safe, typed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from safeharbor_backup.actions.catalog.entries import CatalogEntry
    from safeharbor_backup.actions.catalog.retention import Candidate
    from safeharbor_backup.settings.model import Settings


class Guard(StrEnum):
    """What makes retention keep more than the contract says."""

    OTHER_DATABASE = "other database"
    SHORT = "short"
    DAMAGED = "damaged"
    UNREADABLE = "unreadable"
    DISORDER = "disorder"
    NOT_GIVEN = "retention not given"


@dataclass(frozen=True, slots=True)
class Notice:
    """A guard's code, and its sentence for people."""

    code: Guard
    text: str


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
    entries, unread = (list(archives), None) if archives is not None else _read_entries(settings.backup_dir)
    judged = [entry.candidate for entry in entries] + ([upcoming] if upcoming is not None else [])
    adopted = adopt_all(settings.backup_dir, entries) if adopt else read_adopted(settings.backup_dir)
    protected = {just_written: Reason(Why.JUST_WRITTEN, "just written")} if just_written else {}
    for name, why in read_marks(settings.backup_dir, [entry.name for entry in entries]).items():
        protected[name] = Reason(Why.KEPT, f"kept: {ascii_safe(why)}")

    def judge(hold: str = "") -> tuple[Verdict, ...]:
        held = Reason(Why.HELD, f"nothing is deleted: {hold}") if hold else None
        return tuple(judge_archives(judged, tiers_of(settings), protected=protected, hold=held))

    newest, hold = _judge_newest(entries, just_written, adopted, now or datetime.now(UTC))
    hold = hold or unread or _judge_retention(settings)
    if hold is not None:
        return PrunePlan(judge(hold.text), (Notice(hold.code, f"nothing was pruned: {hold.text}; {hold.remedy}"),))
    notices = [*_disorder(judged), *_unreadable(entries)]
    from_elsewhere = _find_from_elsewhere(entries, newest, judge(), adopted)
    protected |= {name: Reason(Why.OTHER_DATABASE, f"it is {why}") for name, why in from_elsewhere.items()}
    if from_elsewhere:
        which = "1 archive is" if len(from_elsewhere) == 1 else f"{len(from_elsewhere)} archives are"
        text = f"{which} not pruned: {next(iter(from_elsewhere.values()))}; {_parting()}"
        notices.insert(0, Notice(Guard.OTHER_DATABASE, text))
    return PrunePlan(judge(), tuple(notices))


def _parting() -> str:
    return f"give each application its own BACKUP_DIR; if they belong together, type `{typed('prune --adopt')}`"


@dataclass(frozen=True, slots=True)
class _Hold:
    """Why nothing is deleted, and what to do about that."""

    code: Guard
    text: str
    remedy: str


def _judge_newest(
    entries: list[CatalogEntry], just_written: str, adopted: Adopted, now: datetime
) -> tuple[CatalogEntry | None, _Hold | None]:
    """The newest archive that says something of itself, and the reason to delete nothing, if there is one.

    The newest is `just_written`, or by name; one from the future is not the newest as long as there are others, and one
    by another implementation shows nothing. If the newest cannot be read or is damaged, nothing is known of what was
    lost last, and nothing is deleted.
    """
    told = [entry for entry in entries if entry.state is not State.UNVERIFIED]
    told.sort(key=lambda each: (each.name == just_written, not is_from_future(each, now), each.name), reverse=True)
    if just_written and not (told and told[0].name == just_written):
        remedy = "find out what removed it"
        return None, _Hold(Guard.UNREADABLE, f"{just_written}, which was just written, cannot be looked at", remedy)
    if not told:
        return None, None
    newest, manifest = told[0], told[0].manifest
    if manifest is None or newest.state is not State.COMPLETE:
        if newest.state is State.UNREADABLE:
            remedy = "make it readable; until then it is unknown what was lost last"
            return newest, _Hold(Guard.UNREADABLE, f"the newest archive, {newest.name}: {newest.problem}", remedy)
        remedy = "take a new backup, or delete that file"
        return newest, _Hold(Guard.DAMAGED, f"the newest archive, {newest.name}, is damaged: {newest.problem}", remedy)
    earlier = next((entry.manifest for entry in told[1:] if entry.manifest is not None), None)
    of_others = judge_identity(manifest, earlier, adopted)
    if of_others:
        return newest, _Hold(Guard.OTHER_DATABASE, f"the previous archive is {of_others}", _parting())
    short = find_shortfall(entries, newest, adopted, lambda each: not judge_identity(manifest, each, adopted))
    if short is not None:
        remedy = f"look at the app's data and find the cause; if it is intended, type `{typed('prune --adopt')}`"
        return newest, _Hold(Guard.SHORT, short.text, remedy)
    return newest, None


def _read_entries(directory: Path) -> tuple[list[CatalogEntry], _Hold | None]:
    """The archives, and the reason to delete none if it is not known which ones verify has rejected."""
    try:
        return read_archives(directory, by=require_history), None
    except OSError as error:
        return read_archives(directory), _unknown("which archives verify has rejected", error, directory)


def _unknown(what: str, error: OSError, directory: Path) -> _Hold:
    remedy = f"make {error.filename or directory} readable"
    return _Hold(Guard.UNREADABLE, f"{what} cannot be read: {error.strerror}", remedy)


def _judge_retention(settings: Settings) -> _Hold | None:
    try:
        lacking = find_retention_not_given(settings)
    except OSError as error:
        return _unknown("which retention the previous backup used", error, settings.backup_dir)
    if not lacking:
        return None
    words = " ".join(f"{name}={text}" for name, text in lacking.items())
    text = f"the previous backup used {words}, which is not set here"
    return _Hold(Guard.NOT_GIVEN, text, "run this inside the app, or set the retention here")


def _find_from_elsewhere(
    entries: list[CatalogEntry], newest: CatalogEntry | None, verdicts: tuple[Verdict, ...], adopted: Adopted
) -> dict[str, str]:
    """The archives that would be deleted and are of another database, and why that is known."""
    if newest is None or newest.manifest is None:
        return {}
    to_delete = {verdict.name for verdict in verdicts if not verdict.keep}
    return {
        entry.name: why
        for entry in sorted(entries, key=lambda each: each.mtime_ns, reverse=True)
        if entry.name in to_delete and (why := judge_identity(newest.manifest, entry.manifest, adopted))
    }


def _disorder(candidates: list[Candidate]) -> list[Notice]:
    if not orders_disagree([each for each in candidates if each.condition is Condition.SOUND]):
        return []
    text = (
        "the archives' names and modification times contradict each other, as after a copy that lost the times; only "
        "archives that both orders would delete are pruned. `touch -d` or `cp -a` corrects the times"
    )
    return [Notice(Guard.DISORDER, text)]


def _unreadable(entries: list[CatalogEntry]) -> list[Notice]:
    found = [entry for entry in entries if entry.state is State.UNREADABLE]
    if not found:
        return []
    which = "1 archive stays" if len(found) == 1 else f"{len(found)} archives stay"
    return [Notice(Guard.UNREADABLE, f"{which} whatever retention says: {found[0].name}: {found[0].problem}")]


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
