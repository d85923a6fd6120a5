"""The list of what is in one archive, as a page takes it: read a line at a time, since somebody else wrote it."""

from __future__ import annotations

import gzip
import io
import zlib
from typing import TYPE_CHECKING

from safeharbor_backup.actions.status.list_schema import LIST_SCHEMA, MOST_BYTES, MOST_FILES, ArchiveList, ListedFile
from safeharbor_backup.system.documents import Misfit, NotJson, read_document
from safeharbor_backup.web.document import sane

if TYPE_CHECKING:
    from collections.abc import Iterator

_FIRST_LINE_BYTES = 16 << 20
_LINE_BYTES = 64 << 10


class UnusableList(Exception):
    """No list can be read from it; the message says why."""


class ListReader:
    """What is in a list: `head` at once, the files as they are asked for, once.

    Raises UnusableList, whatever the bytes are.
    """

    def __init__(self, packed: bytes) -> None:
        self._lines = gzip.GzipFile(fileobj=io.BytesIO(packed))
        self.head = self._read_head()

    def _read_head(self) -> ArchiveList:
        try:
            head = read_document(self._line(_FIRST_LINE_BYTES), ArchiveList)
            sane(head.taken_at)
        except (NotJson, Misfit) as error:
            raise UnusableList(f"its first line is not as it should be: {error}") from error
        if head.schema != LIST_SCHEMA:
            raise UnusableList(f"it has schema {head.schema}, which this version does not understand")
        return head

    def files(self) -> Iterator[ListedFile]:
        """Each upload in the order of the archive. Raises UnusableList at a line that is not one, or one too many."""
        count, length = 0, 0
        while line := self._line(_LINE_BYTES):
            count, length = count + 1, length + len(line)
            if count > MOST_FILES or length > 2 * MOST_BYTES:
                raise UnusableList("it is longer than any that is published")
            try:
                yield read_document(line, ListedFile)
            except (NotJson, Misfit) as error:
                raise UnusableList(f"one of its lines is not as it should be: {error}") from error

    def _line(self, limit_bytes: int) -> bytes:
        try:
            line = self._lines.readline(limit_bytes)
        except (OSError, EOFError, zlib.error) as error:
            raise UnusableList("it is damaged") from error
        return line
