"""What runs remember of how they ended: lines of JSON beside the archives, the newest last.

Derived and safe to delete: it only ever makes retention keep more, and what cannot be read in it is skipped.
"""

from __future__ import annotations

import errno
import fcntl
import math
import os
import stat
import time
from collections.abc import Mapping  # noqa: TC003 - msgspec reads the annotations
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta

from safeharbor_backup.state.directory import STATE_DIRECTORY, make_state_directory
from safeharbor_backup.system.atomic_file import write_all
from safeharbor_backup.system.documents import dump_document, read_exactly
from safeharbor_backup.system.lock import give_to_owner_of
from safeharbor_backup.system.small_file import NotSmallFile, read_small_file, replace_small_file

if TYPE_CHECKING:
    from pathlib import Path

    from safeharbor_backup.settings.model import Settings

HISTORY_NAME = "history.jsonl"
LIMIT_BYTES = 1 << 20  # some 1,500 runs
_LINE_LIMIT_BYTES = 16 << 10
_WARNINGS = 20
_TEXT = 2000
_PATIENCE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one run of a command ended.

    `exit_status` is the run's own, 3 if there were warnings whatever `--warnings-ok` made of it. `reason` says why it
    failed, in a line, `advice` what to do; `archive` is the name of the archive it was about, if it got so far.
    `details` has what the command's `--json` has, above all numbers; `output_lost`: not all it printed was written.
    """

    command: str
    started_at: Annotated[datetime, Meta(tz=True)]
    seconds: float
    exit_status: Annotated[int, Meta(ge=0, le=255)]
    reason: str = ""
    archive: str | None = None
    warnings: tuple[str, ...] = ()
    details: Mapping[str, object] = field(default_factory=dict)
    advice: str = ""
    output_lost: bool = False

    @property
    def notes(self) -> tuple[str, ...]:
        """What a backup found gone since the previous one, which changes no status."""
        notes = self.details.get("notes")
        return tuple(map(str, notes)) if isinstance(notes, list) else ()

    @property
    def is_success(self) -> bool:
        """Whether it did what it is for, with or without warnings."""
        return self.exit_status in (0, 3)


def remember_outcome(settings: Settings, outcome: Outcome) -> None:
    """Remember it where the archives of these settings are, if they are there.

    It writes nothing if BACKUP_DIR does not exist: it is mistyped, or a copy is verified elsewhere. It writes nothing
    if the sentinel is missing: the file would lie hidden below the share when that is mounted.

    Raises OSError, SafeHarborError.
    """
    if is_in_place(settings):
        append_outcome(settings.backup_dir, outcome)


def is_in_place(settings: Settings) -> bool:
    """Whether the backup directory is there, and what is mounted on it."""
    is_mounted = settings.sentinel is None or os.path.lexists(settings.sentinel)
    return is_mounted and settings.backup_dir.is_dir()


def append_outcome(directory: Path, outcome: Outcome) -> None:
    """Remember it in the history of a backup directory, which grows to a limit and then loses its older half.

    A directory that does not exist is not made. Raises OSError.
    """
    path = make_state_directory(directory) / HISTORY_NAME
    descriptor = _open_locked(path)
    try:
        give_to_owner_of(directory, descriptor)
        size = os.fstat(descriptor).st_size
        # a line that was cut off, by a full disk or a kill, must not take this one with it
        is_cut = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        write_all(descriptor, (b"\n" if is_cut else b"") + _encode(outcome))
        if size > LIMIT_BYTES:
            _shorten(path, descriptor)
    finally:
        os.close(descriptor)


def read_history(directory: Path) -> tuple[Outcome, ...]:
    """What the runs of a backup directory remembered, the oldest first; lines that are invalid are left out.

    Nothing if there is none or it cannot be read.
    """
    try:
        return require_history(directory)
    except OSError:
        return ()


def require_history(directory: Path) -> tuple[Outcome, ...]:
    """The same. Raises OSError if it cannot be read, though there may be one of ours."""
    path = directory / STATE_DIRECTORY / HISTORY_NAME
    try:
        data = read_small_file(path, 2 * LIMIT_BYTES, only_end=True)  # whoever made it larger, it was not us
    except (FileNotFoundError, NotADirectoryError, NotSmallFile):
        return ()
    except OSError as error:
        if error.errno == errno.ELOOP:
            return ()
        raise
    return tuple(outcome for outcome in map(_decode, data.split(b"\n")) if outcome is not None)


def _open_locked(path: Path) -> int:
    """The history, to append to; it is nobody else's until it is closed, where there are locks.

    Raises OSError, also if somebody does not let go of it: a run that is over must not wait for ever.
    """
    give_up = time.monotonic() + _PATIENCE_SECONDS
    while True:
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o600)
        try:
            if _is_ours(descriptor, path):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        if time.monotonic() > give_up:
            raise OSError(errno.EBUSY, "another process holds it", os.fspath(path))
        time.sleep(0.01)


def _is_ours(descriptor: int, path: Path) -> bool:
    """Whether the open file is locked now, and still the one of that name. Raises OSError if it is none to write to."""
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file", os.fspath(path))
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True  # a filesystem without locks
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False  # deleted, or shortened, while we waited


def _shorten(path: Path, descriptor: int) -> None:
    """Put the newer half in the place of the whole."""
    size = os.fstat(descriptor).st_size
    tail = os.pread(descriptor, LIMIT_BYTES // 2, max(size - LIMIT_BYTES // 2, 0))
    replace_small_file(path, tail[tail.find(b"\n") + 1 :])


def _encode(outcome: Outcome) -> bytes:
    outcome = replace(
        outcome,
        started_at=outcome.started_at.astimezone(UTC).replace(microsecond=0),
        seconds=round(outcome.seconds, 3),
        reason=outcome.reason[:_TEXT],
        advice=outcome.advice[:_TEXT],
        warnings=tuple(warning[:_TEXT] for warning in outcome.warnings[:_WARNINGS]),
    )
    line = dump_document(outcome).encode()
    if len(line) > _LINE_LIMIT_BYTES:  # a server with very many warnings or details
        outcome = replace(outcome, details={}, warnings=tuple(warning[:200] for warning in outcome.warnings))
        line = dump_document(outcome).encode()
    return line + b"\n"


def _decode(line: bytes) -> Outcome | None:
    """The outcome in a line; None if it is anything else."""
    try:
        outcome = read_exactly(line, Outcome)
    except ValueError:
        return None
    return outcome if math.isfinite(outcome.seconds) else None
