"""What a check of doctor is, what checks go by, and how the failure of one becomes its own line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import psycopg

from safeharbor_backup.actions.doctor.findings import Finding, failed, not_checked, warning
from safeharbor_backup.errors import SafeHarborError, one_line, translate_os_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from safeharbor_backup.actions.doctor.write_probe import Probed
    from safeharbor_backup.archive.manifest import Manifest
    from safeharbor_backup.settings.model import Settings

UNREACHABLE = "the database cannot be reached"
Answers = Mapping[str, Sequence[Finding]]  # by the name of the check
Subject = TypeVar("Subject")


@dataclass(frozen=True, slots=True)
class DatabaseInspection:
    """What the live database answered. `unknown` is why it did not; "" if it did.

    `major` is the server's, None if it was not reached. Size in bytes; None where it is unknown.
    """

    connection: Finding
    answers: Answers
    unknown: str = ""
    major: int | None = None
    size: int | None = None
    extensions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Context:
    """What all checks use. `unreadable` is why BACKUP_DIR cannot be read; "" if it can."""

    settings: Settings
    now: datetime
    newest: Manifest | None
    unreadable: str
    directory: Sequence[Finding]
    probed: Probed | None
    live: DatabaseInspection
    target: Answers


def unreadable(context: Context) -> str:
    """What blocks a check that lists BACKUP_DIR."""
    return context.unreadable


@dataclass(frozen=True, slots=True)
class Check(Generic[Subject]):
    """The name of a line, its row in docs/doctor.md, how it is found, and what blocks it.

    `look` raises what a run would raise: SafeHarborError, OSError. If `blocked_by` then names another finding that
    explains the error, the line refers to that one. Without `look`, the check above reports it, or the command does.
    """

    name: str
    meaning: str
    look: Callable[[Subject], Sequence[Finding]] | None = None
    blocked_by: Callable[[Subject], str] | None = None

    def run(self, subject: Subject) -> Sequence[Finding]:
        """Run the check. Returns its findings; an error becomes a finding."""
        try:
            return () if self.look is None else self.look(subject)
        except (SafeHarborError, OSError) as error:
            if self.blocked_by is not None and (why := self.blocked_by(subject)):
                return [not_checked(self.name, why)]
            ours = error if isinstance(error, SafeHarborError) else translate_os_error(error, "looking at it")
            return [failed(self.name, ours)]

    def ask(self, session: psycopg.Connection, subject: Subject) -> Sequence[Finding]:
        """The same in a session's open transaction; a refused query costs this check only.

        Raises psycopg.Error if the session itself is lost.
        """
        try:
            with session.transaction():
                return self.run(subject)
        except psycopg.Error as error:
            if session.broken or session.closed:
                raise
            # a server's answer to our own query, which holds no address
            why = f"the database did not answer: {one_line(error)}"
            return [warning(self.name, why, "The server's log may say more.")]


def unasked(checks: Iterable[Check[Any]], why: str) -> Answers:
    """That none of these queries was asked."""
    return {check.name: [not_checked(check.name, why)] for check in checks}


def answered(check: Check[Any], answers: Callable[[Context], Answers]) -> Check[Context]:
    """A check of which the query has been asked already, among others in one session."""
    return Check(check.name, check.meaning, lambda context: answers(context)[check.name])
