"""A small application on a host of which the clock, the disk and the archives are not to be trusted."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from proof.machine_model import DAILY, WEEKLY, Archive, State
from support.forkserver import run_forked

# the command on a host whose clock is so many seconds ahead. No library can do that here: libfaketime spoils waiting
_CLOCK = """
import ctypes, datetime, gc, sys, time
ahead = int(sys.argv.pop(1))
def by(function, offset):
    return lambda *given: function(*given) + offset
if ahead:
    time.time, time.time_ns = by(time.time, ahead), by(time.time_ns, ahead * 10**9)
    members = gc.get_referents(datetime.datetime.__dict__)[0]
    members["now"] = staticmethod(by(datetime.datetime.now, datetime.timedelta(seconds=ahead)))
    ctypes.pythonapi.PyType_Modified(ctypes.py_object(datetime.datetime))
"""
_MAIN = f"{_CLOCK}\nfrom safeharbor_backup.cli.main import main; main()"
# the command, killed at a call of ours or of the system's that has this number; how many there were goes into a file
_KILLED = f"""{_CLOCK}
import os, signal
count, last, told = 0, int(sys.argv.pop(1)), sys.argv.pop(1)
CALLS = "rename replace unlink fsync mkdir rmdir open write writev fork_exec wait_c".split()
ROOMS = ("/system/", "/uploads/", "/state/", "/postgres/", "/archive/", "/actions/")

def count_calls(frame, event, argument):
    global count
    if event == "call":
        name = frame.f_code.co_filename
        if "/safeharbor_backup/" not in name or not any(room in name for room in ROOMS):
            return
    elif event not in ("c_call", "c_return") or argument.__name__ not in CALLS:
        return
    count += 1
    if count == last:
        os.kill(os.getpid(), signal.SIGKILL)

from safeharbor_backup.cli.main import main
sys.setprofile(count_calls)
try:
    main()
finally:
    sys.setprofile(None)
    with open(told, "w") as file:
        file.write(str(count))
