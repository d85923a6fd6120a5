"""The second backup of restic and borg beside ours: the same tree, the same database, on the same filesystem."""

from __future__ import annotations

import json
import os
import random
import shlex
import shutil
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from benchmarks.measure import Contender
from benchmarks.ours import COMMAND, environment
from safeharbor_backup.postgres.private_cluster import PrivateServer

UPLOADS_AIM, WHOLE_AIM = 0.15, 0.7
_COMPRESSION = "zstd:3"
_SETTLED_SECONDS = 2.5  # what is younger than that when a run begins is read again by the next
_UPLOADS = ("uploads", "sync", "verify")  # the phases of ours that have to do with uploads
_CHANGE = "UPDATE entry SET title = reverse(title) WHERE id % 100 = {}"


@dataclass
class Rival:
    """A way to take backups; how many seconds the second one took each round, for the uploads and in all."""

    name: str
    begin: str
    dump: str
    uploads: str
    uploads_seconds: list[float] = field(default_factory=list)
    whole_seconds: list[float] = field(default_factory=list)

    def night(self) -> tuple[float, float]:
        """A backup: seconds of all of it, and of the uploads' part."""
        dump, uploads = _shell(self.dump), _shell(self.uploads)
        return dump + uploads, uploads

    def note(self, whole: float, uploads: float) -> None:
        """One more round."""
        self.whole_seconds.append(whole)
        self.uploads_seconds.append(uploads)

    def row(self, best_uploads: float, best_whole: float, aims: str = " | ") -> str:
        """Its line of the table, beside the faster of the others."""
        uploads, whole = statistics.median(self.uploads_seconds), statistics.median(self.whole_seconds)
        uploads_aim, whole_aim = aims.split("|")[:2]
        return (
            f"| {self.name} | {uploads:.2f} | {uploads / best_uploads:.2f} |{uploads_aim}| {whole:.2f} "
            f"| {whole / best_whole:.2f} |{whole_aim}|"
        )


def rivals(server: PrivateServer, bin_dir: Path, disk: Path, uploads: Path, rounds: int) -> list[str]:
    """A table. Each round: first backups by all, then 1 % of files and of rows change, then second backups by all."""
    place = disk / "rivals"
    dump = f"{bin_dir}/pg_dump -Fc -Z {_COMPRESSION} {shlex.quote(server.url('bench'))}"
    tree = shlex.quote(str(uploads))
    restic = f"env RESTIC_PASSWORD=benchmark restic --quiet --repo {place}/restic --cache-dir {place}/cache"
    borg = f"env BORG_BASE_DIR={place}/home borg"
    others = [
        Rival(
            "restic",
            f"{restic} init",
            f"{dump} | {restic} backup --stdin --stdin-filename db.dump",
            f"{restic} backup {tree}",
        ),
        Rival(
            "borg",
            f"{borg} init --encryption none {place}/borg",
            f"{dump} | {borg} create {place}/borg::dump-{{now}} -",
            f"{borg} create {place}/borg::uploads-{{now}} {tree}",
        ),
    ]
    ours = Rival("Safe Harbor", "", "", "")
    alone: list[float] = []
    files = sorted(uploads.rglob("*.jpg"))
    chance = random.Random(3)
    for number in range(rounds):
        shutil.rmtree(place, ignore_errors=True)
        for database in ("bench", "reuse"):
            (place / database).mkdir(parents=True)
        time.sleep(_SETTLED_SECONDS)
        for each in others:
            _shell(each.begin)
            each.night()
        _night(server, bin_dir, uploads, place, "bench")
        _night(server, bin_dir, uploads, place, "reuse")
        for path in files[number::100]:
            path.write_bytes(chance.randbytes(path.stat().st_size))
        with psycopg.connect(server.url("bench"), autocommit=True) as connection:
            connection.execute(_CHANGE.format(number).encode())
        for each in others:
            each.note(*each.night())
        # the uploads' part with an empty database, so that nothing of it is the dump's
        _, part = _night(server, bin_dir, uploads, place, "reuse")
        whole, _ = _night(server, bin_dir, uploads, place, "bench")
        ours.note(whole, part)
        alone.append(_shell(f"{dump} > {place}/db.dump"))
        told = ", ".join(f"{each.name} {each.whole_seconds[-1]:.1f} s" for each in [*others, ours])
        print(f"  round {number + 1}: second backups: {told}", flush=True)
    shutil.rmtree(place)
    best_uploads = min(statistics.median(each.uploads_seconds) for each in others)
    best_whole = min(statistics.median(each.whole_seconds) for each in others)
    return [
        f"The second backup beside restic's and borg's, with the database of the first table: {len(files):,} files and "
        "all rows of one table, of which 1 % change between both. Theirs are into new repositories on the same XFS, "
        f"the dump by standard input; all dumps with {_COMPRESSION}. borg does not encrypt here; restic always does. "
        "The uploads' part of ours is reading, writing, forcing to the disk and proving, without the program's start.",
        "",
        "| | uploads, seconds | against the faster of both | aim | all, seconds | against the faster of both | aim |",
        "|---|--:|--:|--:|--:|--:|--:|",
        *(each.row(best_uploads, best_whole) for each in others),
        ours.row(best_uploads, best_whole, f" {UPLOADS_AIM} | {WHOLE_AIM} "),
        f"| `pg_dump` alone, into a file | | | | {statistics.median(alone):.2f} "
        f"| {statistics.median(alone) / best_whole:.2f} | |",
        "",
    ]


def _night(server: PrivateServer, bin_dir: Path, uploads: Path, place: Path, database: str) -> tuple[float, float]:
    """A backup of ours: seconds of all of it, and of the uploads' part if the database is empty."""
    settings = environment(server, bin_dir, database, uploads, place / database, _COMPRESSION)
    told = place / "told.json"
    script = f"exec {shlex.join([*COMMAND, 'backup', '--json', '--no-prune'])} > {shlex.quote(str(told))}"
    run = Contender("backup", ["sh", "-c", script], settings, lambda: None).run()
    seconds = json.loads(told.read_text())["seconds"]
    return run.wall, sum(seconds[name] for name in _UPLOADS)


def _shell(script: str) -> float:
    """The wall seconds of a script, all of whose commands must end well."""
    argv = ["bash", "-o", "pipefail", "-c", script]
    return Contender(script.split()[0], argv, os.environ, lambda: None).run().wall
