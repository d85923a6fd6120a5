"""Restoring archives by others, our own by hand, and such as were made to harm."""

from __future__ import annotations

import io
import json
import os
import random
import re
import shlex
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import support.archives
from safeharbor_backup.actions.restore.request import RestoreRequest
from safeharbor_backup.actions.restore.run import restore_archive
from safeharbor_backup.errors import ArchiveRejected, SafeHarborError
from safeharbor_backup.postgres.private_cluster import find_server_bins
from safeharbor_backup.progress import NoProgress
from safeharbor_backup.settings.load import load_settings
from support.archives import Lies, Part, assemble, foreign_archive, pax_record, raw_extra, raw_header, uploads_root
from support.hostile import CASES, EVIL, raw
from support.needs import need_program
from support.patience import patient
from support.postgres import PASSWORD, Database, Servers, drop_database, execute, make_database
from support.runs import Site, make_site
from support.states import State, state_of, tree_of

NAMES = [f"many/{number % 7}/{number:04}.txt" for number in range(3000)]


def state(site: Site, database: Database) -> State:
    return state_of(database.url, database.server.major, site.uploads)


def dump_of(database: Database, place: Path) -> Path:
    program = find_server_bins()[database.server.major] / "pg_dump"
    subprocess.run([program, "-Fc", f"--file={place}", f"--dbname={database.url}"], check=True)
    return place


@pytest.fixture
def tree(site: Site, database: Database) -> Path:
    """A directory with db.dump and uploads/, as another implementation of the contract would put them into a tar."""
    for name in NAMES:
        (site.uploads / name).parent.mkdir(parents=True, exist_ok=True)
        (site.uploads / name).write_text(name)
    (site.uploads / "link").symlink_to("many/0/0000.txt")
    place = site.root / "tree"
    place.mkdir()
    dump_of(database, place / "db.dump")
    subprocess.run(["cp", "-a", site.uploads, place / "uploads"], check=True)
    return place


def by_tarfile(tree: Path, path: Path, form: int, members: list[str]) -> None:
    with tarfile.open(path, "w", format=form) as tar:
        for member in members:
            tar.add(tree / member, arcname=member)


def without_directories(tree: Path, path: Path) -> None:
    with tarfile.open(path, "w") as tar:
        tar.add(tree / "db.dump", arcname="db.dump")
        for file in sorted(entry for entry in (tree / "uploads").rglob("*") if not entry.is_dir()):
            tar.add(file, arcname=str(file.relative_to(tree)))


def by_program(tree: Path, path: Path, *argv: str) -> None:
    subprocess.run([need_program(argv[0]), *argv[1:]], cwd=tree, check=True, env={**os.environ, "ARCHIVE": str(path)})


MAKERS: dict[str, Callable[[Path, Path], None]] = {
    "tarfile, GNU": lambda tree, path: by_tarfile(tree, path, tarfile.GNU_FORMAT, ["db.dump", "uploads"]),
    "tarfile, pax, dump last": lambda tree, path: by_tarfile(tree, path, tarfile.PAX_FORMAT, ["uploads", "db.dump"]),
    "tarfile, ustar": lambda tree, path: by_tarfile(tree, path, tarfile.USTAR_FORMAT, ["db.dump", "uploads"]),
    "tarfile, no directories": without_directories,
    "GNU tar": lambda tree, path: by_program(tree, path, "tar", "-cf", str(path), "db.dump", "uploads"),
    "GNU tar, ./": lambda tree, path: by_program(tree, path, "tar", "-cf", str(path), "./uploads", "./db.dump"),
    "GNU tar, the whole directory": lambda tree, path: by_program(tree, path, "tar", "-cf", str(path), "."),
    "GNU tar, posix": lambda tree, path: by_program(
        tree, path, "tar", "--format=posix", "-cf", str(path), "db.dump", "uploads/"
    ),
    "bsdtar": lambda tree, path: by_program(tree, path, "bsdtar", "-cf", str(path), "db.dump", "uploads"),
    "bsdtar, dump last": lambda tree, path: by_program(
        tree, path, "bsdtar", "--format=pax", "-cf", str(path), "./uploads", "./db.dump"
    ),
}


