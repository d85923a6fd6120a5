"""What pg_restore and psql say of a load that failed: which entries, and the error for it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from safeharbor_backup.errors import CannotRestore, DatabaseUnavailable, SafeHarborError, ToolFailed, translate_os_error
from safeharbor_backup.postgres.connection import redact
from safeharbor_backup.postgres.dump import CONNECTION_LOST
from safeharbor_backup.postgres.errors import (
    DISK_FULL,
    FULL,
    LOCK_TABLE_FULL,
    LOCK_TIMEOUT,
    ends_the_same_again,
    trouble_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from safeharbor_backup.postgres.toc_entries import TocEntry
    from safeharbor_backup.settings.database_url import DatabaseUrl

_EXTENSION = "Install that extension's package on the database server."
_LOCALE = "Install that locale on the database server; `locale -a` there lists those it has."
_HINTS_BY_STATEMENT = {"CREATE EXTENSION": _EXTENSION, "CREATE COLLATION": _LOCALE}  # whatever language it failed in
# pg_restore gives no code; where the role may set lc_messages, these are words of the language C
_HINTS = (
    (r'extension "[^"]+" is not available', _EXTENSION),
    (r'role "[^"]+" does not exist', "Create that role first, or restore as a role that is not a superuser."),
    (r'tablespace "[^"]+" does not exist', "Create that tablespace first."),
    (r"collation|locale", _LOCALE),
)
_FULL = re.compile(r"No space left on device|could not extend file")
_CODE = re.compile(r"(?:^|: )\w+:  ([0-9A-Z]{5}): ")  # as psql prints it with VERBOSITY=verbose
_NO_ERROR = ("00", "01", "02")  # classes of codes: success, warning, no data
_LOCK_TABLE = "Raise max_locks_per_transaction on the server: one transaction must lock every table."
_LOCKED = "Somebody uses a table. Stop the app; BACKUP_LOCK_TIMEOUT says how long to wait."
_FROM_ENTRY = re.compile(r"pg_restore: from TOC entry (\d+);")
_OWN_WORDS = re.compile(r'pg_restore: error: (?:could not execute query: |COPY failed for table "(?P<table>.*)": )?')
_NO_REASON = re.compile(r"pg_restore: (?:while |from TOC|error: a worker process died|warning: errors ignored)")
_MOST_OF_A_STATEMENT = 300


@dataclass(frozen=True, slots=True)
class Failure:
    """An entry that could not be loaded: PostgreSQL's words, its SQL as far as it was printed, the table of its rows.

    `number` is its number in the table of contents, 0 if pg_restore did not say.
    """

    number: int
    reason: str
    statement: str
    table: str = ""

    @property
    def is_of_its_owner(self) -> bool:
        """Whether it was made, and could not be given to its owner."""
        return self.statement.startswith("ALTER ") and " OWNER TO " in self.statement

    @property
    def has_context(self) -> bool:
        """Whether the server named a row or a function that it was at."""
        return _has_context(self.reason.splitlines())

    def find(self, toc: Mapping[int, TocEntry]) -> TocEntry | None:
        """The entry that it is about, by its number, table or statement; None if there is none."""
        if self.number in toc:
            return toc[self.number]
        for entry in toc.values():
            if self.table and entry.kind == "TABLE DATA" and _words(entry.name) == _words(self.table):
                return entry
            if self.statement and _words(entry.definition) == _words(self.statement):
                return entry
        return None


class LoadFailed(CannotRestore):
    """The server refused an entry. `is_final`: by its code it would again, in whatever order the dump is loaded."""

    failure: Failure | None = None
    is_final = False


def _is_worth(line: str) -> bool:
    return not re.match(r"Command was|CONTEXT|\S* *(WARNING|NOTICE):|\S+:  \w+, \w+\.c:\d+$", line)


class ServerFull(CannotRestore):
    """The disk of the database server is full, which says nothing about the dump."""

    hint = FULL


def read_failures(said: str) -> list[Failure] | None:
    """The entries that a pg_restore which goes on could not load; None if it did not come to its end."""
    if said and "pg_restore: warning: errors ignored on restore:" not in said and "pg_restore: error:" in said:
        return None
    return _failures(said.splitlines())


def _failures(lines: list[str]) -> list[Failure]:
    """What pg_restore says of each entry: where it comes from, the server's words, and `Command was:` its SQL."""
    found: list[Failure] = []
    entry = 0
    table = ""
    reason: list[str] = []
    statement: list[str] = []

    def finish() -> None:
        if reason:
            found.append(Failure(entry, "\n".join(reason), "\n".join(statement), table))
        reason.clear()
        statement.clear()

    for line in lines:
        is_own = line.startswith("pg_restore: ")
        begins = _FROM_ENTRY.match(line)
        if begins is not None:
            finish()
            entry = int(begins[1])
        elif line.startswith("pg_restore: error: ") and not _NO_REASON.match(line):
            finish()
            own = _OWN_WORDS.match(line)
            table = own["table"] or "" if own is not None else ""
            reason.append(_OWN_WORDS.sub("", line, count=1))
        elif line.startswith("Command was: "):
            statement.append(line.removeprefix("Command was: "))
        elif statement and not is_own:
            statement.append(line)
        elif reason and not is_own and line.strip():
            reason.append(line)
    finish()
    return found


