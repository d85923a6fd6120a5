"""The directory at the root of uploads where a restore keeps the other state, and the swap of both, entry by entry.

`<uploads>/.safeharbor-restore-<id>/` holds `new/` and `old/` and a marker that says which way a swap is going, so
that it can be finished or taken back from any point, even if nothing else is left to tell. Entries are renamed one by
one: the root itself may be a mount point, or be mounted elsewhere under the same inode.
"""

from __future__ import annotations

import os
import secrets
import shutil
import stat
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from safeharbor.archive.layout import STAGING_MARKER, is_staging_name
from safeharbor.errors import StorageUnavailable
from safeharbor.publish import fsync_directory, published_whole, rename_to_free_name, write_all

if TYPE_CHECKING:
    from pathlib import Path

_PREFIX = ".safeharbor-restore-"
_LOST_AND_FOUND = "lost+found"
_TRANSACTION = "transaction"
_ROUNDS = 1000
_STOP_THE_APP = "Stop the app, then `safeharbor restore --resume` or `--undo`."


class Side(StrEnum):
    """A state that is kept in the staging directory."""

    NEW = "new"  # what was restored
    OLD = "old"  # what was live before


class Leg(StrEnum):
    """What the marker says: how far the last swap has come."""

    AT_REST = "at rest"  # one side is live as a whole, the other one here
    OUT = "out"  # live entries are being moved out
    IN = "in"  # the other side's entries are being moved in


@dataclass(frozen=True, slots=True)
class Mark:
    """The marker: `going` is the side that the last swap brings in, or has brought in."""

    going: Side
    leg: Leg


class StagedUploads:
    """The staging directory of one restore."""

    def __init__(self, uploads: Path, restore_id: str) -> None:
        self.uploads = uploads
        self.id = restore_id
        self.path = uploads / f"{_PREFIX}{restore_id}"

    def create(self) -> None:
        """Make it, empty. Raises OSError."""
        os.mkdir(self.path, 0o700)
        os.chmod(self.path, 0o700)  # a umask or a default ACL may have had its say
        self._write_mark(Mark(Side.OLD, Leg.AT_REST))
        for side in Side:
            os.mkdir(self.path / side, 0o700)
        fsync_directory(self.path)
        fsync_directory(self.uploads)

    def note_transaction(self, transaction: str) -> None:
        """Remember whose commit decides on a restore in place, for when the journal is lost. Raises OSError."""
        with published_whole(self.path / _TRANSACTION, replace=True) as draft:
            write_all(draft.descriptor, transaction.encode())

    def read_transaction(self) -> str:
        """The id that was noted; "" if there is none."""
        try:
            return (self.path / _TRANSACTION).read_text("ascii")
        except (OSError, ValueError):
            return ""

    @property
    def exists(self) -> bool:
        """Whether there is such a directory with our marker in it."""
        return os.path.lexists(self.path / os.fsdecode(STAGING_MARKER))

    def read_mark(self) -> Mark:
        """What the marker says; a marker that says nothing is one from before any swap."""
        try:
            with open(self.path / os.fsdecode(STAGING_MARKER), "rb") as file:
                going, _, leg = file.read(100).decode("ascii", "replace").strip().partition(" ")
            return Mark(Side(going), Leg(leg))
        except (OSError, ValueError):
            return Mark(Side.OLD, Leg.AT_REST)

    @property
    def is_old_live(self) -> bool:
        """Whether what was live before the restore is live as a whole, so that nothing of it is in here."""
        return self.read_mark() == Mark(Side.OLD, Leg.AT_REST)

    def bring_in(self, side: Side) -> None:
        """Make `side` live and keep what was live, from whatever point a swap has come to.

        If this fails or the process dies: the marker tells, and calling it again with either side ends whole.
        Raises OSError, StorageUnavailable.
        """
        mark = self.read_mark()
        if mark.leg is Leg.AT_REST and mark.going is side:
            return
        if mark.leg is Leg.AT_REST:
            mark = self._write_mark(Mark(side, Leg.OUT))
        if mark.going is side:
            self._go_on(mark)
        else:
            self._go_back(mark)

    def _go_on(self, mark: Mark) -> None:
        if mark.leg is Leg.OUT:
            self._move_out(_other(mark.going))
            mark = self._write_mark(Mark(mark.going, Leg.IN))
        self._move_in(mark.going)
        self._write_mark(Mark(mark.going, Leg.AT_REST))

    def _go_back(self, mark: Mark) -> None:
        other = _other(mark.going)
        if mark.leg is Leg.IN:
            # whatever is live now came from the side that was going in, or was written by the app meanwhile
            self._move_out(mark.going)
            mark = self._write_mark(Mark(mark.going, Leg.OUT))
        self._move_in(other)
        self._write_mark(Mark(other, Leg.AT_REST))

    def _move_out(self, to: Side) -> None:
        """Everything live into `to`; what the app makes anew under a name that is there already steps aside."""
        target = self.path / to
        for _ in range(_ROUNDS):
            names = self._live_names()
            if not names:
                break
            for name in names:
                try:
                    _move(self.uploads / name, target / name)
                except FileNotFoundError:
                    pass  # the app has removed it meanwhile
                except FileExistsError:
                    self._step_aside(self.uploads / name)
        else:
            raise StorageUnavailable(f"{self.uploads} fills up as fast as it is emptied.", hint=_STOP_THE_APP)
        fsync_directory(target)
        fsync_directory(self.uploads)

    def _move_in(self, source: Side) -> None:
        """Everything in `source` becomes live; what the app has put into its place meanwhile steps aside."""
        place = self.path / source
        for name in os.listdir(place):
            for _ in range(_ROUNDS):
                try:
                    _move(place / name, self.uploads / name)
                    break
                except FileExistsError:
                    self._step_aside(self.uploads / name)
            else:
                raise StorageUnavailable(
                    f"{self.uploads / name} comes back as fast as it is moved away.", hint=_STOP_THE_APP
                )
        fsync_directory(self.uploads)
        fsync_directory(place)

    def _step_aside(self, path: Path) -> None:
        strays = self.path / "strays"
        os.makedirs(strays, mode=0o700, exist_ok=True)
        try:
            _move(path, strays / secrets.token_hex(8))
        except FileNotFoundError:
            pass

    def _live_names(self) -> list[str]:
        return [name for name in os.listdir(self.uploads) if not is_left_alone(self.uploads, name)]

    def _write_mark(self, mark: Mark) -> Mark:
        with published_whole(self.path / os.fsdecode(STAGING_MARKER), replace=True) as draft:
            write_all(draft.descriptor, f"{mark.going} {mark.leg}\n".encode())
        return mark

    def remove(self) -> None:
        """Delete the directory and all that is in it. Raises OSError."""
        if not os.path.lexists(self.path):
            return
        # the marker goes last: with it the directory is ours to sweep, and no backup archives it
        for name in sorted(os.listdir(self.path), key=lambda each: each == os.fsdecode(STAGING_MARKER)):
            remove_tree(self.path / name)
        os.rmdir(self.path)
        fsync_directory(self.uploads)


