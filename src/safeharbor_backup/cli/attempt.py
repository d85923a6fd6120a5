"""One attempt of a command at its work: when it ends, how it ended is remembered and told."""

from __future__ import annotations

import time
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from safeharbor_backup.actions.alerts.messages import tell_end, tell_start
from safeharbor_backup.actions.status.metrics import publish_metrics
from safeharbor_backup.actions.status.published_file import publish_status
from safeharbor_backup.cli.streams import lost_output
from safeharbor_backup.errors import ExitStatus, SafeHarborError, one_line, translate_os_error
from safeharbor_backup.settings.model import Concern
from safeharbor_backup.state.history import Outcome, read_history, remember_outcome
from safeharbor_backup.state.known_settings import remember_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from safeharbor_backup.cli.ending import Ending
    from safeharbor_backup.cli.output import Output
    from safeharbor_backup.settings.model import Settings


class Attempt:
    """From its start to the moment at which all who want to know have been told.

    Nothing that hinders the telling changes how the command ends.
    """

    def __init__(self, command: str, settings: Settings, output: Output) -> None:
        self._command = command
        self._output = output
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
            self._output.warning(warning)

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
        renew_files(self._settings, self._output)
        warnings = tell_end(self._settings, outcome, ending.advice, run_id=self._id, history=history)
        for warning in warnings:
            self._output.warning(warning)
        if warnings:
            renew_files(self._settings, self._output)  # they tell that it was not told

    def _remember(self, outcome: Outcome) -> None:
        try:
            remember_outcome(self._settings, outcome)
        except (SafeHarborError, OSError) as error:
            failure = translate_os_error(error, "writing it") if isinstance(error, OSError) else error
            self._output.warning(f"the history of runs was not continued: {one_line(failure.message)}")
            return
        if outcome.command == "backup" and outcome.is_success:
            try:
                remember_settings(self._settings)
            except (SafeHarborError, OSError) as error:
                self._output.warning(f"what a restore without the app would go by was not written: {one_line(error)}")


def renew_files(settings: Settings, output: Output) -> None:
    """Publish the state where others read it; what hinders that is a warning and costs no run its status."""
    _renew(settings, output, "BACKUP_STATUS_FILE", settings.status_file, publish_status)
    _renew(settings, output, "BACKUP_METRICS_FILE", settings.metrics_file, publish_metrics)


def _renew(
    settings: Settings, output: Output, variable: str, path: Path | None, publish: Callable[[Settings, Path], None]
) -> None:
    for problem in settings.problems_in(Concern.MONITORING):
        if problem.variable == variable:
            output.warning(f"the state is published nowhere: {problem}")
    if path is None:
        return
    try:
        publish(settings, path)
    except (SafeHarborError, OSError) as error:
        failure = translate_os_error(error, "writing it") if isinstance(error, OSError) else error
        output.warning(f"{path} was not renewed: {one_line(failure.message)}")
