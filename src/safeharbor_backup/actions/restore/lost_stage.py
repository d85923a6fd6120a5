"""A restore whose stage somebody deleted or replaced: what can still be done, and what to type.

Half a state is never brought in by itself: the operator says `--abandon-uploads` or `--abandon-database`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from safeharbor_backup.errors import CannotRestore
from safeharbor_backup.state.restore_record import Leg, Mark, Phase, Side
from safeharbor_backup.text import typed
from safeharbor_backup.uploads.staging import stage_path
from safeharbor_backup.uploads.walk import count_entries

if TYPE_CHECKING:
    from safeharbor_backup.state.restore_record import RestoreRecord
    from safeharbor_backup.uploads.staging import Stage


@dataclass(frozen=True, slots=True)
class Abandoned:
    """Which halves of a restore the operator gives up, where they are lost: they stay as they are."""

    uploads: bool = False
    database: bool = False


NOTHING = Abandoned()


def way_around(record: RestoreRecord) -> str:
    """What can still be done with a restore whose stage is lost, and what to type."""
    anew = f"restore the uploads of an archive (`{typed('restore --from PATH --only')} uploads`)"
    verb = typed("restore")
    if record.phase is Phase.KEPT:
        back = f"`{verb} --undo --id {record.id} --abandon-uploads` brings back the database alone. "
        return (
            f"Restore an archive. {back if record.database and not record.in_place else ''}"
            f"`{verb} --discard-previous --id {record.id} --abandon-uploads` deletes the rest."
        )
    if not record.database:
        return f"`{verb} --undo --abandon-uploads` leaves the uploads as they are now. Then {anew}."
    if record.in_place:
        return f"`{verb} --undo --abandon-uploads` leaves the uploads as they are and ends the rest. Then {anew}."
    old = f"`{verb} --undo --abandon-uploads` makes the database live that has {record.describe(Side.OLD)}"
    new = f", `{verb} --resume --abandon-uploads` the one that has {record.describe(Side.NEW)}"
    return f"{old}{'' if record.by_undo else new}; the uploads stay as they are now. Then {anew}."


def changes_of(stage: Stage, record: RestoreRecord, mark: Mark) -> tuple[str, ...]:
    """What to say of the side that is to come in, if it has not as many entries as when it was put aside as a whole."""
    side = record.towards
    if mark not in (Mark(side.other, Leg.AT_REST), Mark(side, Leg.OUT)):
        return ()  # a part of it is live already
    before, now = record.entries(side), count_entries(stage.side(side))
    if before == now or -1 in (before, now):
        return ()
    return (
        f"{stage.path}/{side} had {before:,} entries when it was put there, and has {now:,} now: whoever can write to "
        f"the uploads has changed it. `{typed('restore --from PATH --only')} uploads` brings in those of an archive",
    )


def refuse_whole_stage(stage: Stage | None, record: RestoreRecord, abandoned: Abandoned) -> None:
    """Raises CannotRestore if the uploads of a restore are to be abandoned that are there and ours."""
    if abandoned.uploads and stage is not None:
        raise CannotRestore(
            f"The uploads that restore {record.id} keeps are in {stage.path}, and can be brought in.",
            hint="Type it without --abandon-uploads.",
            intact="Nothing was changed.",
        )


def left_as_they_are(before: RestoreRecord, after: RestoreRecord) -> tuple[str, ...]:
    """What to say of those halves of a restore that are no part of it any more."""
    warnings = _uploads_left(before, after)
    follows = bool(after.oid(after.towards))  # the database that is live is known to be of the state that came in
    if before.database and not (after.database or follows) and before.phase is not Phase.STAGING:
        warnings += (
            f'the database "{before.database}" was left as it is, whatever it has. '
            f"`{typed('restore --from PATH --only')} database` brings in that of an archive",
        )
    return warnings


def _uploads_left(before: RestoreRecord, after: RestoreRecord) -> tuple[str, ...]:
    if not before.uploads or after.uploads:
        return ()
    stage = stage_path(Path(before.uploads), before.id)
    left = (f"what is in the place of {stage} is not ours, and was left there: look at it",)
    warnings = left if os.path.lexists(stage) else ()
    if before.phase is Phase.STAGING:  # nothing live had changed
        return warnings
    return (
        f"the uploads in {before.uploads} were left as they are, and may be of two states, or lack files. "
        f"`{typed('restore --from PATH --only')} uploads` brings in those of an archive",
        *warnings,
    )
