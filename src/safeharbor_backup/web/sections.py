"""What the short sections of the page show: the facts in short, and the restore of the newest archive."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from safeharbor_backup.errors import ExitStatus
from safeharbor_backup.text import plural, show_bytes
from safeharbor_backup.web.commands import name_to_restore, restore_commands
from safeharbor_backup.web.format import UNKNOWN, ago, span, took

if TYPE_CHECKING:
    from datetime import datetime

    from safeharbor_backup.actions.status.run_schema import LastRun
    from safeharbor_backup.actions.status.schema import StatusDocument


@dataclass(frozen=True, slots=True)
class Fact:
    """A name and what is known; below it a moment, a text, or the one after the other."""

    name: str
    text: str
    moment: datetime | None = None
    more: str = ""


@dataclass(frozen=True, slots=True)
class Restore:
    """The archive that `latest` means ("": none), how it is restored, and why others are not meant."""

    name: str
    commands: tuple[str, ...]
    others: tuple[str, ...]


def facts_of(document: StatusDocument, now: datetime) -> list[Fact]:
    """What an operator asks next: when, how proven, how much space."""
    newest = document.newest
    return [
        Fact("Newest archive", ago(newest.taken_at, now), newest.taken_at)
        if newest
        else Fact("Newest archive", "none"),
        _next_backup(document, now),
        _proof("Last verify", document.last_verify, now, "every byte read and compared"),
        _proof("Last drill", document.last_drill, now, "restored on trial and compared"),
        *_copies(document, now),
        _room(document),
        *_since_the_previous(document),
        _objectives(document),
        *_told(document),
    ]


def _next_backup(document: StatusDocument, now: datetime) -> Fact:
    moment = document.next_backup
    if moment is None:
        zone = f"{document.schedule} ({document.timezone or 'UTC'})" if document.schedule else ""
        return Fact("Next backup", UNKNOWN, more=zone)
    return Fact("Next backup", ago(moment, now) if moment > now else "due now", moment)


def _proof(name: str, run: LastRun | None, now: datetime, meaning: str) -> Fact:
    if run is None:
        return Fact(name, "never", more=meaning)
    result = "Failed"
    if run.is_success:
        result = "Passed" if run.exit_status == ExitStatus.DONE else "With warnings"
    return Fact(name, f"{result} {ago(run.started_at, now)}", run.started_at, f", in {took(run.seconds)}")


def _since_the_previous(document: StatusDocument) -> list[Fact]:
    """What the newest archive has more, or less, than the previous one."""
    known = [each for each in document.contents if each.rows is not None][:2]
    if len(known) < 2:
        return []
    new, old = known
    rows = _more(new.rows, old.rows, "row")
    others = [_more(new.upload_files, old.upload_files, "upload"), _more(new.tables, old.tables, "table")]
    return [Fact("Since the previous archive", rows, more=", ".join(each for each in others if each))]


def _more(new: int | None, old: int | None, noun: str) -> str:
    if new is None or old is None:
        return ""
    many = plural(abs(new - old), noun)
    return f"+{many}" if new > old else f"\N{MINUS SIGN}{many}" if new < old else f"no change in {noun}s"


def _objectives(document: StatusDocument) -> Fact:
    """How old an archive may be, how long a restore may take, and how long it took."""
    drill = next((run for run in reversed(document.history) if run.restore_seconds is not None), None)
    last = f"the last one took {took(drill.restore_seconds)}" if drill is not None and drill.restore_seconds else ""
    most = document.drill_max_seconds
    restore = f"a restore at most {took(most)}" if most is not None else "no objective for a restore"
    age = f"At most {span(document.max_age_seconds)} old" if document.max_age_seconds is not None else UNKNOWN
    return Fact("Objectives", age, more="; ".join(filter(None, (restore, last))))


def _told(document: StatusDocument) -> list[Fact]:
    if document.told is None:
        return []
    if not document.told:
        return [Fact("Alerts go to", "nobody", more="no alert is set up")]
    return [Fact("Alerts go to", document.told[0], more=", ".join(document.told[1:]))]


def _copies(document: StatusDocument, now: datetime) -> list[Fact]:
    """The newest copy elsewhere, and how many there are; nothing where there are none on purpose."""
    if document.offsite is None:
        return []
    made = sorted((each.copied_at, each.name, each) for each in document.offsite if each.copied_at is not None)
    if not made:
        return [Fact("Off-site copy", "none known", more="a job reports each copy with offsite-done")]
    copied_at, _, newest = made[-1]
    drilled = f", drilled {ago(newest.drilled_at, now)}" if newest.drilled_at is not None else ""
    others = f", and {len(made) - 1} more" if len(made) > 1 else ""
    return [Fact("Off-site copy", ago(copied_at, now), copied_at, f", {newest.name}{drilled}{others}")]


def _room(document: StatusDocument) -> Fact:
    if document.storage.free_bytes is None:
        return Fact("Free space", UNKNOWN)
    fits = "" if document.storage.fits is None else f"for {plural(document.storage.fits, 'more archive')}"
    if document.storage.fits is not None and document.storage.next_archive_bytes is not None:
        each = show_bytes(document.storage.next_archive_bytes)
        fits = f"{fits} of {each}" if document.storage.fits else f"the next one needs {each}"
    return Fact("Free space", show_bytes(document.storage.free_bytes), more=fits)


def restore_of(document: StatusDocument) -> Restore:
    """The restore of the newest archive that can be relied on."""
    name = name_to_restore(document)
    passed = document.latest.others if document.latest is not None else ()
    others = tuple(f"{each.name}: {each.text}" for each in passed)
    return Restore(name, restore_commands(name, document) if name else (), others)
