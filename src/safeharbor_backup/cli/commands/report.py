"""`report`: the state of the backups, as a page in a file."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from safeharbor_backup import __version__
from safeharbor_backup.actions.evidence import find_signers
from safeharbor_backup.actions.status.document import describe_status
from safeharbor_backup.actions.status.run import read_status
from safeharbor_backup.cli.command import safeharbor_command
from safeharbor_backup.cli.documents import ReportDocument
from safeharbor_backup.cli.evidence_report import drills_day, period_of, report_evidence
from safeharbor_backup.cli.options import json_option, signed_by_option
from safeharbor_backup.errors import ExitStatus, translate_os_error
from safeharbor_backup.system.small_file import replace_small_file
from safeharbor_backup.text import show_bytes
from safeharbor_backup.web.evidence import render_evidence
from safeharbor_backup.web.page import render_page

_STANDARD_OUTPUT = "-"
_DAY = click.DateTime(["%Y-%m-%d"])

if TYPE_CHECKING:
    from safeharbor_backup.cli.run import Run


def _page_name(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    if value is None or value == _STANDARD_OUTPUT:
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
    "that needs nothing else, readable only by its owner. With --evidence, it shows what drills have proven. The "
    "exit status is about the page; use `status` for the backups.",
    ExitStatus.DONE,
    ExitStatus.FAILED,
    ExitStatus.USAGE,
    ExitStatus.STORAGE,
    only_prints=lambda options: options["name"] in (None, _STANDARD_OUTPUT),
)
@click.option(
    "--html", "name", metavar="FILE", callback=_page_name,
    help="The file to write, replaced if it exists. `-` prints the page.",
)  # fmt: skip
@click.option(
    "--evidence", is_flag=True, help="Write a page for an auditor instead: what the drills of a period have proven."
)
@click.option(
    "--since", type=_DAY, callback=drills_day, metavar="DAY",
    help="The first day of the period, such as 2026-01-01. Default: a year before.",
)  # fmt: skip
@click.option(
    "--until", type=_DAY, callback=drills_day, metavar="DAY", help="The last day of the period, in UTC. Default: today."
)
@signed_by_option("With --evidence: who must have signed")
@json_option
def command(
    run: Run, name: str | None, *, evidence: bool, since: datetime | None, until: datetime | None,
    signed_by: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Writes the page, or the evidence of drills, into a file or to standard output."""
    if not evidence and (since or until or signed_by):
        raise click.UsageError("--since, --until and --signed-by go with --evidence.")
    if name is None and not (evidence and as_json):
        raise click.UsageError("Missing option '--html'.")
    if as_json and name == _STANDARD_OUTPUT:
        raise click.UsageError("--json needs a file: it does not go with --html -.")
    settings = run.read_settings(quiet=True, notices_restore=False)
    now = datetime.now(UTC)
    if evidence:
        signers = signed_by or find_signers(settings.evidence_key)
        found = report_evidence(settings.backup_dir, period_of(since, until, now), signers, now)
        text = render_evidence(found, __version__)
        if name is None:
            run.output.document(found)
            return
    else:
        text = render_page(describe_status(read_status(settings), settings), now)
    if name is None or name == _STANDARD_OUTPUT:
        run.output.result(text.removesuffix("\n"))
        return
    page = text.encode()
    path = Path(name).absolute()
    _publish(path, page)
    if as_json:
        run.output.document(ReportDocument(path=str(path), size_bytes=len(page)))
    else:
        run.output.result(f"{path} ({show_bytes(len(page))})")


def _publish(path: Path, page: bytes) -> None:
    try:
        replace_small_file(path, page)
    except OSError as error:
        raise translate_os_error(error, f"writing {path}") from error
