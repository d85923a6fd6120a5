"""One run of a command: when it ends, its outcome is recorded and reported."""

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
from safeharbor_backup.state.at_work import AtWork, WorkMark, mark_work
from safeharbor_backup.state.history import Outcome, is_in_place, read_history, remember_outcome
from safeharbor_backup.state.known_settings import remember_settings
from safeharbor_backup.system.signals import Deadline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from safeharbor_backup.cli.ending import Ending
    from safeharbor_backup.cli.output import Output
    from safeharbor_backup.settings.model import Settings


_LIMITED = ("backup", "verify", "drill", "prune")  # a restore is never ended by the clock


class RecordedRun:
    """A run, from its start until its outcome has been recorded and reported.

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
        self._mark: WorkMark | None = None
        self._deadline = Deadline(settings.max_runtime_seconds if command in _LIMITED else None)

    def begin(self) -> None:
        """Begin the run, and ping whoever waits for that."""
        self._mark = self._marked()
        if self._command in _LIMITED:
            for problem in self._settings.problems_in(Concern.MONITORING):
                if problem.variable == "BACKUP_MAX_RUNTIME":
                    self._output.warning(f"{problem}. Nothing limits this run")
        self._deadline.start()
        for warning in tell_start(self._settings, self._command, self._id):
            self._output.warning(warning)

    def over(self) -> None:
        """End the time limit: the work is done, or has failed."""
        self._deadline.call_off()

    def describe(
        self,
        *,
        archive: str | None,
        details: Mapping[str, object],
        warnings: Sequence[str] = (),
        problem: str = "",
    ) -> None:
        """What it came to. `archive` is a name without its directory, `problem` the reason if no error has it."""
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
            advice=one_line(ending.advice.hint),
            output_lost=lost_output() > self._lost_before,
        )

    def end(self, ending: Ending) -> None:
        """Record and report this end."""
        self.over()
        outcome = self.outcome(ending)
        history = read_history(self._settings.backup_dir) if self._settings.notify_urls else ()
        self._remember(outcome)
        if self._mark is not None:
            self._mark.remove()
        renew_files(self._settings, self._output)
        warnings = tell_end(self._settings, outcome, ending.advice, run_id=self._id, history=history)
        for warning in warnings:
            self._output.warning(warning)
        if warnings:
            renew_files(self._settings, self._output)  # they report that it was not reported

    def _marked(self) -> WorkMark | None:
        """The mark by which the next command sees if this one dies; what hinders it is reported with the history."""
        try:
            if not is_in_place(self._settings):
                return None
            return mark_work(self._settings.backup_dir, AtWork(self._command, self._id, self._started_at))
        except (SafeHarborError, OSError):
            return None

    def _remember(self, outcome: Outcome) -> None:
        try:
            remember_outcome(self._settings, outcome)
        except (SafeHarborError, OSError) as error:
            failure = translate_os_error(error, "writing it") if isinstance(error, OSError) else error
            self._output.warning(f"the run was not recorded in the history: {one_line(failure.message)}")
            return
        if outcome.command == "backup" and outcome.is_success:
            try:
                remember_settings(self._settings)
            except (SafeHarborError, OSError) as error:
                self._output.warning(f"the settings for a restore without the app were not recorded: {one_line(error)}")


def renew_files(settings: Settings, output: Output) -> None:
    """Publish the state where others read it; what hinders that is a warning and costs no run its status."""
    _renew(settings, output, "BACKUP_STATUS_FILE", settings.status_file, publish_status)
    _renew(settings, output, "BACKUP_METRICS_FILE", settings.metrics_file, publish_metrics)


def _renew(
    settings: Settings,
    output: Output,
    variable: str,
    path: Path | None,
    publish: Callable[[Settings, Path], Iterable[str] | None],
) -> None:
    for problem in settings.problems_in(Concern.MONITORING):
        if problem.variable == variable:
            output.warning(f"the state was not published: {problem}")
    if path is None:
        return
    try:
        for hindrance in publish(settings, path) or ():
            output.warning(one_line(hindrance))
    except (SafeHarborError, OSError) as error:
        failure = translate_os_error(error, "writing it") if isinstance(error, OSError) else error
        output.warning(f"{path} was not renewed: {one_line(failure.message)}")
