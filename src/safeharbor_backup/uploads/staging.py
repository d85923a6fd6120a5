"""The stage: the directory at the root of uploads where a restore keeps the other state.

`<uploads>/.safeharbor-restore-<id>/` holds `new/` and `old/`, and a marker with a secret. Whoever can write to the
uploads can make such a directory, or put something else in its place, at any moment. So it is ours only if its inode,
those of both sides, its owner, its mode and its secret are what the journal says. From that check on it is held open,
and all work in it goes through open directories.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from safeharbor_backup.archive.layout import STAGING_MARKER, is_staging_name
from safeharbor_backup.errors import CannotRestore
from safeharbor_backup.state.restore_parts import Mark, Side, StageIdentity, SwapPhase
from safeharbor_backup.system.atomic_file import fsync_open_directory, rename_between
from safeharbor_backup.system.filesystem import is_inode, names_in
from safeharbor_backup.uploads.exchange import Exchange
from safeharbor_backup.uploads.frontier import find_entered
from safeharbor_backup.uploads.removal import remove_below
from safeharbor_backup.uploads.stage_marker import hash_secret, read_marker, write_marker

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_PREFIX = ".safeharbor-restore-"


class StageReplaced(CannotRestore):
    """What is in the place of a stage is not ours: somebody who can write to the uploads has put it there."""

    hint = "Whoever can write to the uploads did that. Look at who can, before anything else."


class Stage:
    """A stage that is ours, held open until `close`."""

    def __init__(self, path: Path, descriptors: tuple[int, int, int, int], secret: str) -> None:
        self.path = path
        self._name = os.fsencode(path.name)
        self._root, self._stage, self._new, self._old = descriptors
        self._secret = secret
        self._transaction = ""

    @property
    def identity(self) -> StageIdentity:
        """What the journal is to remember of it."""
        about = os.fstat(self._stage)
        new, old = os.fstat(self._new), os.fstat(self._old)
        return StageIdentity(
            about.st_dev, about.st_ino, new.st_ino, old.st_ino, about.st_uid, hash_secret(self._secret)
        )

    def side(self, side: Side) -> int:
        """The open directory of one side of the stage."""
        return self._new if side is Side.NEW else self._old

    def require_in_place(self) -> None:
        """Its path leads to it. Raises StageReplaced: somebody has moved it, or what it is in; OSError."""
        uploads, hint = self.path.parent, "See whether its filesystem was mounted or unmounted meanwhile."
        if not (uploads.is_dir() and os.path.samestat(os.stat(uploads), os.fstat(self._root))):
            raise StageReplaced(f"{uploads} is not the directory that it was when this began.", hint=hint)
        self._require_name()

    def _require_name(self) -> None:
        try:
            found = os.lstat(self._name, dir_fd=self._root)
        except FileNotFoundError:
            found = None
        if found is None or found.st_ino != os.fstat(self._stage).st_ino or not stat.S_ISDIR(found.st_mode):
            raise StageReplaced(f"{self.path} was replaced while this ran.")

    def make_live(
        self,
        side: Side,
        mark: Mark,
        note: Callable[[Mark], None],
        *,
        frontier: tuple[str, ...] = (),
        stays: tuple[str, ...] = (),
    ) -> None:
        """Make `side` live and keep what was live, from whatever point `mark` an exchange has come to.

        `note` remembers each point that it gets to, before it goes on. If this fails or the process dies, calling it
        again with the mark noted last, and either side, ends whole. Raises OSError, StorageUnavailable.
        """
        if mark == Mark(side, SwapPhase.AT_REST):
            return
        encoded = [tuple(map(os.fsencode, paths)) for paths in (frontier, stays)]
        exchange = Exchange(self._root, self._stage, str(self.path.parent), *encoded)

        def now(going: Side, leg: SwapPhase) -> None:
            note(Mark(going, leg))
            self._write_marker(Mark(going, leg))

        if mark.leg is SwapPhase.AT_REST:
            now(side, SwapPhase.OUT)
            mark = Mark(side, SwapPhase.OUT)
        if mark.going is side:
            if mark.leg is SwapPhase.OUT:
                exchange.move_out(self.side(side.other), keep_attributes=True)
                now(side, SwapPhase.IN)
        elif mark.leg is SwapPhase.IN:
            # whatever is live now came from the side that was going in, or was written by the app meanwhile
            exchange.move_out(self.side(mark.going), keep_attributes=False)
            now(mark.going, SwapPhase.OUT)
        exchange.move_in(self.side(side))
        now(side, SwapPhase.AT_REST)

    def read_marker(self) -> tuple[Mark | None, str]:
        """What its marker says, for when the journal does not say it: the mark, and the id of a transaction in place.

        None and "" where it says nothing. Whoever can write to the uploads may have written it. Raises OSError.
        """
        marker = read_marker(self._stage)
        return marker.mark, marker.transaction

    def find_entered(self, mark: Mark) -> tuple[str, ...]:
        """The directories that exchanges have gone into, as far as the stage shows it, for when the journal does not.

        Raises CannotRestore, OSError.
        """
        live = mark.going.other if mark.leg is SwapPhase.OUT else mark.going
        return find_entered(self._root, self.side(live))

    def note_transaction(self, transaction: str) -> None:
        """Put the id of the one transaction of a restore in place into the marker. Raises OSError."""
        self._transaction = transaction
        self.write_first_marker()

    def give_to_owner(self) -> None:
        """As root, let the owner of the uploads keep, back up around and discard it. Raises OSError."""
        root = os.fstat(self._root)
        if os.geteuid() == 0 and root.st_uid != 0:
            for descriptor in (self._stage, self._new, self._old):
                os.fchown(descriptor, root.st_uid, root.st_gid)

    def remove(self) -> None:
        """Delete it and all that is in it. Raises OSError, StorageUnavailable if something is mounted in it.

        What shows that it is ours goes last, so that this may be called again after a crash.
        """
        self._name = find_by_inode(self._root, self._name, os.fstat(self._stage).st_ino)
        self._require_name()
        last = (b"new", b"old", STAGING_MARKER)
        for each in names_in(self._stage):
            if each not in last:
                remove_below(self._stage, each, f"{self.path}/{os.fsdecode(each)}")
        for side in Side:
            for each in names_in(self.side(side)):
                remove_below(self.side(side), each, f"{self.path}/{side}/{os.fsdecode(each)}")
        for each in last:
            remove_below(self._stage, each, f"{self.path}/{os.fsdecode(each)}")
        os.rmdir(self._name, dir_fd=self._root)
        fsync_open_directory(self._root)

    def write_first_marker(self) -> int:
        """Put the secret into it; the owner that what we make has there. Raises OSError."""
        return self._write_marker(Mark(Side.OLD, SwapPhase.AT_REST))

    def _write_marker(self, mark: Mark) -> int:
        try:
            return write_marker(self._stage, mark, self._secret, self._transaction)
        except OSError as error:
            error.filename = str(self.path)  # says which of several filesystems is full
            raise

    def close(self) -> None:
        """Give the open directories back. What was to last was synced: an error now says nothing of it."""
        for descriptor in (self._old, self._new, self._stage, self._root):
            with suppress(OSError):
                os.close(descriptor)


def stage_path(uploads: Path, restore_id: str) -> Path:
    """The path of a restore's stage."""
    return uploads / f"{_PREFIX}{restore_id}"


def find_look_alikes(uploads: Path, known: set[str]) -> list[str]:
    """What has the name of a stage in the uploads and is of no restore in `known`, whatever it is. Raises OSError."""
    names = [name for name in os.listdir(uploads) if is_staging_name(os.fsencode(name))]
    return sorted(name for name in names if name.removeprefix(_PREFIX) not in known)


def find_by_inode(root: int, name: bytes, inode: int) -> bytes:
    """The name that the directory with this inode has now; whoever can write to the uploads can rename it."""
    if is_inode(root, name, inode):
        return name
    found = [each for each in names_in(root) if is_inode(root, each, inode)]
    if not found:
        return name
    try:
        rename_between(root, found[0], root, name)  # back, if its name is free
    except OSError:
        return found[0]
    return name
