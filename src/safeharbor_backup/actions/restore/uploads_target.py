"""What on the side of the uploads would make a restore fail: entries that cannot move, names that cannot be written."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from safeharbor_backup.archive.layout import UPLOADS_NAME
from safeharbor_backup.errors import CannotRestore, StorageUnavailable
from safeharbor_backup.system.filesystem import mounts_below
from safeharbor_backup.text import ascii_safe, plural
from safeharbor_backup.uploads.extract import ELSEWHERE, LACKS_MODES, LACKS_OWNERS
from safeharbor_backup.uploads.frontier import find_frontier, refused_mount
from safeharbor_backup.uploads.movable import find_immovable
from safeharbor_backup.uploads.trial import try_filesystem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from safeharbor_backup.actions.restore.findings import Findings
    from safeharbor_backup.actions.restore.request import OpenArchive
    from safeharbor_backup.settings.upload_dirs import Excluded, UploadDir


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
