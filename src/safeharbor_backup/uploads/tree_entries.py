"""What a walk finds in the uploads: entries, and, of those that are no directories, batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import os


class Entry(NamedTuple):
    """Something in the tree: its path below the root, its name in the open `directory`, and what stat said.

    `directory` is open only until the next entry is asked for.
    """

    path: bytes
    name: bytes
    directory: int
    status: os.stat_result


class Batch:
    """Some entries, none a directory, that follow one another in one directory. There is at least one.

    `prefix` is the directory's path with its slash. `directory` is open only until the walk goes on. `is_home` tells
    whether all are on the filesystem of the root.
    """

    __slots__ = ("directory", "is_home", "names", "prefix", "statuses")

    def __init__(
        self, prefix: bytes, directory: int, names: list[bytes], statuses: list[os.stat_result], *, is_home: bool
    ) -> None:
        self.prefix = prefix
        self.directory = directory
        self.names = names
        self.statuses = statuses
        self.is_home = is_home

    def entry(self, number: int) -> Entry:
        """The entry of that number in this directory."""
        name = self.names[number]
        return Entry(self.prefix + name, name, self.directory, self.statuses[number])
