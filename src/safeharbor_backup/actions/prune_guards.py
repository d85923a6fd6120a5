"""What makes a prune keep more than the contract of retention asks for: all archives, or some of them, and why."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from safeharbor_backup.actions.catalog.entries import State, is_from_future
from safeharbor_backup.actions.catalog.guards import find_shortfall, judge_identity
from safeharbor_backup.actions.catalog.last_runs import read_archives
from safeharbor_backup.actions.catalog.retention import Condition, orders_disagree
from safeharbor_backup.state.history import require_history
from safeharbor_backup.state.known_settings import find_retention_not_given
from safeharbor_backup.text import typed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

    from safeharbor_backup.actions.catalog.entries import CatalogEntry
    from safeharbor_backup.actions.catalog.retention import Candidate, Verdict
    from safeharbor_backup.settings.model import Settings
    from safeharbor_backup.state.adopted import Adopted


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
class Hold:
    """Why nothing is deleted, and what to do about that."""

    code: Guard
    text: str
    remedy: str


def read_entries(directory: Path) -> tuple[list[CatalogEntry], Hold | None]:
    """The archives, and the reason to delete none if it is not known which ones verify has rejected."""
    try:
        return read_archives(directory, by=require_history), None
    except OSError as error:
        return read_archives(directory), _unknown("which archives verify has rejected", error, directory)


def judge_newest(
    entries: list[CatalogEntry], just_written: str, adopted: Adopted, now: datetime
) -> tuple[CatalogEntry | None, Hold | None]:
    """The newest archive that says something of itself, and the reason to delete nothing, if there is one.

    The newest is `just_written`, or by name; one from the future is not the newest as long as there are others, and one
    by another implementation shows nothing. If the newest cannot be read or is damaged, nothing is known of what was
    lost last, and nothing is deleted.
    """
    told = [entry for entry in entries if entry.state is not State.UNVERIFIED]
    told.sort(key=lambda each: (each.name == just_written, not is_from_future(each, now), each.name), reverse=True)
    if just_written and not (told and told[0].name == just_written):
        remedy = "find out what removed it"
        return None, Hold(Guard.UNREADABLE, f"{just_written}, which was just written, cannot be looked at", remedy)
    if not told:
        return None, None
    newest, manifest = told[0], told[0].manifest
    if manifest is None or newest.state is not State.COMPLETE:
        if newest.state is State.UNREADABLE:
            remedy = "make it readable; until then it is unknown what was lost last"
            return newest, Hold(Guard.UNREADABLE, f"the newest archive, {newest.name}: {newest.problem}", remedy)
        remedy = "take a new backup, or delete that file"
        return newest, Hold(Guard.DAMAGED, f"the newest archive, {newest.name}, is damaged: {newest.problem}", remedy)
    earlier = next((entry.manifest for entry in told[1:] if entry.manifest is not None), None)
    of_others = judge_identity(manifest, earlier, adopted)
    if of_others:
        return newest, Hold(Guard.OTHER_DATABASE, f"the previous archive is {of_others}", _parting())
    short = find_shortfall(entries, newest, adopted, lambda each: not judge_identity(manifest, each, adopted))
    if short is not None:
        remedy = f"look at the app's data and find the cause; if it is intended, type `{typed('prune --adopt')}`"
        return newest, Hold(Guard.SHORT, short.text, remedy)
    return newest, None


def judge_retention(settings: Settings) -> Hold | None:
    """The reason to delete nothing if the previous backup had a retention that is not set here, or it is not known."""
    try:
        lacking = find_retention_not_given(settings)
    except OSError as error:
        return _unknown("which retention the previous backup used", error, settings.backup_dir)
    if not lacking:
        return None
    words = " ".join(f"{name}={text}" for name, text in lacking.items())
    text = f"the previous backup used {words}, which is not set here"
    return Hold(Guard.NOT_GIVEN, text, "run this inside the app, or set the retention here")


def _unknown(what: str, error: OSError, directory: Path) -> Hold:
    remedy = f"make {error.filename or directory} readable"
    return Hold(Guard.UNREADABLE, f"{what} cannot be read: {error.strerror}", remedy)


def find_from_elsewhere(
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


def notice_others(from_elsewhere: Mapping[str, str]) -> list[Notice]:
    """That these archives, each with why it is of another database, stay, if there are such."""
    if not from_elsewhere:
        return []
    which = "1 archive is" if len(from_elsewhere) == 1 else f"{len(from_elsewhere)} archives are"
    text = f"{which} not pruned: {next(iter(from_elsewhere.values()))}; {_parting()}"
    return [Notice(Guard.OTHER_DATABASE, text)]


def notice_disorder(candidates: list[Candidate]) -> list[Notice]:
    """That names and modification times contradict each other, if they do."""
    if not orders_disagree([each for each in candidates if each.condition is Condition.SOUND]):
        return []
    text = (
        "the archives' names and modification times contradict each other, as after a copy that lost the times; only "
        "archives that both orders would delete are pruned. `touch -d` or `cp -a` corrects the times"
    )
    return [Notice(Guard.DISORDER, text)]


def notice_unreadable(entries: list[CatalogEntry]) -> list[Notice]:
    """That archives cannot be read and therefore stay, if there are such."""
    found = [entry for entry in entries if entry.state is State.UNREADABLE]
    if not found:
        return []
    which = "1 archive stays" if len(found) == 1 else f"{len(found)} archives stay"
    return [Notice(Guard.UNREADABLE, f"{which} whatever retention says: {found[0].name}: {found[0].problem}")]


def _parting() -> str:
    return f"give each application its own BACKUP_DIR; if they belong together, type `{typed('prune --adopt')}`"
