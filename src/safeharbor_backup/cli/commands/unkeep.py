"""`unkeep`: an archive that was kept comes and goes by retention again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from safeharbor_backup.actions.keep import unkeep_archive
from safeharbor_backup.cli.archive_path import ArchivePath, chosen_archive
from safeharbor_backup.cli.command import safeharbor_command
from safeharbor_backup.errors import ExitStatus

if TYPE_CHECKING:
    from pathlib import Path

    from safeharbor_backup.cli.run import Run


@safeharbor_command(
    "Take the mark of `keep` away. Nothing is deleted now; what retention says of the archive from now on is shown.",
    ExitStatus.DONE,
    ExitStatus.FAILED,
    ExitStatus.USAGE,
    ExitStatus.REJECTED,
    ExitStatus.STORAGE,
)
@click.argument("archive", type=ArchivePath())
def command(run: Run, archive: Path | str) -> None:
    """Parse, take the mark away, render."""
    settings = run.read_settings(quiet=True, renews_files=True)
    path = chosen_archive(archive, settings, run.output)
    verdict = unkeep_archive(path, settings)
    run.output.result(f"{path.name} is not kept any more")
    if verdict is not None:
        will = "It stays for now" if verdict.keep else "The next prune deletes it"
        run.output.result(f"{will}: {', '.join(verdict.reasons)}")
