"""What can go wrong in a way that the operator can act on, and the exit status of each.

The statuses are public: `docs/reference/exit-statuses.md` lists them and a test compares.
Anything that is not a `SafeHarborError` or an `Interrupted` is a bug and keeps its traceback.
"""

from __future__ import annotations

import errno
import os
import resource
import signal
from enum import IntEnum
from typing import TYPE_CHECKING

from safeharbor_backup.text import show_duration, typed

if TYPE_CHECKING:
    from collections.abc import Sequence


class ExitStatus(IntEnum):
    """The exit statuses that scripts may rely on."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    WARNINGS = 3
    LOCKED = 4
    REJECTED = 5
    DATABASE = 6
    STORAGE = 7
    CANNOT_RESTORE = 8
    RESTORE_PENDING = 9
    HANGUP = 128 + signal.SIGHUP
    INTERRUPTED = 128 + signal.SIGINT
    TERMINATED = 128 + signal.SIGTERM
    CUT_OFF = 128 + signal.SIGPIPE


class SafeHarborError(Exception):
    """Something failed, nothing was changed, and the operator can act on it.

    `message` says what failed, on what and why; `hint` what to do next; `intact` what is still there.
    """

    exit_status = ExitStatus.FAILED
    hint = ""

    def __init__(self, message: str, *, hint: str | None = None, intact: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = self._usual_hint() if hint is None else hint
        self.intact = intact

    def _usual_hint(self) -> str:
        """What to do, where whoever raises it does not say."""
        return self.hint


class SettingsInvalid(SafeHarborError):
    """One or more settings cannot be used; all of them are named."""

    exit_status = ExitStatus.USAGE

    def __init__(self, problems: Sequence[str], *, hint: str = "") -> None:
        heading = "1 setting cannot be used" if len(problems) == 1 else f"{len(problems)} settings cannot be used"
        super().__init__("\n".join([f"{heading}:", *(f"  {problem}" for problem in problems)]), hint=hint)
        self.problems = tuple(problems)


class LockHeld(SafeHarborError):
    """Another run is at work in the same directory or on the same database."""

    exit_status = ExitStatus.LOCKED
    hint = "Wait until it has finished, then run this again."


class ArchiveRejected(SafeHarborError):
    """An archive is damaged, incomplete or not one at all; `problems` names everything that was found.

    `reason` is what is wrong without the archive's path, to stand beside its name.
    """

    exit_status = ExitStatus.REJECTED

    def __init__(
        self, message: str, *, problems: Sequence[str] = (), hint: str | None = None, reason: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.problems = tuple(problems) or (message,)
        self.reason = reason or message

    def _usual_hint(self) -> str:
        return f"Nothing was changed. `{typed('list')}` shows the other archives."


class ArchiveNotFound(SafeHarborError):
    """The path that was given names no regular file, so nothing can be said of an archive."""

    exit_status = ExitStatus.USAGE

    def _usual_hint(self) -> str:
        return f"`{typed('list')}` shows the archives; give the whole path of one."


class DatabaseUnavailable(SafeHarborError):
    """The database cannot be reached, refuses us, or went away."""

    exit_status = ExitStatus.DATABASE
    hint = "Check BACKUP_DATABASE_URL and that the server is up: `psql` with the same URL must connect."


class StorageUnavailable(SafeHarborError):
    """No space, no permission, or the directory is not what it should be."""

    exit_status = ExitStatus.STORAGE


class CannotRestore(SafeHarborError):
    """An archive cannot be restored here, or its restore failed and was undone; the old state is in place."""

    exit_status = ExitStatus.CANNOT_RESTORE


class RestorePending(SafeHarborError):
    """A restore was interrupted half-way; `restore --resume` finishes it, `restore --undo` goes back."""

    exit_status = ExitStatus.RESTORE_PENDING

    def _usual_hint(self) -> str:
        resume, undo = typed("restore --resume"), typed("restore --undo")
        return f"`{resume}` finishes it, `{undo}` goes back to the previous state."


class ToolFailed(SafeHarborError):
    """A program that we started failed, or is missing."""


class OutOfResources(SafeHarborError):
    """Our own process, or its machine, may have no more of something, which says nothing about the data."""


class Interrupted(BaseException):
    """A signal asked us to stop; not an `Exception`, so that no handler for errors swallows it.

    `left` says what it left behind.
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.signal_number = signal_number
        self.left = "Nothing unfinished is left behind."

    @property
    def exit_status(self) -> int:
        """128 plus the signal's number, as shells report it."""
        return 128 + self.signal_number

    def __str__(self) -> str:
        return f"interrupted by {signal.Signals(self.signal_number).name}"


