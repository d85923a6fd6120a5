"""One attempt of a command at its work: when it ends, how it ended is remembered and told."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from safeharbor_backup.actions.alerts.messages import Advice, tell_end, tell_start
from safeharbor_backup.actions.status.metrics import publish_metrics
from safeharbor_backup.actions.status.published_file import publish_status
from safeharbor_backup.cli.json_log import ERROR, INFO, WARNING, JsonLog, show_warning
from safeharbor_backup.cli.lazy import ATTEMPT_KEY
from safeharbor_backup.cli.output import lost_output
from safeharbor_backup.errors import ExitStatus, SafeHarborError, one_line, translate_os_error
from safeharbor_backup.settings.model import Concern
from safeharbor_backup.state.history import Outcome, read_history, remember_outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from safeharbor_backup.settings.model import Settings


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended: its exit status and, if it failed, why, what is still intact and what to do next."""

    status: int
    reason: str = ""
    advice: Advice = field(default_factory=Advice)
    problems: tuple[str, ...] = ()


def ending_of(error: SafeHarborError) -> Ending:
    """How a run ends that this error has stopped."""
    problems = getattr(error, "problems", ())
    return Ending(error.exit_status, error.message, Advice(error.intact, error.hint), problems)


def log_ending(log: JsonLog, ending: Ending, outcome: Outcome | None, command: str | None = None) -> None:
    """How a run ended: `done` or `failed`; `outcome` has what is known of a run that is remembered."""
    status = int(outcome.exit_status if outcome is not None else ending.status)
    is_good = status in (ExitStatus.DONE, ExitStatus.WARNINGS)
    size = outcome.details.get("size_bytes") if outcome is not None else None
    log.emit(
        "done" if is_good else "failed",
        (INFO if status == ExitStatus.DONE else WARNING) if is_good else ERROR,
        is_result=is_good and not log.has_document,
        command=command or log.command,
        exit_status=status,
        seconds=round(outcome.seconds, 3) if outcome is not None else None,
        archive=outcome.archive if outcome is not None else None,
        bytes=size,
        message=ending.reason or (outcome.reason if outcome is not None else "") or None,
        problems=list(ending.problems) or None,
        intact=ending.advice.intact or None,
        hint=ending.advice.hint or None,
        warnings=list(outcome.warnings) if outcome is not None and outcome.warnings else None,
        details=dict(outcome.details) if outcome is not None and outcome.details else None,
    )


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
        self._id = str(uuid.uuid4())
        self._lost_before = lost_output()

    def begin(self) -> None:
        """It begins now; whoever waits for that is told."""
        for warning in tell_start(self._settings, self._command, self._id):
            show_warning(warning)

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

    def outcome(self, ending: Ending) -> Outcome:
        """What is remembered of it, if it ends now and in this way."""
        status = ending.status
        if status == ExitStatus.DONE and self._warnings:  # --warnings-ok
            status = ExitStatus.WARNINGS
        return Outcome(
            command=self._command,
            started_at=self._started_at,
            seconds=time.monotonic() - self._started,
            exit_status=int(status),
            reason=one_line(ending.reason or self._problem),
            archive=self._archive,
            warnings=self._warnings,
            details=self._details,
            output_lost=lost_output() > self._lost_before,
        )

    def end(self, ending: Ending) -> None:
        """It ended in this way."""
        outcome = self.outcome(ending)
        history = read_history(self._settings.backup_dir) if self._settings.notify_urls else ()
        self._remember(outcome)
        renew_files(self._settings)
        warnings = tell_end(self._settings, outcome, ending.advice, run_id=self._id, history=history)
        for warning in warnings:
            show_warning(warning)
        if warnings:
            renew_files(self._settings)  # they tell that it was not told

    def _remember(self, outcome: Outcome) -> None:
        try:
            remember_outcome(self._settings, outcome)
        except (SafeHarborError, OSError) as error:
            failure = translate_os_error(error, "writing it") if isinstance(error, OSError) else error
            show_warning(f"the history of runs was not continued: {one_line(failure.message)}")


def current_attempt() -> Attempt | None:
    """The running command's, if it is one whose runs are remembered."""
    found = click.get_current_context().meta.get(ATTEMPT_KEY)
    return found if isinstance(found, Attempt) else None


def renew_files(settings: Settings) -> None:
    """Publish the state where others read it; what hinders that is a warning and costs no run its status."""
    _renew(settings, "BACKUP_STATUS_FILE", settings.status_file, publish_status)
    _renew(settings, "BACKUP_METRICS_FILE", settings.metrics_file, publish_metrics)


def _renew(settings: Settings, variable: str, path: Path | None, publish: Callable[[Settings, Path], None]) -> None:
    for problem in settings.problems_in(Concern.MONITORING):
        if problem.variable == variable:
            show_warning(f"the state is published nowhere: {problem}")
    if path is None:
        return
    try:
        publish(settings, path)
    except (SafeHarborError, OSError) as error:
        failure = translate_os_error(error, "writing it") if isinstance(error, OSError) else error
        show_warning(f"{path} was not renewed: {one_line(failure.message)}")
