"""`doctor`: what would make a run fail, before it does."""

from __future__ import annotations

import shutil
import sys
import textwrap
from typing import TYPE_CHECKING

import click

from safeharbor_backup.actions.doctor.findings import Level, fine, remark
from safeharbor_backup.actions.doctor.run import examine
from safeharbor_backup.cli.command import exit_with, safeharbor_command
from safeharbor_backup.cli.documents import Check, DoctorDocument, SettingInUse
from safeharbor_backup.cli.lazy import COMMANDS, IN_FLASK, SOURCE_KEY
from safeharbor_backup.cli.options import json_option
from safeharbor_backup.cli.settings_source import command_of_the_app
from safeharbor_backup.errors import ExitStatus
from safeharbor_backup.settings.schedule import find_zone
from safeharbor_backup.text import iso_time, plural, show_slot

if TYPE_CHECKING:
    from collections.abc import Iterable

    from safeharbor_backup.actions.doctor.findings import Diagnosis, Finding, SettingShown
    from safeharbor_backup.cli.output import Output
    from safeharbor_backup.cli.run import Run

_COLOURS = {
    Level.OK: "green",
    Level.NOTE: "blue",
    Level.UNKNOWN: "cyan",
    Level.WARNING: "yellow",
    Level.PROBLEM: "red",
}
_WIDEST = 120


@safeharbor_command(
    "Check for everything that would make a run fail: settings, directories, database, privileges, disk space, clock, "
    "schedule. It changes nothing. The exit status is that of the first problem: a run would end with the same.",
    ExitStatus.DONE,
    ExitStatus.FAILED,
    ExitStatus.USAGE,
    ExitStatus.WARNINGS,
    ExitStatus.DATABASE,
    ExitStatus.STORAGE,
    ExitStatus.CANNOT_RESTORE,
    ExitStatus.RESTORE_PENDING,
    meanings={
        ExitStatus.DONE: "done: all is well",
        ExitStatus.FAILED: "a backup would fail: client tools, privileges",
        ExitStatus.WARNINGS: "there are warnings and no problem",
        ExitStatus.CANNOT_RESTORE: "a restore would lack something on its server",
    },
)
@json_option
def command(run: Run, *, as_json: bool) -> None:
    """Shows each finding; ends with the status of the first problem."""
    settings = run.read_settings(quiet=as_json, notices_restore=False)
    diagnosis = examine(settings, also=_joined_commands())
    if as_json:
        run.output.document(_document(diagnosis))
    else:
        _print(run.output, diagnosis)
    exit_with(diagnosis.exit_status)


def _joined_commands() -> list[Finding]:
    """That the app has a group or a command of our name, so that nobody wonders which command runs."""
    context = click.get_current_context()
    own = command_of_the_app(context) if context.meta.get(SOURCE_KEY) == IN_FLASK else None
    if own is not None and not isinstance(own, click.Group):
        text = "the app has a command `safeharbor` of its own, which Safe Harbor's commands hide"
        return [remark("commands", text, "Give the app's command another name, or put it into a group `safeharbor`.")]
    theirs = own.commands if isinstance(own, click.Group) else {}
    if not theirs:
        return []
    text = f"the app has commands of its own here: {', '.join(sorted(theirs))}"
    hidden = sorted(set(theirs) & set(COMMANDS))
    return [fine("commands", f"{text}; {', '.join(hidden)} is Safe Harbor's" if hidden else text)]


def _print(output: Output, diagnosis: Diagnosis) -> None:
    _print_settings(output, diagnosis.settings)
    output.result()
    # a line of a log stays one line; a terminal breaks it in the middle of words
    width = min(shutil.get_terminal_size().columns, _WIDEST) if sys.stdout.isatty() else None
    column = max(len(finding.name) for finding in diagnosis.findings) + 2
    for finding in diagnosis.findings:
        for line in lines_of(finding, column, width):
            output.result(line)
    zone = find_zone(diagnosis.timezone)
    if diagnosis.next_runs:
        output.result("\nNext backups:")
    for moment in diagnosis.next_runs:
        output.result(f"  {show_slot(moment, zone)}")
    output.result(f"\n{_summary(diagnosis)}")


def _print_settings(output: Output, settings: Iterable[SettingShown]) -> None:
    """Those that are set and those that say where; the others have their defaults."""
    places = ("BACKUP_DATABASE_URL", "BACKUP_UPLOAD_DIR", "BACKUP_DIR")
    shown = [each for each in settings if each.origin != "the default" or each.name in places]
    column = max(len(each.name) for each in shown) + 2
    for each in shown:
        output.result(f"{each.name:<{column}}{each.value}  ({each.origin})")


def lines_of(finding: Finding, column: int, width: int | None) -> list[str]:
    """The lines of one finding: level, name and text, and below it what to type; broken at spaces to fit a width."""
    level = click.style(f"{finding.level.value:<9}", fg=_COLOURS[finding.level])
    indent = 9 + column
    room = max((width or 0) - indent, 30)
    texts = [finding.text] if width is None else _wrap(finding.text, room)
    remedies = [finding.remedy] if width is None else _wrap(finding.remedy, room - 3)
    first, *more = texts
    lines = [f"{level}{finding.name:<{column}}{first}", *(" " * indent + each for each in more)]
    if finding.remedy:
        lines.append(f"{' ' * indent}-> {remedies[0]}")
        lines += [" " * (indent + 3) + each for each in remedies[1:]]
    return lines


def _wrap(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False) or [""]


def _summary(diagnosis: Diagnosis) -> str:
    counts = [
        plural(diagnosis.count(level), level.value)
        for level in (Level.PROBLEM, Level.WARNING)
        if diagnosis.count(level)
    ]
    unknown = diagnosis.count(Level.UNKNOWN)
    if unknown:
        counts.append(f"{unknown} not checked")
    return ", ".join(counts) or "All is well."


def _document(diagnosis: Diagnosis) -> DoctorDocument:
    return DoctorDocument(
        exit_status=int(diagnosis.exit_status),
        checks=tuple(
            Check(
                name=finding.name,
                level=finding.level.value,
                text=finding.text,
                remedy=finding.remedy,
                status=int(finding.exit_status),
            )
            for finding in diagnosis.findings
        ),
        settings=tuple(
            SettingInUse(name=each.name, value=each.value, origin=each.origin) for each in diagnosis.settings
        ),
        timezone=diagnosis.timezone,
        next_runs=tuple(iso_time(moment) for moment in diagnosis.next_runs),
    )
