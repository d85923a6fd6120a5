"""The directories of the uploads: one whose entries are the tree itself, or several that each have a name in it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from safeharbor_backup.errors import Unusable
from safeharbor_backup.settings.paths import expand_home
from safeharbor_backup.system.filesystem import location_of

Excluded = Callable[[str], bool]
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_NEXT = re.compile(r",\s*(?=[^/=,]*=)")
_EXPECTED = (
    "one directory, or several as NAME=DIRECTORY,NAME=DIRECTORY, each with a name of its own of letters, digits, '.', "
    "'_' and '-'"
)


@dataclass(frozen=True, slots=True)
class UploadDir:
    """A directory of uploads. `name` is the one that it has at the top of the tree; "" if it is the tree."""

    path: Path
    name: str = ""

    def __str__(self) -> str:
        return f"{self.name}={self.path}" if self.name else str(self.path)

    @property
    def prefix(self) -> bytes:
        """What the paths in it begin with in the tree."""
        return os.fsencode(f"{self.name}/") if self.name else b""

    def shown(self, path: str) -> str:
        """A path below this directory, as it is in the tree."""
        return f"{self.name}/{path}" if self.name else path

    def inside(self, is_excluded: Excluded | None) -> Excluded | None:
        """A filter for paths below this directory, made of one for paths in the tree."""
        if is_excluded is None or not self.name:
            return is_excluded
        return lambda path: is_excluded(f"{self.name}/{path}")


UploadDirs = tuple[UploadDir, ...]


def can_be_named(names: Iterable[str]) -> bool:
    """Whether a setting can have all of these names."""
    known = list(names)
    return all(map(_NAME.fullmatch, known)) and len({name.casefold() for name in known}) == len(known)


def describe_dirs(dirs: Iterable[UploadDir]) -> str:
    """As the setting has them."""
    return ",".join(map(str, dirs)) or "none"


def split_dirs(text: str) -> list[tuple[str, str]]:
    """Name and path of each directory in a text, which may be one path alone. Raises Unusable."""
    if text.startswith(("/", "~")) or "=" not in text:
        return [("", text)]
    pairs: list[tuple[str, str]] = []
    for part in _NEXT.split(text.strip().rstrip(",")):
        name, _, path = (each.strip() for each in part.partition("="))
        if not path or _NAME.fullmatch(name) is None:
            raise Unusable(f"{_EXPECTED}; {part.strip()!r} is not NAME=DIRECTORY")
        if name.casefold() in {known.casefold() for known, _ in pairs}:
            raise Unusable(f"{_EXPECTED}; {name!r} appears twice")
        pairs.append((name, path))
    return pairs


def parse_dirs(text: str) -> UploadDirs:
    """Absolute paths, from where we stand if need be, by their names; nothing for `none`. Raises Unusable."""
    if not text or text.lower() == "none":
        return ()
    dirs = tuple(UploadDir(expand_home(path).absolute(), name) for name, path in split_dirs(text))
    return tuple(sorted(dirs, key=lambda each: each.name))


def find_overlap(dirs: Sequence[UploadDir]) -> tuple[UploadDir, UploadDir] | None:
    """Two of them of which one is in the other, or the same: by links, mounts or another case of letters too.

    Raises OSError.
    """
    for number, one in enumerate(dirs):
        for other in dirs[number + 1 :]:
            if _is_in(one.path, other.path) or _is_in(other.path, one.path) or _is_in_by_mounts(one.path, other.path):
                return one, other
    return None


def _is_in_by_mounts(one: Path, other: Path) -> bool:
    """Whether one of two directories is in the other where a mount shows a part of it elsewhere."""
    here, there = location_of(one), location_of(other)
    if here is None or there is None or here[0] != there[0]:
        return False
    return os.path.commonpath([here[1], there[1]]) in (here[1], there[1])


def _is_in(path: Path, directory: Path) -> bool:
    try:
        wanted = os.stat(directory)
    except OSError:
        return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(directory))
    real = Path(os.path.realpath(path))
    return any(_is(each, wanted) for each in (real, *real.parents))


def _is(path: Path, wanted: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.stat(path), wanted)
    except OSError:
        return False
