"""`idle`: what a container runs that waits for commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safeharbor_backup.actions.idle import idle_until_told
from safeharbor_backup.cli.command import safeharbor_command
from safeharbor_backup.errors import ExitStatus

if TYPE_CHECKING:
    from safeharbor_backup.cli.run import Run


@safeharbor_command(
    "Keep a container alive for commands from outside (`docker compose exec`). When the container is stopped, pass the "
    "signal on to everything that runs in it, and wait until that has ended. Refuses to start anywhere else.",
    ExitStatus.DONE,
    ExitStatus.USAGE,
    meanings={
        ExitStatus.DONE: "done: stopped by HUP, INT or TERM, after everything else has ended",
        ExitStatus.USAGE: "usage, or this process has no container of its own",
    },
    is_service=True,
)
def command(run: Run) -> None:
    """Wait until the container is stopped, then for the commands in it."""
    idle_until_told(run.output.result)
