"""`unkeep`: let retention delete an archive that was kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from safeharbor_backup.actions.keep import unkeep_archive
from safeharbor_backup.cli.archive_path import ArchivePath, chosen_archive
from safeharbor_backup.cli.command import safeharbor_command
from safeharbor_backup.cli.documents import UnkeepDocument
from safeharbor_backup.cli.options import json_option
from safeharbor_backup.errors import ExitStatus

if TYPE_CHECKING:
    from pathlib import Path

    from safeharbor_backup.cli.run import Run


@safeharbor_command(
    "Remove the mark of `keep`. Nothing is deleted now; the output shows what retention will do with the archive.",
    ExitStatus.DONE,
    ExitStatus.FAILED,
    ExitStatus.USAGE,
    ExitStatus.REJECTED,
    ExitStatus.STORAGE,
)
@click.argument("archive", type=ArchivePath())
@json_option
def command(run: Run, archive: Path | str, *, as_json: bool) -> None:
    """Parse, take the mark away, render."""
    settings = run.read_settings(quiet=True, renews_files=True)
    path = chosen_archive(archive, settings, run.output)
    verdict = unkeep_archive(path, settings)
    if as_json:
        keep, reasons = (verdict.keep, tuple(verdict.reasons)) if verdict is not None else (None, ())
        run.output.document(UnkeepDocument(name=path.name, keep=keep, reasons=reasons))
        return
    run.output.result(f"{path.name} is not kept any more")
    if verdict is not None:
        will = "It stays for now" if verdict.keep else "The next prune deletes it"
        run.output.result(f"{will}: {', '.join(verdict.reasons)}")
