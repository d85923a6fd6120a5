"""What all commands share: errors and signals become messages and exit statuses here, and nowhere else."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import click

from safeharbor_backup.actions.alerts.messages import Advice
from safeharbor_backup.cli.attempt import Attempt, Ending, ending_of, log_ending, renew_files
from safeharbor_backup.cli.json_log import begin_log, current_log, logging_run, show_warning
from safeharbor_backup.cli.lazy import ATTEMPT_KEY, LOG_FORMAT_KEY, SETTINGS_KEY
from safeharbor_backup.cli.output import best_effort_output, tell
from safeharbor_backup.errors import ExitStatus, Interrupted, SafeHarborError, translate_os_error
from safeharbor_backup.settings.model import Concern
from safeharbor_backup.system.signals import signals_interrupt

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from safeharbor_backup.cli.output import Output
    from safeharbor_backup.settings.model import Settings

    Options = Mapping[str, object]

_MEANINGS = {
    ExitStatus.DONE: "done",
    ExitStatus.FAILED: "failed; nothing was changed",
    ExitStatus.USAGE: "usage or settings",
    ExitStatus.WARNINGS: "done, with warnings",
    ExitStatus.LOCKED: "another run holds the lock",
    ExitStatus.REJECTED: "archive rejected",
    ExitStatus.DATABASE: "database unreachable, refused or lost",
    ExitStatus.STORAGE: "no space or no permission",
    ExitStatus.CANNOT_RESTORE: "cannot be restored here, or failed: the old state is kept",
    ExitStatus.RESTORE_PENDING: "an interrupted restore waits for `restore --resume` or `--undo`",
}


class SafeHarborCommand(click.Command):
    """A command whose callback may raise the core's errors.

    `is_attempt` tells by its options whether a run of it, however it ends, is remembered and told; such a run also
    renews `BACKUP_STATUS_FILE`. `publishes_status` tells of the others whether they do that. `only_prints` tells
    whether what a run prints is all that it is for: then it has not succeeded if that was lost.
    """

    is_attempt: Callable[[Options], bool] | None = None
    publishes_status: Callable[[Options], bool] | None = None
    only_prints: Callable[[Options], bool] | None = None

    def invoke(self, ctx: click.Context) -> object:
        """Run it; leave with the exit status that the docs promise."""
        with best_effort_output() as output:
            with logging_run(ctx):
                ending = self._run(ctx)
                show_ending(ctx, ending)
                self._tell(ctx, ending)
                if output.result.lost and ATTEMPT_KEY in ctx.meta:
                    show_warning(
                        f"standard output was lost ({output.result.why}). The exit status is that of the work."
                    )
            status = ending.status
            if status in (ExitStatus.DONE, ExitStatus.WARNINGS) and self._has_lost_all(ctx, output):
                status = ExitStatus.CUT_OFF if output.result.is_cut else ExitStatus.STORAGE
        exit_with(status)
        return None

    def _has_lost_all(self, ctx: click.Context, output: Output) -> bool:
        """Whether it was there to print, and could not."""
        return bool(output.result.lost and self.only_prints is not None and self.only_prints(ctx.params))

    def begin(self, ctx: click.Context, settings: Settings) -> None:
        """The command has its settings: if it is one whose runs are remembered, this one begins now."""
        ctx.meta[SETTINGS_KEY] = settings
        begin_log(ctx, settings.log_format)
        for problem in settings.problems_in(Concern.MONITORING) if LOG_FORMAT_KEY in ctx.meta else ():
            if problem.variable == "BACKUP_LOG_FORMAT":
                show_warning(str(problem))
        if self.is_attempt is not None and self.is_attempt(ctx.params):
            attempt = ctx.meta[ATTEMPT_KEY] = Attempt(str(ctx.info_name), settings)
            attempt.begin()

    def _run(self, ctx: click.Context) -> Ending:
        """How it ended; to people it has been shown what failed."""
        try:
            with signals_interrupt():
                super().invoke(ctx)
        except click.exceptions.Exit as leaving:
            return Ending(leaving.exit_code)
        except SafeHarborError as error:
            show_error(error)
            return ending_of(error)
        except Interrupted as interruption:
            if current_log() is None:
                tell(f"Stopped: {interruption}. {interruption.left}")
            return Ending(interruption.exit_status, str(interruption), Advice(intact=interruption.left))
        except OSError as error:
            failure = translate_os_error(error, ctx.info_name or "the command")
            show_error(failure)
            return ending_of(failure)
        except click.ClickException:
            raise
        except MemoryError:
            failure = translate_os_error(OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)), str(ctx.info_name))
            show_error(failure)
            return ending_of(failure)
        except Exception as bug:
            reason = f"it ended in a way that nobody foresaw: {type(bug).__name__}"
            ending = Ending(ExitStatus.FAILED, reason)
            show_ending(ctx, ending)
            self._tell(ctx, ending)
            raise
        return Ending(ExitStatus.DONE)

    def _tell(self, ctx: click.Context, ending: Ending) -> None:
        settings, attempt = ctx.meta.get(SETTINGS_KEY), ctx.meta.get(ATTEMPT_KEY)
        try:
            with signals_interrupt():
                if attempt is not None:
                    attempt.end(ending)
                elif settings is not None and self.publishes_status is not None and self.publishes_status(ctx.params):
                    renew_files(settings)
        except Interrupted:
            pass  # the run itself is over, and keeps its status


def always(_options: Options) -> bool:
    """Whatever the options are."""
    return True


def show_ending(ctx: click.Context, ending: Ending) -> None:
    """The end of a run as an event, if it speaks JSON."""
    log, attempt = current_log(), ctx.meta.get(ATTEMPT_KEY)
    if log is not None:
        log_ending(log, ending, attempt.outcome(ending) if attempt is not None else None)


def show_error(error: SafeHarborError) -> None:
    """An error for a person: what failed, what is still intact, what to do next. An ending tells it as an event."""
    if current_log() is not None:
        return
    tell(f"Error: {error.message}")
    for problem in getattr(error, "problems", ())[1:] if error.exit_status is ExitStatus.REJECTED else ():
        tell(f"       {problem}")
    if error.intact:
        tell(error.intact)
    if error.hint:
        tell(f"Hint: {error.hint}")


def exit_statuses(statuses: Sequence[ExitStatus], meanings: Mapping[ExitStatus, str], *, is_service: bool) -> str:
    """The end of a command's help: its exit statuses. A service ends well when it is told to stop."""
    lines = [f"{status.value}  {({**_MEANINGS, **meanings})[status]}" for status in statuses]
    if not is_service:
        lines.append("129/130/143  interrupted by HUP, INT or TERM")
    return "\b\nExit statuses:\n" + "\n".join(lines)


def safeharbor_command(
    help_text: str,
    *statuses: ExitStatus,
    meanings: Mapping[ExitStatus, str] | None = None,
    is_attempt: Callable[[Options], bool] | None = None,
    publishes_status: Callable[[Options], bool] | None = None,
    only_prints: Callable[[Options], bool] | None = None,
    is_service: bool = False,
) -> Callable[[Callable[..., None]], click.Command]:
    """Make a callback a command with this help; `statuses` are those that it can end with, `meanings` its own words."""

    def made(callback: Callable[..., None]) -> click.Command:
        epilog = exit_statuses(statuses, meanings or {}, is_service=is_service)
        command = click.command(cls=SafeHarborCommand, help=help_text, epilog=epilog)(callback)
        command.is_attempt = is_attempt
        command.publishes_status = publishes_status
        command.only_prints = only_prints
        return command

    return made


def exit_with(status: int) -> None:
    """End the current command with this status; 0 goes on."""
    if status:
        click.get_current_context().exit(status)