@pytest.mark.parametrize("maker", MAKERS)
def test_an_archive_by_another_implementation_restores_with_a_warning(
    site: Site, database: Database, tree: Path, maker: str
) -> None:
    wanted = state(site, database)
    archive = site.backups / "theirs.tar"
    MAKERS[maker](tree, archive)
    database.execute("DELETE FROM photo; CREATE TABLE newer (id int)")
    subprocess.run(["rm", "-r", site.uploads / "many"], check=True)

    verified = site.run("verify", str(archive))
    dry = site.run("restore", "--from", str(archive), "--dry-run")
    done = site.run("restore", "--from", str(archive), "--yes")

    assert verified.status == 3, verified.output
    assert dry.status == 3, dry.output
    length = sum(len(name) for name in NAMES) + 10 * 6000
    assert dry.stdout.splitlines()[0] == (
        f"would restore 2 tables, 3010 upload files (total {length / 1024:.1f} KiB) from {archive}"
    )
    assert dry.stderr.count("carries no checksums") == 1
    assert done.status == 3, done.output
    assert done.stderr.count("carries no checksums") == 1
    assert f"restored 2 tables and 3010 upload files from {archive}" in done.stdout
    got = state(site, database)
    assert got.database == wanted.database
    # directories that were never named get a mode and time of their own
    directories = {name for name in wanted.uploads if (site.uploads / name).is_dir()}
    left_out = directories if maker == "tarfile, no directories" else set()
    assert {name: got.uploads[name] for name in wanted.uploads if name not in left_out} == {
        name: what for name, what in wanted.uploads.items() if name not in left_out
    }
    assert set(got.uploads) == set(wanted.uploads)


LINKERS = {maker: MAKERS[maker] for maker in ("tarfile, GNU", "tarfile, pax, dump last", "GNU tar, ./", "bsdtar")}


@pytest.mark.parametrize("maker", LINKERS)
def test_a_hard_link_in_their_archive_is_restored(site: Site, database: Database, tree: Path, maker: str) -> None:
    os.link(tree / "uploads" / "2026" / "3.jpg", tree / "uploads" / "2026" / "same.jpg")
    os.link(tree / "uploads" / "2026" / "3.jpg", tree / "uploads" / "z-same.jpg")
    archive = site.backups / "theirs.tar"
    LINKERS[maker](tree, archive)

    dry = site.run("restore", "--from", str(archive), "--dry-run")
    done = site.run("restore", "--from", str(archive), "--yes")

    assert dry.stdout.startswith("would restore 2 tables, 3012 upload files (total "), dry.output
    assert done.status == 3, done.output
    for name in ("2026/same.jpg", "z-same.jpg"):
        assert (site.uploads / name).read_bytes() == (site.uploads / "2026" / "3.jpg").read_bytes()
    assert tree_of(site.uploads) == tree_of(tree / "uploads")


@pytest.mark.parametrize("major", [15, 16, 17])
def test_an_archive_by_another_restores_on_every_major(tmp_path: Path, servers: Servers, major: int) -> None:
    database = make_database(servers[major])
    try:
        site = make_site(tmp_path, database)
        wanted = state(site, database)
        place = tmp_path / "tree"
        place.mkdir()
        dump_of(database, place / "db.dump")
        subprocess.run(["cp", "-a", site.uploads, place / "uploads"], check=True)
        archive = site.backups / "theirs.tar"
        by_program(place, archive, "tar", "-cf", str(archive), "db.dump", "uploads")
        database.execute("DELETE FROM photo; CREATE TABLE newer (id int)")

        done = site.run("restore", "--from", str(archive), "--yes")

        assert done.status == 3, done.output
        assert state(site, database) == wanted
    finally:
        drop_database(database)


