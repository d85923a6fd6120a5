"""A run of a command: its settings, its output, and who hears how it ended."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from safeharbor_backup.cli.app_loading import AppNotLoaded
from safeharbor_backup.cli.attempt import RecordedRun, renew_files
from safeharbor_backup.cli.died_runs import tell_of_died_runs
from safeharbor_backup.cli.failure import failure_of
from safeharbor_backup.cli.json_output import JSON
from safeharbor_backup.cli.json_streams import speaking_json
from safeharbor_backup.cli.lazy import LOG_FORMAT_KEY
from safeharbor_backup.cli.output import Output, TextOutput, is_good
from safeharbor_backup.cli.settings_source import (
    is_journal,
    log_format_before_the_app,
    read_settings,
    remember_how_run,
    wants_no_color,
)
from safeharbor_backup.cli.without_app import describe_fallback
from safeharbor_backup.errors import ExitStatus, Interrupted, SafeHarborError
from safeharbor_backup.settings.misspelt import find_misspelt
from safeharbor_backup.settings.model import Concern
from safeharbor_backup.state.journal import find_interrupted
from safeharbor_backup.system.lock import is_locked
from safeharbor_backup.system.signals import signals_interrupt

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    import click

    from safeharbor_backup.cli.ending import Ending
    from safeharbor_backup.settings.model import Settings


_NEED_THE_APP = ("backup", "scheduler")  # what they would leave out without it nobody would miss in time


class Run:
    """What `SafeHarborCommand` gives to a command, and ends when the command has ended.

    A command calls `start` if it is remembered how it ends, else `read_settings`; both load the app that is named.
    """

    def __init__(self, context: click.Context) -> None:
        self.command = str(context.info_name)
        self.output: Output = TextOutput()
        self.is_remembered = False
        self._context = context
        self._settings: Settings | None = None
        self._attempt: RecordedRun | None = None
        self._renews_files = False
        self._until_end = ExitStack()

    def __enter__(self) -> Run:
        remember_how_run(self._context)
        if wants_no_color():
            self._context.color = False
        self._choose_output(None)  # by the command line alone: a mistake on it ends the run before there are settings
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._until_end.__exit__(kind, error, trace)

    def read_settings(
        self, *, quiet: bool = False, notices_restore: bool = True, renews_files: bool = False
    ) -> Settings:
        """The settings. The command reports a restore that was interrupted, unless it is about restores itself.

        With `renews_files` the end of the run renews the files that publish the state. Raises SettingsInvalid.
        """
        settings = self._load(quiet=quiet)
        self._renews_files = renews_files
        tell_of_died_runs(settings, self.output)
        if notices_restore:
            self._notice_restore(settings.backup_dir)
        return settings

    def start(self, *, quiet: bool = False, notices_restore: bool = True) -> Settings:
        """The settings, as `read_settings`, of a run that is remembered from now on, however it ends.

        Whoever waits for the start is pinged now; the end goes into the history, and to whom alerts go.
        """
        try:
            settings = self._load(quiet=quiet)
        except AppNotLoaded as failure:  # a backup that fails as any other
            known = failure.fallback or failure.ground
            if known is not None and self.command in _NEED_THE_APP:
                self._begin(known)
            raise
        self._begin(settings)
        if notices_restore:
            self._notice_restore(settings.backup_dir)
        return settings

    def over(self) -> None:
        """End the time limit: the work is done, or has failed."""
        if self._attempt is not None:
            self._attempt.over()

    def _begin(self, settings: Settings) -> None:
        self.is_remembered = True
        tell_of_died_runs(settings, self.output)
        self._attempt = RecordedRun(self.command, settings, self.output)
        self._attempt.begin()

    def describe(
        self, *, archive: str | None, details: Mapping[str, object], warnings: Sequence[str] = (), problem: str = ""
    ) -> None:
        """Describe the result for the history and alerts, if this run is recorded."""
        if self._attempt is not None:
            self._attempt.describe(archive=archive, details=details, warnings=warnings, problem=problem)

    def end(self, ending: Ending) -> None:
        """End the run: print how it ended, record it, and send alerts."""
        if self._context.params.get("as_json") and not is_good(ending.status) and not self.output.documents:
            self.output.document(failure_of(ending))
        self.output.end(ending, self._attempt.outcome(ending) if self._attempt is not None else None)
        if not is_good(ending.status) and isinstance(self.output, TextOutput) and is_journal():
            # systemd calls it by the name that init scripts had for this number
            self.output.line(f"Ended with {int(ending.status)}, {ExitStatus(ending.status).name}")
        try:
            with signals_interrupt():
                if self._attempt is not None:
                    self._attempt.end(ending)
                elif self._settings is not None and self._renews_files:
                    renew_files(self._settings, self.output)
        except Interrupted:
            pass  # the run itself is over, and keeps its status

    def _load(self, *, quiet: bool) -> Settings:
        self._choose_output(log_format_before_the_app())
        try:
            settings = read_settings(self._context, self.output, quiet=quiet)
        except AppNotLoaded as failure:
            if self.command in _NEED_THE_APP:
                failure.hint = AppNotLoaded.hint
                raise
            if failure.fallback is None:
                raise
            settings = failure.fallback
            self.output.warning(describe_fallback(failure, settings.origins.values()))
        self._settings = settings
        remember_how_run(self._context, settings)
        self._choose_output(settings.log_format)
        for problem in settings.problems_in(Concern.MONITORING) if LOG_FORMAT_KEY in self._context.meta else ():
            if problem.variable == "BACKUP_LOG_FORMAT":
                self.output.warning(str(problem))
        told = {problem.variable for problem in settings.problems}
        for name, meant in find_misspelt(set(settings.unknown) - told):
            self.output.warning(f"{name} is not a setting and has no effect; did you mean {meant}?")
        return settings

    def _choose_output(self, configured: str | None) -> None:
        """Write JSON from here on, if the command can and was asked to."""
        meta, options = self._context.meta, self._context.params
        if LOG_FORMAT_KEY not in meta or not isinstance(self.output, TextOutput):
            return  # it has no such option, or has begun
        if (meta[LOG_FORMAT_KEY] or configured) == JSON:
            has_document = bool(options.get("as_json"))
            is_quiet = has_document or bool(options.get("quiet"))
            speaking = speaking_json(self.command, is_quiet=is_quiet, has_document=has_document)
            self.output = self._until_end.enter_context(speaking)

    def _notice_restore(self, directory: Path) -> None:
        try:
            pending = find_interrupted(directory)
        except (SafeHarborError, OSError):
            return
        if pending is None or is_locked(directory):  # one that is running is not interrupted
            return
        error = pending.pending_error()
        self.output.warning(f"{error.message} {error.hint}")
