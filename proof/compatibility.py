"""Which PostgreSQL restores into which, on which filesystems it works, and what other programs read of an archive."""

from __future__ import annotations

import itertools
import os
import re
import secrets
import subprocess
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from difflib import unified_diff
from pathlib import Path
from random import Random
from typing import Any

from proof.campaign import Campaign, Surroundings
from safeharbor_backup.postgres.private_cluster import find_server_bins
from support.filesystems import mounted_foreign, mounted_image, mounted_overlay, mounted_pool, mounted_tmpfs
from support.needs import need_program
from support.postgres import MAJORS, PASSWORD, Database, drop_database, execute, make_database
from support.runs import Outcome, Site, make_site
from support.states import State, dump_text, tree_of

_ROLES, _WAYS = ("owner", "superuser"), ("staged", "in place")
_KINDS = ("ext4", "xfs", "btrfs", "tmpfs", "overlayfs", "mergerfs", "exfat", "ntfs")
_DUTIES = ("archives", "uploads")
_READERS = ("GNU tar", "bsdtar", "busybox", "Python")
_LOCALES = ("C.UTF-8", "C")
_ODD_NAMES = (b"new\nline", b"back\\slash", b"-rf", b"\xff\xfe\x80", "grüße 日本語".encode(), b"n" * 255, b" blank ")
_SAME, _REFUSED = "as it was", "refused, nothing changed"
_SESSION = re.compile(rb"^SET \w+ = .*;\n", re.MULTILINE)  # what each pg_dump sets before it speaks of the schema
_NEWEST = max(MAJORS)


class Cases(Campaign):
    """Each cell of three tables, from a run."""

    promise = "What is restored is what was archived, byte by byte; or it is refused, and nothing changes."
    attack = (
        "Each major of PostgreSQL into each, as the owner and as a superuser, staged and in place; archives and "
        "uploads on each filesystem to be had; an archive extracted by each tar. Dump text and files are compared."
    )
    in_ci = 6

    def __init__(self, surroundings: Surroundings) -> None:
        super().__init__(surroundings)
        self._cells: dict[str, Callable[[], str]] = {}
        for old, new, role, way in itertools.product(MAJORS, MAJORS, _ROLES, _WAYS):
            self._cells[f"majors|{old}|{new}|{role}|{way}"] = _Majors(self, old, new, role, way)
        for kind, duty in itertools.product(_KINDS, _DUTIES):
            self._cells[f"filesystems|{kind}|{duty}"] = _Filesystem(self, kind, duty)
        for reader, locale in itertools.product(_READERS, _LOCALES):
            self._cells[f"readers|{reader}|{locale}"] = _Reader(self, reader, locale)

    @property
    def count(self) -> int:
        return len(self._cells)

    def run(self, number: int, chance: Random) -> Mapping[str, int]:
        name, cell = list(self._cells.items())[number]
        return {f"{name}: {cell()}": 1}

    def control(self) -> None:
        """One byte of one file, and one of one row, is another after a restore: the comparison must see either."""
        for spoil in (_spoil_file, _spoil_row):
            try:
                _Majors(self, _NEWEST, _NEWEST, "owner", "staged", spoil)()
            except AssertionError as error:
                if str(error).startswith("other "):
                    continue
            return  # not seen, or for another reason
        raise AssertionError("both are seen")

    @classmethod
    def page(cls, figures: Mapping[str, Any]) -> str:
        pairs = [name.split(": ") for name in figures["tallies"]]
        cells = dict(pairs)
        assert len(cells) == len(pairs), "one cell came to two different ends"
        return "\n".join([_majors_table(cells), _filesystems_table(cells), _readers_table(cells)])


@contextmanager
def application(campaign: Campaign, major: int) -> Iterator[tuple[Site, Database]]:
    """A small one on a fresh database, in an empty directory."""
    root = campaign.place / secrets.token_hex(4)
    root.mkdir()
    database = make_database(campaign.servers[major])
    try:
        yield make_site(root, database), database
    finally:
        drop_database(database)


def _state(database: Database, uploads: Path) -> State:
    return State(_SESSION.sub(b"", dump_text(database.superuser_url, database.server.major)), tree_of(uploads))


