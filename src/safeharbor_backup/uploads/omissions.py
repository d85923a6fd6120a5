"""What of the uploads did not go into an archive, or not as it should: exact counts, the first names of each kind."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field

from safeharbor_backup.archive.manifest_sections import NameList
from safeharbor_backup.errors import require_own_resources
from safeharbor_backup.text import ascii_safe

_NAMES = 1000
_NAMES_BYTES = 128 * 1024  # times six for bytes that JSON escapes, times five kinds: far below the limit
_OF_THE_SYSTEM = frozenset({"security.selinux", "system.nfs4_acl"})


@dataclass(slots=True)
class CappedList:
    """An exact count, and the first names."""

    count: int = 0
    names: list[str] = field(default_factory=list)
    _bytes: int = 0

    def add(self, path: bytes, why: str = "") -> None:
        """Count one more, with its name."""
        self.count += 1
        if len(self.names) < _NAMES and self._bytes < _NAMES_BYTES:
            name = path.decode("utf-8", "surrogateescape")
            self.names.append(f"{name}: {why}" if why else name)
            self._bytes += len(path) + len(why)

    def first(self) -> str:
        """The first of them, for a line of text, and how many more there are."""
        shown = [ascii_safe(name) for name in self.names[:3]]
        more = self.count - len(shown)
        return ", ".join(shown) + (f" and {more} more" if more > 0 else "")

    def recorded(self) -> NameList:
        """The count and names as the manifest has them."""
        return NameList(count=self.count, names=tuple(self.names))


@dataclass(slots=True)
class Omissions:
    """Uploads that changed while they were read, vanished, could not be read, cannot be archived, or are excluded.

    And those whose content differs from that in the previous archive, although nothing shows that they were changed.
    """

    changed: CappedList = field(default_factory=CappedList)
    vanished: CappedList = field(default_factory=CappedList)
    unreadable: CappedList = field(default_factory=CappedList)
    skipped: CappedList = field(default_factory=CappedList)
    excluded: CappedList = field(default_factory=CappedList)
    altered: CappedList = field(default_factory=CappedList)
    attributes: CappedList = field(default_factory=CappedList)
    unreadable_directories: int = 0

    def notes(self) -> list[str]:
        """Lines that are printed once and are not warnings, since each night has them."""
        count = self.attributes.count
        if not count:
            return []
        return [
            f"{count} of the uploads that were read {'has' if count == 1 else 'have'} access control lists, extended "
            f"attributes or capabilities, which archives do not keep: {self.attributes.first()}"
        ]

    def warnings(self) -> list[str]:
        """One line for each kind that the operator should know of; what was excluded on purpose is none."""
        kinds = [
            (self.unreadable, "could not be read and {are} not in the archive"),
            (
                self.changed,
                "changed while {it_was} being read; {it_is} in the archive as far as {it_was} read",
            ),
            (self.vanished, "vanished while the backup ran and {are} not in the archive"),
            (self.skipped, "cannot be archived"),
            (
                self.altered,
                "{has} other content than in the previous archive, although size, times and inode are the same, as "
                "when a disk or memory fails. Compare both, and keep that archive",
            ),
        ]
        lines = []
        for listed, what in kinds:
            if listed.count:
                one = listed.count == 1
                said = what.format(
                    are="is" if one else "are",
                    it_was="it was" if one else "they were",
                    it_is="it is" if one else "they are",
                    has="has" if one else "have",
                )
                lines.append(f"{listed.count} upload{'' if one else 's'} {said}: {listed.first()}")
        return lines


def has_attributes(descriptor: int) -> bool:
    """Whether a file or directory has what no archive keeps: ACLs, extended attributes, capabilities.

    Labels of SELinux are none, nor is what NFS lists of every file. Of a filesystem that reports nothing: False.
    """
    try:
        return any(name not in _OF_THE_SYSTEM for name in os.listxattr(descriptor))
    except OSError:
        return False


def recorded_attributes(recorded: NameList) -> str:
    """What a manifest says of attributes that its archive does not keep; "" for nothing."""
    if not recorded.count:
        return ""
    first = CappedList(recorded.count, list(recorded.names)).first()
    return (
        f"the access control lists, extended attributes or capabilities of {recorded.count:,} "
        f"upload{'' if recorded.count == 1 else 's'}, which archives do not keep: {first}"
    )


def note_failure(error: OSError, path: bytes, omissions: Omissions) -> None:
    """Note why something in the tree could not be looked at or read. Raises OutOfResources if that is our own fault."""
    require_own_resources(error, "reading the uploads")
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):  # gone, or replaced by something else
        omissions.vanished.add(path)
    else:
        omissions.unreadable.add(path, error.strerror or str(error))
