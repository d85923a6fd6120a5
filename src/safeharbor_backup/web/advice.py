"""What to do now, in each state that wants something: sentences, and commands to copy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from safeharbor_backup.web.format import absolute
from safeharbor_backup.web.verdict import State

if TYPE_CHECKING:
    from safeharbor_backup.actions.status.schema import StatusDocument
    from safeharbor_backup.web.verdict import Verdict

_AGAIN = {"backup": "backup", "verify": "verify --latest", "drill": "drill"}


@dataclass(frozen=True, slots=True)
class Guidance:
    """`hint` is what the run itself said; `text` comes before the commands."""

    text: str
    commands: tuple[str, ...]
    hint: str = ""


def advice_of(verdict: Verdict, document: StatusDocument) -> Guidance | None:
    """None where all is well, or the page has its own section for it."""
    failure = document.last_failure
    hint = failure.advice if failure is not None else ""
    match verdict.state:
        case State.WAITING:
            when = f" It is due on {absolute(document.next_backup)}." if document.next_backup is not None else ""
            return Guidance(f"The schedule will start the first backup.{when} Or take one now:", ("doctor", "backup"))
        case State.STALE:
            return Guidance("Find out what keeps backups from running, then take one:", ("doctor", "backup"), hint)
        case State.FAILED if document.gone is not None and not document.archives:
            text = "Check whether the backup directory is mounted, before anything writes there:"
            return Guidance(text, ("doctor", "status"))
        case State.FAILED:
            again = _AGAIN.get(failure.command if failure is not None else "", "backup")
            return Guidance("Find out what stopped it, then run it again:", ("doctor", again), hint)
        case State.WARNING:
            return Guidance("This check shows what to type for each of these:", ("doctor",))
        case State.UNKNOWN:
            return Guidance("Check whether the backups still run, and what they report:", ("status", "doctor"))
        case _:
            return None
