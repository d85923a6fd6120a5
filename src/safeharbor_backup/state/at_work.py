"""Marks of runs at work: a locked file for each, which goes with the run. One that is not locked is of a run that died.

Beside the archives, in `.safeharbor`. Where the filesystem has no locks there are no marks, and nothing is known.
"""

from __future__ import annotations

import os
import re
import secrets
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime  # noqa: TC003 - msgspec reads the annotations
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta

from safeharbor_backup.errors import SafeHarborError
from safeharbor_backup.state.directory import STATE_DIRECTORY, make_state_directory
from safeharbor_backup.system.atomic_file import sweep_drafts, write_all
from safeharbor_backup.system.documents import dump_document, read_exactly
from safeharbor_backup.system.lock import give_to_owner_of, try_lock_exclusive
from safeharbor_backup.system.small_file import DRAFT_LASTS_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_NAME = re.compile(r"running-[0-9a-f-]{36}\.json")
_LIMIT_BYTES = 4096


@dataclass(frozen=True, slots=True)
class AtWork:
    """A run: its command, its number, and when it began."""

    command: str
    id: str
    started_at: Annotated[datetime, Meta(tz=True)]


class WorkMark:
    """The mark of a run, as long as `remove` was not called and its process lives."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor

    def remove(self) -> None:
        """Delete the mark: the run is over. Never an error."""
        with suppress(OSError):
            os.unlink(self._path)
        with suppress(OSError):
            os.close(self._descriptor)


def mark_work(directory: Path, run: AtWork) -> WorkMark | None:
    """Mark that it is at work; None where there are no locks. Raises OSError, SafeHarborError."""
    path = make_state_directory(directory) / f"running-{run.id}.json"
    # it has its name when it is locked: nobody takes it for one of a run that died
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    mark = WorkMark(draft, descriptor)
    try:
        give_to_owner_of(directory, descriptor)
        if not try_lock_exclusive(descriptor):
            mark.remove()
            return None
        write_all(descriptor, dump_document(run).encode())
        os.rename(draft, path)
    except BaseException:
        mark.remove()
        raise
    return WorkMark(path, descriptor)


def find_dead(directory: Path) -> list[AtWork]:
    """The runs that died without a word, and are not settled; nothing if that is unknown."""
    return [run for _, run in _dead(directory)]


def settle_dead(directory: Path) -> list[AtWork]:
    """The same, each of them to one caller only, ever. Raises OSError."""
    if not (directory / STATE_DIRECTORY).is_dir():
        return []
    found = []
    sweep_drafts(directory / STATE_DIRECTORY, _NAME, older_than_seconds=DRAFT_LASTS_SECONDS)
    for path, run in _dead(directory):
        try:
            os.unlink(path)
        except FileNotFoundError:
            continue  # another command was quicker
        found.append(run)
    return found


def _dead(directory: Path) -> Iterator[tuple[Path, AtWork]]:
    try:
        names = sorted(filter(_NAME.fullmatch, os.listdir(directory / STATE_DIRECTORY)))
    except OSError:
        return
    for name in names:
        path = directory / STATE_DIRECTORY / name
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            continue  # just removed, or another user's
        try:
            # one without a name ended well at this moment
            if try_lock_exclusive(descriptor) and os.fstat(descriptor).st_nlink:
                yield path, read_exactly(os.read(descriptor, _LIMIT_BYTES), AtWork)
        except (OSError, ValueError, SafeHarborError):
            continue
        finally:
            os.close(descriptor)
