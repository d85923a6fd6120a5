"""Commands run inside this process, as `safeharbor …` would be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from click.testing import CliRunner

from safeharbor_backup.cli.main import cli

if TYPE_CHECKING:
    from click.testing import Result


def run_inside(*arguments: str) -> Result:
    """How it ended and what it said; an exception that no command may let through fails the test."""
    result = CliRunner().invoke(cli, list(arguments), prog_name="safeharbor")
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result