def _restored(outcome: Outcome, after: State, wanted: State, before: State) -> str:
    """What the cell says. Asserts that all of it came back, or nothing changed."""
    if outcome.status == 8:
        assert after == before, f"refused, yet changed: {outcome.output}"
        return _REFUSED
    assert outcome.status in (0, 3), outcome.output
    assert after.uploads == wanted.uploads, "other files"
    old, new = wanted.database.decode().splitlines(), after.database.decode().splitlines()
    assert old == new, "\n".join(["other rows or schema", *itertools.islice(unified_diff(old, new), 20)])
    return _SAME


def _without_times_of_directories(tree: Mapping[str, str]) -> dict[str, str]:
    """Each entry begins with its mode in octal, which is 4xxxx for a directory alone, and its time."""
    return {name: re.sub(r" \d+ ", " ", said) if said.startswith("4") else said for name, said in tree.items()}


def _spoil_file(site: Site, _database: Database) -> None:
    path = site.uploads / "2026" / "1.jpg"
    time, data = path.stat().st_mtime_ns, bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(time, time))


def _spoil_row(_site: Site, database: Database) -> None:
    database.execute("UPDATE entry SET remark = overlay(remark placing 'x' from 1) WHERE id = 7", superuser=True)


@dataclass(frozen=True)
class _Majors:
    """An archive of a server of major `old`, restored into one of major `new`."""

    campaign: Campaign
    old: int
    new: int
    role: str
    way: str
    spoil: Callable[[Site, Database], None] | None = None

    def __call__(self) -> str:
        with application(self.campaign, self.old) as (site, database):
            self._address(site, database)
            wanted = _state(database, site.uploads)
            backup = site.run("backup")
            assert backup.status == 0, backup.output
            target = self._target(database)
            self._address(site, target)
            (site.uploads / "2026" / "2.jpg").unlink()
            before = _state(target, site.uploads)
            try:
                return self._restore(site, target, wanted, before)
            finally:
                if target is not database:
                    drop_database(target)

    def _address(self, site: Site, database: Database) -> None:
        site.environment["BACKUP_DATABASE_URL"] = database.url if self.role == "owner" else database.superuser_url

    def _target(self, database: Database) -> Database:
        """The same name and owner on the other server; where there is but one, the same database, damaged."""
        if self.old == self.new:
            database.execute("DELETE FROM photo; UPDATE entry SET remark = 'wrong'")
            return database
        server = self.campaign.servers[self.new]
        execute(server.url(), f"CREATE ROLE {database.owner} LOGIN CREATEDB PASSWORD $n${PASSWORD}$n$")
        execute(server.url(), f"CREATE DATABASE {database.name} OWNER {database.owner}")
        target = replace(database, server=server)
        target.execute("CREATE TABLE other AS SELECT 1 AS one")
        return target

    def _restore(self, site: Site, target: Database, wanted: State, before: State) -> str:
        how = ["--in-place"] if self.way == "in place" else []
        outcome = site.run("restore", "--from", str(site.archives[0]), "--from-another", "--yes", *how)
        if self.spoil is not None:
            self.spoil(site, target)
        found = _restored(outcome, _state(target, site.uploads), wanted, before)
        if found == _SAME and self.way == "staged":
            undo = site.run("restore", "--undo")
            assert undo.status == 0, undo.output
            assert _state(target, site.uploads) == before, "undo brought another state"
        return found


@dataclass(frozen=True)
class _Filesystem:
    """Archives, or uploads, on a filesystem of this kind: backup, verify, restore and undo."""

    campaign: Campaign
    kind: str
    duty: str

    def __call__(self) -> str:
        with (
            application(self.campaign, _NEWEST) as (site, database),
            self._mounted(site.root / "mounted") as mounted,
        ):
            place = mounted / self.duty
            if self.duty == "archives":
                place.mkdir(mode=0o700)
                site.backups, site.environment["BACKUP_DIR"] = place, str(place)
            else:
                subprocess.run(["cp", "--recursive", "--no-preserve=all", site.uploads, place], check=True)
                site.uploads, site.environment["BACKUP_UPLOAD_DIR"] = place, str(place)
            for words in (["backup"], ["backup"], ["verify", "--latest"]):
                done = site.run(*words)
                assert done.status in (0, 3), done.output
            wanted = _state(database, site.uploads)
            database.execute("DELETE FROM photo")
            (site.uploads / "2026" / "2.jpg").unlink()
            before = _state(database, site.uploads)
            outcome = site.run("restore", "--from", str(site.archives[-1]), "--yes")
            found = _restored(outcome, _state(database, site.uploads), wanted, before)
            if found == _SAME:
                undo = site.run("restore", "--undo")
                assert undo.status == 0, undo.output
                assert _state(database, site.uploads) == before, "undo brought another state"
            return found

    def _mounted(self, place: Path) -> AbstractContextManager[Path]:
        if self.kind == "tmpfs":
            return mounted_tmpfs(place, 64 << 20)
        if self.kind == "overlayfs":
            return mounted_overlay(place)
        if self.kind == "mergerfs":
            return mounted_pool([place.with_name("one"), place.with_name("two")], place, "mfs")
        if self.kind in ("exfat", "ntfs"):
            return mounted_foreign(self.kind, place)
        return mounted_image(self.kind, place, 512 << 20)


