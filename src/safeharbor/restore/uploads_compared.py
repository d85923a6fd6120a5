"""Which uploads exist now and not in an archive, found in one walk beside the archive's own order."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Self

from safeharbor.archive import layout
from safeharbor.uploads.omissions import Listed, Omissions, ascii_safe
from safeharbor.uploads.walk import open_root, walk_tree

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType

    from safeharbor.archive.layout import Member


class UploadsCompared:
    """Give it an archive's members in their order; afterwards it knows what the live tree has and they have not."""

    def __init__(self, uploads: Path) -> None:
        self._uploads = uploads
        self._root = -1
        self._live: Iterator[list[bytes]] = iter(())
        self._next: list[bytes] | None = None
        self._lost = Listed()

    def __enter__(self) -> Self:
        try:
            self._root = open_root(self._uploads)
        except OSError:
            return self
        self._live = self._walk()
        self._next = next(self._live, None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._root >= 0:
            os.close(self._root)

    def __call__(self, member: Member) -> None:
        """The next member of the archive."""
        path = member.name[len(layout.UPLOADS_NAME) :].rstrip(b"/")
        if not path or not member.name.startswith(layout.UPLOADS_NAME):
            return
        key = path.split(b"/")
        while self._next is not None and self._next < key:
            self._lost.add(b"/".join(self._next))
            self._next = next(self._live, None)
        if self._next == key:
            self._next = next(self._live, None)

    def describe(self) -> list[str]:
        """What would be lost, in words."""
        while self._next is not None:
            self._lost.add(b"/".join(self._next))
            self._next = next(self._live, None)
        if not self._lost.count:
            return []
        names = ", ".join(ascii_safe(name) for name in self._lost.names[:3])
        return [f"{self._lost.count:,} uploads exist now and not in the archive, and will be gone: {names}"]

    def _walk(self) -> Iterator[list[bytes]]:
        for entry in walk_tree(self._root, None, Omissions()):
            yield entry.path.split(b"/")
