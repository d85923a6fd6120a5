"""The document that `--json` prints for a run that failed before it had one of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from msgspec import Struct

if TYPE_CHECKING:
    import click

    from safeharbor_backup.cli.ending import Ending


class Failure(Struct, frozen=True, kw_only=True):
    """What `--json` prints instead if the command fails before its own document is complete."""

    schema: Literal[1] = 1
    error: str
    problems: tuple[str, ...] = ()
    """Everything that is wrong, where it is more than one thing."""
    intact: str = ""
    """What is still as it was."""
    hint: str = ""
    """What to do next."""
    exit_status: int


def failure_of(ending: Ending) -> Failure:
    """The document for a run with this ending."""
    return Failure(
        error=ending.reason,
        problems=ending.problems,
        intact=ending.advice.intact,
        hint=ending.advice.hint,
        exit_status=int(ending.status),
    )


def refusal_of(refused: click.ClickException) -> Failure:
    """The document for a command line that was refused."""
    return Failure(error=refused.format_message(), exit_status=refused.exit_code)
