"""The mark of a scheduler at work: a lock that ends with it, however it ends."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from safeharbor_backup.errors import LockHeld, SafeHarborError, one_line
from safeharbor_backup.state.directory import STATE_DIRECTORY, make_state_directory
from safeharbor_backup.system.lock import is_file_locked, lock_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_NAME = "scheduler.lock"


@contextmanager
def scheduler_mark(directory: Path) -> Iterator[str]:
    """Mark that a scheduler is running for this backup directory; yields why it is not marked, "" if it is."""
    with ExitStack() as until_ended:
        try:
            path = make_state_directory(directory) / _NAME
            marked = lock_file(path, directory, "opening the scheduler's lock file", "")
            until_ended.enter_context(marked)
            why = ""
        except LockHeld:
            why = "another scheduler is at work here, so each backup is taken twice: stop one of them"
        except (OSError, SafeHarborError) as error:
            why = f"`status` cannot see that a scheduler is at work: {one_line(error)}"
        yield why


def is_scheduler_at_work(directory: Path) -> bool:
    """Whether one is, on this machine; False if that is unknown."""
    return is_file_locked(directory / STATE_DIRECTORY / _NAME)