def load_failure(said: str, status: int, url: DatabaseUrl) -> SafeHarborError:
    """The error for a load that failed."""
    lines = [redact(line, url) for line in said.splitlines() if line.strip()]
    failures = _failures(lines)
    if failures and status > 0:
        last = " ".join(failures[0].reason.split())[:1000]
        statement = " ".join(failures[0].statement.split())[:_MOST_OF_A_STATEMENT]
        last += f" SQL: {statement}" if statement else ""
    else:
        told = lines[_error_of_psql(lines) :]  # what the wipe has dropped is of no interest
        words = [re.sub(r"^(pg_restore|psql(:<stdin>:\d+)?): ", "", line) for line in told if _is_worth(line)]
        # the reason first: an entry of several statements can push it out of the last words
        reasons = [word for word in words[:-4] if word.startswith("error: ") or _CODE.search(word)]
        last = " ".join([*reasons[:1], *words[-4:]])[:1000]
    if status < 0:  # by the kernel for lack of memory, or by somebody: that says nothing about the dump
        return ToolFailed(f"Loading the dump into {url.describe()} was ended by signal {-status}. {last}".rstrip())
    trouble = trouble_of(said)
    if trouble is not None:
        return translate_os_error(trouble, f"loading the dump into {url.describe()}")
    last = last or f"exit status {status}"
    message = f"Loading the dump into {url.describe()} failed: {last}"
    if CONNECTION_LOST.search(last) and not _FULL.search(last):
        return DatabaseUnavailable(message, hint="See that the server is up, then run the restore again.")
    code, has_context = _verdict(lines)
    if code == DISK_FULL or _FULL.search(last):
        return ServerFull(message)
    if code == LOCK_TABLE_FULL:
        return CannotRestore(message, hint=_LOCK_TABLE)
    if code == LOCK_TIMEOUT:
        return CannotRestore(message, hint=_LOCKED)
    statement = failures[0].statement.lstrip() if failures else ""
    hint = next((hint for start, hint in _HINTS_BY_STATEMENT.items() if statement.startswith(start)), "")
    hint = hint or next((hint for pattern, hint in _HINTS if re.search(pattern, last)), "")
    failed = LoadFailed(message, hint=hint)
    failed.failure = failures[0] if failures else None
    failed.is_final = ends_the_same_again(code, has_context=has_context)
    return failed


def _verdict(lines: list[str]) -> tuple[str, bool]:
    """The code that psql ended with, "" if no tool gave one, and whether a row or a function was named with it."""
    told = lines[_error_of_psql(lines) :]
    found = _CODE.search(told[0]) if told else None
    return (found[1], _has_context(told)) if found is not None else ("", False)


def _error_of_psql(lines: list[str]) -> int:
    """Where the text of the error that it ended with begins; 0 if there is none."""
    codes = ((number, found[1]) for number, line in enumerate(lines) if (found := _CODE.search(line)))
    return max((number for number, code in codes if code[:2] not in _NO_ERROR), default=0)


def _has_context(lines: list[str]) -> bool:
    return any(line.startswith("CONTEXT:") for line in lines)  # libpq's own word, which has our language


def _words(statement: str) -> list[str]:
    """What can be compared: pg_restore repeats a statement in the dump's own encoding."""
    return re.sub(r"[^\x00-\x7f]+", "?", statement).split()
