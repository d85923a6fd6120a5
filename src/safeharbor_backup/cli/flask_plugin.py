"""`flask safeharbor …` inside any Flask app.

Flask imports this module at every `flask` call, before it loads any app; so it imports click only, and each
command loads the app itself when it runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from safeharbor_backup.cli.lazy import COMMANDS, HELP_OPTIONS, IN_FLASK, LazyGroup, env_file_option

if TYPE_CHECKING:
    import click


class JoinedGroup(LazyGroup):
    """Our commands, and those of an app that has a group `safeharbor` of its own; ours win where both have one."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all commands, the app's among them if it can be loaded."""
        return sorted({*COMMANDS, *self._of_the_app(ctx)})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Our command of that name, otherwise the app's."""
        return super().get_command(ctx, cmd_name) or self._of_the_app(ctx).get(cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Our commands, then those of the app that ours do not hide."""
        super().format_commands(ctx, formatter)
        theirs = {name: each for name, each in self._of_the_app(ctx).items() if name not in COMMANDS}
        if theirs:
            with formatter.section("Commands of the app"):
                formatter.write_dl([(name, each.get_short_help_str()) for name, each in sorted(theirs.items())])

    def _of_the_app(self, ctx: click.Context) -> dict[str, click.Command]:
        from safeharbor_backup.cli.settings_source import commands_of_the_app

        return commands_of_the_app(ctx)


cli = JoinedGroup(
    name="safeharbor",
    help="Back up this app's PostgreSQL database and its uploads into one archive that is proven to restore.",
    context_settings={"obj": None, **HELP_OPTIONS},
    params=[env_file_option()],
)
cli.settings_source = IN_FLASK