@pytest.mark.parametrize("way", ["--jobs=1", "--jobs=2", "--in-place"])
@pytest.mark.parametrize("written", ["to a file", "to a pipe"])
@pytest.mark.parametrize("members", ["db.dump uploads", "uploads db.dump"])
def test_their_dump_is_loaded_in_every_way_wherever_it_lies(
    site: Site, database: Database, members: str, written: str, way: str
) -> None:
    """A pg_dump that writes to a file notes where in the file its data is, one that writes to a pipe cannot."""
    wanted = state(site, database)
    place = site.root / "tree"
    place.mkdir()
    dump_of(database, place / "db.dump")
    if written == "to a pipe":
        program = find_server_bins()[database.server.major] / "pg_dump"
        with open(place / "db.dump", "wb") as file:
            done = subprocess.run([program, "-Fc", f"--dbname={database.url}"], stdout=subprocess.PIPE, check=True)
            file.write(done.stdout)
    subprocess.run(["cp", "-a", site.uploads, place / "uploads"], check=True)
    archive = site.backups / "theirs.tar"
    by_tarfile(place, archive, tarfile.GNU_FORMAT, members.split())
    database.execute("DELETE FROM photo; CREATE TABLE newer (id int)")

    done_restore = site.run("restore", "--from", str(archive), "--yes", way)

    assert done_restore.status == 3, done_restore.output
    assert state(site, database) == wanted


def test_strange_owners_times_and_modes_in_their_archive_give_nobody_rights(site: Site, database: Database) -> None:
    """As far as a filesystem takes them they are restored; set-uid never is, and nothing breaks."""
    far = b"9" * 19
    records = {
        b"future": pax_record(b"mtime", far),
        b"past": pax_record(b"mtime", b"-" + far),
        b"owner": pax_record(b"uid", far) + pax_record(b"gid", far),
        b"fraction": pax_record(b"mtime", b"1700000000.987654321"),
        b"minus-one": pax_record(b"uid", b"4294967295") + pax_record(b"gid", b"4294967295"),
    }
    parts = [uploads_root()]
    parts += [
        Part(raw_extra(b"x", record) + raw_header(b"uploads/" + name, mode=0o7777)) for name, record in records.items()
    ]
    parts.append(Part(raw_extra(b"x", records[b"future"]) + raw_header(b"uploads/d/", b"5", mode=0o7777)))
    parts.append(Part(raw_extra(b"x", records[b"owner"]) + raw_header(b"uploads/e/", b"5", mode=0)))
    parts.append(Part(raw_extra(b"x", records[b"future"]) + raw_header(b"uploads/l", b"2", link=b"owner")))
    dump = dump_of(database, site.root / "db.dump").read_bytes()
    archive = site.root / "strange.tar"
    archive.write_bytes(foreign_archive(parts, dump=dump))

    done = site.run("restore", "--from", str(archive), "--yes")

    assert done.status == 3, done.output
    for name in records:
        assert (site.uploads / name.decode()).stat().st_mode & 0o7777 == 0o777
    assert (site.uploads / "d").stat().st_mode & 0o4000 == 0
    assert int((site.uploads / "fraction").stat().st_mtime) == 1_700_000_000


@pytest.mark.parametrize("major", [15, 18])
def test_whoever_knows_the_contract_alone_restores_ours(tmp_path: Path, servers: Servers, major: int) -> None:
    """The commands of docs/recover-by-hand.md, and nothing of ours."""
    database = make_database(servers[major])
    fresh = make_database(servers[major])
    try:
        site = make_site(tmp_path, database)
        assert site.run("backup").status == 0
        wanted = state(site, database)
        (archive,) = site.archives
        out, uploads = tmp_path / "out", tmp_path / "fresh-uploads"
        out.mkdir()
        uploads.mkdir()

        subprocess.run(["tar", "-xpf", archive, "-C", out], check=True)
        subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=out, check=True)
        pg_restore = find_server_bins()[major] / "pg_restore"
        subprocess.run(
            [pg_restore, "--clean", "--if-exists", "--no-owner", "--no-acl", "-d", fresh.url, "db.dump"],
            cwd=out,
            check=True,
        )
        subprocess.run(["cp", "-a", "uploads/.", uploads], cwd=out, check=True)

        got = state_of(fresh.url, major, uploads)
        assert got.uploads == wanted.uploads
        assert got.database.replace(fresh.owner.encode(), database.owner.encode()) == wanted.database
    finally:
        drop_database(fresh)
        drop_database(database)


