"""Every place in the code that asks something of the operating system is refused it, once with each usual error."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import closing, suppress
from random import Random
from typing import Any

from proof.campaign import Missed
from proof.ground import Disturbing, Ground, sources_with
from support.shim import Shim

_LASTING = ("EIO", "ENOSPC", "EACCES")
_ERRORS = {
    **dict.fromkeys(("read", "pread64", "readdir64", "lseek64", "fgetxattr", "readlink", "readlinkat"), ("EIO",)),
    **dict.fromkeys(("stat64", "lstat64", "fstat64", "fstatat64"), ("EIO", "EACCES")),
    **dict.fromkeys(("statvfs64", "fstatvfs64", "access", "faccessat", "dup2", "futimens", "utimensat"), ("EIO",)),
    **dict.fromkeys(("open", "opendir", "fdopendir"), ("EIO", "EACCES", "EMFILE")),
    **dict.fromkeys(("creat", "mkdir", "mkdirat", "link", "linkat", "symlinkat"), (*_LASTING, "EMFILE")),
    **dict.fromkeys(("rename", "renameat", "renameat2", "unlink", "unlinkat", "rmdir", "ftruncate64"), _LASTING),
    **dict.fromkeys(("fchmod", "fchown", "chmod", "fchmodat", "fchownat"), ("EPERM", "EIO")),
    **dict.fromkeys(("fsync", "fdatasync", "write", "pwrite64"), ("EIO", "ENOSPC", "EDQUOT")),
    **dict.fromkeys(("copy_file_range", "clone"), ("EIO", "ENOSPC", "EOPNOTSUPP")),
    **dict.fromkeys(("fork", "pthread_create"), ("EAGAIN", "ENOMEM")),
    **dict.fromkeys(("pipe2", "socket"), ("EMFILE", "ENFILE")),
    **dict.fromkeys(("flock", "fcntl"), ("EIO", "ENOLCK")),
    "close": ("EIO", "EDQUOT"),
    "connect": ("ECONNREFUSED", "ETIMEDOUT"),
    "send": ("EPIPE", "ECONNRESET"),
    "recv": ("ECONNRESET",),
    "poll": ("ENOMEM",),
    "ioctl": ("EIO",),
}
_CHANGES = ("rename", "unlink", "rmdir", "mkdir", "fsync", "write ", "pwrite64", "creat")
_OURS = ("EMFILE", "ENFILE", "ENOMEM", "EAGAIN")  # what we lack says nothing of an archive
_ENDED_WELL = "0: "
_OF_STREAMS = ("EPIPE", "ENOSPC", "EIO")


_MODE = "The file keeps the owner and the mode that it was made with, 0600 (a directory 0700): nobody else gets in."
_AS_OPENED = "Python asks this of a file that it opens, and does without the answer; or the file only informs."
_NOT_RENEWED = "A small file that is for information was not renewed: the run says so, and has done what it is for."
_HINT = "Only what is said beforehand depends on it; what cannot be done is refused when it is done, and put back."
_COUNTED = "It was walked only to count or to compare: an estimate, or a line of the plan, has less. Nothing goes."
_SESSION = "A session was begun again, elsewhere, or only for words of a plan; or it was about to end, and has ended."
_SECOND_WAY = (
    "A directory of our own that refuses is given the permission for that moment; the second attempt was taken."
)
_PLAN = "What is live, and would be lost, could not be looked at; the plan says that it is all of it."
_OWN_RESTORE = "Whether its role could restore it was not found out; the run says so. The archive is proven as ever."
_UNKNOWN = "What only names of databases show was not looked for; the run says so, and does what the journal knows."
_NOT_COMPARED = "What went since the previous archive is not reported; the new archive has all that is there."
_NO_SHARING = "Nothing is shared, or remembered for the next backup: that one reads everything."
_UNREADABLE = "The archive counts as unreadable, which deletes nothing; a command that needs it reads it itself."

# why a fault after which a command ended with 0 may be one: by the first part that is in its kind, a dot at its end
REASONS = (
    ("fchmod in system/atomic_file.py", _MODE),
    ("fchmod in system/filesystem.py", _MODE),
    ("fchown in system/lock.py", _MODE),
    ("stat64 in system/lock.py", _MODE),
    ("fstat64 in system/small_file.py", _AS_OPENED),
    ("fstat64 in system/filesystem.py", _AS_OPENED),
    ("lseek64 in system/filesystem.py", _AS_OPENED),
    ("in <frozen os> < postgres/toc.py", _AS_OPENED),
    ("state/at_work.py", "The mark by which a death would be noticed is missing; the run itself does what it is for."),
    ("state/history.py < actions/", "What earlier runs have found is not known; here they have found nothing."),
    ("state/history.py < cli/died_runs.py", "Whether an earlier run died is found out by the next command."),
    ("state/history.py", "The history was not continued; the run says so, and its work is done."),
    (
        "state/known_settings.py",
        "What backups were given is not renewed, or not compared; here it is the same each time.",
    ),
    (
        "cli/streams.py",
        "What could not be printed is lost; the work is not, and the history says that output was lost.",
    ),
    ("uploads/sharing.py", _NO_SHARING),
    ("uploads/next_index.py", _NO_SHARING),
    ("uploads/reuse.py", _NO_SHARING),
    (
        "actions/restore/dump_copy.py",
        "The dump is copied in another way, or one job loads it straight from the archive.",
    ),
    ("actions/restore/unrecorded.py", _UNKNOWN),
    ("archive/index.py", _NO_SHARING),
    ("actions/diff.py", _NOT_COMPARED),
    ("actions/losses.py", _NOT_COMPARED),
    ("state/adopted.py", "Nothing counts as accepted by the operator: the guards hold more, and delete less."),
    ("state/marks.py", "A mark that cannot be looked at counts as one: the archive stays."),
    (
        "in <frozen posixpath> < state/journal.py",
        "The journal still has a record of what is gone; the next command that works on restores takes it out.",
    ),
    ("state/journal.py", "A command that moves nothing does not say whether a restore was interrupted."),
    ("system/atomic_file.py < system/small_file.py", _NOT_RENEWED),
    ("tempfile.py", "Python makes its nameless file in another way or directory, or does without what it asked."),
    (
        "in <frozen genericpath> < cli/",
        "Python looks for translations of its own words, finds none, and speaks English.",
    ),
    (
        "EIO of flock in system/lock.py < archive/source.py",
        _UNREADABLE,
    ),
    (
        "ENOLCK of flock in system/lock.py",
        "The filesystem says that it has no locks, and what is documented for such is done.",
    ),
    ("close in system/lock.py", "Nothing was written to the file of the lock, and the work is done."),
    ("actions/scratch_cleanup.py", "What a killed drill has left stays until the next run looks for it."),
    ("actions/catalog/entries.py", _UNREADABLE),
    ("archive/source.py < archive/reader.py", _UNREADABLE),
    ("uploads/walk.py", _COUNTED),
    ("uploads/readahead.py", "A file was not opened ahead of its turn; it was opened and read when that came."),
    (
        "open in uploads/frontier.py",
        "A directory that we may not read is exchanged as a whole, with what archives leave out, and is kept.",
    ),
    ("uploads/movable.py", _HINT),
    ("uploads/trial.py", _HINT),
    ("in <frozen posixpath> < system/filesystem.py", _HINT),
    (
        "in <frozen posixpath> < actions/",
        "A path is taken as it is written: at worst nothing is pruned, a copy is in memory, or a warning is missing.",
    ),
    ("cli/archive_path.py", _HINT),
    ("postgres/client_tools.py", "The program was found elsewhere, or is a file although that could not be asked."),
    ("actions/backup/own_restore.py", _OWN_RESTORE),
    ("postgres/toc.py", _OWN_RESTORE),
    (
        "postgres/errors.py < actions/backup/dump_part.py",
        "The session that keeps other backups of this database away was lost; the snapshot and the dump have others.",
    ),
    (
        "postgres/connection.py < actions/restore/confirmed.py",
        "A live database that cannot be asked whether a backup runs is replaced, and kept; the run says so.",
    ),
    ("postgres/connection.py", _SESSION),
    ("postgres/session_settings.py < postgres/snapshot.py", _SESSION),
    ("actions/restore/database_losses.py", _PLAN),
    ("postgres/query.py < postgres/snapshot.py", _PLAN),
    ("postgres/rows.py", _PLAN),
    ("postgres/target.py < actions/restore/unrecorded.py", _UNKNOWN),
    ("postgres/session_settings.py < postgres/target.py", _UNKNOWN),
    (
        "actions/drill/content_check.py",
        "Rows were counted, and not compared by content; the drill and its evidence say so.",
    ),
    ("postgres/target.py < actions/drill/place.py", _SESSION),
    ("postgres/create_drop.py < actions/drill/place.py", _SESSION),
    ("postgres/sessions.py < postgres/target.py", _SESSION),
    ("postgres/sessions.py < postgres/create_drop.py", _SESSION),
    ("postgres/query.py < postgres/target.py", _SESSION),
    ("in _cursor_base.py < postgres/target.py", _SESSION),
    ("in _cursor_base.py < postgres/create_drop.py", _SESSION),
    (
        "postgres/session_settings.py < actions/backup/dump_part.py",
        "The dump was complete; the session of its snapshot was lost when it had nothing more to do.",
    ),
    (
        "fsync in system/atomic_file.py.",
        "That a restore is done may not be on the disk; if the power goes now, `--resume` finds everything done.",
    ),
    ("open in uploads/removal.py", _SECOND_WAY),
    ("renameat2 in system/atomic_file.py < uploads/exchange.py", _SECOND_WAY),
    ("in system/threads.py < postgres/sessions.py", _UNKNOWN),
    ("< state/evidence.py", "A name that could not be looked at counts as free; a file that is there is not replaced."),
    (
        "< actions/drill/evidence.py",
        "The evidence is there. That it is could not be seen, so the drill does not name it.",
    ),
    ("in types.py < cli/command.py", "What is at a path was not asked beforehand; the work met it, or found it free."),
    ("cli/env_file.py", "A file of settings that is not there for us is not read; the environment has all settings."),
)


# a file that cannot be read is left out of the archive without a word
_MISTAKE = (
    "uploads/read.py",
    "_Unreadable as error:\n                note_failure(error.error, entry.path, self._omissions)\n",
    "_Unreadable:\n                pass\n",
)


class Cases(Disturbing):
    promise = "Whatever the operating system refuses, the status says so, and no archive and no state is harmed."
    attack = "Each place in the code that calls it, in 15 commands, fails with each usual error."
    in_ci = 12

    def cases_of(self, places: Mapping[str, int]) -> list[tuple[str, ...]]:
        first: list[tuple[str, ...]] = [(place, error, "1") for place in places for error in _errors_of(place)]
        last = [
            (place, "EIO", str(calls)) for place, calls in places.items() if calls > 1 and place.startswith(_CHANGES)
        ]
        return [*first, *last]

    def run(self, number: int, chance: Random) -> Mapping[str, int]:
        ground, (place, error, when) = self.case(number)
        status = self._fail(ground, place, error, int(when), self.shim)
        if status != 0 or ground.verb == "scheduler":  # a service that the campaign ends, ends with 0
            return {f"status {status}": 1}
        return {"status 0": 1, f"{_ENDED_WELL}{error} of {_without_lines(place)}": 1}

    def control(self) -> None:
        ground = self.ground("backup")
        places = self.shim.places(ground.site, ground.order(), *ground.arguments)
        with sources_with(*_MISTAKE) as sources, closing(Shim(sources)) as shim:
            for place in places:
                if place.startswith("read at uploads/read.py"):
                    ground.reset()
                    with suppress(Missed):
                        self._fail(ground, place, "EIO", 1, shim)

    @classmethod
    def page(cls, figures: Mapping[str, Any]) -> str:
        """The faults that ended with 0, by the reason why that is right."""
        by_reason: dict[str, Counter[str]] = {}
        for kind, count in figures["tallies"].items():
            if kind.startswith(_ENDED_WELL):
                fault, _, _ = kind.removeprefix(_ENDED_WELL).partition(" in ")
                by_reason.setdefault(_why(kind), Counter())[fault.replace("64", "")] += count
        rows = [
            f"| {counts.total()} | {reason} | {', '.join(sorted(counts))} |"
            for reason, counts in sorted(by_reason.items(), key=lambda item: -item[1].total())
        ]
        head = [
            "### Faults after which the command ended with 0",
            "",
            "| cases | why that is right | errors and calls |",
            "|--:|---|---|",
        ]
        return "\n".join([*head, *rows]) + "\n"

    def _fail(self, ground: Ground, place: str, error: str, when: int, shim: Shim) -> int:
        """The exit status of the command that met the error, after which everything was as it must be."""
        run = self.disturb(ground, shim, place=place, action="fail", error=error, when=when)
        where = f"{ground.verb}: {error} of {place} ({when}), status {run.status}"
        ground.judge(run, where)
        assert run.status != 5 or error not in _OURS, (where, run.output)
        ground.settle(where)
        return run.status


def _errors_of(place: str) -> tuple[str, ...]:
    call = place.split(" ")[0]
    if " of pipe at" in place:
        return ("EPIPE",) if call == "write" else ()  # the system has no other errors for pipes
    return _OF_STREAMS if " of std" in place and call == "write" else _ERRORS[call]


def _without_lines(place: str) -> str:
    """The call and the modules that lead to it."""
    call, _, lines = place.partition(" at ")
    modules = dict.fromkeys(each.rpartition(":")[0] for each in lines.split(" < "))
    return f"{call} in {' < '.join(modules)}"


def _why(kind: str) -> str:
    return next((reason for part, reason in REASONS if part in f"{kind}."), "not judged yet")