"""
KILLED = -signal.SIGKILL
_JOURNAL = ".safeharbor-restore.json"
_STILL_THERE = 10  # seconds for which the server may still be at work for a command that was killed


@dataclass
class Kept:
    """What a restore has put aside. A part that it did not restore is None."""

    rows: tuple[tuple[int, int], ...] | None
    files: tuple[tuple[str, str], ...] | None
    is_undone: bool = False
    is_in_place: bool = False


@dataclass(frozen=True)
class Pending:
    """A restore or undo that was interrupted: what `--undo` and `--resume` must end in."""

    id: str
    undone: tuple[State, ...]
    resumed: tuple[State, ...]
    kept: Kept


@dataclass(frozen=True)
class Ended:
    """How a command ended; `status` is negative if it was killed."""

    status: int
    output: str

    @property
    def was_killed(self) -> bool:
        return self.status == KILLED


class Host:
    """An application on a host: what can be seen of it, what can be typed, and what happens to it."""

    def __init__(self, root: Path, space: Path, admin_url: str, owner_url: str, tools: str) -> None:
        self.root = root
        self.space = space
        self.uploads, self.backups = root / "uploads", space / "backups"
        self._admin_url, self._owner_url = admin_url, owner_url
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("BACKUP_", "PG", "LD_"))},
            "BACKUP_DATABASE_URL": owner_url,
            "BACKUP_UPLOAD_DIR": str(self.uploads),
            "BACKUP_DIR": str(self.backups),
            "BACKUP_PG_BIN": tools,
            "BACKUP_MIN_FREE": "0",
            "BACKUP_RETENTION_DAILY": str(DAILY),
            "BACKUP_RETENTION_WEEKLY": str(WEEKLY),
        }
        self.archives: dict[str, Archive] = {}
        self.kept: dict[str, Kept] = {}
        self.pending: Pending | None = None
        self.adopted = ""
        self.is_full = False
        self.offset = 0
        self.log: list[str] = []
        self.steps = 0
        self.last = ""
        self.tallies: dict[str, int] = {}
        self.live = State()

    def begin(self) -> None:
        """An empty database and no files."""
        self.uploads.mkdir(parents=True)
        self.backups.mkdir()
        self._make_database()

    def end(self) -> None:
        """Remove it all."""
        with psycopg.connect(self._admin_url, autocommit=True) as session:
            for (name,) in session.execute("SELECT datname FROM pg_database WHERE datname ~ '^app'").fetchall():
                session.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())
        for place in (self.root, self.backups):
            shutil.rmtree(place, ignore_errors=True)

    def _make_database(self) -> None:
        with psycopg.connect(self._admin_url, autocommit=True) as session:
            session.execute("CREATE DATABASE app OWNER app_owner")
        with psycopg.connect(self._owner_url, autocommit=True) as session:
            session.execute("CREATE TABLE item (id int PRIMARY KEY, value int)")

    # --- what can be seen

    def now(self) -> float:
        """The time as the commands see it."""
        return time.time() + self.offset

    def seen(self) -> State:
        """What the application has."""
        with psycopg.connect(self._owner_url, autocommit=True) as session:
            rows = session.execute("SELECT id, value FROM item ORDER BY id").fetchall()
        paths = [path for path in sorted(self.uploads.iterdir()) if not path.name.startswith(".safeharbor-restore-")]
        return State(tuple((key, value) for key, value in rows), tuple((path.name, path.read_text()) for path in paths))

    def journal(self) -> list[dict[str, Any]]:
        """The records of restores, read as a stranger would."""
        try:
            found: list[dict[str, Any]] = json.loads((self.backups / _JOURNAL).read_text())["restores"]
        except FileNotFoundError:
            return []
        return found

    def names(self) -> set[str]:
        return {path.name for path in self.backups.glob("safeharbor-backup-*.tar")}

    # --- commands

    def type(self, *arguments: str, kill: float | None = None, calls: int = 0) -> Ended:
        """Type a command; with `kill` it dies after that share of so many calls."""
        self.log.append(" ".join(arguments) + (f" (killed at {kill:.3f})" if kill is not None else ""))
        verb = " ".join(part for part in arguments[:2] if part.startswith("--") or part == arguments[0])
        self.tallies[verb] = self.tallies.get(verb, 0) + 1
        deadline = time.monotonic() + _STILL_THERE
        while True:
            code, argv = _MAIN, [str(self.offset), *arguments]
            if kill is not None:
                code, argv = (
                    _KILLED,
                    [str(self.offset), str(1 + int(kill * calls)), str(self.root / "calls"), *arguments],
                )
            done = run_forked(code, argv, self.environment, self.root, 120)
            ended = Ended(done.returncode, (done.stdout + done.stderr).decode())
            if "is still running" not in ended.output or time.monotonic() > deadline:
                break
            time.sleep(0.1)
        assert "Traceback" not in ended.output, ended.output
        self.log[-1] += f": {ended.status}"
        self.last = ended.output
        if ended.was_killed:
            self.tallies["killed"] = self.tallies.get("killed", 0) + 1
        return ended

    # --- what happens to the host

    def do_write(self, key: int, value: int) -> None:
        """The application writes a row and a file."""
        rows, files = dict(self.live.rows), dict(self.live.files)
        rows[key] = value
        files[f"f{key}"] = str(value) * (1 + key)
        with psycopg.connect(self._owner_url, autocommit=True) as session:
            session.execute(
                "INSERT INTO item VALUES (%s, %s) ON CONFLICT (id) DO UPDATE SET value = excluded.value", (key, value)
            )
        (self.uploads / f"f{key}").write_text(files[f"f{key}"])
        self._now_live(rows, files)

    def do_delete(self, share: int) -> None:
        """Most of the rows and files are deleted, by a mistake say."""
        keys = [key for key, _ in self.live.rows][:: max(share, 2)]
        rows = {key: value for key, value in self.live.rows if key in keys}
        files = {name: content for name, content in self.live.files if int(name[1:]) in keys}
        with psycopg.connect(self._owner_url, autocommit=True) as session:
            session.execute("DELETE FROM item WHERE id <> ALL(%s)", (keys,))
        for name, _ in self.live.files:
            if name not in files:
                (self.uploads / name).unlink()
        self._now_live(rows, files)

    def _now_live(self, rows: dict[int, int], files: dict[str, str]) -> None:
        self.log.append(f"the app has {rows}")
        self.live = State(tuple(sorted(rows.items())), tuple(sorted(files.items())))

    def do_clock(self, seconds: int) -> None:
        self.log.append(f"clock {seconds:+d} s")
        self.offset += seconds

    def do_lose_times(self, order: int) -> None:
        """The archives are copied, by a program that does not keep times, in some order."""
        self.log.append("archives copied, times lost")
        names = sorted(self.archives, key=lambda name: hashlib.sha256(f"{order} {name}".encode()).digest())
        for number, name in enumerate(names):
            modified = self.now() - len(names) + number
            os.utime(self.backups / name, (modified, modified))
            self.archives[name].modified = (self.backups / name).stat().st_mtime

    def do_damage(self) -> None:
        """The newest archive loses its end, as on a disk that fails."""
        archive = self.archives[max(self.archives)]
        if archive.is_damaged:
            return
        self.log.append(f"{archive.name} is damaged")
        path = self.backups / archive.name
        os.truncate(path, path.stat().st_size // 2)
        os.utime(path, (archive.modified, archive.modified))
        archive.is_damaged = True
        archive.sha256 = hashlib.sha256(path.read_bytes()).hexdigest()

    def do_fill(self, *, full: bool) -> None:
        """The disk of the archives is full, or has room again."""
        self.log.append("disk full" if full else "disk has room")
        self.is_full = full
        ballast = self.space / "ballast"
        if not full:
            ballast.unlink(missing_ok=True)
            return
        with open(ballast, "ab") as file:
            free = os.statvfs(self.space)
            os.posix_fallocate(file.fileno(), 0, max(free.f_bavail * free.f_frsize, 1))

    def do_move(self) -> None:
        """A new host: an empty database, no uploads, and only the archives and their marks copied."""
        self.log.append("new host")
        with psycopg.connect(self._admin_url, autocommit=True) as session:
            for (name,) in session.execute("SELECT datname FROM pg_database WHERE datname ~ '^app'").fetchall():
                session.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())
        self._make_database()
        for path in self.uploads.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        shutil.rmtree(self.backups / ".safeharbor", ignore_errors=True)
        (self.backups / _JOURNAL).unlink(missing_ok=True)
        self.kept, self.adopted, self.live = {}, "", State()
