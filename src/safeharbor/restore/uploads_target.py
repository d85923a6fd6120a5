"""What on the side of the uploads would make a restore fail: entries that cannot move, names that cannot be written."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from safeharbor.errors import CannotRestore, StorageUnavailable
from safeharbor.uploads.extract import ELSEWHERE, LACKS_MODES, LACKS_OWNERS
from safeharbor.uploads.omissions import ascii_safe
from safeharbor.uploads.staging import find_immovable, is_left_alone
from safeharbor.uploads.trial import try_filesystem, why_fixed

if TYPE_CHECKING:
    from pathlib import Path

    from safeharbor.archive.layout import Member
    from safeharbor.restore.findings import Findings
    from safeharbor.restore.request import OpenArchive


class OwnersSeen:
    """Give it an archive's members; afterwards it knows whether this process can give each its owner."""

    def __init__(self) -> None:
        self._ours = (os.geteuid(), {os.getegid(), *os.getgroups()})
        self.warnings: list[str] = []

    def __call__(self, member: Member) -> None:
        """The next member of uploads/."""
        uid, groups = self._ours
        if uid and not self.warnings and member.name != b"uploads/" and (member.uid != uid or member.gid not in groups):
            self.warnings.append(LACKS_OWNERS)


def check_movable(uploads: Path) -> None:
    """Everything in `uploads` can be moved aside. Raises StorageUnavailable, OSError."""
    root = os.open(uploads, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in [".", *os.listdir(root)]:
            why = why_fixed(root, name)
            if why and (name == "." or not is_left_alone(uploads, name)):
                raise StorageUnavailable(
                    f"{uploads / name} cannot be moved aside: {why}.",
                    hint=f"As root: chattr -i -a {uploads / name}. Then restore again.",
                )
    finally:
        os.close(root)
    for name, why in find_immovable(uploads)[:1]:
        raise StorageUnavailable(
            f"{uploads / name} cannot be moved aside: {why}.",
            hint=f"Run this as the owner of {uploads} and all in it, or as root. Unmount what is mounted in it.",
        )


def check_filesystem(uploads: Path, archive: OpenArchive, findings: Findings) -> None:
    """The filesystem of `uploads` takes what is in the archive. Raises OSError."""
    links = archive.manifest is not None and archive.manifest.upload_links > 0
    refused = try_filesystem(uploads, lambda: (name for name, _ in archive.listed_files()), has_links=links)
    if refused.names:
        names = ", ".join(ascii_safe(os.fsdecode(name)) for name in refused.names[:3])
        findings.problems.append(
            CannotRestore(
                f"The filesystem of {uploads} does not take names that the archive has, such as {names}.",
                hint=ELSEWHERE,
            )
        )
    if refused.twins:
        one, other = (ascii_safe(os.fsdecode(name)) for name in refused.twins[0])
        more = f" (and {len(refused.twins) - 1} more pairs)" if len(refused.twins) > 1 else ""
        findings.problems.append(
            CannotRestore(
                f"{one} and {other} in the archive are one name on the filesystem of {uploads}{more}.", hint=ELSEWHERE
            )
        )
    if refused.links:
        findings.problems.append(
            CannotRestore(
                f"The archive has symbolic links, which the filesystem of {uploads} does not take.", hint=ELSEWHERE
            )
        )
    if refused.modes:
        findings.warnings.append(LACKS_MODES)
