"""`keep`: an archive that retention never deletes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from safeharbor_backup.actions.keep import keep_archive
from safeharbor_backup.cli.archive_path import ArchivePath, chosen_archive
from safeharbor_backup.cli.command import safeharbor_command
from safeharbor_backup.cli.documents import KeepDocument
from safeharbor_backup.cli.options import json_option
from safeharbor_backup.errors import ExitStatus
from safeharbor_backup.text import typed

if TYPE_CHECKING:
    from pathlib import Path

    from safeharbor_backup.cli.run import Run


@safeharbor_command(
    "Keep an archive for ever: retention never deletes it, whatever the settings say. The mark is a file beside the "
    "archive, NAME.keep. `unkeep` removes it.",
    ExitStatus.DONE,
    ExitStatus.FAILED,
    ExitStatus.USAGE,
    ExitStatus.LOCKED,
    ExitStatus.REJECTED,
    ExitStatus.STORAGE,
)
@click.argument("archive", type=ArchivePath())
@click.option("--because", required=True, help="The reason, which the list and the page show.")
@json_option
def command(run: Run, archive: Path | str, *, because: str, as_json: bool) -> None:
    """Marks an archive, so that `prune` leaves it."""
    settings = run.read_settings(quiet=True, renews_files=True)
    path = chosen_archive(archive, settings, run.output)
    keep_archive(path, because, settings)
    if as_json:
        run.output.document(KeepDocument(name=path.name, because=" ".join(because.split())))
    else:
        run.output.result(f"{path.name} is kept until `{typed(f'unkeep {path.name}')}`")
