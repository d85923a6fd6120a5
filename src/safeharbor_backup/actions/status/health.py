"""The state of the backups as data: a code to go by, how bad it is, and words for people."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Health(StrEnum):
    """The state of the backups in one word; later ones are worse."""

    GOOD = "good"
    WAITING = "waiting for the first backup"
    WARNING = "warning"
    FAILED = "failed"
    STALE = "stale"
    INTERRUPTED = "interrupted restore"


class Code(StrEnum):
    """What a reason is about, for programs; public."""

    INTERRUPTED = "interrupted"
    JOURNAL = "journal"
    WAITING = "waiting"
    NO_ARCHIVE = "no archive"
    GONE = "gone"
    TOO_OLD = "too old"
    RUN_FAILED = "run failed"
    RUN_REFUSED = "run refused"
    NOT_CAUGHT_UP = "not caught up"
    TWO_SCHEDULERS = "two schedulers"
    DAMAGED = "damaged"
    UNREADABLE = "unreadable"
    FUTURE = "future"
    LATEST = "latest"
    SMALLER = "smaller"
    BACKUP_WARNED = "backup warned"
    SETTING = "setting"
    RETENTION = "retention"
    ROOM = "room"
    TELLING = "telling"
    OFFSITE = "offsite"


@dataclass(frozen=True, slots=True)
class Reason:
    """One thing that makes the state what it is. `command` is the run's that it is about, if it is about one."""

    code: Code
    health: Health
    text: str
    command: str = ""
