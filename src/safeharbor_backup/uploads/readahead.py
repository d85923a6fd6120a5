"""Opens the next files before it is their turn, so that the disk reads them while others are archived.

The kernel reads ahead within a file, not from one file to the next: small files that nobody has looked at for a day
would each be waited for.
"""

from __future__ import annotations

import os
import stat
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from safeharbor_backup.uploads.tree_entries import Batch

NOT_OPEN = -1
# O_NONBLOCK: it may have become a FIFO since it was stat'ed
READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

_FILES = 16
_BYTES = 1024 * 1024  # of each; what comes after that the kernel reads ahead by itself


@contextmanager
def read_ahead(batch: Batch) -> Iterator[Iterator[int]]:
    """A descriptor for each entry of a batch in turn, which its taker closes; NOT_OPEN for what must be opened then."""
    waiting: deque[int] = deque()
    try:
        yield _in_turn(batch, waiting)
    finally:
        for descriptor in waiting:
            if descriptor != NOT_OPEN:
                os.close(descriptor)


def _in_turn(batch: Batch, waiting: deque[int]) -> Iterator[int]:
    for name, status in zip(batch.names, batch.statuses, strict=True):
        waiting.append(_open(batch.directory, name, status))
        if len(waiting) > _FILES:
            yield waiting.popleft()
    while waiting:
        yield waiting.popleft()


def _open(directory: int, name: bytes, status: os.stat_result) -> int:
    if not stat.S_ISREG(status.st_mode):
        return NOT_OPEN
    try:
        descriptor = os.open(name, READ_FLAGS, dir_fd=directory)
    except OSError:
        return NOT_OPEN  # who opens it when it is its turn reports why
    try:
        os.posix_fadvise(descriptor, 0, _BYTES, os.POSIX_FADV_WILLNEED)  # decision 56
    except OSError:
        pass  # not a file any more, or a filesystem without it
    return descriptor
