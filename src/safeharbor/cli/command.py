"""What all commands share: errors and signals become messages and exit statuses here, and nowhere else."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from safeharbor.errors import ExitStatus, Interrupted, SafeHarborError, translate_os_error
from safeharbor.signals import signals_interrupt

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

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
    """A command whose callback may raise the core's errors."""

    def invoke(self, ctx: click.Context) -> object:
        """Run it; leave with the exit status that the docs promise."""
        try:
            with signals_interrupt():
                return super().invoke(ctx)
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


def show_error(error: SafeHarborError) -> None:
    """An error for a person: what failed, what is still intact, what to do next."""
    click.echo(f"Error: {error.message}", err=True)
    for problem in getattr(error, "problems", ())[1:] if error.exit_status is ExitStatus.REJECTED else ():
        click.echo(f"       {problem}", err=True)
    if error.intact:
        click.echo(error.intact, err=True)
    if error.hint:
        click.echo(f"Hint: {error.hint}", err=True)


def exit_statuses(statuses: Sequence[ExitStatus], meanings: Mapping[ExitStatus, str]) -> str:
    """The end of a command's help: its exit statuses."""
    lines = [f"{status.value}  {({**_MEANINGS, **meanings})[status]}" for status in statuses]
    return "\b\nExit statuses:\n" + "\n".join(lines) + "\n129/130/143  interrupted by HUP, INT or TERM"


def safeharbor_command(
    help_text: str, *statuses: ExitStatus, meanings: Mapping[ExitStatus, str] | None = None
) -> Callable[[Callable[..., None]], click.Command]:
    """Make a callback a command with this help; `statuses` are those that it can end with, `meanings` its own words."""
    return click.command(cls=SafeHarborCommand, help=help_text, epilog=exit_statuses(statuses, meanings or {}))


def exit_with(status: int) -> None:
    """End the current command with this status; 0 goes on."""
    if status:
        click.get_current_context().exit(status)
