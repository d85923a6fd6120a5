"""What is told on standard error, where perhaps nobody reads it any more."""

from __future__ import annotations

import os
import sys

import click


def tell(text: str) -> None:
    """Tell a line; that it cannot be told changes neither how the command ends nor what is remembered of it."""
    try:
        click.echo(text, err=True)
    except OSError:
        # or Python ends with 120, for what the old one holds unwritten
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - until the process ends
