"""A restore whose stage somebody deleted or replaced: what can still be done, and what to type.

Half a state is never brought in by itself: the operator says `--abandon-uploads` or `--abandon-database`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from safeharbor_backup.errors import CannotRestore, translate_os_error
from safeharbor_backup.state.restore_parts import Mark, Side, SwapPhase
from safeharbor_backup.state.restore_record import Phase
from safeharbor_backup.text import typed
from safeharbor_backup.uploads.staging import stage_path
from safeharbor_backup.uploads.walk import count_entries

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from safeharbor_backup.errors import SafeHarborError
    from safeharbor_backup.state.restore_parts import UploadsPart
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
    several = len(record.uploads) > 1
    lost = "that directory" if several else "the uploads"
    if record.phase is Phase.KEPT:
        rest = "all but that directory" if several else "the database alone"
        back = f"`{verb} --undo --id {record.id} --abandon-uploads` brings back {rest}. "
        has_way_back = not record.in_place and (record.had_database or record.is_undone)
        return (
            f"Restore an archive. {back if (record.database or several) and has_way_back else ''}"
            f"`{verb} --discard-previous --id {record.id} --abandon-uploads` deletes the rest."
        )
    if record.phase is Phase.STAGING:
        rest = "all that it had prepared but what is in that directory" if several else "the rest that it had prepared"
        return (
            f"`{verb} --undo --abandon-uploads` deletes {rest}: what is live stays as it is. "
            f"`{verb} --resume --abandon-uploads` does the same and restores again."
        )
    they = "it is" if several else "they are"
    if not record.database:
        return f"`{verb} --undo --abandon-uploads` leaves {lost} as {they} now. Then {anew}."
    if record.in_place:
        return f"`{verb} --undo --abandon-uploads` leaves {lost} as {they} and ends the rest. Then {anew}."
    back = record.towards if record.by_undo else Side.OLD
    old = f"`{verb} --undo --abandon-uploads` makes the database live that has {record.describe(back)}"
    new = f", `{verb} --resume --abandon-uploads` the one that has {record.describe(Side.NEW)}"
    stays = "stays as it is" if several else "stay as they are"
    return f"{old}{'' if record.by_undo else new}; {lost} {stays} now. Then {anew}."


def dead_mount(record: RestoreRecord, path: str, error: OSError) -> SafeHarborError:
    """The error for a directory of uploads whose mount answers no more."""
    failure = translate_os_error(error, f"opening what restore {record.id} has in {path}")
    failure.hint = f"See that its filesystem is mounted and answers. {way_around(record)}"
    failure.intact = "Nothing was changed."
    return failure


def left_unseen(record: RestoreRecord, paths: Collection[str]) -> CannotRestore:
    """The error for what is being deleted and not there, perhaps only not mounted; the journal keeps it."""
    again = typed(f"restore --discard-previous --id {record.id}")
    return CannotRestore(
        f"What restore {record.id} has in {' and '.join(paths)} cannot be seen, and was not deleted; the rest was. "
        "Its filesystem is not mounted, or somebody deleted it.",
        hint=f"See that the filesystem there is mounted. Then `{again}` deletes it. "
        f"If it was deleted, or may stay: `{again} --abandon-uploads` forgets it.",
    )


def changes_of(stage: Stage, part: UploadsPart, mark: Mark, side: Side) -> tuple[str, ...]:
    """What to say of the side that is to come in, if it has not as many entries as when it was put aside as a whole."""
    if mark not in (Mark(side.other, SwapPhase.AT_REST), Mark(side, SwapPhase.OUT)):
        return ()  # a part of it is live already
    before, now = part.entries(side), count_entries(stage.side(side))
    if before == now or -1 in (before, now):
        return ()
    return (
        f"{stage.path}/{side} had {before:,} {'entry' if before == 1 else 'entries'} when it was put there, and has "
        f"{now:,} now: whoever can write to the uploads has changed it. "
        f"`{typed('restore --from PATH --only')} uploads` restores those of an archive",
    )


def refuse_whole_stages(stages: Mapping[str, Stage], record: RestoreRecord, abandoned: Abandoned) -> None:
    """Raises CannotRestore if the uploads of a restore are to be abandoned that are all there and ours."""
    if abandoned.uploads and stages and all(part.path in stages for part in record.uploads):
        kept = ", ".join(str(stage.path) for stage in stages.values())
        raise CannotRestore(
            f"The uploads that restore {record.id} keeps are in {kept}, and can be brought in.",
            hint="Run this again without --abandon-uploads.",
            intact="Nothing was changed.",
        )


def left_as_they_are(before: RestoreRecord, after: RestoreRecord) -> tuple[str, ...]:
    """What to say of those halves of a restore that are no part of it any more."""
    warnings = _uploads_left(before, after)
    follows = bool(after.oid(after.towards))  # the database that is live is known to be of the state that came in
    if before.database and not (after.database or follows) and before.phase is not Phase.STAGING:
        warnings += tuple(
            f'the database "{part.database}" was left as it is, whatever it has. '
            f"`{typed('restore --from PATH --only')} database` restores that of an archive"
            for part in before.databases
        )
    return warnings


def _uploads_left(before: RestoreRecord, after: RestoreRecord) -> tuple[str, ...]:
    still = {part.path for part in after.uploads}
    warnings = []
    for part in before.uploads:
        if part.path in still:
            continue
        stage = stage_path(Path(part.path), before.id)
        if before.phase is not Phase.STAGING:  # else nothing live had changed
            warnings.append(
                f"the uploads in {part.path} were left as they are, and may be of two states, or lack files. "
                f"`{typed('restore --from PATH --only')} uploads` restores those of an archive"
            )
        if os.path.lexists(stage):
            warnings.append(f"{stage} is not the directory that the restore made, and was left there: look at it")
    return tuple(warnings)
