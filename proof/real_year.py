"""One real year of nights: the real commands by a faked clock, on an XFS that shares blocks, with a real database.

Every night the app changes; the host sleeps through some nights. Each week all archives are read and one is restored by
a drill. Which archives have to be there says the model of the simulated years, and what is in them the app.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import subprocess
import tarfile
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Self

from proof.years_model import Archive, Counts, Directory, what_stays
from support.filesystems import mounted_in_memory
from support.needs import memory_filesystem
from support.postgres import MAJORS, Database, Servers, drop_database, make_database
from support.runs import Outcome, Site, make_site
from support.shim import compile_library

NIGHTS = 365
_RETENTION = Counts(daily=7, weekly=4)  # the defaults
_NAME = re.compile(r"safeharbor-backup-(\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ)\.tar")
_SOUND = re.compile(r".*/(safeharbor-backup-[0-9TZ-]+\.tar): OK \(")
_NIGHT = 3  # o'clock
_MISSED = 0.03  # of all nights
_LATE_SECONDS = 120.0  # between the start of a command and the time in the name of its archive, on a slow machine
_SOURCE = Path(__file__).with_name("kernel_clock.c")


@dataclass(frozen=True)
class _Night:
    """What the app had when its backup was taken: digests by path below the uploads, and one of the rows."""

    files: dict[str, str]
    rows: str


class RealYear:
    """A host with an app, to be entered. `nights` lives on it, `settle` looks at all that there is at last."""

    def __init__(self, servers: Servers, chance: Random) -> None:
        self._server, self._chance = servers[MAJORS[-1]], chance
        self._until_end = ExitStack()
        self._directory = Directory()
        self._known: dict[str, _Night] = {}
        self.tallies = dict.fromkeys(("real nights", "real nights that share", "archives read", "real drills"), 0)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            home = stack.enter_context(tempfile.TemporaryDirectory(prefix="year-", dir=memory_filesystem()))
            self._home = Path(home)
            self._database: Database = make_database(self._server)
            stack.callback(drop_database, self._database)
            place, _ = stack.enter_context(mounted_in_memory("xfs", 512 << 20))
            self.site: Site = make_site(self._home, self._database)
            self.site.backups.rmdir()
            self.site.backups = place / "backups"
            self.site.backups.mkdir()
            self.site.environment["BACKUP_DIR"] = str(self.site.backups)
            for number in range(30):
                self._write(f"photos/{number}.bin")
            self._clock = self._home / "kernel_clock.so"
            compile_library(_SOURCE, self._clock)
            # ahead of all times on the disk
            self.now = (datetime.now(UTC) + timedelta(days=2)).replace(hour=_NIGHT, minute=0, second=0, microsecond=0)
            self._until_end = stack.pop_all()
        return self

    def __exit__(self, *_error: object) -> None:
        self._until_end.close()

    def nights(self, count: int) -> None:
        """So many nights."""
        for number in range(count):
            self._app_works()
            if self._chance.random() >= _MISSED:
                self._backup()
            if number % 7 == 6:
                self._hours(1)
                self._read_all()
                self._hours(1)
                self._drill()
            self._hours(24 - self.now.hour + _NIGHT)

    def _hours(self, hours: int) -> None:
        self.now += timedelta(hours=hours)

    def settle(self) -> None:
        """What has to be there is there, verifies, and holds what the app had; there is nothing else."""
        self._read_all()
        for path in self.site.archives:
            assert self._content(path) == self._known[path.name], f"{path.name} is not what the app had"
        evidence = [name for name in self.site.leftovers if name.startswith("safeharbor-drill-")]
        assert (evidence, len(evidence)) == (self.site.leftovers, self.tallies["real drills"])
        assert self._run("status").status == 0

    # -- what the app does -----------------------------------------------------------------------------------------

    def _write(self, name: str) -> None:
        path = self.site.uploads / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(self._chance.randbytes(self._chance.randrange(70_000, 200_000)))

    def _app_works(self) -> None:
        """Some rows come, change and go, and some files."""
        chance = self._chance
        photos = sorted(path.name for path in (self.site.uploads / "photos").iterdir())
        self._write(f"photos/{chance.randrange(10**6)}.bin")
        self._write(f"photos/{chance.choice(photos)}")
        if len(photos) > 30:
            (self.site.uploads / "photos" / chance.choice(photos)).unlink()
        first = chance.randrange(10**6, 10**9)
        self._database.execute(
            f"INSERT INTO entry SELECT {first} + g, md5(({first} + g)::text) FROM generate_series(1, 3) g "
            "ON CONFLICT DO NOTHING;"
            f"UPDATE entry SET remark = '{first}' WHERE id = {chance.randrange(1, 500)};"
            "DELETE FROM entry WHERE id IN (SELECT id FROM entry WHERE id > 500 ORDER BY md5(id::text) OFFSET 30)"
        )

    def _has(self) -> _Night:
        paths = (path for path in self.site.uploads.rglob("*") if path.is_file())
        files = {str(path.relative_to(self.site.uploads)): _digest(path.read_bytes()) for path in paths}
        rows = self._database.execute("SELECT id || E'\\t' || remark FROM entry")
        return _Night(files, _digest_of_rows([str(row[0]).encode() for row in rows]))

    # -- what is typed ---------------------------------------------------------------------------------------------

    def _run(self, *arguments: str) -> Outcome:
        """The command, by the faked clock."""
        ahead = math.ceil((self.now - datetime.now(UTC)).total_seconds())
        clock = {"LD_PRELOAD": str(self._clock), "SAFE_HARBOR_AHEAD": str(ahead)}
        environment = self.site.full_environment(clock)
        done = subprocess.run(
            self.site.argv(*arguments), env=environment, cwd=self._home, capture_output=True, timeout=300, check=False
        )
        return Outcome(done.returncode, done.stdout.decode(), done.stderr.decode())

    def _backup(self) -> None:
        had, before = self._has(), {path.name for path in self.site.archives}
        done = self._run("backup")
        assert done.status == 0, (self.now, done.output)
        (made,) = [path for path in self.site.archives if path.name not in before]
        taken, modified = _moment(made.name), os.stat(made).st_mtime_ns / 1e9
        for moment in (taken, modified):
            assert 0 <= moment - self.now.timestamp() + 1 < _LATE_SECONDS, (self.now, made.name, modified)
        sizes = (len(had.files), os.stat(made).st_size, 500)
        self._directory.archives.append(Archive(made.name, taken, modified, "here", sizes))
        self._known[made.name] = had
        stays = what_stays(self._directory, _RETENTION, modified, made.name)
        assert {path.name for path in self.site.archives} == stays, (self.now, done.output)
        self._directory.archives = [each for each in self._directory.archives if each.name in stays]
        self.tallies["real nights"] += 1
        self.tallies["real nights that share"] += "shared with" in done.stdout

    def _read_all(self) -> None:
        """The archives that should be there verify, and no other does."""
        done = self._run("verify", "--all")
        assert done.status == 0, (self.now, done.output)
        sound = {found[1] for line in done.stdout.splitlines() if (found := _SOUND.match(line)) is not None}
        assert sound == {each.name for each in self._directory.archives}, (self.now, done.output)
        self.tallies["archives read"] += len(sound)

    def _drill(self) -> None:
        done = self._run("drill")
        assert done.status == 0, (self.now, done.output)
        self.tallies["real drills"] += 1

    def _content(self, archive: Path) -> _Night:
        """What is in an archive, by programs that are not ours."""
        with tarfile.open(archive) as tar:
            files = {
                member.name.removeprefix("uploads/"): _digest(tar.extractfile(member).read())  # type: ignore[union-attr]
                for member in tar
                if member.isfile() and member.name.startswith("uploads/")
            }
            dump = self._home / "db.dump"
            dump.write_bytes(tar.extractfile("db.dump").read())  # type: ignore[union-attr]
        program = Path(self.site.environment["BACKUP_PG_BIN"]) / "pg_restore"
        argv: list[str | Path] = [program, "--data-only", "--table=entry", "--file=-", dump]
        lines = subprocess.run(argv, capture_output=True, check=True).stdout.split(b"\n")
        begin = next(number for number, line in enumerate(lines) if line.startswith(b"COPY "))
        return _Night(files, _digest_of_rows(lines[begin + 1 : lines.index(rb"\.", begin)]))


def _moment(name: str) -> float:
    found = _NAME.fullmatch(name)
    assert found is not None, name
    return datetime.strptime(found[1], "%Y-%m-%dT%H-%M-%SZ").replace(tzinfo=UTC).timestamp()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _digest_of_rows(rows: list[bytes]) -> str:
    return _digest(b"\n".join(sorted(rows)))
