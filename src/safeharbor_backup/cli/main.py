"""`safeharbor …`: the same commands anywhere, settings from the environment."""

from __future__ import annotations

import click

from safeharbor_backup import __version__
from safeharbor_backup.cli.lazy import HELP_OPTIONS, LazyGroup, env_file_option
from safeharbor_backup.cli.streams import best_effort_output

_django = click.Option(
    ["--django"],
    is_flag=True,
    help="Take the database and the uploads from a Django project's settings, which DJANGO_SETTINGS_MODULE names.",
)
cli = click.version_option(__version__, "-V", "--version", prog_name="safeharbor", message="%(prog)s %(version)s")(
    LazyGroup(
        name="safeharbor",
        help="Back up a PostgreSQL database and its uploads into one plain tar that is proven to restore. "
        "Settings come from the environment or from a file; `doctor` shows what is set.",
        params=[env_file_option(), _django],
        context_settings=dict(HELP_OPTIONS),
    )
)


def main() -> None:
    """What the console script `safeharbor` runs."""
    with best_effort_output():  # what click itself prints too
        cli(prog_name="safeharbor")
