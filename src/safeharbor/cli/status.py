"""`status`: is last night's backup good?"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from safeharbor.cli.command import exit_with, safeharbor_command, show_error
from safeharbor.cli.render import plural, show_bytes, show_duration, show_time
from safeharbor.cli.source import current_settings
from safeharbor.errors import ExitStatus, SafeHarborError
from safeharbor.settings import parse_duration
from safeharbor.status import Health, read_status
from safeharbor.status_document import describe_status

if TYPE_CHECKING:
    from safeharbor.journal import RestoreRecord
    from safeharbor.status import Status


def _seconds(_ctx: click.Context, _param: click.Parameter, value: str | None) -> float | None:
    if value is None:
        return None
    try:
        seconds = parse_duration(value)
    except ValueError:
        seconds = 0.0
    if seconds <= 0:
        raise click.BadParameter(f"{value!r} is no duration such as 90m, 26h or 2d")
    return seconds


@safeharbor_command(
    "Tell whether the newest archive is complete and young enough. With --healthcheck the exit status is 0 or 1 only, "
    "and 0 while a first backup is not due yet.",
    ExitStatus.DONE,
    ExitStatus.FAILED,
    ExitStatus.USAGE,
    ExitStatus.WARNINGS,
    ExitStatus.STORAGE,
    meanings={ExitStatus.FAILED: "no complete archive that is young enough"},
    publishes_status=lambda options: bool(options["healthcheck"]),
)
@click.option(
    "--max-age", metavar="DURATION", callback=_seconds, help="How old it may be; default: BACKUP_MAX_AGE, or 26h."
)
@click.option("--healthcheck", is_flag=True, help="For a container's health check: one line, exit status 0 or 1.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of text.")
def command(max_age: float | None, *, healthcheck: bool, as_json: bool) -> None:
    """Parse, look, render."""
    try:
        settings = current_settings(quiet=True, notice_restore=False)
        status = read_status(settings, max_age_seconds=max_age)
    except SafeHarborError as error:
        if not healthcheck:
            raise
        show_error(error)
        exit_with(ExitStatus.FAILED)
        return
    if as_json:
        click.echo(json.dumps(describe_status(status, settings), indent=2))
    else:
        click.echo(_sentence(status))
        shown = 1 if status.newest is None else 0  # the sentence has the first one already
        for reason in () if healthcheck else status.reasons[shown:]:
            click.echo(f"  {reason}")
        for record in () if healthcheck else status.kept:
            click.echo(f"  {_kept(record)}")
    if not status.is_healthy:
        exit_with(ExitStatus.FAILED)
    if status.health is Health.WARNING and not healthcheck:
        exit_with(ExitStatus.WARNINGS)


def _sentence(status: Status) -> str:
    newest = status.newest
    word = status.health.value.upper()
    if newest is None or status.age_seconds is None or newest.manifest is None:
        reason = status.reasons[0]
        return reason if status.health is Health.WAITING else f"{word}: {reason}"
    manifest = newest.manifest
    taken = f"{show_duration(status.age_seconds)} old ({show_time(newest.taken_at)})"
    inside = f"{show_bytes(newest.size)}, {plural(manifest.rows, 'row')}, {plural(manifest.upload_files, 'upload')}"
    return f"{word}: {newest.name}, {taken}, {inside}; {plural(len(status.archives), 'archive')} in all"


def _kept(record: RestoreRecord) -> str:
    what = "restored state, taken back by --undo" if record.is_undone else "state before the restore"
    slots = f", with {plural(record.slots, 'logical slot')} holding WAL" if record.slots else ""
    return (
        f"kept: the {what} of {record.started_at}, {show_bytes(record.kept_database_bytes + record.kept_uploads_bytes)}"
        f"{slots}; to free it: safeharbor restore --discard-previous --id {record.id}"
    )
