"""Whether the uploads that the database names exist: from a value to a path, from paths to those without a file."""

from __future__ import annotations

import os
import re
from array import array
from bisect import bisect_left
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from safeharbor_backup.archive.layout import UPLOADS_NAME
from safeharbor_backup.archive.manifest_sections import ReferencesSection
from safeharbor_backup.uploads.omissions import CappedList

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from safeharbor_backup.settings.upload_dirs import UploadDirs

_ELSEWHERE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://|//|data:")
_SHOWN = 4096  # the longest path that can be; a column may hold anything
_BITS = 64
_BUCKET_BITS = 10
_MASK = (1 << _BITS) - 1


@dataclass(slots=True)
class References:
    """What was found: how many values each column has, and those without a file.

    `missing` are paths for which there is no file, `outside` those that lead out of the uploads; `elsewhere` counts
    addresses of other places, which are not looked for. `unknown` are columns that could not be read, with the reason.
    """

    columns: dict[str, int] = field(default_factory=dict)
    missing: CappedList = field(default_factory=CappedList)
    outside: CappedList = field(default_factory=CappedList)
    elsewhere: int = 0
    unknown: list[str] = field(default_factory=list)

    def judge(self, column: str, value: str, dirs: UploadDirs, is_there: Callable[[bytes], bool]) -> None:
        """Look for one value's file; `dirs` is where the uploads are, or were."""
        if not value:
            return
        self.columns[column] += 1
        if _ELSEWHERE.match(value):
            self.elsewhere += 1
            return
        paths = paths_of(value, dirs)
        shown = value[:_SHOWN].encode("utf-8", "surrogateescape")
        if not paths:
            self.outside.add(shown, column)
        elif not any(map(is_there, paths)):
            self.missing.add(shown, column)

    def recorded(self) -> ReferencesSection:
        """As the manifest holds it."""
        return ReferencesSection(
            columns=self.columns,
            missing=self.missing.recorded(),
            outside=self.outside.recorded(),
            elsewhere=self.elsewhere,
            unknown=tuple(self.unknown),
        )

    def warnings(self, where: str) -> list[str]:
        """One line for each kind; `where` files are looked for."""
        lines = [f"BACKUP_UPLOAD_REFERENCES was not checked for {why}" for why in self.unknown]
        for listed, what in ((self.missing, f"no file in {where}"), (self.outside, "a path that leads out of them")):
            if listed.count:
                one = listed.count == 1
                has = "reference to uploads has" if one else "references to uploads have"
                lines.append(f"{listed.count:,} {has} {what}: {listed.first()}")
        return lines


def paths_of(value: str, dirs: UploadDirs) -> list[bytes]:
    """The paths in the tree that a value can mean; none if it leads out of it.

    Where the directories have names, that is one in the directory that an absolute path begins with, otherwise one in
    each of them, or one that begins with such a name.
    """
    found = []
    begins = [each for each in dirs if value.startswith(f"{str(each.path).rstrip('/')}/")]
    for each in begins or dirs:
        path = path_of(value, str(each.path))
        found += [each.prefix + path] if path is not None else []
    if not begins and (not dirs or dirs[0].name):
        path = path_of(value, "/")
        found += [path] if path is not None else []
    return found


def path_of(value: str, root: str) -> bytes | None:
    """The path below the uploads that a value names; None if it leads out of them.

    An absolute path counts from `root` if it begins with it; otherwise a leading slash means nothing.
    """
    rest = value.removeprefix(root.rstrip("/") + "/")
    parts: list[str] = []
    for part in rest.split("/"):
        if part in ("", "."):
            continue
        if part != "..":
            parts.append(part)
        elif parts:
            parts.pop()
        else:
            return None
    return "/".join(parts).encode("utf-8", "surrogateescape")


class ArchivedPaths:
    """The files that went into an archive, eight bytes for each: a hash of its name.

    With a million files and a million values, one finds a file of another name once in 10 ** 7 backups.
    """

    def __init__(self, names: Iterable[bytes]) -> None:
        buckets = [array("Q") for _ in range(1 << _BUCKET_BITS)]
        for name in names:
            if name.startswith(UPLOADS_NAME):
                number = hash(name[len(UPLOADS_NAME) :]) & _MASK
                buckets[number >> (_BITS - _BUCKET_BITS)].append(number)
        for index, bucket in enumerate(buckets):
            buckets[index] = array("Q", sorted(bucket))
        self._buckets = buckets

    def __contains__(self, path: bytes) -> bool:
        """Whether there is a file of this path."""
        number = hash(path) & _MASK  # decision 62
        bucket = self._buckets[number >> (_BITS - _BUCKET_BITS)]
        at = bisect_left(bucket, number)
        return at < len(bucket) and bucket[at] == number

    def lead_to(self, path: bytes, dirs: UploadDirs) -> bool:
        """Whether it leads to a file by links as they are in the tree now."""
        for each in dirs:
            if path.startswith(each.prefix):
                root = os.path.realpath(os.fsencode(each.path))
                real = os.path.realpath(os.path.join(root, path[len(each.prefix) :]))
                return real.startswith(root + b"/") and each.prefix + real[len(root) + 1 :] in self
        return False
