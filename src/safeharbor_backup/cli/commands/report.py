"""`report`: the state of the backups, as a page in a file."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from safeharbor_backup.actions.status.document import describe_status
from safeharbor_backup.actions.status.run import read_status
from safeharbor_backup.cli.command import safeharbor_command
from safeharbor_backup.errors import ExitStatus, translate_os_error
from safeharbor_backup.system.small_file import replace_small_file
from safeharbor_backup.text import show_bytes
from safeharbor_backup.web.page import render_page

_STANDARD_OUTPUT = "-"

if TYPE_CHECKING:
    from safeharbor_backup.cli.run import Run


def _page_name(_ctx: click.Context, _param: click.Parameter, value: str) -> str:
    if value == _STANDARD_OUTPUT:
        return value
    directory, name = os.path.split(value)
    if not re.fullmatch(r"[^.].*\.html?", name, re.DOTALL):
        # it is replaced if it is there: it must not be an archive, the lock or the journal by mistake
        raise click.BadParameter(f"{value!r} is neither - nor a file whose name ends with .html")
    if not os.path.isdir(directory or "."):
        raise click.BadParameter(f"there is no directory {directory}")
    return value


@safeharbor_command(
    "Write an HTML page that shows the state of the backups, what is in them and how to restore them. It is one file "
    "that needs nothing else, readable for its owner only. The exit status is about the page; use `status` for the "
    "backups.",
    ExitStatus.DONE,
    ExitStatus.FAILED,
    ExitStatus.USAGE,
    ExitStatus.STORAGE,
    only_prints=lambda options: options["name"] == _STANDARD_OUTPUT,
)
@click.option(
    "--html", "name", metavar="FILE", required=True, callback=_page_name,
    help="Where to; replaced if it is there. - prints it.",
)  # fmt: skip
def command(run: Run, name: str) -> None:
    """Parse, look, publish."""
    settings = run.read_settings(quiet=True, notices_restore=False)
    text = render_page(describe_status(read_status(settings), settings), datetime.now(UTC))
    if name == _STANDARD_OUTPUT:
        run.output.result(text.removesuffix("\n"))
        return
    page = text.encode()
    path = Path(name).absolute()
    _publish(path, page)
    run.output.result(f"{path} ({show_bytes(len(page))})")


def _publish(path: Path, page: bytes) -> None:
    try:
        replace_small_file(path, page)
    except OSError as error:
        raise translate_os_error(error, f"writing {path}") from error
