"""Makes a stage, and opens one only if it is ours: by what the journal says, or at least by its owner and kind."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from safeharbor_backup.state.restore_parts import Side
from safeharbor_backup.system.atomic_file import fsync_open_directory
from safeharbor_backup.system.filesystem import mount_of, names_in, set_mode
from safeharbor_backup.uploads.stage_marker import read_marker
from safeharbor_backup.uploads.staging import Stage, StageReplaced, find_by_inode, stage_path

if TYPE_CHECKING:
    from pathlib import Path

    from safeharbor_backup.state.restore_parts import StageIdentity

_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


def create_stage(uploads: Path, restore_id: str, secret: str) -> Stage:
    """Create an empty stage and hold it open. Raises OSError."""
    name = os.fsencode(stage_path(uploads, restore_id).name)
    opened = [os.open(uploads, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)]
    try:
        os.mkdir(name, 0o700, dir_fd=opened[0])
        opened.append(os.open(name, _OPEN_DIRECTORY, dir_fd=opened[0]))
        if names_in(opened[1]):
            raise StageReplaced(f"{uploads}/{os.fsdecode(name)} was replaced as soon as it was made.")
        set_mode(opened[1], 0o700)  # a umask or a default ACL may have had its say
        for side in (Side.NEW, Side.OLD):
            os.mkdir(side, 0o700, dir_fd=opened[1])
            opened.append(os.open(side, _OPEN_DIRECTORY, dir_fd=opened[1]))
        stage = Stage(stage_path(uploads, restore_id), (opened[0], opened[1], opened[2], opened[3]), secret)
        ours = stage.write_first_marker()
        if {os.fstat(each).st_uid for each in opened[1:]} != {ours}:
            raise StageReplaced(f"{stage.path} was replaced as soon as it was made.")
        fsync_open_directory(opened[0])
    except BaseException:
        for descriptor in reversed(opened):
            os.close(descriptor)
        raise
    return stage


def open_stage(uploads: Path, restore_id: str, identity: StageIdentity | None) -> Stage | None:
    """The stage of a restore, if it is there and ours by what the journal says; None if it is gone.

    Without an identity (the journal is of version 0.1.0's first schema, or is lost and the operator said yes) owner and
    kind must do. Raises StageReplaced if something else is in its place, OSError.
    """
    opened = [os.open(uploads, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)]
    stage = None
    try:
        stage = _open_below(opened, uploads, restore_id, identity)
    finally:
        if stage is None:
            for descriptor in reversed(opened):
                os.close(descriptor)
    return stage


def _open_below(opened: list[int], uploads: Path, restore_id: str, identity: StageIdentity | None) -> Stage | None:
    """The same in open uploads, the first of `opened`; what it opens comes behind them."""
    name = os.fsencode(stage_path(uploads, restore_id).name)
    if identity is not None:
        name = find_by_inode(opened[0], name, identity.inode)  # decision 72
    path = uploads / os.fsdecode(name)
    try:
        opened.append(os.open(name, _OPEN_DIRECTORY, dir_fd=opened[0]))
        for side in (Side.NEW, Side.OLD):
            opened.append(_open_side(opened[1], side, path))
        secret = read_marker(opened[1]).secret
    except FileNotFoundError:
        return None
    except OSError as error:
        is_closed = isinstance(error, PermissionError) and not _may_be_ours(opened[0], name, identity)
        if not is_closed and error.errno not in (errno.ENOTDIR, errno.ELOOP):
            raise
        why = ": we may not open it" if is_closed else ""
        raise StageReplaced(f"{path} is not the directory that we made{why}.") from None
    stage = Stage(path, (opened[0], opened[1], opened[2], opened[3]), secret)
    why = _refuse(stage, opened, identity)
    if why:
        raise StageReplaced(f"{path} is not the directory that we made: {why}.")
    return stage


def _may_be_ours(root: int, name: bytes, identity: StageIdentity | None) -> bool:
    """Whether what we may not open is a stage all the same, as one that root made; its name does not say it.

    Raises OSError, as where it is the uploads that we may not enter.
    """
    found = os.lstat(name, dir_fd=root)
    if identity is not None:
        return found.st_ino == identity.inode
    return found.st_uid in (0, os.geteuid(), os.fstat(root).st_uid)


def _refuse(stage: Stage, opened: list[int], identity: StageIdentity | None) -> str:
    """Why it is not ours; "" if it is."""
    root, about = os.fstat(opened[0]), os.fstat(opened[1])
    found = stage.identity
    if about.st_uid not in (0, os.geteuid(), root.st_uid):
        return f"it belongs to uid {about.st_uid}"
    if len({mount_of(descriptor) for descriptor in opened}) != 1:
        return "something is mounted there"
    if identity is not None:
        same = (found.inode, found.new, found.old, found.secret_sha256)
        if same != (identity.inode, identity.new, identity.old, identity.secret_sha256):
            return "its inodes or its secret are other ones"
    return ""


def _open_side(stage: int, side: Side, path: Path) -> int:
    try:
        return os.open(side, _OPEN_DIRECTORY, dir_fd=stage)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            raise
        raise StageReplaced(f"{path} is not the directory that we made: it has no {side}/ of ours.") from None
