"""Commands run inside this process, as `safeharbor …` would be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from click.testing import CliRunner

from safeharbor_backup.cli.main import cli

if TYPE_CHECKING:
    from click.testing import Result


def run_inside(*arguments: str) -> Result:
    """How it ended and what it said; an exception that no command may let through fails the test."""
    result = cli_runner().invoke(cli, list(arguments), prog_name="safeharbor")
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def cli_runner() -> CliRunner:
    """One that keeps standard error apart, as clicks from 8.2 on always do."""
    try:
        return CliRunner(mix_stderr=False)  # type: ignore[call-arg]
    except TypeError:
        return CliRunner()
