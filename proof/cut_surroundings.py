"""The small application whose host loses power: a cluster that can be anywhere, rows, uploads, archives."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from safeharbor_backup.actions.verify import verify_archive
from safeharbor_backup.postgres.private_cluster import PrivateServer, find_server_bins
from safeharbor_backup.postgres.private_cluster_home import ServerHome, prepared_home, reachable_programs
from safeharbor_backup.settings.load import load_settings
from safeharbor_backup.system.process import run_tool
from support.postgres import MAJORS
from support.runs import Site

_OPTIONS = {
    "dynamic_shared_memory_type": "mmap",
    "listen_addresses": "",
    "shared_buffers": "16MB",
    "max_connections": "20",
    "min_wal_size": "2MB",
    "max_wal_size": "16MB",
    "autovacuum": "off",
    "log_min_messages": "fatal",
}
_CARELESS = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
OWNER = "app_owner"
DATABASE = "app"


@contextmanager
def server_home(data_dir: Path) -> Iterator[tuple[Path, ServerHome]]:
    """The programs of the newest server, and a home for its socket; the cluster itself is in `data_dir`."""
    with prepared_home(Path("/tmp")) as home:
        os.symlink(data_dir, home.data_dir)
        yield reachable_programs(find_server_bins()[MAJORS[-1]], home), home


def initialise(programs: Path, home: ServerHome, data_dir: Path) -> None:
    """A cluster with small files of its log, so that a state of the disk is small."""
    data_dir.mkdir(mode=0o700)
    if home.run_as is not None:
        os.chown(data_dir, *home.run_as)
    argv: list[str | Path] = [
        *(programs / "initdb", f"--pgdata={data_dir}", "--username=postgres", "--auth=trust", "--encoding=UTF8"),
        *("--locale=C.UTF-8", "--no-sync", "--no-instructions", "--wal-segsize=1"),
    ]
    done = run_tool(argv, cwd=home.path, run_as=home.run_as)
    assert done.exit_status == 0, done.stderr
    subprocess.run(["sync", "--file-system", data_dir], check=True)  # as initdb does, but at once


def server_of(programs: Path, home: ServerHome, *, durable: bool) -> PrivateServer:
    """The server of the cluster that is in its place now."""
    options = {**_OPTIONS, **({} if durable else _CARELESS)}
    return PrivateServer(
        programs, home, 5432, [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    )


def make_application(server: PrivateServer, site: Site, uploads: int) -> None:
    """Its database with one table, and its uploads."""
    server.execute(f"CREATE ROLE {OWNER} LOGIN CREATEDB")
    server.execute(f"CREATE DATABASE {DATABASE} OWNER {OWNER}")
    with psycopg.connect(site.environment["BACKUP_DATABASE_URL"], autocommit=True) as session:
        session.execute("CREATE TABLE entry (id int PRIMARY KEY, state int, remark text)")
        session.execute("INSERT INTO entry SELECT g, 0, md5(g::text) FROM generate_series(1, 200) g")
    for number in range(uploads):
        directory = site.uploads / str(number % 3)
        directory.mkdir(exist_ok=True)
        (directory / f"{number}.bin").write_bytes(hashlib.sha256(b"%d" % number).digest() * 700)
    change(site, 0)


def change(site: Site, state: int) -> None:
    """The application writes, and both its rows and its files are on the disk when this returns."""
    with psycopg.connect(site.environment["BACKUP_DATABASE_URL"], autocommit=True) as session:
        session.execute(f"UPDATE entry SET state = {state}; DELETE FROM entry WHERE id = {200 - state}".encode())
    (site.uploads / "state").write_text(str(state))
    (site.uploads / "0" / f"new-{state}").write_bytes(b"%d" % state * 9000)
    (site.uploads / "1" / f"{1 + 3 * (state % 3)}.bin").unlink(missing_ok=True)
    for directory in (site.uploads, site.backups):
        subprocess.run(["sync", "--file-system", directory], check=True)


def live(site: Site) -> list[str]:
    """What the application has now: its rows and its uploads, by their hashes."""
    with psycopg.connect(site.environment["BACKUP_DATABASE_URL"], autocommit=True) as session:
        found = session.execute("SELECT count(*), sum(hashtextextended(t::text, 0))::text FROM entry t").fetchone()
    digest = hashlib.sha256()
    for path in sorted(site.uploads.rglob("*")):
        name = path.relative_to(site.uploads).as_posix()
        if path.is_file() and not name.startswith(".safeharbor-restore-"):
            digest.update(f"{name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return [str(found), digest.hexdigest()]


def new_site(place: Path, url: str, programs: Path, **environment: str) -> Site:
    """The application's directories and settings; the same place and settings each time."""
    for name in ("uploads", "backups"):
        (place / name).rmdir() if (place / name).exists() else None
    place.mkdir(parents=True, exist_ok=True)
    site = Site(place, url, str(programs))
    site.environment.update(BACKUP_RETENTION_DAILY="2", BACKUP_RETENTION_WEEKLY="0", BACKUP_MIN_FREE="0", **environment)
    return site


def archives(site: Site) -> dict[str, str]:
    """The archives there are, by name, with the hash of each."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in site.archives}


def verified(site: Site) -> None:
    """Everything that bears an archive's name is one, to its last byte."""
    settings = load_settings(site.environment)
    for path in site.archives:
        assert verify_archive(path, settings).problems == (), path.name


def copied(source: Path, target: Path) -> None:
    """A tree with owners, times and holes."""
    subprocess.run(["cp", "-a", source, target], check=True)