@dataclass(frozen=True)
class _Reader:
    """An archive extracted by a program that knows nothing of us, and its dump loaded by pg_restore."""

    campaign: Campaign
    reader: str
    locale: str

    def __call__(self) -> str:
        with application(self.campaign, _NEWEST) as (site, database):
            folder = os.fsencode(site.uploads / "odd")
            os.mkdir(folder)
            for name in _ODD_NAMES:
                Path(os.fsdecode(folder + b"/" + name)).write_bytes(name * 300)
            os.symlink("odd", site.uploads / "link")
            wanted = _state(database, site.uploads)
            backup = site.run("backup")
            assert backup.status == 0, backup.output
            target = site.root / "out"
            target.mkdir()
            self._extract(site.archives[0], target)
            loaded = make_database(database.server)
            try:
                program = str(find_server_bins()[_NEWEST] / "pg_restore")
                argv = [program, f"--dbname={loaded.superuser_url}", "--exit-on-error", str(target / "db.dump")]
                subprocess.run(argv, check=True, capture_output=True)
                found = _state(loaded, target / "uploads")
            finally:
                drop_database(loaded)
            if found == wanted:
                return _SAME
            pair = [replace(each, uploads=_without_times_of_directories(each.uploads)) for each in (found, wanted)]
            assert pair[0] == pair[1], "other files, rows or schema"
            return f"{_SAME}, but for the times of directories"

    def _extract(self, archive: Path, target: Path) -> None:
        if self.reader == "Python":
            with tarfile.open(archive) as opened:
                opened.extractall(target, filter="tar")  # an archive of our own; "tar" keeps its modes
            return
        program = {"GNU tar": ["tar"], "bsdtar": ["bsdtar"], "busybox": ["busybox", "tar"]}[self.reader]
        need_program(program[0])
        environment = {**os.environ, "LC_ALL": self.locale}
        subprocess.run([*program, "-xpf", archive, "-C", target], env=environment, check=True, capture_output=True)


def _majors_table(cells: Mapping[str, str]) -> str:
    heads = " | ".join(f"into {new}" for new in MAJORS)
    rows = [f"| archive of PostgreSQL | {heads} |", "|---|" + "---|" * len(MAJORS)]
    ways = list(itertools.product(_ROLES, _WAYS))
    for old in MAJORS:
        found = [_joined(cells, [f"majors|{old}|{new}|{role}|{way}" for role, way in ways]) for new in MAJORS]
        rows.append(f"| {old} | {' | '.join(found)} |")
    return "As the owner and as a superuser, staged and in place:\n\n" + "\n".join(rows) + "\n"


def _filesystems_table(cells: Mapping[str, str]) -> str:
    rows = ["| filesystem | archives on it | uploads on it |", "|---|---|---|"]
    found = {kind: [_joined(cells, [f"filesystems|{kind}|{duty}"]) for duty in _DUTIES] for kind in _KINDS}
    rows += [f"| {kind} | {' | '.join(said)} |" for kind, said in found.items()]
    return "Two backups, verify, restore and undo (NFS and SMB were not mounted):\n\n" + "\n".join(rows) + "\n"


def _readers_table(cells: Mapping[str, str]) -> str:
    rows = ["| program | archive extracted, dump loaded by `pg_restore` |", "|---|---|"]
    rows += [f"| {name} | {_joined(cells, [f'readers|{name}|{locale}' for locale in _LOCALES])} |" for name in _READERS]
    return "\n".join(rows) + "\n"


def _joined(cells: Mapping[str, str], names: list[str]) -> str:
    return ", ".join(sorted({cells.get(name, "not run") for name in names}))
