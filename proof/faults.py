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


# why a fault after which a command ended with 0 may be one: by the first part that is in its kind
REASONS = (
    ("state/at_work.py", "The mark by which a death would be noticed is missing; the run itself does what it is for."),
    ("state/history.py", "The history was not continued; the run says so, and its work is done."),
    (
        "state/known_settings.py",
        "What a restore without the app would go by is not renewed; nothing that is there is lost.",
    ),
    (
        "cli/streams.py",
        "What could not be printed is lost; the work is not, and the history says that output was lost.",
    ),
    ("uploads/sharing.py", "Nothing is shared, or remembered for the next backup: that one reads everything."),
    ("archive/index.py", "Nothing is shared, or remembered for the next backup: that one reads everything."),
    ("actions/diff.py", "What went since the previous archive is not reported; the new archive has all that is there."),
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
    return next((reason for part, reason in REASONS if part in kind), "not judged yet")
