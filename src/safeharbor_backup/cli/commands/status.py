"""`status`: whether the newest backup is good and recent."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from safeharbor_backup.actions.status.document import describe_status
from safeharbor_backup.actions.status.health import Health
from safeharbor_backup.actions.status.run import read_status
from safeharbor_backup.cli.command import exit_with, safeharbor_command
from safeharbor_backup.cli.ending import ending_of
from safeharbor_backup.cli.options import json_option
from safeharbor_backup.cli.status_lines import tell_status
from safeharbor_backup.errors import ExitStatus, SafeHarborError, Unusable, one_line
from safeharbor_backup.settings.model import Concern, Settings
from safeharbor_backup.settings.parsing import parse_seconds
from safeharbor_backup.text import ascii_safe, show_bytes, typed

if TYPE_CHECKING:
    from safeharbor_backup.cli.output import Output
    from safeharbor_backup.cli.run import Run


def _seconds(_ctx: click.Context, _param: click.Parameter, value: str | None) -> float | None:
    if value is None:
        return None
    try:
        return parse_seconds(value)
    except Unusable:
        raise click.BadParameter(f"{value!r} is not a duration such as 90m, 26h or 2d") from None


def _show_unrecorded(output: Output, settings: Settings) -> None:
    """What looks like a state that a restore keeps, of which the journal knows nothing. It judges nothing."""
    if settings.problems_in(Concern.DATABASE, Concern.RESTORE):
        return
    from safeharbor_backup.actions.restore.kept import (
        list_unrecorded,  # with the driver, which a healthcheck does not need
    )

    try:
        unrecorded = list_unrecorded(settings)
    except (SafeHarborError, OSError) as error:
        output.result(f"  could not look for kept states that are not in the journal: {one_line(error)}")
        return
    for found in unrecorded:
        size = f", {show_bytes(found.database_bytes)} of databases" if found.databases else ""
        output.result(
            f"  not in the journal: {ascii_safe(found.describe())}{size}; to look at it: "
            f"{typed(f'restore --undo --id {found.id}')}, to free it: "
            f"{typed(f'restore --discard-previous --id {found.id}')}; both ask"
        )


@safeharbor_command(
    "Show whether the newest archive is complete and recent enough, how the last runs ended, what comes next and how "
    "much disk space is left. With --healthcheck the exit status depends only on the newest archive's age: 0 or 1. "
    "It is 0 until the first backup is due.",
    ExitStatus.DONE,
    ExitStatus.FAILED,
    ExitStatus.USAGE,
    ExitStatus.WARNINGS,
    ExitStatus.STORAGE,
    meanings={ExitStatus.FAILED: "no complete archive that is recent enough, or the last run failed"},
    only_prints=lambda options: not options["healthcheck"],
)
@click.option(
    "--max-age",
    metavar="DURATION",
    callback=_seconds,
    help="The age from which the newest good archive is too old. Default: BACKUP_MAX_AGE, or 26h.",
)
@click.option("--healthcheck", is_flag=True, help="For a container's health check: one line, exit status 0 or 1.")
@json_option
def command(run: Run, max_age: float | None, *, healthcheck: bool, as_json: bool) -> None:
    """Shows the state of the backups; ends with its status."""
    try:
        settings = run.read_settings(quiet=True, notices_restore=False, renews_files=healthcheck)
        status = read_status(settings, max_age_seconds=max_age)
    except SafeHarborError as error:
        if not healthcheck:
            raise
        run.output.end(ending_of(error, run.command), None)
        exit_with(ExitStatus.FAILED)
        return
    if as_json:
        run.output.document(describe_status(status, settings))
    else:
        for line in tell_status(status, settings, datetime.now(UTC))[: 1 if healthcheck else None]:
            run.output.result(line)
        if not healthcheck:
            _show_unrecorded(run.output, settings)
    if healthcheck:
        exit_with(ExitStatus.DONE if status.is_healthy else ExitStatus.FAILED)
    elif not status.is_healthy or status.health is Health.FAILED:
        exit_with(ExitStatus.FAILED)
    elif status.health is Health.WARNING:
        exit_with(ExitStatus.WARNINGS)
