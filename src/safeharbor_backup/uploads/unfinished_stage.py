"""What a crash leaves of a stage that was only just being made: it is deleted if there is nothing in it."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from safeharbor_backup.archive.layout import STAGING_MARKER
from safeharbor_backup.system.atomic_file import fsync_open_directory
from safeharbor_backup.system.filesystem import names_in
from safeharbor_backup.uploads.staging import stage_path

if TYPE_CHECKING:
    from pathlib import Path

_SOMETHING_ELSE = frozenset({errno.ENOTDIR, errno.ELOOP, errno.ENOTEMPTY, errno.EEXIST, errno.EISDIR})


def remove_unfinished(uploads: Path, restore_id: str) -> bool:
    """Delete a stage that a crash left before anything was put into it; False if there is something else.

    Nothing but empty directories and a marker is deleted, whoever made them, and nothing that is closed to us. Raises
    OSError.
    """
    try:
        root = os.open(uploads, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):  # the uploads themselves are gone
        return True
    name = os.fsencode(stage_path(uploads, restore_id).name)
    stage = -1
    try:
        stage = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=root)
        for each in names_in(stage):
            if each in (b"new", b"old"):
                os.rmdir(each, dir_fd=stage)
            elif each.startswith(STAGING_MARKER):
                os.unlink(each, dir_fd=stage)
        os.rmdir(name, dir_fd=root)
        fsync_open_directory(root)
    except FileNotFoundError:
        return True
    except OSError as error:
        is_closed = isinstance(error, PermissionError) and os.access(
            b".", os.W_OK | os.X_OK, dir_fd=root, effective_ids=True
        )
        if not is_closed and error.errno not in _SOMETHING_ELSE:
            raise
        return False
    finally:
        for descriptor in (stage, root):
            if descriptor >= 0:
                os.close(descriptor)
    return True
