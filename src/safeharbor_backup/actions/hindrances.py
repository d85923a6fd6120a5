"""What a restore of the uploads would stumble over, as a backup and `doctor` report it beforehand."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from safeharbor_backup.state.journal import Journal
from safeharbor_backup.text import ascii_safe, typed
from safeharbor_backup.uploads.movable import find_fixed
from safeharbor_backup.uploads.staging import find_look_alikes, stage_path

if TYPE_CHECKING:
    from safeharbor_backup.settings.upload_dirs import Excluded, UploadDirs


def describe_hindrances(uploads: UploadDirs, directory: Path, is_excluded: Excluded | None) -> list[str]:
    """What a restore of the uploads would stumble over, and what only looks like what a restore keeps: a line each.

    The journal of restores is in `directory`.
    """
    try:
        found = describe_unknown_stages(uploads, directory) + _describe_stages_below(uploads, directory)
        fixed = [(each, what) for each in uploads for what in find_fixed(each.path, each.inside(is_excluded))]
    except OSError as error:
        return [f"whether a restore could exchange the uploads is unknown: {error}"]
    for each, first in fixed[:1]:
        more = f" (and {len(fixed) - 1} more cannot be moved)" if len(fixed) > 1 else ""
        found.append(
            f"a restore of the uploads would be refused: {ascii_safe(str(each.path / first.path))} cannot be moved, "
            f"{first.why}{more}. {first.remedy}"
        )
    return found


def describe_unknown_stages(uploads: UploadDirs, directory: Path) -> list[str]:
    """One line if something in the uploads looks like the stage of a restore that `directory`'s journal does not know.

    Raises JournalBroken, OSError.
    """
    known = {record.id for record in Journal(directory).read()}
    names = [each.shown(name) for each in uploads if each.path.is_dir() for name in find_look_alikes(each.path, known)]
    if not names:
        return []
    one = len(names) == 1
    which = names[0] if one else f"{names[0]} and {len(names) - 1} more"
    return [
        f"{which} in the uploads {'has' if one else 'have'} the name of a restore's directory, but the journal in "
        f"{directory} knows no such restore. {'It is' if one else 'They are'} not archived, and left as "
        f"{'it is' if one else 'they are'}"
    ]


def _describe_stages_below(uploads: UploadDirs, directory: Path) -> list[str]:
    """A line for each restore whose kept uploads are in the tree: they are left out at the top of a directory only."""
    tops = {os.path.realpath(each.path) for each in uploads}
    found = []
    for record in Journal(directory).read():
        for part in record.uploads:
            top = os.path.realpath(part.path)
            is_below = any(top.startswith(f"{each.rstrip('/')}/") for each in tops)
            if is_below and os.path.lexists(stage := stage_path(Path(top), record.id)):
                verb = typed(f"restore --discard-previous --id {record.id}")
                found.append(
                    f"{ascii_safe(str(stage))}, which restore {record.id} keeps, lies in the uploads and is archived "
                    f"with them. `{verb}` deletes it"
                )
    return found