def find_staged(uploads: Path) -> list[StagedUploads]:
    """The staging directories in `uploads`, oldest first. Raises OSError."""
    ids = [name.removeprefix(_PREFIX) for name in os.listdir(uploads) if is_staging_name(os.fsencode(name))]
    return [staged for staged in (StagedUploads(uploads, each) for each in sorted(ids)) if staged.exists]


def find_unsettled(uploads: Path) -> list[StagedUploads]:
    """Those of which a swap was begun and not ended, so that what is live is of both sides. Raises OSError."""
    return [staged for staged in find_staged(uploads) if staged.read_mark().leg is not Leg.AT_REST]


def find_immovable(uploads: Path) -> list[tuple[str, str]]:
    """The top-level entries that we could not move, each with the reason. Changes nothing. Raises OSError."""
    root = os.stat(uploads)
    found = []
    if not os.access(uploads, os.W_OK | os.X_OK):
        read_only = os.statvfs(uploads).f_flag & os.ST_RDONLY
        return [(".", "it is on a filesystem that is mounted read-only" if read_only else "it may not be written")]
    me = os.geteuid()
    for name in os.listdir(uploads):
        if is_left_alone(uploads, name):
            continue
        status = os.lstat(uploads / name)
        if status.st_dev != root.st_dev or os.path.ismount(uploads / name):
            found.append((name, "it is a mount point"))
        elif me == 0:
            continue
        elif root.st_mode & stat.S_ISVTX and me not in (status.st_uid, root.st_uid):
            found.append((name, f"it belongs to uid {status.st_uid} in a sticky directory"))
        elif stat.S_ISDIR(status.st_mode) and status.st_uid != me and not os.access(uploads / name, os.W_OK):
            found.append((name, f"it belongs to uid {status.st_uid} with mode {stat.S_IMODE(status.st_mode):04o}"))
    return found


def remove_tree(path: Path) -> None:
    """Delete `path` and all below it, never through a symlink, directories without write permission too."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    if os.geteuid() != 0:
        for _, directories, _, descriptor in os.fwalk(path, follow_symlinks=False):
            os.fchmod(descriptor, 0o700)
            for name in directories:  # before they are entered; a link among them leads elsewhere
                status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid():
                    os.chmod(name, 0o700, dir_fd=descriptor)
    shutil.rmtree(path)


def _move(source: Path, target: Path) -> None:
    """Rename to a free name in another directory. Raises FileExistsError, FileNotFoundError, OSError.

    A directory's ".." changes with it, so the kernel asks for write permission on the directory itself; one of ours
    without it gets it for that moment.
    """
    try:
        rename_to_free_name(source, target)
    except PermissionError:
        status = os.lstat(source)
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
            raise
        mode = stat.S_IMODE(status.st_mode)
        os.chmod(source, mode | stat.S_IWUSR)
        try:
            rename_to_free_name(source, target)
        except OSError:
            os.chmod(source, mode)
            raise
        os.chmod(target, mode)


def is_left_alone(uploads: Path, name: str) -> bool:
    """Our own staging directories, and root's lost+found."""
    if is_staging_name(os.fsencode(name)):
        return os.path.lexists(uploads / name / os.fsdecode(STAGING_MARKER))
    if name != _LOST_AND_FOUND:
        return False
    try:
        status = os.lstat(uploads / name)
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == 0


def _other(side: Side) -> Side:
    return Side.OLD if side is Side.NEW else Side.NEW
