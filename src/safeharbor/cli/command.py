"""What all commands share: errors and signals become messages and exit statuses here, and nowhere else."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from safeharbor.cli.lazy import SETTINGS_KEY
from safeharbor.errors import ExitStatus, Interrupted, SafeHarborError, one_line, translate_os_error
from safeharbor.settings import Concern
from safeharbor.signals import signals_interrupt
from safeharbor.status_file import publish_status

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from safeharbor.settings import Settings

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

    `publishes_status` tells by its options whether a run of it, however it ends, renews `BACKUP_STATUS_FILE`.
    """

    publishes_status: Callable[[Options], bool] | None = None

    def invoke(self, ctx: click.Context) -> object:
        """Run it; leave with the exit status that the docs promise."""
        try:
            with signals_interrupt():
                try:
                    return super().invoke(ctx)
                finally:
                    self._publish_status(ctx)
        except SafeHarborError as error:
            show_error(error)
            ctx.exit(error.exit_status)
        except Interrupted as interruption:
            click.echo(f"Stopped: {interruption}. {interruption.left}", err=True)
            ctx.exit(interruption.exit_status)
        except BrokenPipeError:
            sys.stderr.close()  # whoever read our output has gone; say nothing more
            ctx.exit(ExitStatus.FAILED)
        except OSError as error:
            show_error(translate_os_error(error, ctx.info_name or "the command"))
            ctx.exit(translate_os_error(error, "").exit_status)

    def _publish_status(self, ctx: click.Context) -> None:
        settings = ctx.meta.get(SETTINGS_KEY)  # none, if the command line or the app was already wrong
        if settings is not None and self.publishes_status is not None and self.publishes_status(ctx.params):
            renew_status_file(settings)


def renew_status_file(settings: Settings) -> None:
    """Publish the state where `BACKUP_STATUS_FILE` says; what hinders that is a warning and costs no run its status."""
    for problem in settings.problems_in(Concern.MONITORING):
        if problem.variable == "BACKUP_STATUS_FILE":
            click.echo(f"Warning: the state is published nowhere: {problem}", err=True)
    if settings.status_file is None:
        return
    try:
        publish_status(settings, settings.status_file)
    except (SafeHarborError, OSError) as error:
        failure = translate_os_error(error, "writing it") if isinstance(error, OSError) else error
        click.echo(f"Warning: {settings.status_file} was not renewed: {one_line(failure.message)}", err=True)


def always(_options: Options) -> bool:
    """Whatever the options are."""
    return True


def show_error(error: SafeHarborError) -> None:
    """An error for a person: what failed, what is still intact, what to do next."""
    click.echo(f"Error: {error.message}", err=True)
    for problem in getattr(error, "problems", ())[1:] if error.exit_status is ExitStatus.REJECTED else ():
        click.echo(f"       {problem}", err=True)
    if error.intact:
        click.echo(error.intact, err=True)
    if error.hint:
        click.echo(f"Hint: {error.hint}", err=True)


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
    publishes_status: Callable[[Options], bool] | None = None,
    is_service: bool = False,
) -> Callable[[Callable[..., None]], click.Command]:
    """Make a callback a command with this help; `statuses` are those that it can end with, `meanings` its own words."""

    def made(callback: Callable[..., None]) -> click.Command:
        epilog = exit_statuses(statuses, meanings or {}, is_service=is_service)
        command = click.command(cls=SafeHarborCommand, help=help_text, epilog=epilog)(callback)
        command.publishes_status = publishes_status
        return command

    return made


def exit_with(status: int) -> None:
    """End the current command with this status; 0 goes on."""
    if status:
        click.get_current_context().exit(status)
