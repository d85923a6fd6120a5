"""Which copies of archives were made elsewhere, and when: what off-site jobs leave in the state directory."""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct, structs

from safeharbor_backup.errors import LockHeld
from safeharbor_backup.state.directory import STATE_DIRECTORY, make_state_directory
from safeharbor_backup.system.documents import dump_document, read_exactly
from safeharbor_backup.system.lock import lock_file
from safeharbor_backup.system.small_file import read_small_file, replace_small_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OFFSITE_NAME = "offsite.json"
NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,49}"
MOST_COPIES = 20
_LIMIT_BYTES = 1 << 20
_PATIENCE_SECONDS = 10.0

Moment = Annotated[datetime, Meta(tz=True)]


class OffsiteCopy(Struct, frozen=True, kw_only=True):
    """One copy elsewhere: its newest archive, when it was made, and when one fetched from there was restored."""

    name: Annotated[str, Meta(pattern=f"^{NAME_PATTERN}$")]
    copied_at: Moment | None = None
    archive: Annotated[str, Meta(max_length=255)] | None = None
    drilled_at: Moment | None = None


class OffsiteCopies(Struct, frozen=True, kw_only=True):
    """The file: all copies elsewhere that are known."""

    schema: int = 1
    copies: Annotated[tuple[OffsiteCopy, ...], Meta(max_length=MOST_COPIES)] = ()


def read_copies(directory: Path) -> tuple[OffsiteCopy, ...]:
    """What is known of a backup directory, by name; nothing if the file is missing or broken."""
    try:
        data = read_small_file(directory / STATE_DIRECTORY / OFFSITE_NAME, _LIMIT_BYTES)
        return read_exactly(data, OffsiteCopies).copies
    except (OSError, ValueError):
        return ()  # derived data, safe to delete: the next copy is known again


def remember_copy(directory: Path, name: str, at: datetime, archive: str | None) -> None:
    """A copy was made. Raises StorageUnavailable, LockHeld, OSError."""
    with _changing(directory) as copies:
        known = copies.get(name, OffsiteCopy(name=name))
        copies[name] = structs.replace(known, copied_at=at, archive=archive)


def remember_drill(directory: Path, name: str, at: datetime) -> None:
    """An archive that was fetched from there restored. Raises StorageUnavailable, LockHeld, OSError."""
    with _changing(directory) as copies:
        copies[name] = structs.replace(copies.get(name, OffsiteCopy(name=name)), drilled_at=at)


def forget_copy(directory: Path, name: str) -> bool:
    """There is no such copy any more; False if none was known. Raises StorageUnavailable, LockHeld, OSError."""
    with _changing(directory) as copies:
        return copies.pop(name, None) is not None


@contextmanager
def _changing(directory: Path) -> Iterator[dict[str, OffsiteCopy]]:
    """What is known, to be changed while nobody else changes it. What cannot be read begins anew."""
    state = make_state_directory(directory)
    with ExitStack() as stack:
        _lock(stack, state / "offsite.lock", directory)
        copies = {each.name: each for each in read_copies(directory)}
        yield copies
        newest = sorted(copies.values(), key=_last_heard_of, reverse=True)[:MOST_COPIES]
        document = OffsiteCopies(copies=tuple(sorted(newest, key=lambda each: each.name)))
        replace_small_file(state / OFFSITE_NAME, dump_document(document, indent=1).encode() + b"\n")


def _lock(stack: ExitStack, path: Path, directory: Path) -> None:
    """Keep others away until the end of `stack`; waited for, since nobody holds it for long."""
    give_up = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            stack.enter_context(lock_file(path, directory, "opening the lock file", "Another job is at work."))
        except LockHeld:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.05)
        else:
            return


def _last_heard_of(copy: OffsiteCopy) -> float:
    return max((at.timestamp() for at in (copy.copied_at, copy.drilled_at) if at is not None), default=0.0)