PAGE = Path(__file__).parents[2] / "docs" / "recover-by-hand.md"
BLOCKS = {
    "in short": "tar -xf ARCHIVE",
    "unpack": "mkdir /var/tmp/recover",
    "load": "createdb reef_new",
    "swap": "psql -d postgres -c 'ALTER DATABASE reef RENAME",
    "tidy": "dropdb reef_before",
    "in place": "pg_restore --clean",
}


def commands_of_the_page() -> dict[str, str]:
    """Its shell commands, block by block, by what they do."""
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) == len(BLOCKS), "a block of commands is new, or gone: test it"
    return {what: next(block for block in blocks if block.startswith(start)) for what, start in BLOCKS.items()}


class ByHand:
    """An operator who copies the page's commands, with the names that apply here, and has nothing of ours."""

    def __init__(self, site: Site, database: Database) -> None:
        (archive,) = site.archives
        self.site = site
        self.places = {
            r"ARCHIVE\b|/backups/safeharbor-backup-[0-9TZ-]+\.tar": shlex.quote(str(archive)),
            r"/var/tmp/recover": shlex.quote(str(site.root / "recover")),
            r"/srv/reef/uploads": shlex.quote(str(site.uploads)),
            r"(?<![/\w])reef(?=_|\b)": database.name,
        }
        bins = find_server_bins()[database.server.major]
        self.environment = {
            "PATH": f"{bins}:/usr/bin:/bin",
            "PGHOST": "127.0.0.1",
            "PGPORT": str(database.server.port),
            "PGUSER": database.owner,
            "PGPASSWORD": PASSWORD,
            "LC_ALL": "C.UTF-8",
        }
        self.where = site.root

    def type(self, block: str) -> str:
        for shown, here in self.places.items():
            block = re.sub(shown, lambda _, here=here: here, block)  # type: ignore[misc]
        done = subprocess.run(
            ["bash", "-e", "-c", block], cwd=self.where, env=self.environment, capture_output=True, check=False
        )
        assert done.returncode == 0, (block, done.stdout, done.stderr)
        if (self.site.root / "recover").exists():
            self.where = self.site.root / "recover"  # where the first block goes to
        return done.stdout.decode()


@pytest.mark.parametrize("major", [15, 18])
def test_the_commands_of_the_page_on_recovering_by_hand_do_as_it_says(
    tmp_path: Path, servers: Servers, major: int
) -> None:
    page = commands_of_the_page()
    database = make_database(servers[major])
    try:
        site = make_site(tmp_path, database)
        assert site.run("backup").status == 0
        wanted = state(site, database)
        database.execute("DELETE FROM photo; CREATE TABLE newer (id int)")
        (site.uploads / "2026" / "3.jpg").unlink()
        (site.uploads / "newer.txt").write_text("newer")
        hand = ByHand(site, database)

        assert hand.type(page["unpack"]).splitlines()[-1] == "whole"
        assert "500" in hand.type(page["load"])
        hand.type(page["swap"])

        assert state(site, database) == wanted
        hand.where = site.root
        hand.type(page["tidy"])
        assert not (site.root / "recover").exists()
        assert sorted(path.name for path in site.root.iterdir()) == ["backups", "uploads"]
    finally:
        drop_database(database)


