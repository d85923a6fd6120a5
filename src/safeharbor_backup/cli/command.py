"""What all commands share: errors and signals become messages and exit statuses here, and nowhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from safeharbor_backup.cli.app_loading import end_with
from safeharbor_backup.cli.ending import Ending, ending_of
from safeharbor_backup.cli.failure import refusal_of
from safeharbor_backup.cli.output import TextOutput, is_good
from safeharbor_backup.cli.run import Run
from safeharbor_backup.cli.streams import best_effort_output
from safeharbor_backup.errors import ExitStatus, Interrupted
from safeharbor_backup.system.signals import signals_interrupt

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

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
    """A command whose callback gets a `Run` first, and may raise the core's errors.

    `only_prints` says by its options whether what a run prints is all that it is for: then it has not succeeded if
    that was lost.
    """

    only_prints: Callable[[Options], bool] | None = None

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """The arguments that are left. With `--json` a mistake in them is a document too."""
        given = list(args)
        try:
            return super().parse_args(ctx, args)
        except click.ClickException as refused:
            if "--json" in given and any(each.name == "as_json" for each in self.params):
                TextOutput().document(refusal_of(refused))
            raise

    def invoke(self, ctx: click.Context) -> object:
        """Run it; leave with the exit status that the docs promise."""
        with best_effort_output() as streams:
            with Run(ctx) as run:
                ctx.obj = run
                ending, bug = self._run(ctx)
                run.end(ending)
                if bug is not None:
                    end_with(ExitStatus.FAILED)
                    raise bug
                if streams.result.lost and run.is_remembered:
                    run.output.warning(
                        f"standard output was lost ({streams.result.why}). The exit status is that of the work."
                    )
            status = ending.status
            has_lost_all = streams.result.lost and self.only_prints is not None and self.only_prints(ctx.params)
            if has_lost_all and is_good(status):
                status = ExitStatus.CUT_OFF if streams.result.is_cut else ExitStatus.STORAGE
        end_with(status)
        exit_with(status)
        return None

    def _run(self, ctx: click.Context) -> tuple[Ending, Exception | None]:
        """Run the callback. Returns how it ended, and the bug if one ended it."""
        try:
            with signals_interrupt():
                try:
                    super().invoke(ctx)
                finally:
                    ctx.obj.over()
        except click.exceptions.Exit as leaving:
            return Ending(leaving.exit_code), None
        except click.ClickException as refused:
            if ctx.params.get("as_json"):
                ctx.obj.output.document(refusal_of(refused))
            raise
        except (Exception, Interrupted) as error:
            ending = ending_of(error, str(ctx.info_name))
            return ending, error if ending.is_bug and isinstance(error, Exception) else None
        return Ending(ExitStatus.DONE), None


def always(_options: Options) -> bool:
    """True for any options."""
    return True


def exit_statuses(statuses: Sequence[ExitStatus], meanings: Mapping[ExitStatus, str], *, is_service: bool) -> str:
    """The end of a command's help: its exit statuses. A service ends well when it is stopped."""
    lines = [f"{status.value}  {({**_MEANINGS, **meanings})[status]}" for status in statuses]
    if not is_service:
        lines.append("129/130/143  interrupted by HUP, INT or TERM")
    return "\b\nExit statuses:\n" + "\n".join(lines)


# what every command that reads archives and asks a server can end with
WHILE_READING = (
    ExitStatus.DONE,
    ExitStatus.FAILED,
    ExitStatus.USAGE,
    ExitStatus.WARNINGS,
    ExitStatus.LOCKED,
    ExitStatus.REJECTED,
    ExitStatus.DATABASE,
    ExitStatus.STORAGE,
)
# and that loads a dump or puts files somewhere
WHILE_RESTORING = (*WHILE_READING, ExitStatus.CANNOT_RESTORE)


def safeharbor_command(
    help_text: str,
    *statuses: ExitStatus,
    meanings: Mapping[ExitStatus, str] | None = None,
    only_prints: Callable[[Options], bool] | None = None,
    is_service: bool = False,
) -> Callable[[Callable[..., None]], click.Command]:
    """Make a callback a command with this help; `statuses` are those that it can end with, `meanings` its own words."""

    def made(callback: Callable[..., None]) -> click.Command:
        epilog = exit_statuses(statuses, meanings or {}, is_service=is_service)
        command = click.command(cls=SafeHarborCommand, help=help_text, epilog=epilog)(click.pass_obj(callback))
        command.only_prints = only_prints
        return command

    return made


def exit_with(status: int) -> None:
    """End the current command with this status; 0 goes on."""
    if status:
        click.get_current_context().exit(status)
