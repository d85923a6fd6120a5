"""What a reader of the status document may conclude now: one state, one sentence, and what to look at."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from safeharbor_backup.actions.status.health import Code
from safeharbor_backup.actions.status.schema import SCHEMA
from safeharbor_backup.text import plural
from safeharbor_backup.web.format import counted, size, span

if TYPE_CHECKING:
    from datetime import datetime

    from safeharbor_backup.actions.status.schema import Newest, StatusDocument

_MAX_AGE_SECONDS = 26 * 3600.0
_CLOCKS_DIFFER_SECONDS = 60.0


class State(StrEnum):
    """The state of the backups in one word, as the page names it."""

    GOOD = "good"
    WAITING = "waiting"
    WARNING = "warning"
    FAILED = "failed"
    STALE = "stale"
    INTERRUPTED = "interrupted"
    UNKNOWN = "not known"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The state in a sentence, what the sentence leaves open, and what there is to look at."""

    state: State
    sentence: str
    explanation: str
    reasons: tuple[str, ...] = ()


def judge_document(document: StatusDocument, now: datetime, unknown_after_seconds: float | None = None) -> Verdict:
    """The verdict at this moment. Ages are reckoned from `newest.taken_at` and this clock, not the writer's."""
    if document.schema != SCHEMA:
        told = "None can be read from it." if document.schema is None else f"It has schema {document.schema}."
        explanation = f"The status document is not one that this version understands. {told}"
        return Verdict(State.UNKNOWN, "The state of the backups is not known.", explanation)
    limit = document.max_age_seconds or _MAX_AGE_SECONDS
    newest = document.newest
    age = None if newest is None else (now - newest.taken_at).total_seconds()
    silence = _silence(document, now, unknown_after_seconds or limit)
    if silence:
        known = "" if age is None else f" The newest known archive is {span(age)} old."
        return Verdict(State.UNKNOWN, "The state of the backups is not known.", silence + known, _but(document))
    if document.interrupted is not None or document.health == "interrupted":
        explanation = "No backup is taken until it is settled. Two commands below settle it."
        reasons = _but(document, Code.INTERRUPTED)
        return Verdict(State.INTERRUPTED, "A restore was interrupted.", explanation, reasons)
    if newest is None or age is None:
        return _judge_absence(document)
    return _judge_newest(document, newest, age, limit)


def _judge_absence(document: StatusDocument) -> Verdict:
    if document.health == "waiting":
        return Verdict(State.WAITING, "No backup yet.", "The first one will be shown here.")
    if document.gone is not None:
        gone = next((each.text for each in document.findings or () if each.code == Code.GONE), "")
        return Verdict(
            State.FAILED, "The backups are gone.", f"{gone[:1].upper()}{gone[1:]}.", _but(document, Code.GONE)
        )
    explanation = "No archive is known to be complete."
    reasons = _but(document, Code.NO_ARCHIVE)
    return Verdict(State.STALE, "There is no backup.", explanation, reasons)


def _judge_newest(document: StatusDocument, newest: Newest, age: float, limit: float) -> Verdict:
    what = (
        f"The newest archive is {span(age)} old, {size(newest.size_bytes)}, with {counted(newest.rows, 'row')} and "
        f"{counted(newest.upload_files, 'upload')}."
    )
    reasons = _but(document, Code.TOO_OLD)
    if age > limit or document.health == "stale":
        why = f"The limit is {span(limit)}. {what}"
        return Verdict(State.STALE, "The newest backup is too old.", why, reasons)
    if age < -_CLOCKS_DIFFER_SECONDS and not any(each.code == Code.FUTURE for each in document.findings or ()):
        reasons = ("The newest archive is from the future: a clock is wrong.", *reasons)
    failure = document.last_failure
    has_failed = failure is not None and failure.command == "backup" and failure.started_at > newest.taken_at
    if document.health == "failed" or has_failed:
        which = failure.command if failure is not None and failure.command else "run"
        reasons = _but(document, Code.RUN_FAILED, command=failure.command if failure is not None else "")
        return Verdict(State.FAILED, f"The last {which} failed.", what, reasons)
    if document.health == "warning" or reasons:
        things = plural(len(reasons), "thing") if reasons else "something"
        return Verdict(State.WARNING, f"There is a backup, and {things} to look at.", what, reasons)
    return Verdict(State.GOOD, "The backups are good.", what)


def _but(document: StatusDocument, *codes: Code, command: str | None = None) -> tuple[str, ...]:
    """The reasons but those of these codes, which the page tells in another place; of this command, if one is named."""
    return tuple(
        finding.text
        for finding in document.findings or ()
        if finding.code not in codes or (command is not None and finding.command != command)
    )


def _silence(document: StatusDocument, now: datetime, unknown_after_seconds: float) -> str:
    """That nobody has looked for too long, if the document tells when somebody did."""
    if not document.published_at:
        return ""
    seconds = (now - document.published_at).total_seconds()
    return f"No run has reported for {span(seconds)}." if seconds > unknown_after_seconds else ""
