"""A group whose commands are imported when they are used; it costs `flask` next to nothing at start-up."""

from __future__ import annotations

from importlib import import_module

import click

# command: the first line of its help, so that listing them imports none
COMMANDS = {
    "backup": "Back up, prove the archive, then apply retention.",
    "copy": "Copy an archive into another database and directory: staging, a laptop.",
    "diff": "Show what changed between two archives, or since one.",
    "doctor": "Check for everything that would make a run fail.",
    "drill": "Restore the newest archive into a scratch copy, compare it, and remove it.",
    "extract": "Take files, folders or rows of a table out of an archive.",
    "find": "Find the archives that have a file, and its versions.",
    "help": "Print a page of the documentation.",
    "idle": "Keep a container alive; when stopped, wait for running commands.",
    "init": "Set up backups: settings, directory, schedule, and a first backup that is drilled.",
    "keep": "Keep an archive, whatever retention says.",
    "list": "List the archives, what is in them, and which will stay.",
    "notify": "Send a test alert to every configured address.",
    "offsite-done": "Record that the archives were copied off-site.",
    "prune": "Delete the archives that retention no longer keeps.",
    "report": "Write an HTML page that shows the state of the backups.",
    "restore": "Restore database and uploads from an archive, or undo a restore.",
    "scheduler": "Run backups, checks and drills on their schedules, until stopped.",
    "status": "Show whether the newest backup is good, how the last runs ended, and what comes next.",
    "unkeep": "Let retention delete an archive that was kept.",
    "verify": "Prove that archives are complete and unchanged.",
}

HELP_OPTIONS = {"help_option_names": ["-h", "--help"]}

IN_FLASK = "flask"
STANDALONE = "standalone"
DJANGO = "django"
SOURCE_KEY = "safeharbor.settings_source"
FROM_FILE_KEY = "safeharbor.from_file"  # what is in the environment by a file of settings, and which file
_JSON_KEY = "safeharbor.json"  # whether `--json` is anywhere on the command line
LOG_FORMAT_KEY = "safeharbor.log_format"  # what `--log-format` says, for the commands that have it


class LazyGroup(click.Group):
    """The group `safeharbor`; `settings_source` says whether its commands have an app to ask."""

    settings_source = STANDALONE

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """The arguments that are left. With `--json` behind a mistake in them, the mistake is a document too."""
        ctx.meta[_JSON_KEY] = "--json" in args
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as refused:
            _document(ctx, refused)
            raise

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all commands."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, whose module is imported now; None if there is none."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"safeharbor_backup.cli.commands.{cmd_name.replace('-', '_')}").command
        # a command remembers the help options that it is first asked for, so they do not hang on who asks
        command.context_settings = {**HELP_OPTIONS, **command.context_settings}
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, from the table above."""
        with formatter.section("Commands"):
            formatter.write_dl(sorted(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the arguments begin with. One that does not exist is refused with those like it."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from difflib import get_close_matches

            meant = get_close_matches(args[0], self.list_commands(ctx))
            more = f" Did you mean {' or '.join(f'`{name}`' for name in meant)}?" if meant else ""
            refused = click.UsageError(f"{error.message}{more}", ctx)
            _document(ctx, refused)
            raise refused from None

    def invoke(self, ctx: click.Context) -> object:
        """Run the command with the right source of settings."""
        self.choose_source(ctx)
        return super().invoke(ctx)

    def choose_source(self, ctx: click.Context) -> None:
        """Remember where settings come from, with the file of settings read."""
        source = DJANGO if ctx.params.get("django") else self.settings_source
        ctx.meta[SOURCE_KEY] = source
        _load_env_file(ctx, has_app=source != STANDALONE)


def env_file_option() -> click.Option:
    """The option `--env-file`, for the groups."""
    return click.Option(
        ["--env-file"],
        metavar="FILE",
        help="Read the settings that the environment does not have from this file, written like Compose's .env. "
        "Default: SAFEHARBOR_ENV_FILE, and without an app ~/.config/safeharbor/backup.env or "
        "/etc/safeharbor/backup.env.",
    )


def _document(ctx: click.Context, refused: click.ClickException) -> None:
    """Print it as JSON if the command line asks for that: a mistake before the command has no command to do it."""
    if ctx.meta.get(_JSON_KEY):
        from safeharbor_backup.cli.failure import refusal_of
        from safeharbor_backup.cli.output import TextOutput

        TextOutput().document(refusal_of(refused))


def _load_env_file(ctx: click.Context, *, has_app: bool) -> None:
    from safeharbor_backup.cli.env_file import add_env_file
    from safeharbor_backup.errors import SettingsInvalid

    try:
        ctx.meta[FROM_FILE_KEY] = add_env_file(ctx.params.get("env_file"), has_app=has_app)
    except SettingsInvalid as error:
        refused = _Refused(f"{error.message}\nHint: {error.hint}" if error.hint else error.message)
        _document(ctx, refused)
        raise refused from None


class _Refused(click.ClickException):
    exit_code = 2