def test_the_commands_of_the_page_restore_into_the_existing_database(site: Site, database: Database) -> None:
    page = commands_of_the_page()
    assert site.run("backup").status == 0
    wanted = state(site, database)
    database.execute("DELETE FROM photo; UPDATE entry SET remark = 'changed'")
    (site.uploads / "2026" / "3.jpg").write_bytes(b"other")
    hand = ByHand(site, database)

    hand.type(page["unpack"])
    hand.type(page["in place"])

    assert state(site, database) == wanted


def test_the_four_commands_at_the_top_of_the_page_are_enough(site: Site, database: Database) -> None:
    page = commands_of_the_page()
    assert site.run("backup").status == 0
    wanted = state(site, database)
    subprocess.run(["rm", "-r", site.uploads / "2026"], check=True)
    hand = ByHand(site, database)
    hand.where = site.root / "anywhere"
    hand.where.mkdir()

    hand.type(page["in short"])

    restored = database.url.replace(database.name, f"{database.name}_new")
    got = state_of(restored, database.server.major, site.uploads)
    assert got == wanted


CHECKSUM = "SELECT count(*), sum(hashtextextended(e::text, 0)) FROM entry e"


class Standing:
    """An application whose state must not change, in this process."""

    def __init__(self, site: Site, database: Database) -> None:
        self.site = site
        self.database = database
        self.settings = load_settings(site.environment)
        self.before = state(site, database)
        self.checksum = database.execute(CHECKSUM)
        self.archive = site.root / "hostile.tar"
        self.canary = site.root / "canary"
        self.canary.write_text("canary")
        self.around = sorted(path.name for path in site.root.iterdir())

    def restore(self) -> None:
        request = RestoreRequest(archive=self.archive, jobs=2, from_another=True)
        started = time.monotonic()
        try:
            restore_archive(self.settings, request, lambda _plan: True, NoProgress())
        finally:
            assert time.monotonic() - started < patient(10)

    def require_unharmed(self) -> None:
        self.archive.unlink()
        assert list(self.site.uploads.glob(".safeharbor*")) == []
        assert not (self.site.backups / ".safeharbor-restore.json").exists()
        assert sorted({path.name for path in self.site.root.iterdir()} | {"hostile.tar"}) == sorted(
            {*self.around, "hostile.tar"}
        )
        assert self.canary.read_text() == "canary"
        query = f"SELECT datname FROM pg_database WHERE datname LIKE '{self.database.name}%'"
        assert execute(self.database.server.url(), query) == [(self.database.name,)]
        assert tree_of(self.site.uploads) == self.before.uploads
        assert self.database.execute(CHECKSUM) == self.checksum


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory, servers: Servers) -> Iterator[Standing]:
    """One application for all the attacks."""
    database = make_database(servers[18])
    site = make_site(tmp_path_factory.mktemp("standing"), database)
    made = Standing(site, database)
    before = support.archives.DUMP
    dump = dump_of(database, site.root / "real.dump").read_bytes()
    (site.root / "real.dump").unlink()
    support.archives.DUMP = dump
    yield made
    assert state(site, database) == made.before
    support.archives.DUMP = before
    drop_database(database)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", CASES)
def test_a_hostile_archive_of_format_1_leaves_nothing_inside_and_touches_nothing_outside(
    standing: Standing, name: str
) -> None:
    case = CASES[name]
    facts = support.archives.Facts(tables={"public.entry": 500, "public.photo": 10})
    standing.archive.write_bytes(assemble([uploads_root(), *case.parts], facts=facts))

    with pytest.raises(ArchiveRejected) as rejected:
        standing.restore()

    assert case.says in rejected.value.message
    standing.require_unharmed()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.foreign])
def test_a_hostile_archive_by_another_leaves_nothing_inside_and_touches_nothing_outside(
    standing: Standing, name: str
) -> None:
    case = CASES[name]
    last = name != "a hard link to the dump"
    archive = foreign_archive([uploads_root(), *case.parts], dump=support.archives.DUMP, dump_last=last)
    standing.archive.write_bytes(archive)

    with pytest.raises(ArchiveRejected) as rejected:
        standing.restore()

    assert case.foreign in rejected.value.message
    standing.require_unharmed()


