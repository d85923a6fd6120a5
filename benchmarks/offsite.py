"""How much of the next nightly archive restic and borg store anew, copied by the scripts that we ship."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psycopg

from benchmarks.data import PHOTO_BYTES, PHOTOS, THUMBNAIL_BYTES, THUMBNAILS
from benchmarks.measure import Contender, mib
from benchmarks.ours import COMMAND, environment
from safeharbor_backup.postgres.private_cluster import PrivateServer

SCRIPTS = Path(__file__).resolve().parent.parent / "deploy" / "offsite"
COMPRESSIONS = ("none", "zstd:3", "gzip")
# a working day touches what is new; a migration or a job touches rows all over the table
RECENT = (
    "INSERT INTO entry SELECT id + 10000000, author, written + interval '5 years', title, reverse(body) FROM entry"
    " WHERE id % 100 = 0;"
    "INSERT INTO visit SELECT id + 10000000, entry, seen, reverse(agent) FROM visit WHERE id % 100 = 0;"
    "UPDATE entry SET title = reverse(title) WHERE id % 5 = 0 AND id > (SELECT max(id) * 95 / 100 FROM entry"
    " WHERE id < 10000000)"
)
FEW = "UPDATE entry SET title = reverse(title) WHERE id % 100000 = 7"
SCATTERED = "UPDATE entry SET title = reverse(title) WHERE id % 1000 = 7"


@dataclass(frozen=True)
class Growth:
    """Bytes: the archive's, and what one copy of it added to a repository."""

    archive: int
    stored: int

    def __str__(self) -> str:
        return f"{mib(self.stored)} ({self.stored / self.archive:.0%})"


def offsite_growth(server: PrivateServer, bin_dir: Path, place: Path, output: Path, scale: float) -> list[str]:
    """A table: five nights, each copied into a repository for each compression of the dump and each tool."""
    uploads = place / "offsite-uploads"
    shutil.rmtree(uploads, ignore_errors=True)
    make_unlike_uploads(uploads, scale)
    grown: dict[tuple[str, str], list[Growth]] = {}
    changes: tuple[Callable[[], None], ...] = (
        lambda: None,
        lambda: change_uploads(uploads),
        lambda: execute(server, RECENT),
        lambda: execute(server, FEW),
        lambda: execute(server, SCATTERED),
    )
    for night, change in enumerate(changes):
        print(f"off-site, night {night + 1} of {len(changes)}", flush=True)
        change()
        for compression in COMPRESSIONS:
            backups = output / "archives" / compression
            backups.mkdir(parents=True, exist_ok=True)
            settings = environment(server, bin_dir, "bench", uploads, backups, compression)
            Contender("backup", [*COMMAND, "backup", "--quiet"], settings, lambda: None).run()
            newest = max(backups.glob("safeharbor-backup-*.tar"))
            for tool in ("restic", "borg"):
                repository = output / "repositories" / f"{tool}-{compression}"
                before = size_of(repository)
                copy(tool, repository, backups, output)
                growth = Growth(newest.stat().st_size, size_of(repository) - before)
                grown.setdefault((compression, tool), []).append(growth)
                print(f"  {compression}, {tool}: {growth}", flush=True)
    size = sum(path.stat().st_size for path in uploads.rglob("*") if path.is_file())
    database = server.execute("SELECT pg_database_size('bench')")[0][0]
    shutil.rmtree(output)
    output.mkdir()
    return [
        f"A database of {mib(database)}, uploads of {mib(size)}.",
        "",
        "| dump compression | archive | tool | first copy | 1 % of uploads | new rows | few rows | many rows |",
        "|---|--:|---|--:|--:|--:|--:|--:|",
        *(
            f"| {compression} | {mib(nights[0].archive)} | {tool} | {' | '.join(map(str, nights))} |"
            for (compression, tool), nights in grown.items()
        ),
    ]


def execute(server: PrivateServer, query: str) -> None:
    """In the benchmark's database."""
    with psycopg.connect(server.url("bench"), autocommit=True) as connection:
        connection.execute(query.encode())


def make_unlike_uploads(root: Path, scale: float) -> None:
    """As many and as large as the other benchmarks' uploads on average, and nothing in one is also in another."""
    chance = random.Random(0)
    for kind, count, size in (("photos", PHOTOS, PHOTO_BYTES), ("thumbnails", THUMBNAILS, THUMBNAIL_BYTES)):
        (root / kind).mkdir(parents=True)
        for number in range(int(count * scale)):
            (root / kind / f"{number:06}.jpg").write_bytes(chance.randbytes(size))


def change_uploads(root: Path) -> None:
    """Give every hundredth file new content of the same size."""
    chance = random.Random(1)
    for path in sorted(root.rglob("*.jpg"))[::100]:
        path.write_bytes(chance.randbytes(path.stat().st_size))


def copy(tool: str, repository: Path, backups: Path, output: Path) -> None:
    """By the shipped script, into a repository that is made if there is none."""
    secret = output / "secret"
    if not secret.exists():
        secret.touch(mode=0o600)
        secret.write_text("benchmark\n")
    own = {
        "restic": {"RESTIC_REPOSITORY": str(repository), "RESTIC_PASSWORD_FILE": str(secret)},
        "borg": {"BORG_REPO": str(repository), "OFFSITE_PASSPHRASE_FILE": str(secret), "BORG_PASSPHRASE": "benchmark"},
    }[tool]
    surroundings = {**os.environ, **own, "HOME": str(output), "XDG_CACHE_HOME": str(output / "cache")}
    if not repository.exists():
        repository.parent.mkdir(exist_ok=True)
        init = {"restic": ["restic", "init"], "borg": ["borg", "init", "--encryption", "repokey-blake2"]}[tool]
        Contender("init", init, surroundings, lambda: None).run()
    settings = output / f"{tool}.env"
    settings.touch(mode=0o600)
    settings.write_text(f"BACKUP_DIR={backups}\n" + "".join(f"{name}={value}\n" for name, value in own.items()))
    Contender(tool, [str(SCRIPTS / f"{tool}.sh"), str(settings)], surroundings, lambda: None).run()


def size_of(directory: Path) -> int:
    """Bytes of all files in it; 0 if there is none."""
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
