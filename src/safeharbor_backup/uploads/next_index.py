"""The index of the archive being written, which the next backup goes by: published when that archive is."""

from __future__ import annotations

import re
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from safeharbor_backup.archive.index import IndexFront, IndexUnusable, IndexWriter
from safeharbor_backup.errors import SafeHarborError
from safeharbor_backup.state.directory import make_state_directory
from safeharbor_backup.system.atomic_file import published_whole, sweep_drafts
from safeharbor_backup.uploads.previous_index import Recorder
from safeharbor_backup.uploads.sharing import INDEX_NAME, name_uploads

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from safeharbor_backup.settings.upload_dirs import UploadDirs
    from safeharbor_backup.uploads.sharing import Clock

_CLOCK_JUMP_NS = 10**9


class Recording:
    """The index of the archive being written. `begin` before the walk, `describe` when the archive is on the disk."""

    def __init__(self, index: IndexWriter, clock: Clock) -> None:
        self._index = index
        self._clock = clock
        self._started_ns = 0
        self._jump_ns = 0
        self._recorder: Recorder | None = None
        self._front: IndexFront | None = None

    def begin(self) -> Recorder:
        """The recorder that the walk reports to."""
        self._started_ns = self._clock()
        self._jump_ns = self._started_ns - time.monotonic_ns()
        self._recorder = Recorder(self._index, self._started_ns)
        return self._recorder

    def describe(
        self,
        archive: os.stat_result,
        name: str,
        uploads: UploadDirs,
        block_size: int,
        basis: IndexFront | None,
        moved: int = 0,
    ) -> None:
        """Which archive it is; `basis` is the front of the one that blocks were shared with, if any were.

        `moved` is by how much the members came forward since they were recorded.
        """
        self._front = IndexFront(
            archive=name,
            size=archive.st_size,
            inode=archive.st_ino,
            mtime_ns=archive.st_mtime_ns,
            started_ns=self._started_ns,
            written_anew_ns=self._started_ns if basis is None else basis.written_anew_ns,
            block_size=block_size,
            uploads=name_uploads(uploads),
            moved=moved,
        )

    def finish(self) -> None:
        """Complete the index. Raises OSError, IndexUnusable if there is none."""
        if self._recorder is None or self._front is None or not self._recorder.is_wanted:
            raise IndexUnusable("")
        if self._recorder.failure is not None:
            raise self._recorder.failure
        if abs(self._clock() - time.monotonic_ns() - self._jump_ns) > _CLOCK_JUMP_NS:
            raise IndexUnusable("the clock was set while the backup ran")
        self._index.finish(self._front)


@contextmanager
def recording(directory: Path, notes: Callable[[str], None], clock: Clock = time.time_ns) -> Iterator[Recording | None]:
    """What will be remembered of the archive that the block writes and publishes; published itself when that ends well.

    Never an error: why nothing is remembered goes to `notes`.
    """
    has_begun = has_failed = False
    try:
        place = make_state_directory(directory) / INDEX_NAME
        sweep_drafts(place.parent, re.compile(INDEX_NAME))
        with published_whole(place, replace=True) as draft:
            made = Recording(IndexWriter(draft.descriptor), clock)
            has_begun = True
            try:
                yield made
            except BaseException:
                has_failed = True
                raise
            made.finish()
    except (OSError, SafeHarborError, IndexUnusable) as error:
        if has_failed:
            raise
        if str(error):
            notes(f"the next backup will read everything: {error}")
    if not has_begun:
        yield None