def test_enough_rules_are_reached_below_uploads() -> None:
    assert sum("uploads/" in case.says for case in CASES.values()) >= 40


@pytest.mark.parametrize("jobs", ["1", "2"])
@pytest.mark.parametrize("name", ["up through a directory", "a file below a link", "a hard link outside", "a FIFO"])
@pytest.mark.parametrize("kind", ["ours", "theirs"])
def test_the_command_ends_with_5_and_names_the_member(standing: Standing, kind: str, name: str, jobs: str) -> None:
    case = CASES[name]
    parts = [uploads_root(), *case.parts]
    archive = assemble(parts) if kind == "ours" else foreign_archive(parts, dump=support.archives.DUMP)
    standing.archive.write_bytes(archive)

    done = standing.site.run("restore", "--from", str(standing.archive), "--from-another", "--yes", "--jobs", jobs)

    assert done.status == 5, done.output
    assert (case.says if kind == "ours" else case.foreign) in done.stderr
    assert "as they were" in done.stderr or "Nothing was changed" in done.stderr
    standing.require_unharmed()


MEASURED = """
import json, os, sys
from pathlib import Path
from safeharbor_backup.errors import ArchiveRejected, SafeHarborError
from safeharbor_backup.progress import NoProgress
from safeharbor_backup.actions.restore.request import RestoreRequest
from safeharbor_backup.actions.restore.run import restore_archive
from safeharbor_backup.settings.load import load_settings
said = ""
try:
    request = RestoreRequest(archive=Path(sys.argv[1]), jobs=2, from_another=True)
    restore_archive(load_settings(json.loads(sys.argv[2])), request, lambda plan: True, NoProgress())
except ArchiveRejected as error:
    said = error.message
status = Path("/proc/self/status").read_text()
peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
print(json.dumps({"said": said, "peak_kib": peak, "cpu_seconds": sum(os.times()[:4])}))
"""


def full_pax_headers() -> list[Part]:
    """As many as possible, each as large as is allowed and full of the shortest records."""
    full = raw_extra(b"x", b"5 a=\n" * 13_000)
    members = b"".join(full + raw_header(b"uploads/%04d" % number) for number in range(300))
    return [raw(members), *CASES["a FIFO"].parts]


WORST: dict[str, Callable[[], bytes]] = {
    "64 MB of pax": lambda: assemble([uploads_root(), *CASES["a pax header of 64 MB"].parts]),
    "64 MB of pax, theirs": lambda: theirs(CASES["a pax header of 64 MB"].parts),
    "64 MB of name, theirs": lambda: theirs(CASES["a long name of 64 MB"].parts),
    "1 TiB, theirs": lambda: theirs(CASES["a size that pax makes 1 TiB"].parts),
    "a path of 64 KiB, theirs": lambda: theirs([raw(raw_extra(b"L", b"uploads/" + b"a/" * 32_000 + b"x\0") + EVIL)]),
    "pax headers full of records, theirs": lambda: theirs(full_pax_headers()),
    "a manifest of 100 MB": lambda: assemble([uploads_root()], lies=Lies(raw_manifest=b'"' + b"x" * 10**8 + b'"')),
    "a deeply nested manifest": lambda: assemble([uploads_root()], lies=Lies(raw_manifest=b"[" * 16_000_000)),
    "a million names in the sums": lambda: assemble(
        [uploads_root()], lies=Lies(sums=b"0" * 64 + b"  x\n" * 10_000_000)
    ),
}


def theirs(parts: list[Part]) -> bytes:
    return foreign_archive([uploads_root(), *parts], dump=support.archives.DUMP)


