"""Options that several commands have, each with one name, type and sentence."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    Option = Callable[[Callable[..., None]], Callable[..., None]]


def jobs_option(callback: Callable[..., None]) -> Callable[..., None]:
    """Give a command that loads a dump the option `--jobs`."""
    kind = click.IntRange(1, 64)
    return click.option("--jobs", type=kind, help="Parallel jobs for the load.  [default: one per core]")(callback)


def json_option(callback: Callable[..., None]) -> Callable[..., None]:
    """Give a command the option `--json`, as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of text.")(callback)


def signed_by_option(what: str) -> Option:
    """`--signed-by`: who must have signed evidence."""
    sentence = (
        f"{what}, as a public key of OpenSSH or a list as ssh-keygen(1) has it under ALLOWED SIGNERS. Default: the "
        "public key beside BACKUP_EVIDENCE_KEY."
    )
    return click.option(
        "--signed-by", type=click.Path(path_type=Path, exists=True, dir_okay=False), metavar="FILE", help=sentence
    )


def quiet_option(printed: str) -> Option:
    """`--quiet`: only this is printed."""
    return click.option("--quiet", is_flag=True, help=f"Print only {printed}.")


def warnings_ok_option(schedulers: str) -> Option:
    """`--warnings-ok`: for those that would take status 3 amiss."""
    sentence = f"End with 0 instead of 3 if there were warnings, for schedulers that {schedulers}."
    return click.option("--warnings-ok", is_flag=True, help=sentence)
