"""`init`: from an app or an address to the first backup, drilled, and to what starts the next ones."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from safeharbor_backup.actions.app_data import describe_folders
from safeharbor_backup.actions.init import check_answers, make_directory, require_new, write_new
from safeharbor_backup.actions.schedule_files import SCHEDULES, files_of_schedule
from safeharbor_backup.cli.app_loading import AppNotLoaded
from safeharbor_backup.cli.command import WHILE_RESTORING, exit_with, safeharbor_command
from safeharbor_backup.cli.init_files import (
    default_file,
    named_file,
    places_of,
    settings_from,
    settings_text,
    typed_program,
)
from safeharbor_backup.cli.output import is_good
from safeharbor_backup.cli.questions import Question, ask_all, is_at_terminal
from safeharbor_backup.cli.settings_source import find_app
from safeharbor_backup.errors import ExitStatus, Unusable
from safeharbor_backup.settings.address_parsing import parse_database_url
from safeharbor_backup.settings.upload_dirs import parse_dirs
from safeharbor_backup.text import type_commands_as, typed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safeharbor_backup.actions.init import Checked
    from safeharbor_backup.cli.output import Output
    from safeharbor_backup.cli.run import Run
    from safeharbor_backup.settings.app_config import AppConfig
    from safeharbor_backup.settings.model import Settings

_NONE = "none"
_OPTIONS = {"BACKUP_DATABASE_URL": "database_url", "BACKUP_UPLOAD_DIR": "upload_dir", "BACKUP_DIR": "backup_dir"}


@safeharbor_command(
    "Set up backups. It finds the Flask app here (FLASK_APP, app.py, wsgi.py), or with `--django` the project, and "
    "asks for the rest. It writes a file of settings, makes the directory for the archives and checks whether the role "
    "can restore. It shows how to start a backup every night, takes the first one and drills it.\n\nNothing is "
    "overwritten. Each answer can be an option; without a terminal nobody is asked.",
    *WHILE_RESTORING,
    ExitStatus.RESTORE_PENDING,
    meanings={ExitStatus.REJECTED: "the backup was taken, and the drill found that it does not restore"},
)
@click.option("--database-url", metavar="ADDRESS", help="The database. Default: the app's; if it has none, init asks.")
@click.option(
    "--upload-dir", metavar="DIR", help="The uploads, or `none`. Default: the app's; if it has none, init asks."
)
@click.option("--backup-dir", metavar="DIR", help="The directory for the archives; created if it does not exist.")
@click.option(
    "--settings-file",
    type=click.Path(path_type=Path),
    help="The file to write. Default: /etc/safeharbor/backup.env as root, otherwise ~/.config/safeharbor/backup.env.",
)
@click.option("--schedule", type=click.Choice([*SCHEDULES, _NONE]), help="What starts a backup every night.")
@click.option("--no-drill", is_flag=True, help="Do not restore the first backup into a scratch copy.")
def command(run: Run, **given: Any) -> None:
    """Find the app, ask for the rest, check, write, then prove it by a backup."""
    path = (given["settings_file"] or Path(default_file())).absolute()
    require_new({"--settings-file": path})
    app = _find_app(given)
    answers = {name: str(given[key]) for name, key in _OPTIONS.items() if given[key]}
    settings = settings_from(app, answers)
    questions = [each for each in _questions(settings.folders) if each.variable not in settings.origins]
    asked = ask_all(run.output, [*questions, *([_SCHEDULE] if given["schedule"] is None and is_at_terminal() else [])])
    schedule = asked.pop(_SCHEDULE.variable, given["schedule"] or _NONE)
    settings = settings_from(app, asked)
    checked = check_answers(settings)
    files = (
        {}
        if schedule == _NONE
        else files_of_schedule(schedule, places_of(settings.backup_dir, settings.upload_dirs, path))
    )
    units = path.parent / "systemd"
    if schedule == "systemd":
        require_new({"--schedule systemd": units})
    made = make_directory(settings.backup_dir, settings.upload_dirs)
    write_new(path, settings_text(settings, app))
    type_commands_as(shlex.join([typed_program(), *named_file(path)]))
    _say_what_was_done(run.output, settings, path, made=made)
    warned = _say_what_lacks(run.output, checked)
    _offer(run.output, schedule, files, units)
    status = _run(run.output, "backup", path)
    if is_good(status) and not given["no_drill"]:
        status = _run(run.output, "drill", path) or status
    if is_good(status):
        run.output.result(f"\nTo restore it: {typed('restore --from latest')}")
    exit_with(status or (ExitStatus.WARNINGS if warned else ExitStatus.DONE))


_SCHEDULE = Question(
    "schedule",
    "--schedule",
    f"what starts a backup every night: {', '.join(SCHEDULES)} or {_NONE}",
    _NONE,
    lambda answer: "" if answer in (*SCHEDULES, _NONE) else f"one of {', '.join(SCHEDULES)}, {_NONE}",
)


def _questions(mentioned: Sequence[tuple[str, Path]]) -> list[Question]:
    folders = ", ".join(f"{name}={path}" for name, path in mentioned if path.is_dir())
    return [
        Question(
            "BACKUP_DATABASE_URL",
            "--database-url",
            "the address of the database, as postgresql://user:password@host/name",
            find_fault=_fault_of_address,
        ),
        Question(
            "BACKUP_UPLOAD_DIR",
            "--upload-dir",
            "the directory of the uploads, or none"
            + (f" (the app's configuration names {folders})" if folders else ""),
            find_fault=_fault_of_uploads,
        ),
        Question(
            "BACKUP_DIR",
            "--backup-dir",
            "the directory for the archives, outside the app",
            "/srv/backups" if os.geteuid() == 0 else os.path.expanduser("~/backups"),
        ),
    ]


def _fault_of_uploads(answer: str) -> str:
    try:
        return "" if all(each.path.is_dir() for each in parse_dirs(answer)) else "an existing directory"
    except Unusable as error:
        return str(error)


def _fault_of_address(answer: str) -> str:
    try:
        parse_database_url(answer)
    except Unusable as error:
        return str(error)
    return ""


def _find_app(given: dict[str, Any]) -> AppConfig | None:
    """The app's configuration. One that does not load does not matter if both answers are given."""
    try:
        return find_app(click.get_current_context())
    except AppNotLoaded as failure:
        if given["database_url"] and given["upload_dir"]:
            return None
        failure.hint = f"Without the app: {typed('init --database-url ADDRESS --upload-dir DIR')}"
        raise