@pytest.mark.parametrize("name", WORST)
def test_the_worst_of_them_cost_neither_time_nor_memory(standing: Standing, name: str) -> None:
    standing.archive.write_bytes(WORST[name]())

    done = subprocess.run(
        [sys.executable, "-c", MEASURED, standing.archive, json.dumps(standing.site.environment)],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        timeout=100,
        check=False,
    )

    assert done.stderr == b""
    answer = json.loads(done.stdout)
    assert answer["said"]
    assert len(answer["said"]) < 1000
    assert answer["cpu_seconds"] < 10  # its own and its children's; other tests run beside it
    assert answer["peak_kib"] < 256 * 1024
    standing.require_unharmed()


@pytest.mark.parametrize("part", ["dump", "upload", "header", "sums"])
def test_one_damaged_byte_is_found_before_anything_live_changes(site: Site, database: Database, part: str) -> None:
    assert site.run("backup").status == 0
    (archive,) = site.archives
    data = bytearray(archive.read_bytes())
    place = {
        "dump": 4096 + 3000,
        "upload": data.index((7).to_bytes(2, "big") * 3000) + 100,
        "header": data.index(b"uploads/2026/5.jpg") + 120,
        "sums": data.index(b"  uploads/2026/5.jpg\n") - 10,
    }[part]
    data[place] ^= 1
    archive.write_bytes(data)
    database.execute("DELETE FROM photo")
    before = state(site, database)

    done = site.run("restore", "--from", str(archive), "--yes")

    assert done.status == 5, done.output
    assert state(site, database) == before
    require_nothing_left(site, database)


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9, 0.999])
def test_a_cut_archive_is_rejected(site: Site, database: Database, keep: float) -> None:
    assert site.run("backup").status == 0
    (archive,) = site.archives
    os.truncate(archive, int(archive.stat().st_size * keep))
    before = state(site, database)

    done = site.run("restore", "--from", str(archive), "--yes")

    assert done.status == 5, done.output
    assert state(site, database) == before
    require_nothing_left(site, database)


def require_nothing_left(site: Site, database: Database) -> None:
    assert list(site.uploads.glob(".safeharbor*")) == []
    assert not (site.backups / ".safeharbor-restore.json").exists()
    query = f"SELECT datname FROM pg_database WHERE datname LIKE '{database.name}%'"
    assert execute(database.server.url(), query) == [(database.name,)]


class Sound:
    """An application with an archive of each kind that is sound until a test damages it."""

    def __init__(self, site: Site, database: Database) -> None:
        self.site = site
        self.database = database
        assert site.run("backup").status == 0
        self.ours = site.archives[0].read_bytes()
        place = site.root / "tree"
        place.mkdir()
        dump_of(database, place / "db.dump")
        subprocess.run(["cp", "-a", site.uploads, place / "uploads"], check=True)
        by_tarfile(place, site.root / "theirs.tar", tarfile.USTAR_FORMAT, ["db.dump", "uploads"])
        self.theirs = (site.root / "theirs.tar").read_bytes()
        self.dump_size = (place / "db.dump").stat().st_size
        self.archive = site.root / "damaged.tar"
        self.settings = load_settings(site.environment)
        database.execute("DELETE FROM photo")
        (site.uploads / "2026" / "3.jpg").unlink()
        self.before = state(site, database)

    def require_rejected(self, data: bytes, jobs: int) -> None:
        self.archive.write_bytes(data)
        request = RestoreRequest(archive=self.archive, jobs=jobs)
        with pytest.raises(ArchiveRejected):
            restore_archive(self.settings, request, lambda _plan: True, NoProgress())
        assert state(self.site, self.database) == self.before
        require_nothing_left(self.site, self.database)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory, servers: Servers) -> Iterator[Sound]:
    """One application for all the damage."""
    database = make_database(servers[18])
    yield Sound(make_site(tmp_path_factory.mktemp("sound"), database), database)
    drop_database(database)


