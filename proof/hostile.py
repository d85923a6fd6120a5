"""Archives that are damaged, cut or made to harm, given to every command that reads one."""

from __future__ import annotations

import hashlib
import re
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from random import Random

import support.archives
from proof.campaign import Campaign, Surroundings
from safeharbor_backup.actions.verify import verify_source
from safeharbor_backup.archive.layout import DUMP_NAME
from safeharbor_backup.archive.source import Source
from safeharbor_backup.postgres.private_cluster import PrivateServer, find_server_bins
from safeharbor_backup.settings.load import load_settings
from support.archives import DUMP, Facts, assemble, foreign_archive, uploads_root, write_archive
from support.hostile import CASES, PILLARLESS
from support.patience import patient
from support.postgres import execute, make_database
from support.runs import MAIN, Outcome, Site, make_site
from support.states import tree_of

_SMALL_DUMP = DUMP[:600]
_MEMORY = 1 << 30
_SECONDS = 20
_BOUNDED = f"import resource; resource.setrlimit(resource.RLIMIT_AS, ({_MEMORY}, {_MEMORY})); {MAIN}"
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_VERBS = {
    "verify": ("verify", "ARCHIVE"),
    "restore": ("restore", "--from", "ARCHIVE", "--from-another", "--yes"),
    "extract": ("extract", "ARCHIVE", "uploads", "--to", "TARGET"),
    "list": ("list",),
    "diff": ("diff", "GOOD", "ARCHIVE"),
}
_REFUSES = ("verify", "restore")
_NAME = "safeharbor-backup-20260101-000000Z.tar"


class Cases(Campaign):
    """Each byte of a small archive changed, each length of it, and each kind of hostile archive with each command."""

    promise = "A damaged archive is never called good. A hostile one reaches nothing outside, and costs bounded memory."
    attack = (
        "Each byte of a small archive is changed, and it is cut at each length. Archives against each rule of the "
        "format, with checksums that match or without our marks, are given to `verify`, `restore`, `extract`, `list` "
        "and `diff`, which may have 1 GiB of addresses."
    )
    in_ci = 600

    def __init__(self, surroundings: Surroundings) -> None:
        super().__init__(surroundings)
        self._small = _small_archive(self.place)
        self._file = self.place / "small.tar"
        self._settings = load_settings({"BACKUP_DIR": str(self.place), "BACKUP_UPLOAD_DIR": "none"})
        self._digest = {DUMP_NAME: hashlib.sha256(_SMALL_DUMP).hexdigest()}
        kinds = [(name, own) for name in CASES for own in (True, False)] + [(name, False) for name in PILLARLESS]
        self._commands = [(name, own, verb) for name, own in kinds for verb in _VERBS]
        self._standing: _Standing | None = None

    @property
    def count(self) -> int:
        return 2 * len(self._small) + len(self._commands)

    def run(self, number: int, chance: Random) -> Mapping[str, int]:
        size = len(self._small)
        if number < size:
            changed = bytearray(self._small)
            changed[number] ^= 1 << chance.randrange(8)
            self._require_noticed(bytes(changed))
            return {"bytes": 1}
        if number < 2 * size:
            self._require_noticed(self._small[: number - size])
            return {"cuts": 1}
        if self._standing is None:
            self._standing = _Standing(self.place, self.servers[max(find_server_bins())])
        name, own, verb = self._commands[number - 2 * size]
        self._standing.attack(name, verb, own=own)
        return {f"{verb} of hostile archives": 1}

    def control(self) -> None:
        """A checksum that was written over what had been changed: no reader can notice it, and this must say so."""
        at = self._small.index(b"hello")
        self._require_noticed(self._small[:at] + b"hello" + self._small[at + 5 :])

    @classmethod
    def facts(cls, tallies: Mapping[str, int]) -> dict[str, object]:
        return {"kinds_of_archives": len(CASES) + len(PILLARLESS)}

    def _require_noticed(self, data: bytes) -> None:
        self._file.write_bytes(data)
        with open(self._file, "rb", buffering=0) as file:
            found = verify_source(Source(file.fileno(), self._file), self._settings, decoded_sha256=self._digest)
        assert not found.is_sound, "it is called good"


