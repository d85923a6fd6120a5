"""Restores and recoveries that are killed at a step or at a system call, and what is left of them."""

from __future__ import annotations

import json
import re
import signal
import time
from dataclasses import dataclass, replace

from safeharbor_backup.actions.restore.kept import discard_previous
from safeharbor_backup.settings.load import load_settings
from safeharbor_backup.state.journal import JOURNAL_NAME, Journal, find_interrupted
from safeharbor_backup.state.restore_parts import Side
from safeharbor_backup.state.restore_record import Phase, RestoreRecord
from safeharbor_backup.system.lock import LOCK_NAME
from support.faults import children_left
from support.postgres import Database, execute
from support.runs import Outcome, Site
from support.states import State, dump_text, state_of

EVERYTHING = 100_000
_REFUSED = 100

# Runs a verb as the command does, and dies at the step of that number or name, having said its name.
_CHILD = """
import os, signal, sys
from pathlib import Path
from safeharbor_backup.errors import SafeHarborError
from safeharbor_backup.progress import NoProgress
from safeharbor_backup.actions.restore.kept import discard_previous
from safeharbor_backup.actions.restore.recovery import resume_restore, retargeted, undo_restore
from safeharbor_backup.actions.restore.request import RestoreRequest
from safeharbor_backup.actions.restore.run import restore_archive
from safeharbor_backup.settings.load import load_settings

class Killing(NoProgress):
    def __init__(self, last):
        self.last = last
        self.count = 0

    def step(self, name):
        print(name, flush=True)
        self.count += 1
        if self.last in (name, str(self.count)):
            os.kill(os.getpid(), signal.SIGKILL)

    def phase(self, name, total_bytes=None):
        self.step("phase " + name)

verb, last, archive, *options = sys.argv[1:]
settings, progress = load_settings(os.environ), Killing(last)
try:
    if verb == "restore":
        request = RestoreRequest(
            Path(archive),
            with_database="only uploads" not in options,
            in_place="in place" in options,
            jobs=2,
            accepts_broken="accept all" in options,
            accepts_open="accept all" in options,
        )
        restore_archive(settings, request, lambda plan: True, progress)
    elif verb == "undo":
        undo_restore(settings, "", progress)
    elif verb == "discard":
        discard_previous(settings, "")
    else:
        done = resume_restore(settings, progress)
        if done.again is not None:
            restore_archive(retargeted(settings, done.again), done.again, lambda plan: True, progress)
except SafeHarborError as error:
    print(error, file=sys.stderr)
    sys.exit(100)
"""


@dataclass(frozen=True)
class Killed:
    """How far a child came: the steps that it told, the last of which was its end."""

    steps: list[str]
    has_ended: bool
    is_refused: bool = False

    @property
    def where(self) -> str:
        return f"killed at step {len(self.steps)} ({self.steps[-1] if self.steps else 'none'})"

    def passed(self, step: str) -> bool:
        return step in self.steps


