"""What a check finds: a level, a sentence, and what to type."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from safeharbor_backup.errors import ExitStatus, SafeHarborError, SettingsInvalid, one_line

if TYPE_CHECKING:
    from datetime import datetime


class Level(StrEnum):
    """How bad it is.

    A problem makes a run fail. With a warning a backup would end with 3, or a restore would need something first.
    A note is worth knowing and hinders nothing. What could not be checked for a problem elsewhere is unknown.
    """

    OK = "ok"
    NOTE = "note"
    UNKNOWN = "unknown"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found. `exit_status` is the one that the run would end with; 0 unless it is a problem."""

    name: str
    level: Level
    text: str
    remedy: str = ""
    exit_status: ExitStatus = ExitStatus.DONE


@dataclass(frozen=True, slots=True)
class SettingShown:
    """A setting as it may be shown: never a secret's value."""

    name: str
    value: str
    origin: str


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All findings in the order in which runs would meet them, the settings, and when the next backups are due."""

    findings: tuple[Finding, ...]
    settings: tuple[SettingShown, ...]
    next_runs: tuple[datetime, ...]
    timezone: str

    @property
    def exit_status(self) -> ExitStatus:
        """The status of the first problem, which is the one that a run would end with; else 3 for a warning."""
        problems = [finding for finding in self.findings if finding.level is Level.PROBLEM]
        if problems:
            return problems[0].exit_status
        return ExitStatus.WARNINGS if self.count(Level.WARNING) else ExitStatus.DONE

    def count(self, level: Level) -> int:
        """How many findings are of this level."""
        return sum(finding.level is level for finding in self.findings)


def fine(name: str, text: str) -> Finding:
    """A finding that all is well."""
    return Finding(name, Level.OK, text)


def remark(name: str, text: str, remedy: str = "") -> Finding:
    """A finding that is worth knowing and hinders nothing."""
    return Finding(name, Level.NOTE, text, remedy)


def warning(name: str, text: str, remedy: str) -> Finding:
    """A finding that needs attention and stops no run."""
    return Finding(name, Level.WARNING, text, remedy)


def problem(name: str, text: str, remedy: str, status: ExitStatus) -> Finding:
    """A finding that makes a run end with `status`."""
    return Finding(name, Level.PROBLEM, text, remedy, status)


def not_checked(name: str, why: str) -> Finding:
    """A finding that could not be made, for a reason that another finding has."""
    return Finding(name, Level.UNKNOWN, f"not checked: {why}")


def failed(name: str, error: SafeHarborError) -> Finding:
    """The finding for an error that a run would raise here."""
    text = "; ".join(error.problems) if isinstance(error, SettingsInvalid) else error.message
    return problem(name, one_line(text), error.hint, error.exit_status)
