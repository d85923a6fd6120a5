"""Where a command is disturbed: an application with an archive and a later state that is live; and what must hold."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import time
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import safeharbor_backup
from proof.campaign import Campaign, Missed, Surroundings
from safeharbor_backup.postgres.private_cluster import PrivateServer, find_server_bins, private_server
from safeharbor_backup.state.journal import find_interrupted
from support.faults import children_left
from support.filesystems import mounted_in_memory
from support.kills import Rig
from support.needs import memory_filesystem
from support.postgres import MAJORS, PASSWORD, execute, make_database
from support.runs import Outcome, make_site
from support.shim import Order, Shim
from support.states import tree_of

DONE = (0, 3)
_EACH = 10_000
_STATUSES = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9}
# the journal of kept states; what drills found, with a draft of it that is swept later; marks that keep archives
_STAYS = re.compile(
    r"\.safeharbor-restore\.json|\.?safeharbor-drill-.*\.json(\.[0-9a-f]{8}\.tmp)?|"
    r"safeharbor-backup-.*\.tar\.keep(\.[0-9a-f]{8}\.tmp)?"  # drafts that no lock guards: swept when an hour old
)
_OLD_DAYS = ("2026-03-02", "2026-03-09", "2026-03-10", "2026-03-11")
_TOLD = re.compile(r"`safeharbor restore (--undo|--resume)`")
_TABLES = "SELECT relname, relnatts FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1"
_HBA = "local all postgres trust\nlocal all all scram-sha-256\nhost all all 127.0.0.1/32 scram-sha-256\n"

State = tuple[str, dict[str, str]]


@dataclass(frozen=True)
class Verb:
    """A command to disturb. `before`: what must have been done, of "kept", "interrupted", "sharing", "old archives"."""

    arguments: tuple[str, ...]
    before: str = ""
    moves: bool = False  # it changes what is live
    writes: bool = True  # or the archives
    settings: dict[str, str] = field(default_factory=dict)


_ONLY_BACKUPS = {"BACKUP_TIMEZONE": "UTC", "BACKUP_VERIFY_SCHEDULE": "none", "BACKUP_DRILL_SCHEDULE": "none"}
_FEW = {"BACKUP_RETENTION_DAILY": "1", "BACKUP_RETENTION_WEEKLY": "1"}
VERBS = {
    "backup": Verb(("backup",)),
    "backup sharing": Verb(("backup",), "sharing"),
    "verify": Verb(("verify", "--all"), writes=False),
    "prune": Verb(("prune",), "old archives", settings=_FEW),
    "list": Verb(("list",), writes=False),
    "status": Verb(("status",), writes=False),
    "keep": Verb(("keep", "--because", "why not", "ARCHIVE"), writes=False),
    "extract": Verb(("extract", "ARCHIVE", "2026", "--to", "OUT"), writes=False),
    "drill": Verb(("drill",), writes=False),
    "scheduler": Verb(("scheduler",), settings=_ONLY_BACKUPS),
    "restore": Verb(("restore", "--from", "ARCHIVE", "--yes", "--jobs", "2"), moves=True),
    "in place": Verb(("restore", "--from", "ARCHIVE", "--yes", "--in-place"), moves=True),
    "undo": Verb(("restore", "--undo"), "kept", moves=True),
    "resume": Verb(("restore", "--resume"), "interrupted", moves=True),
    "discard": Verb(("restore", "--discard-previous", "--yes"), "kept", moves=True),
}


class Ground:
    """One for each verb. `reset` makes it as it was; `judge` and `settle` assert."""

    def __init__(self, verb: str, server: PrivateServer, place: Path, until_end: ExitStack) -> None:
        self.verb, self.kind = verb, VERBS[verb]
        self.server = server
        self.database = make_database(server)
        root = place / verb.replace(" ", "-")
        root.mkdir()
        self.site = make_site(root, self.database)
        self.site.environment.update(self.kind.settings)
        self.out = root / "out"
        if self.kind.before == "sharing":
            time.sleep(2.1)  # uploads must be old enough to be trusted
            self.site.backups, _ = until_end.enter_context(mounted_in_memory("xfs", 320 << 20))
            self.site.environment["BACKUP_DIR"] = str(self.site.backups)
        self.rig = Rig(self.site, self.database)  # it takes the archive
        self.archive = self.site.archives[0]
        if verb == "scheduler":  # what was due a second later was missed, so it runs at once; the next one is tomorrow
            self.site.environment["BACKUP_SCHEDULE"] = f"{datetime.now(UTC) + timedelta(seconds=1):%S %M %H} * * *"
        self.first = self.state()
        self.rig.changed()
        self.changed = self.state()
        names = {"ARCHIVE": str(self.archive), "OUT": str(self.out)}
        self.arguments = tuple(names.get(each, each) for each in self.kind.arguments)
        self.home = _Copy(self)
        self._prepare()
        self.live = self.state()
        self.digests: dict[str, str] = {}
        self.is_fresh = True
        self.reset()

    def _prepare(self) -> None:
        if self.kind.before == "kept":
            done = self.site.run("restore", "--from", str(self.archive), "--yes")
            assert done.status == 0, done.output
        if self.kind.before == "interrupted":
            assert not self.rig.kill("restore", "swapping").has_ended

    def reset(self) -> None:
        """As it was before any case; what a case has left as it was is not made anew."""
        if not self.is_fresh:
            self.home.bring_back()
            self._prepare()
        self.is_fresh = not self.kind.moves
        shutil.rmtree(self.out, ignore_errors=True)
        for name in self.site.leftovers if not self.kind.moves else ():
            path = self.site.backups / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        if self.kind.before == "old archives":
            for day in _OLD_DAYS:
                made = self.site.backups / f"safeharbor-backup-{day}T03-00-00Z.tar"
                shutil.copy(self.archive, made)
                os.utime(made, (time.mktime(time.strptime(day, "%Y-%m-%d")),) * 2)
        later = [each for each in self.site.archives if each != self.archive and "2026-03-" not in each.name]
        for each in later[:-1] if self.kind.before == "sharing" else later:
            each.unlink()
        self.digests = {each.name: _digest(each) for each in self.site.archives}

    def order(self, **what: Any) -> Order:
        """An order to the shim; a service ends when its first run is remembered."""
        ends = str(self.site.backups / ".safeharbor" / "history.jsonl") if self.verb == "scheduler" else ""
        return Order(str(self.site.root / "shim.log"), stops_after=ends, **what)

    def state(self) -> State:
        """Everything that the application has, quickly."""
        rows = execute(self.database.superuser_url, _TABLES)
        for table in [name for name, _ in rows if not name.endswith("_pkey")]:
            rows += execute(
                self.database.superuser_url, f"SELECT md5(string_agg(t::text, ',' ORDER BY id)) FROM {table} t"
            )
        return str(rows), tree_of(self.site.uploads)

    def judge(self, run: Outcome, where: str) -> None:
        """What the command has said and left is right for its status."""
        assert PASSWORD not in run.output, where
        assert "Traceback" not in run.stderr, (where, run.stderr)
        assert run.status in _STATUSES, (where, run.output)
        assert not children_left(self.site), where
        if run.status in DONE:
            self._judge_done(run, where)
        elif self.kind.moves and run.status != 9:
            assert self.state() == self.live or self.is_interrupted, (where, run.output)

    def _judge_done(self, run: Outcome, where: str) -> None:
        verb = self.verb
        if verb.startswith("backup"):
            made = [each.name for each in self.site.archives if each.name not in self.digests]
            assert len(made) == 1, (where, made)
            if run.status == 0:
                self._judge_complete(self.site.backups / made[0], where)
        if verb == "verify" and run.status == 0:
            assert ": OK (" in run.output or "of stdout" in where, (where, run.output)
        if verb == "prune" and run.status == 0:
            assert len(self.site.archives) < len(self.digests), (where, run.output)
        if verb == "keep":
            assert self.archive.with_name(f"{self.archive.name}.keep").exists(), where
        if verb == "extract":
            expected = {name: each for name, each in self.first[1].items() if name.startswith("2026/")}
            found = {name: each for name, each in tree_of(self.out).items() if name.startswith("2026/")}
            found = found or {f"2026/{name}": each for name, each in tree_of(self.out).items()}
            if run.status != 0:  # it says which modes it could not set: the contents have to be right
                found, expected = _digests_in(found), _digests_in(expected)
            assert found == expected, (where, run.output)
        if verb in ("restore", "in place", "resume"):
            assert self._is_live(where, self.first), (where, run.output)
        if verb == "undo":
            assert self.state() == self.changed, (where, run.output)
        if verb == "discard":
            assert (self.state(), self.rig.staging) == (self.first, []), (where, run.output)

    def _judge_complete(self, archive: Path, where: str) -> None:
        """An archive without a warning has every upload as it is."""
        with tarfile.open(archive) as tar:
            file = tar.extractfile("SHA256SUMS")
            assert file is not None
            sums = file.read().decode()
        for name, entry in self.live[1].items():
            digest = entry.rpartition(" ")[2]
            assert not digest or f"{digest}  uploads/{name}\n" in sums, (where, name)

    def _is_live(self, where: str, *states: State) -> bool:
        """Whether one of them is live; a command that has warned may not have been able to set the modes of files."""
        rows, files = self.state()
        if ", status 3" in where:
            return (rows, _digests_in(files)) in [(rows_of, _digests_in(of)) for rows_of, of in states]
        return (rows, files) in states

    @property
    def is_interrupted(self) -> bool:
        return find_interrupted(self.site.backups) is not None

    def _may_be_made_now(self, name: str) -> bool:
        """A directory of a drill, empty or with an empty marker: for a minute nobody takes it for one that was left."""
        path = self.site.backups / name
        if not (name.startswith(".safeharbor-drill-") and path.is_dir()):
            return False
        return all(each.name == "in-use" and each.stat().st_size == 0 for each in path.iterdir())

    def settle(self, where: str) -> None:
        """Older archives are the same, new ones are sound, one of the two states is live, and nothing is in the way."""
        for made in [each for each in self.site.archives if each.name not in self.digests]:
            checked = self.site.run("verify", str(made), "--quiet")
            assert checked.status in DONE, (where, checked.output)
        leaves_draft = self.kind.writes or "then `backup" in where  # which the next backup removes
        again = ("backup", "--no-prune") if leaves_draft else self.arguments
        for _ in range(4):
            shutil.rmtree(self.out, ignore_errors=True)
            plain = self.site.run(*again)
            if plain.status != 9:
                break
            told = _TOLD.findall(plain.stderr)
            done = self.site.run("restore", told[len(where) % len(told)])
            if "is still running" in done.stderr:
                time.sleep(0.3)
                continue
            assert done.status == 0, (where, told, done.output)
        assert plain.status == 0, (where, plain.output)
        assert self._is_live(where, *((self.first, self.changed) if self.kind.moves else (self.live,))), where
        for name, digest in self.digests.items():
            path = self.site.backups / name
            if self.kind.before != "old archives" or path.exists():
                assert _digest(path) == digest, (where, name)
        left = [each for each in self.site.leftovers if not (_STAYS.fullmatch(each) or self._may_be_made_now(each))]
        assert left == [], (where, left)
        assert self.archive.exists(), where
        if (
            self.kind.moves
            and not self.kind.before
            and self.state() == self.live
            and not self.rig.staging
            and not self.rig.sides
        ):
            self.is_fresh = True


class _Copy:
    """The cluster and the site as they were, to be brought back."""

    def __init__(self, ground: Ground) -> None:
        self._server, self._site = ground.server, ground.site
        self._kept = ground.site.root.with_name(ground.site.root.name + ".kept")
        if ground.kind.moves:
            self._server.stop()
            self._kept.mkdir()
            _copy(self._server.data_dir, self._kept / "data")
            _copy(self._site.root, self._kept / "root")
            self._server.start()

    def bring_back(self) -> None:
        self._server.kill()
        _copy(self._kept / "data", self._server.data_dir)
        _copy(self._kept / "root", self._site.root)
        self._server.start()


def _copy(source: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    subprocess.run(["cp", "-a", source, target], check=True)


def _digests_in(tree: dict[str, str]) -> dict[str, str]:
    return {name: entry.rpartition(" ")[2] for name, entry in tree.items()}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@contextmanager
def grounds_server(options: dict[str, str] | None = None, *, durable: bool = False) -> Iterator[PrivateServer]:
    """A server of its own for grounds, which end it and bring it back."""
    bins = find_server_bins()[MAJORS[-1]]
    with private_server(bins, parent=memory_filesystem(), tcp=True, durable=durable, options=options) as server:
        (server.data_dir / "pg_hba.conf").write_text(_HBA)
        execute(server.url(), "SELECT pg_reload_conf()")
        yield server


class Disturbing(Campaign):
    """A campaign that disturbs commands at the places where they call the system; its grounds are made when needed.

    The number of a case is that of its verb times 10,000, and its own.
    """

    def __init__(self, surroundings: Surroundings) -> None:
        super().__init__(surroundings)
        self.shim = Shim()
        self.until_end.callback(self.shim.close)
        home = tempfile.TemporaryDirectory(prefix="proof-", dir=memory_filesystem(), ignore_cleanup_errors=True)
        self.until_end.callback(home.cleanup)
        self._home = Path(home.name)
        self._grounds: dict[str, Ground] = {}
        self._resting: PrivateServer | None = None
        verbs = list(VERBS)
        chance = Random(f"{self.seed} verbs")
        self._cases = {verb: self._found(verb) for verb in (chance.sample(verbs, 2) if self.is_small else verbs)}

    @property
    def count(self) -> int:
        return sum(map(len, self._cases.values()))

    @property
    def numbers(self) -> Sequence[int]:
        begins = {verb: number * _EACH for number, verb in enumerate(VERBS)}
        return [begins[verb] + number for verb, cases in self._cases.items() for number in range(len(cases))]

    def case(self, number: int) -> tuple[Ground, tuple[str, ...]]:
        """Where it is, ready, and what is to happen there."""
        verb = list(VERBS)[number // _EACH]
        if verb not in self._cases:
            self._cases[verb] = self._found(verb)
        ground = self.ground(verb)
        ground.reset()
        return ground, self._cases[verb][number % _EACH]

    @abstractmethod
    def cases_of(self, places: Mapping[str, int]) -> list[tuple[str, ...]]:
        """The cases of a verb that has these places, each with the number of its calls."""

    def disturb(self, ground: Ground, shim: Shim | None = None, **order: Any) -> Outcome:
        """How the command ended with that order. Raises Missed if it did not come about."""
        done = (shim or self.shim).disturbed(ground.site, ground.order(**order), *ground.arguments)
        if not done.has_happened:
            ground.settle("not disturbed")
            raise Missed
        return done.outcome

    def ground(self, verb: str) -> Ground:
        """The one of that verb; those that change what is live have a server of their own."""
        if verb not in self._grounds:
            if VERBS[verb].moves:
                server = self.until_end.enter_context(self.server())
            else:
                server = self._resting = self._resting or self.until_end.enter_context(self.server())
            self._grounds[verb] = Ground(verb, server, self._home, self.until_end)
        return self._grounds[verb]

    def server(self) -> AbstractContextManager[PrivateServer]:
        """A server for grounds."""
        return grounds_server()

    def _found(self, verb: str) -> list[tuple[str, ...]]:
        """By counting, once for a seed and a state of the code."""
        plan = self.memory / f"{verb}.json"
        if not plan.exists():
            ground = self.ground(verb)
            places = self.shim.places(ground.site, ground.order(), *ground.arguments)
            ground.settle(f"{verb}: undisturbed")
            plan.write_text(json.dumps(self.cases_of(dict(sorted(places.items())))))
        return [tuple(each) for each in json.loads(plan.read_text())]


@contextmanager
def sources_with(path: str, line: str, other: str) -> Iterator[Path]:
    """A copy of the program in which one line is another: what a control is run with."""
    with tempfile.TemporaryDirectory(prefix="proof-sources-") as place:
        shutil.copytree(Path(safeharbor_backup.__path__[0]), Path(place) / "safeharbor_backup")
        changed = Path(place) / "safeharbor_backup" / path
        text = changed.read_text()
        assert text.count(line) == 1, (path, line)
        changed.write_text(text.replace(line, other))
        yield Path(place)