class Rig:
    """A site with an archive of its first state (`new`, for a restore makes it live) that changes before each kill."""

    def __init__(self, site: Site, database: Database, *options: str, beside: Database | None = None) -> None:
        """`beside`: another database of the archive, which is a part of each state."""
        self.site = site
        self.database = database
        self.beside = beside
        self.options = options
        self.change_uploads_only = "only uploads" in options
        done = site.run("backup", "--no-prune")
        assert done.status in (0, 3), done.output
        self.archive = site.archives[-1]
        self.new = self.state()

    def state(self) -> State:
        found = state_of(self.database.url, self.database.server.major, self.site.uploads)
        if self.beside is None:
            return found
        return replace(found, database=found.database + dump_text(self.beside.url, self.beside.server.major))

    def changed(self) -> State:
        """The state to restore over: wholly another one than the archive's, with nothing kept."""
        discard_previous(load_settings(self.site.environment), "")
        live = self.state()
        if live != self.new:
            return live
        if not self.change_uploads_only:
            self.database.execute(
                "DELETE FROM photo WHERE id > 3; UPDATE entry SET remark = 'changed' WHERE id < 100;"
                "CREATE TABLE newer (id int PRIMARY KEY, entry int REFERENCES entry);"
                "INSERT INTO newer VALUES (1, 7); ALTER TABLE photo ADD COLUMN extra text"
            )
        if self.beside is not None:
            self.beside.execute("DELETE FROM visit WHERE id = 1; CREATE TABLE newer (id int)")
        uploads = self.site.uploads
        (uploads / "2026" / "3.jpg").write_bytes(b"other")
        (uploads / "2026" / "4.jpg").unlink()
        for name in ("a.txt", "b.txt"):
            (uploads / name).write_text(name)
        (uploads / "deep" / "er").mkdir(parents=True)
        return self.state()

    def kill(self, verb: str, last: int | str, *, may_be_refused: bool = False) -> Killed:
        """Run a verb in a child that dies at the step of that number or name."""
        run = self.site.run_code(_CHILD, verb, str(last), str(self.archive), *self.options)
        is_refused = may_be_refused and run.returncode == _REFUSED
        assert is_refused or run.returncode in (0, -signal.SIGKILL), run.stderr.decode()
        assert not children_left(self.site)
        return Killed(run.stdout.decode().splitlines(), run.returncode != -signal.SIGKILL, is_refused)

    def finish(self, verb: str) -> list[str]:
        """Run a verb to its end; its steps."""
        whole = self.kill(verb, EVERYTHING)
        assert whole.has_ended
        return whole.steps

    def restored(self) -> list[str]:
        """A whole restore over a changed state; its steps."""
        self.changed()
        return self.finish("restore")

    def lose_journal(self) -> None:
        (self.site.backups / JOURNAL_NAME).unlink(missing_ok=True)

    @property
    def is_interrupted(self) -> bool:
        return find_interrupted(self.site.backups) is not None

    @property
    def kept_ids(self) -> list[str]:
        return [record.id for record in Journal(self.site.backups).read()]

    @property
    def sides(self) -> list[str]:
        """The databases beside the live ones."""
        rows = execute(self.database.server.url(), "SELECT datname FROM pg_database ORDER BY 1")
        live = "|".join(each.name for each in (self.database, self.beside) if each is not None)
        return [name for (name,) in rows if re.fullmatch(f"({live})_(restore|before)_[0-9a-f]{{12}}", name)]

    @property
    def staging(self) -> list[str]:
        return sorted(path.name for path in self.site.uploads.glob(".safeharbor-restore-*"))

    def told(self, where: str) -> None:
        """Before the recovery: no backup is taken, and every command warns."""
        refused = self.site.run("backup", "--no-prune")
        assert refused.status == 9, (where, refused.output)
        listed = self.site.run("list")
        assert "was interrupted" in listed.stderr, (where, listed.output)

    def recover(self, how: str) -> Outcome:
        """The recovery command; once more where the server has not yet noticed the death of its client."""
        deadline = time.monotonic() + 10
        while True:
            done = self.site.run("restore", f"--{how}")
            if "is still running" not in done.stderr or time.monotonic() > deadline:
                return done
            time.sleep(0.2)

    def settled(self, where: str, *, with_backup: bool = True) -> None:
        """After the recovery: nothing is interrupted, and nothing is left but what the journal keeps."""
        assert not self.is_interrupted, where
        records = Journal(self.site.backups).read()
        assert all(name[-12:] in [each.id for each in records] for name in self.sides), (where, self.sides, records)
        # one whose removal was interrupted may be there still, and the next discard ends it
        there = [each for each in records if each.phase is Phase.KEPT or stage_name(each) in self.staging]
        assert self.staging == sorted(map(stage_name, there)), (where, self.staging, records)
        if with_backup:
            done = self.site.run("backup", "--no-prune")
            assert done.status == 0, (where, done.output)
            assert [name for name in self.site.leftovers if not name.startswith(JOURNAL_NAME)] == [], where
            for archive in self.site.archives:
                if archive != self.archive:
                    archive.unlink()