class TookTooLong(Interrupted):
    """The run took longer than it may; it ends as after a signal."""

    def __init__(self, seconds: float) -> None:
        super().__init__(signal.SIGALRM)
        self._seconds = seconds

    @property
    def exit_status(self) -> int:
        """1, which is what a failure ends with."""
        return ExitStatus.FAILED

    def __str__(self) -> str:
        return f"it took longer than BACKUP_MAX_RUNTIME allows ({show_duration(self._seconds)})"


def one_line(error: object) -> str:
    """What an error says, on one line and without its full stop, to stand inside a sentence of ours."""
    return " ".join(str(error).split()).rstrip(".")


_OWN_LIMITS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
OUR_SIDE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EFBIG})


def translate_os_error(error: OSError, doing: str) -> SafeHarborError:
    """The error to raise for an operating system's refusal while `doing` something to our own files."""
    where = f" ({_printable(error.filename)})" if error.filename else ""
    message = f"{doing} failed{where}: {error.strerror or error}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageUnavailable(message, hint="Free some space, or point BACKUP_DIR at a larger filesystem.")
    if error.errno == errno.EFBIG:
        return StorageUnavailable(message, hint=_largest_file())
    if error.errno in _OWN_LIMITS:
        return OutOfResources(message, hint=_how_to_raise(error.errno))
    if error.errno == errno.EIO:
        return SafeHarborError(
            message,
            hint="Its disk or share has an error: look at `dmesg`, and copy what can still be read to another place.",
        )
    if error.errno in OUR_SIDE:
        return StorageUnavailable(message, hint="Give the user that runs Safe Harbor access to it.")
    return SafeHarborError(message)


def require_own_resources(error: OSError, doing: str) -> None:
    """Raises OutOfResources if the error is one of our own process, and not of what it looks at."""
    if error.errno in _OWN_LIMITS:
        raise translate_os_error(error, doing) from error


def no_more_processes(what: str) -> OutOfResources:
    """The error for a process or thread that the system refuses."""
    return OutOfResources(
        f"No further {what} can be started: {os.strerror(errno.EAGAIN)}.",
        hint=f"This user may have {_limit(resource.RLIMIT_NPROC)} processes and threads (RLIMIT_NPROC, `ulimit -u`); "
        "a container may be allowed fewer (`pids_limit`), a systemd unit too (TasksMax=). Raise that limit, and make "
        "sure that there is free memory.",
    )


def _how_to_raise(number: int | None) -> str:
    if number == errno.EMFILE:
        return (
            f"This process may have {_limit(resource.RLIMIT_NOFILE)} open files (RLIMIT_NOFILE). Raise that, to 1024 "
            "or more: `ulimit -n`, LimitNOFILE= of a systemd unit, `ulimits: nofile` in Compose."
        )
    if number == errno.ENFILE:
        return "The machine has too many open files altogether: see `sysctl fs.file-nr`, and raise fs.file-max."
    return (
        f"Give it more memory: `mem_limit` of a container, MemoryMax= of a systemd unit, `ulimit -v` (RLIMIT_AS is "
        f"{_limit(resource.RLIMIT_AS)} here)."
    )


def _largest_file() -> str:
    if resource.getrlimit(resource.RLIMIT_FSIZE)[0] != resource.RLIM_INFINITY:
        return (
            f"This process may write files of {_limit(resource.RLIMIT_FSIZE)} bytes (RLIMIT_FSIZE). Raise that: "
            "`ulimit -f`, LimitFSIZE= of a systemd unit."
        )
    return "The filesystem takes no file as large as that (FAT32 ends at 4 GiB). Point BACKUP_DIR at another one."


def _limit(which: int) -> str:
    limit = resource.getrlimit(which)[0]
    return "unlimited" if limit == resource.RLIM_INFINITY else f"{limit:,}"


def _printable(filename: object) -> str:
    if isinstance(filename, bytes):
        return filename.decode("utf-8", "backslashreplace")
    return str(filename)


class Unusable(ValueError):
    """What was expected of a setting's text, in words that show none of a secret one.

    `instead` is what can be used of it anyway; None for the default.
    """

    def __init__(self, expected: str, instead: object = None) -> None:
        super().__init__(expected)
        self.instead = instead
