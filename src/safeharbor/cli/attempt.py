"""One attempt of a command at its work: when it ends, how it ended is remembered and told."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from safeharbor.cli.lazy import ATTEMPT_KEY
from safeharbor.cli.stderr import tell
from safeharbor.errors import ExitStatus, SafeHarborError, one_line, translate_os_error
from safeharbor.history import Outcome, append_outcome
from safeharbor.settings import Concern
from safeharbor.status_file import publish_status

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from safeharbor.settings import Settings


class Attempt:
    """From its start to the moment at which all who want to know have been told.

    Nothing that hinders the telling changes how the command ends.
    """

    def __init__(self, command: str, settings: Settings) -> None:
        self._command = command
        self._settings = settings
        self._started_at = datetime.now(UTC)
        self._started = time.monotonic()
        self._archive: str | None = None
        self._warnings: tuple[str, ...] = ()
        self._details: Mapping[str, object] = {}
        self._problem = ""

    def describe(
        self,
        *,
        archive: str | None,
        details: Mapping[str, object],
        warnings: Sequence[str] = (),
        problem: str = "",
    ) -> None:
        """What it came to. `archive` is a name without its directory, `problem` the reason if no error tells it."""
        self._archive = archive
        self._details = details
        self._warnings = tuple(warnings)
        self._problem = problem

    def end(self, status: int, reason: str = "") -> None:
        """It ended with this exit status; `reason` says why, if it failed."""
        if status == ExitStatus.DONE and self._warnings:  # --warnings-ok
            status = ExitStatus.WARNINGS
        outcome = Outcome(
            command=self._command,
            started_at=self._started_at,
            seconds=time.monotonic() - self._started,
            exit_status=int(status),
            reason=one_line(reason or self._problem),
            archive=self._archive,
            warnings=self._warnings,
            details=self._details,
        )
        self._remember(outcome)
        renew_status_file(self._settings)

    def _remember(self, outcome: Outcome) -> None:
        try:
            # if not, BACKUP_DIR is mistyped, or a copy is verified elsewhere
            if self._settings.backup_dir.is_dir():
                append_outcome(self._settings.backup_dir, outcome)
        except (SafeHarborError, OSError) as error:
            failure = translate_os_error(error, "writing it") if isinstance(error, OSError) else error
            tell(f"Warning: the history of runs was not continued: {one_line(failure.message)}")


def current_attempt() -> Attempt | None:
    """The running command's, if it is one whose runs are remembered."""
    found = click.get_current_context().meta.get(ATTEMPT_KEY)
    return found if isinstance(found, Attempt) else None


def renew_status_file(settings: Settings) -> None:
    """Publish the state where `BACKUP_STATUS_FILE` says; what hinders that is a warning and costs no run its status."""
    for problem in settings.problems_in(Concern.MONITORING):
        if problem.variable == "BACKUP_STATUS_FILE":
            tell(f"Warning: the state is published nowhere: {problem}")
    if settings.status_file is None:
        return
    try:
        publish_status(settings, settings.status_file)
    except (SafeHarborError, OSError) as error:
        failure = translate_os_error(error, "writing it") if isinstance(error, OSError) else error
        tell(f"Warning: {settings.status_file} was not renewed: {one_line(failure.message)}")
