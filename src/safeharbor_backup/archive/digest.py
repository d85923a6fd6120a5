"""SHA-256 of large data on the other core: while a piece is hashed, the caller writes it or reads the next one."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from safeharbor_backup.errors import no_more_processes

if TYPE_CHECKING:
    from concurrent.futures import Future


class Hasher:
    """Makes digests that share one worker thread. hashlib lets go of the interpreter's lock while it works."""

    def __init__(self) -> None:
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sha256")

    def start(self) -> OverlappedDigest:
        """A new digest, one at a time."""
        return OverlappedDigest(self._worker)

    def close(self) -> None:
        """End the worker, without what it was still to hash."""
        self._worker.shutdown(cancel_futures=True)


class OverlappedDigest:
    """As a hashlib object, except that `update` returns before the work is done; at most one piece is under way."""

    def __init__(self, worker: ThreadPoolExecutor) -> None:
        self._worker = worker
        self._digest = hashlib.sha256()
        self._pending: Future[None] | None = None

    def update(self, piece: bytes) -> None:
        """Hash `piece`, which must not change until the next call. Raises OutOfResources."""
        self._wait()
        try:
            self._pending = self._worker.submit(self._digest.update, piece)
        except RuntimeError as error:  # it starts its thread with the first piece
            raise no_more_processes("thread") from error

    def hexdigest(self) -> str:
        """The digest of everything so far, in hex."""
        self._wait()
        return self._digest.hexdigest()

    def _wait(self) -> None:
        if self._pending is not None:
            self._pending.result()
            self._pending = None
