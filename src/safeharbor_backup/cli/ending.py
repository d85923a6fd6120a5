"""How a run ended, and the one place that makes exit statuses and advice of errors and signals."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field
from enum import Enum

from safeharbor_backup.actions.alerts.messages import Guidance
from safeharbor_backup.errors import ExitStatus, Interrupted, SafeHarborError, translate_os_error


class How(Enum):
    """What ended a run: its own end, an error, a signal, or a bug."""

    BY_ITSELF = "by itself"
    ERROR = "error"
    SIGNAL = "signal"
    BUG = "bug"


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended: its exit status and, if it failed, why, what is still intact and what to do next.

    `problems` has everything that is wrong where it is more than one thing; the reason is the first of them.
    """

    status: int
    reason: str = ""
    advice: Guidance = field(default_factory=Guidance)
    problems: tuple[str, ...] = ()
    how: How = How.BY_ITSELF

    @property
    def is_bug(self) -> bool:
        """Whether it is a mistake of ours, which keeps its traceback."""
        return self.how is How.BUG

    @property
    def more_problems(self) -> tuple[str, ...]:
        """Those of a rejected archive that the reason does not name; other errors name all in their message."""
        return self.problems[1:] if self.status == ExitStatus.REJECTED and self.how is How.ERROR else ()


def ending_of(error: Exception | Interrupted, doing: str) -> Ending:
    """The ending of a run that this error or signal has stopped while it was `doing` something."""
    if isinstance(error, MemoryError):
        error = OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
    if isinstance(error, OSError):
        error = translate_os_error(error, doing)
    if isinstance(error, SafeHarborError):
        problems = getattr(error, "problems", ())
        return Ending(error.exit_status, error.message, Guidance(error.intact, error.hint), problems, How.ERROR)
    if isinstance(error, Interrupted):
        return Ending(error.exit_status, str(error), Guidance(intact=error.left), how=How.SIGNAL)
    reason = f"unexpected error: {type(error).__name__}"
    return Ending(ExitStatus.FAILED, reason, how=How.BUG)
