"""What the short sections of the page show: the facts in short, and the restore of the newest archive."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from safeharbor_backup.errors import ExitStatus
from safeharbor_backup.text import plural, show_bytes
from safeharbor_backup.web.commands import name_to_restore, restore_commands
from safeharbor_backup.web.format import UNKNOWN, ago, took

if TYPE_CHECKING:
    from datetime import datetime

    from safeharbor_backup.actions.status.schema import LastRun, StatusDocument


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
    """What an operator asks next: when, how proven, how much room."""
    newest = document.newest
    return [
        Fact("Newest archive", ago(newest.taken_at, now), newest.taken_at)
        if newest
        else Fact("Newest archive", "none"),
        _next_backup(document, now),
        _proof("Last verify", document.last_verify, now, "every byte read and compared"),
        _proof("Last drill", document.last_drill, now, "restored on trial and compared"),
        _room(document),
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


def _room(document: StatusDocument) -> Fact:
    if document.storage.free_bytes is None:
        return Fact("Room left", UNKNOWN)
    fits = "" if document.storage.fits is None else f"for {plural(document.storage.fits, 'more archive')}"
    if document.storage.fits is not None and document.storage.next_archive_bytes is not None:
        each = show_bytes(document.storage.next_archive_bytes)
        fits = f"{fits} of {each}" if document.storage.fits else f"the next one needs {each}"
    return Fact("Room left", show_bytes(document.storage.free_bytes), more=fits)


def restore_of(document: StatusDocument) -> Restore:
    """The restore of the newest archive that can be relied on."""
    name = name_to_restore(document)
    passed = document.latest.others if document.latest is not None else ()
    others = tuple(f"{each.name}: {each.text}" for each in passed)
    return Restore(name, restore_commands(name, document) if name else (), others)