class _Standing:
    """An application that must not change, whatever is read."""

    def __init__(self, place: Path, server: PrivateServer) -> None:
        home = place / "standing"
        home.mkdir()
        self._database = make_database(server)
        self._site: Site = make_site(home, self._database)
        assert self._site.run("backup").status == 0
        self._good = self._site.archives[0]
        bins = find_server_bins()[self._database.server.major]
        dump = [str(bins / "pg_dump"), "-Fc", f"--dbname={self._database.url}"]
        self._dump = subprocess.run(dump, capture_output=True, check=True).stdout
        self._archive = self._site.backups / _NAME
        self._target = home / "target"
        (home / "canary").write_text("canary")
        self._before = self._state()

    def attack(self, name: str, verb: str, *, own: bool) -> None:
        case = CASES.get(name)
        support.archives.DUMP, before = self._dump, support.archives.DUMP
        try:
            if case is None:
                data = PILLARLESS[name][0] + bytes(1024)
            elif own:
                facts = Facts(tables={"public.entry": 500, "public.photo": 10})
                data = assemble([uploads_root(), *case.parts], facts=facts)
            else:
                last = name != "a hard link to the dump"
                data = foreign_archive([uploads_root(), *case.parts], dump=self._dump, dump_last=last)
        finally:
            support.archives.DUMP = before
        self._archive.write_bytes(data)
        words = {"ARCHIVE": str(self._archive), "GOOD": str(self._good), "TARGET": str(self._target)}
        began = time.monotonic()
        done = self._site.run_code(_BOUNDED, *(words.get(word, word) for word in _VERBS[verb]))
        assert time.monotonic() - began < patient(_SECONDS)
        self._archive.unlink()
        outcome = Outcome(done.returncode, done.stdout.decode(), done.stderr.decode())
        assert outcome.status in (0, 2, 3, 5), outcome
        assert "Traceback" not in outcome.stderr, outcome.stderr
        assert not _CONTROL.search(outcome.output), ascii(outcome.output)
        refused = "no member of two" if case is None else case.says if own else case.foreign
        if verb in _REFUSES and refused:
            assert outcome.status == 5, outcome
        if outcome.status in (0, 3) and verb == "restore":
            assert self._site.run("restore", "--undo").status == 0
            assert self._site.run("restore", "--discard-previous", "--yes").status == 0
        self._require_unharmed()

    def _require_unharmed(self) -> None:
        if self._target.exists():
            inside = self._target.resolve()
            assert all(each.resolve().is_relative_to(inside) for each in self._target.rglob("*")), "a link leads out"
            subprocess.run(["rm", "-rf", self._target], check=True)
        state, before = self._state(), self._before
        self._before = state  # one violation is not the next one's
        assert state == before, [each for each in zip(before, state, strict=True) if each[0] != each[1]]

    def _state(self) -> tuple[object, ...]:
        query = f"SELECT datname FROM pg_database WHERE datname LIKE '{self._database.name}%'"
        rows = self._database.execute("SELECT count(*), sum(hashtextextended(e::text, 0)) FROM entry e")
        around = {path.name: path.read_bytes() if path.is_file() else b"" for path in sorted(self._site.root.iterdir())}
        return execute(self._database.server.url(), query), rows, around, tree_of(self._site.uploads)


def _small_archive(place: Path) -> bytes:
    tree = place / "tree"
    (tree / "d").mkdir(parents=True)
    (tree / "a.txt").write_bytes(b"hello")
    (tree / "d" / ("n" * 120)).write_bytes(b"x" * 513)
    (tree / "link").symlink_to("a.txt")
    path = place / "whole.tar"
    write_archive(path, uploads=tree, dump=_SMALL_DUMP)
    return path.read_bytes()
