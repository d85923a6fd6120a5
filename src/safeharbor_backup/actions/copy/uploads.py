"""The uploads of a copy: extracted into a hidden directory of the one that they go to, then put in the place of what
is there. That works in a directory that is mounted, too.
"""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

from safeharbor_backup.errors import translate_os_error
from safeharbor_backup.postgres.side_names import new_id
from safeharbor_backup.system.atomic_file import fsync_directory
from safeharbor_backup.system.signals import signals_held
from safeharbor_backup.uploads.removal import remove_tree

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_NAME = re.compile(r"\.safeharbor-copy-[0-9a-f]{12}")


def find_entries(directory: Path) -> list[str]:
    """The entries of a directory, without those that a killed copy left there. Raises OSError."""
    return [name for name in os.listdir(directory) if not _NAME.fullmatch(name)]


@contextmanager
def staged_uploads(directory: Path) -> Iterator[Path]:
    """An empty directory in this one, which is made if need be; gone after the block, and if that fails what it made.

    What a copy that was killed has left is removed first. Raises StorageUnavailable.
    """
    stage = directory / f".safeharbor-copy-{new_id()}"
    made: list[Path] = []
    try:
        made = _make(directory)
        for left in filter(_NAME.fullmatch, os.listdir(directory)):
            remove_tree(directory / left)
        os.mkdir(stage, 0o700)
        yield stage
    except BaseException as error:
        with signals_held():
            remove_tree(stage)
            for each in made:
                os.rmdir(each)
        if isinstance(error, OSError):
            raise translate_os_error(error, f"writing into {directory}") from error
        raise
    remove_tree(stage)


def put_in_place(stage: Path) -> None:
    """Delete what is beside the stage, and move its entries there. Raises StorageUnavailable, OSError."""
    directory = stage.parent
    with signals_held():
        for name in os.listdir(directory):
            if name != stage.name:
                remove_tree(directory / name)
        for name in os.listdir(stage):
            os.rename(stage / name, directory / name)
        fsync_directory(directory)


def _make(directory: Path) -> list[Path]:
    """Make it and what it is in; what was made, the innermost first."""
    missing = []
    each = directory
    while not os.path.lexists(each):
        missing.append(each)
        each = each.parent
    for each in reversed(missing):
        os.mkdir(each)
    return missing
