"""The ways back from a restore, as its plan describes them before it begins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safeharbor_backup.text import typed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safeharbor_backup.actions.restore.findings import Findings
    from safeharbor_backup.actions.restore.other_databases import PlannedDatabase
    from safeharbor_backup.actions.restore.request import RestoreRequest
    from safeharbor_backup.settings.upload_dirs import UploadDirs


def describe_ways_back(
    dirs: UploadDirs, request: RestoreRequest, parts: Sequence[PlannedDatabase], findings: Findings
) -> None:
    """What of the present state a restore keeps, and how to return to it."""
    live = [each.plan.live.name for each in parts if each.plan.live is not None]
    swaps_database = request.with_database and not request.in_place and bool(live)
    swaps_uploads = bool(dirs)
    if request.with_database and request.in_place:
        findings.ways_back.append(
            "The database is wiped and loaded in one transaction: there will be no way back. To be able to go back, "
            f"first take `{typed('backup --output FILE')}`."
        )
    if not swaps_database and not swaps_uploads:
        return
    what = " and ".join(
        [
            *([f"the present {'database' if len(live) == 1 else 'databases'}"] if swaps_database else []),
            *(["the present uploads"] if swaps_uploads else []),
        ]
    )
    if not request.keep_previous:
        findings.ways_back.append(f"Deleted at the end (--no-keep-previous): {what}. There will be no way back.")
    elif swaps_database or not request.with_database:
        findings.ways_back.append(
            f"Kept until `{typed('restore --discard-previous')}`: {what}. To go back: {typed('restore --undo')}"
        )
    else:
        findings.ways_back.append(f"Kept until `{typed('restore --discard-previous')}`: {what}.")
