"""A dump where it lies, in an archive or a file of its own, as the input of a tool."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from safeharbor_backup.errors import OutOfResources
from safeharbor_backup.system.atomic_file import write_all
from safeharbor_backup.system.threads import Worker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_PIECE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class DumpInput:
    """A dump where it lies: `size` bytes, `offset` bytes into `file`. A tool gets it as its standard input."""

    file: Path
    offset: int = 0
    size: int = 0

    @contextmanager
    def opened(self) -> Iterator[int]:
        """A descriptor of its own at the dump's start. Raises OSError."""
        descriptor = os.open(self.file, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.lseek(descriptor, self.offset, os.SEEK_SET)
            yield descriptor
        finally:
            os.close(descriptor)

    @contextmanager
    def piped(self, patch: tuple[int, bytes] | None = None) -> Iterator[int]:
        """A pipe that gives the dump, at one place with other bytes, if there is a `patch`.

        Raises OSError, at the end too: if the dump could not be read, whatever the tool made of that.

        A pg_dump that writes to a file records the offsets of its data in that file. If its standard input can be
        positioned, pg_restore goes to these offsets, though the dump does not begin at the start of `file`.
        """
        unread: list[OSError] = []
        with self.opened() as source:
            reading, writing = os.pipe()

            def pump() -> None:
                left = self.size
                try:
                    if patch is not None:
                        begin = os.pread(source, patch[0], self.offset) + patch[1]
                        os.lseek(source, len(begin), os.SEEK_CUR)
                        left -= len(begin)
                        write_all(writing, begin)
                    while left and (sent := os.sendfile(writing, source, None, min(left, _PIECE))):
                        left -= sent
                except BrokenPipeError:
                    pass  # nobody reads any more: the tool's status says why
                except OSError as error:
                    unread.append(OSError(error.errno, error.strerror, os.path.realpath(self.file)))
                finally:
                    os.close(writing)

            pumping = Worker(pump)
            try:
                pumping.start()
            except OutOfResources:
                os.close(reading)
                os.close(writing)
                raise
            try:
                yield reading
            finally:
                os.close(reading)
                pumping.join()
                if unread:
                    raise unread[0]
