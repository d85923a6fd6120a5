"""What on the side of the uploads would make a restore fail.

Entries that cannot move, names that cannot be written, too little space.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from safeharbor_backup.archive.layout import UPLOADS_NAME
from safeharbor_backup.errors import CannotRestore, StorageUnavailable
from safeharbor_backup.settings.min_free import free_restores, show_room
from safeharbor_backup.system.filesystem import mounts_below
from safeharbor_backup.text import ascii_safe, plural
from safeharbor_backup.uploads.extract import ELSEWHERE, LACKS_MODES, LACKS_OWNERS
from safeharbor_backup.uploads.frontier import find_frontier, refused_mount
from safeharbor_backup.uploads.movable import find_immovable
from safeharbor_backup.uploads.trial import try_filesystem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from safeharbor_backup.actions.restore.findings import Findings
    from safeharbor_backup.actions.restore.request import OpenArchive
    from safeharbor_backup.settings.min_free import MinFree
    from safeharbor_backup.settings.upload_dirs import Excluded, UploadDir, UploadDirs


def check_movable(uploads: Path, is_excluded: Callable[[str], bool] | None = None) -> None:
    """Everything in `uploads` that is not excluded can be moved aside. Raises StorageUnavailable, OSError."""
    for found in find_immovable(uploads, is_excluded)[:1]:
        what = str(uploads) if found.path == "." else ascii_safe(str(uploads / found.path))
        raise StorageUnavailable(f"{what} cannot be moved aside: {found.why}.", hint=found.remedy)


def check_staying(directory: UploadDir, archive: OpenArchive, is_excluded: Excluded | None, findings: Findings) -> None:
    """What a restore leaves where it is can stay there. Raises CannotRestore, Truncated, OSError."""
    uploads = directory.path
    staying = find_frontier(uploads, None, directory.inside(is_excluded)).stays
    if staying:
        first = ", ".join(ascii_safe(directory.shown(path)) for path in staying[:3])
        more = f" and {len(staying) - 3:,} more" if len(staying) > 3 else ""
        stay = "stays where it is: archives do not hold it" if len(staying) == 1 else "stay: archives do not hold them"
        findings.facts.append(f"{first}{more} {stay}")
    mounts = {UPLOADS_NAME + directory.prefix + mount + b"/": mount for mount in mounts_below(uploads)}
    if not mounts:
        return
    for name, _ in archive.listed_files():
        if name.startswith(tuple(mounts)):
            raise refused_mount(uploads, next(mount for prefix, mount in mounts.items() if name.startswith(prefix)))


def _names_for(directory: UploadDir, archive: OpenArchive) -> Iterator[bytes]:
    """The archive's names that belong there, as if that were the whole tree."""
    prefix = UPLOADS_NAME + directory.prefix
    for name, _ in archive.listed_files():
        if name.startswith(prefix):
            yield UPLOADS_NAME + name[len(prefix) :]


def check_filesystem(directory: UploadDir, archive: OpenArchive, findings: Findings) -> None:
    """The filesystem of a directory takes what is in the archive. Raises OSError."""
    uploads = directory.path
    links = archive.manifest is not None and archive.manifest.upload_links > 0
    refused = try_filesystem(uploads, lambda: _names_for(directory, archive), has_links=links, owners=archive.owners)
    if refused.names:
        names = ", ".join(ascii_safe(os.fsdecode(name)) for name in refused.names[:3])
        findings.problems.append(
            CannotRestore(
                f"The filesystem of {uploads} does not accept names that the archive has, such as {names}.",
                hint=ELSEWHERE,
            )
        )
    if refused.twins:
        one, other = (ascii_safe(os.fsdecode(name)) for name in refused.twins[0])
        more = f" (and {plural(len(refused.twins) - 1, 'more pair')})" if len(refused.twins) > 1 else ""
        findings.problems.append(
            CannotRestore(
                f"{one} and {other} in the archive are the same name on the filesystem of {uploads}{more}.",
                hint=ELSEWHERE,
            )
        )
    if refused.links:
        findings.problems.append(
            CannotRestore(
                f"The archive has symbolic links, which the filesystem of {uploads} does not accept.", hint=ELSEWHERE
            )
        )
    for is_refused, warning in ((refused.modes, LACKS_MODES), (refused.owners, LACKS_OWNERS)):
        if is_refused and warning not in findings.warnings:
            findings.warnings.append(warning)


def check_rooms(
    dirs: UploadDirs, folders: Mapping[str, tuple[int, int]] | None, whole: tuple[int, int], min_free: MinFree
) -> list[str]:
    """How much room the uploads take on each filesystem beside the present ones: a line each.

    `folders` has files and bytes of each directory in the archive, None if that is not known; `whole` of all. Raises
    StorageUnavailable if there is too little, OSError.
    """
    by_device: dict[int, list[tuple[Path, int, int]]] = {}
    for each in dirs:
        files, size = whole if not each.name else (folders or {}).get(each.name, (0, 0))
        by_device.setdefault(os.stat(each.path).st_dev, []).append((each.path, files, size))
    if folders is None and len(by_device) > 1:
        return []  # each write looks at the room that is left
    found = []
    for there in by_device.values():
        files, size = sum(each[1] for each in there), sum(each[2] for each in there)
        if folders is None:
            files, size = whole
        found.append(check_upload_room(there[0][0], size, files, min_free))
    return found


def check_upload_room(uploads: Path, size: int, files: int, min_free: MinFree) -> str:
    """How much room uploads of this size in bytes take beside those in `uploads`, and how much there is.

    Raises StorageUnavailable if that is too little, OSError.
    """
    system = os.statvfs(uploads)
    room, needed = min_free.room(system), size + files * max(system.f_bsize, 512)
    free = show_room(uploads, system, min_free)
    if room is not None and needed > room:
        raise StorageUnavailable(
            f"{free}; the restored uploads take about {needed:,} beside the present ones.",
            hint=free_restores(),
        )
    return f"{free}; the restored uploads take {needed:,}"