@pytest.mark.parametrize("seed", range(40))
def test_one_flipped_bit_anywhere_is_found_before_anything_live_changes(sound: Sound, seed: int) -> None:
    source = random.Random(seed)
    data = bytearray(sound.ours)
    data[source.randrange(len(data))] ^= 1 << source.randrange(8)

    sound.require_rejected(bytes(data), jobs=1 + seed % 2)


@pytest.mark.parametrize("seed", range(20))
def test_an_archive_of_ours_cut_anywhere_is_rejected(sound: Sound, seed: int) -> None:
    source = random.Random(seed)
    unit = source.choice((1, 512))

    sound.require_rejected(sound.ours[: source.randrange(len(sound.ours) // unit) * unit], jobs=1 + seed % 2)


@pytest.mark.parametrize("seed", range(20))
def test_an_archive_of_theirs_cut_in_the_middle_is_rejected(sound: Sound, seed: int) -> None:
    end = len(sound.theirs.rstrip(b"\0"))
    size = random.Random(seed).randrange(end)
    if size % 512 == 0:
        size += 1

    sound.require_rejected(sound.theirs[:size], jobs=1 + seed % 2)


@pytest.mark.parametrize("number", [1, 2, 5, -1])
def test_an_archive_of_theirs_cut_between_two_members_is_rejected(site: Site, database: Database, number: int) -> None:
    """It makes sense as far as it goes, but every tar ends with zero blocks, and this one has lost its own."""
    damaged = Sound(site, database)
    with tarfile.open(fileobj=io.BytesIO(damaged.theirs)) as tar:
        size = tar.getmembers()[number].offset

    damaged.require_rejected(damaged.theirs[:size], jobs=2)


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("place", [0, 5, 0.3, 0.6, 0.97])
def test_a_damaged_dump_in_their_archive_changes_nothing(sound: Sound, place: float, jobs: int) -> None:
    """Nothing in it proves the dump, so its damage shows at the latest when pg_restore reads it."""
    data = bytearray(sound.theirs)
    at = 512 + (int(place) if place in (0, 5) else int(place * sound.dump_size))
    data[at : at + 64] = bytes(each ^ 0xFF for each in data[at : at + 64])
    sound.archive.write_bytes(data)
    request = RestoreRequest(archive=sound.archive, jobs=jobs)

    with pytest.raises(SafeHarborError):
        restore_archive(sound.settings, request, lambda _plan: True, NoProgress())

    assert state(sound.site, sound.database) == sound.before
    require_nothing_left(sound.site, sound.database)


class Replacing(NoProgress):
    """Puts another file in the archive's place as soon as the restore has begun."""

    def __init__(self, archive: Path, by: bytes) -> None:
        self._archive = archive
        self._by = by

    def step(self, name: str) -> None:
        if self._archive.exists():
            other = self._archive.with_name("other")
            other.write_bytes(self._by)
            other.rename(self._archive)


@pytest.mark.parametrize("in_place", [False, True], ids=["beside", "in place"])
@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("kind", ["ours", "theirs, dump last"])
def test_an_archive_that_is_replaced_meanwhile_is_restored_as_it_was_opened(
    site: Site, database: Database, kind: str, jobs: int, in_place: bool
) -> None:
    assert site.run("backup").status == 0
    (archive,) = site.archives
    if kind != "ours":
        place = site.root / "tree"
        place.mkdir()
        dump_of(database, place / "db.dump")
        subprocess.run(["cp", "-a", site.uploads, place / "uploads"], check=True)
        archive = site.backups / "theirs.tar"
        by_tarfile(place, archive, tarfile.PAX_FORMAT, ["uploads", "db.dump"])
    wanted = state(site, database)
    database.execute("DELETE FROM photo")
    other = assemble([uploads_root()])  # a sound front and a dump that is none

    restore_archive(
        load_settings(site.environment),
        RestoreRequest(archive=archive, jobs=jobs, in_place=in_place),
        lambda _plan: True,
        Replacing(archive, other),
    )

    assert archive.read_bytes() == other
    assert state(site, database) == wanted