def _run(output: Output, command: str, path: Path) -> int:
    """Run a command by the new file alone, as a schedule would; its status."""
    from safeharbor_backup.cli.main import cli

    started = typed("")
    output.result(f"\n$ {typed(command)}")
    try:
        return int(cli.main([*named_file(path), command], prog_name="safeharbor", standalone_mode=False) or 0)
    finally:
        type_commands_as(started)  # the command has typed as it was started itself


def _say_what_was_done(output: Output, settings: Settings, path: Path, *, made: bool) -> None:
    origins = settings.origins
    where = {name: f"  ({origins[name]})" for name in _OPTIONS if origins.get(name, "").startswith("the app's ")}
    output.result(f"Database  {settings.database_address().describe()}{where.get('BACKUP_DATABASE_URL', '')}")
    output.result(
        f"Uploads   {', '.join(map(str, settings.upload_dirs)) or 'none'}{where.get('BACKUP_UPLOAD_DIR', '')}"
    )
    output.result(f"Archives  {settings.backup_dir}{', made with mode 0700' if made else ''}")
    output.result(f"Settings  {path}, mode 0600")


def _say_what_lacks(output: Output, checked: Checked) -> bool:
    """Whether there was something to warn of."""
    for error in checked.refused:
        output.warning(f"{error.message} A restore needs that. {error.hint}")
    for missing in checked.missing.databases:
        output.warning(str(missing))
    if checked.missing.folders:
        output.line(describe_folders(checked.missing.folders))
    if not checked.refused:
        output.result("The role can restore: a copy is built beside the live database, then both are exchanged")
    return bool(checked.refused or checked.missing.databases)


def _offer(output: Output, schedule: str, files: dict[str, str], units: Path) -> None:
    """What the operator does for a backup every night."""
    if schedule == _NONE:
        output.result("Nothing starts the next backup yet: docs/scheduling.md compares the ways")
    elif schedule == "systemd":
        units.mkdir()
        for name, text in files.items():
            (units / name).write_text(text)
        timers = " ".join(name for name in files if name.endswith(".timer"))
        output.result("For a backup every night, a verify and a drill each Sunday, type:")
        output.result(f"  sudo install -m 0644 {units}/*.service {units}/*.timer /etc/systemd/system/")
        output.result(f"  sudo install -D -m 0755 {units}/alarm /etc/safeharbor/alarm")
        output.result(f"  sudo systemctl daemon-reload && sudo systemctl enable --now {timers}")
    else:
        where = {"cron": "Add this with `crontab -e`:", "compose": "Put this under `services:` of your Compose file:"}
        output.result(where[schedule])
        for text in files.values():
            output.result(text.rstrip("\n"))