def stage_name(record: RestoreRecord) -> str:
    return f".safeharbor-restore-{record.id}"


def wholly(rig: Rig, expected: State, where: str) -> None:
    """The live state is this one."""
    found = rig.state()
    assert found.uploads == expected.uploads, where
    assert found.database == expected.database, where


def wholly_one_of(rig: Rig, first: State, second: State, where: str) -> None:
    """The live state is one of these, not a mix."""
    assert rig.state() in (first, second), where


def lasting(steps: list[str]) -> list[int]:
    """The numbers of the steps at which something lasting was done."""
    return [number for number, step in enumerate(steps, 1) if not step.startswith("phase ")]


# what changes files, and what speaks with the server
_LASTING = ("rename", "renameat2", "mkdir", "mkdirat", "unlink", "rmdir", "fsync")
_OTHERS = ("write", "openat", "unlinkat", "fchmod", "utimensat", "sendto", "recvfrom", "poll")


def traced(site: Site, *options: str, verb: tuple[str, ...]) -> int:
    """Run the command under strace; its exit status, negative if it was killed."""
    return site.run_traced(options, "restore", *verb).returncode


def killing(call: str, when: int) -> tuple[str, ...]:
    """Strace's options to kill at that call."""
    return "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={when}"


def calls_of(site: Site, *verb: str) -> list[tuple[str, int]]:
    """The calls of the command's own process that matter, from its lock on: each with its number among its kind."""
    log = site.root / "trace"
    assert traced(site, "-o", str(log), "-e", f"trace={','.join(_LASTING + _OTHERS)}", verb=verb) == 0
    found: list[tuple[str, int]] = []
    numbers = dict.fromkeys(_LASTING + _OTHERS, 0)
    is_locked = False
    for line in log.read_text(errors="replace").splitlines():
        name, _, arguments = line.partition("(")
        if name not in numbers:
            continue
        numbers[name] += 1
        is_locked = is_locked or LOCK_NAME in arguments
        if is_locked:
            found.append((name, numbers[name]))
    assert is_locked
    return found


def spread(calls: list[tuple[str, int]], count: int) -> list[tuple[str, int]]:
    """So many of the calls, evenly over the run, every kind by itself in proportion, lasting ones first."""
    lasting = [call for call in calls if call[0] in _LASTING]
    others = [call for call in calls if call[0] not in _LASTING]
    chosen = lasting[:: -(-len(lasting) // (count * 2 // 3))]
    left = count - len(chosen)
    return chosen + [others[position * len(others) // left] for position in range(left)]


_SCHEMA_1 = (
    *("id", "started_at", "archive", "phase", "in_place", "keep_previous", "jobs", "server", "database"),
    *("had_database", "transaction", "kept_database_bytes", "kept_uploads_bytes", "slots"),
)


def as_schema_1(site: Site) -> None:
    """Write the journal and the markers as the programs before schema 2 would have left them at this point."""
    records = []
    for record in Journal(site.backups).read():
        (part,) = record.uploads
        same = {name: getattr(record, name) for name in _SCHEMA_1} | {"uploads": part.path}
        is_at_rest = record.phase is not Phase.SWAPPING
        side = record.live if is_at_rest else record.towards.other
        records.append({**same, "is_undone": side is Side.OLD, "was_live": record.has_been_live})
        marker = site.uploads / f".safeharbor-restore-{record.id}" / ".safeharbor-staging"
        if marker.exists():
            assert part.mark is not None
            marker.write_text(f"{part.mark.going} {part.mark.leg}\n")
    document = {"schema": 1, "restores": records}
    (site.backups / JOURNAL_NAME).write_text(json.dumps(document, indent=1) + "\n")
