"""A file that goes the way of every archive: made, written, fsynced, renamed, and removed again."""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from safeharbor_backup.archive.runs import block_size_of
from safeharbor_backup.system.atomic_file import fsync_directory, published_whole, sweep_drafts, when_closed, write_all
from safeharbor_backup.system.lock import LOCK_NAME, supports_locks
from safeharbor_backup.system.small_file import DRAFT_LASTS_SECONDS
from safeharbor_backup.uploads.sharing import can_share

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PROBE_NAME = ".safeharbor-doctor"


@dataclass(frozen=True, slots=True)
class Probed:
    """What the filesystem can do."""

    supports_locks: bool
    can_share: bool


def probe_directory(directory: Path) -> Probed:
    """What happened to a probe in `directory`, of which nothing is left, whatever happens.

    A killed one leaves at most two small files; the next one removes them. Raises StorageUnavailable, OSError.
    """
    place = directory / PROBE_NAME
    with _time_kept(directory):
        try:
            sweep_drafts(directory, re.compile(re.escape(PROBE_NAME)), older_than_seconds=DRAFT_LASTS_SECONDS)
            with published_whole(place, replace=True) as draft:
                block = block_size_of(os.fstatvfs(draft.descriptor).f_bsize)
                write_all(draft.descriptor, bytes(block))
                probed = Probed(
                    supports_locks=supports_locks(draft.descriptor),
                    can_share=can_share(directory, draft.descriptor, block),
                )
        finally:
            try:
                when_closed(lambda: os.unlink(place))
            except FileNotFoundError:
                pass  # it did not come so far
        fsync_directory(directory)
    return probed


@contextmanager
def _time_kept(directory: Path) -> Iterator[None]:
    """Leave the directory's time as it was where no run was ever tried: `status` reckons by it when a first is late."""
    before = None if os.path.lexists(directory / LOCK_NAME) else os.stat(directory)  # decision 58
    try:
        yield
    finally:
        if before is not None:
            try:
                os.utime(directory, ns=(before.st_atime_ns, before.st_mtime_ns))
            except OSError:
                pass  # somebody else's directory
