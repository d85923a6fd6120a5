"""`offsite-done`: a job says that it has copied the archives elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from safeharbor_backup.actions.offsite import give_up_copy, newest_here, note_copy
from safeharbor_backup.cli.command import safeharbor_command
from safeharbor_backup.cli.documents import OffsiteDoneDocument
from safeharbor_backup.cli.options import json_option
from safeharbor_backup.errors import ExitStatus

if TYPE_CHECKING:
    from safeharbor_backup.cli.run import Run


@safeharbor_command(
    "Record that the archives were copied just now to the off-site copy NAME: the last line of your own job. "
    "The jobs in deploy/offsite do it themselves. `status`, the metrics and the page then show when each copy was "
    "last made, and warn when one is older than two days.",
    ExitStatus.DONE,
    ExitStatus.FAILED,
    ExitStatus.USAGE,
    ExitStatus.LOCKED,
    ExitStatus.STORAGE,
    meanings={ExitStatus.LOCKED: "another job is recording a copy"},
)
@click.argument("name")
@click.option("--archive", metavar="NAME", help="The newest archive that was copied. Default: the newest one here.")
@click.option("--forget", is_flag=True, help="Forget this copy, which no longer exists: stop warning about it.")
@json_option
def command(run: Run, name: str, *, archive: str | None, forget: bool, as_json: bool) -> None:
    """Records a copy elsewhere, or that there is none any more."""
    if forget and archive is not None:
        raise click.UsageError("--forget takes no --archive")
    settings = run.read_settings(quiet=True, notices_restore=False, renews_files=True)
    if forget:
        give_up_copy(name, settings)
    newest = None if forget else note_copy(name, archive, settings)
    if as_json:
        run.output.document(OffsiteDoneDocument(name=name, newest=newest, forgotten=forget))
    elif forget:
        run.output.result(f"the off-site copy {name} is forgotten")
    elif archive is not None and (here := newest_here(settings.backup_dir)) is not None and archive < here:
        run.output.result(f"the off-site copy {name} has {archive}; the newest archive here is {here}")
    else:
        run.output.result(f"the off-site copy {name} is up to date with {newest or 'no archive yet'}")
