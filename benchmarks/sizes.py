"""Extremes, each a case beside the tools by hand: very many tables, uploads or large objects, and one large table."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psycopg

from benchmarks.data import make_small_files
from benchmarks.measure import Contender, interleave, mib
from benchmarks.ours import COMMAND, environment
from benchmarks.restore import restore_contenders
from safeharbor_backup.postgres.private_cluster import PrivateServer, private_server

_AIM = 1.1
_OPTIONS = {"max_locks_per_transaction": "4096", "max_wal_size": "8GB"}


@dataclass(frozen=True)
class Case:
    """`make` fills the database at this address and gets how many; `uploads` are files of 2 KB.

    `aims` are those of backup and restore; None where there is none.
    """

    what: str
    count: int
    make: Callable[[str, int], None]
    uploads: int = 0
    aims: tuple[float | None, float | None] = (_AIM, _AIM)


def _tables(url: str, count: int) -> None:
    with psycopg.connect(url, autocommit=True) as session:
        for first in range(0, count, 200):  # each in a schema of 25
            statements = [
                f"CREATE SCHEMA IF NOT EXISTS s{n // 25}; CREATE TABLE s{n // 25}.t{n} (id serial PRIMARY KEY, v text, "
                f"other int{f' REFERENCES s{(n - 1) // 25}.t{n - 1}' if n % 25 else ''});"
                f"INSERT INTO s{n // 25}.t{n} (v) VALUES ('{n}')"
                for n in range(first, min(first + 200, count))
            ]
            session.execute(";".join(statements).encode())


def _objects(url: str, count: int) -> None:
    with psycopg.connect(url, autocommit=True) as session:
        session.execute("CREATE TABLE attachment (name text PRIMARY KEY, content oid)")
        for first in range(0, count, 5_000):
            session.execute(
                "SELECT count(lo_from_bytea(0, decode(md5(g::text), 'hex'))) FROM generate_series(%s::int, %s::int) g",
                (first + 1, min(first + 5_000, count)),
            )


def _table(url: str, megabytes: int) -> None:
    with psycopg.connect(url, autocommit=True) as session:
        session.execute("CREATE TABLE large (id bigint PRIMARY KEY, at timestamptz, body text)")
        session.execute(
            "INSERT INTO large SELECT g, '2020-01-01'::timestamptz + g * interval '1 s', "
            "(SELECT string_agg(md5((g * 7 + k)::text), ' ') FROM generate_series(1, 30) k) "
            "FROM generate_series(1, %s::int) g",
            (megabytes * 970,),
        )


def _nothing(url: str, count: int) -> None:
    pass


CASES = {
    "tables": Case("{:,} tables with keys, foreign keys and sequences", 10_000, _tables),
    "uploads": Case("{:,} uploads of 2 KB, an empty database", 500_000, _nothing, uploads=500_000, aims=(None, _AIM)),
    "objects": Case("{:,} large objects", 200_000, _objects),
    "table": Case("one table of {:,} MB", 2_000, _table),
}


def sizes(bin_dir: Path, place: Path, output: Path, scale: float, rounds: int, chosen: list[str]) -> list[str]:
    """A table of the chosen cases; nothing that is made here stays but the small files."""
    lines = [
        "| case | | seconds | ratio | aim | peak memory of all processes |",
        "|---|---|--:|--:|--:|--:|",
    ]
    for name in chosen:
        case = CASES[name]
        count = int(case.count * scale)
        print(f"making {case.what.format(count)}", flush=True)
        with private_server(bin_dir, options=_OPTIONS) as server:
            server.create_database("bench")
            case.make(server.url("bench"), count)
            server.execute("VACUUM ANALYZE", "bench")
            uploads = place / f"small-{int(case.uploads * scale)}"
            uploads.mkdir(parents=True, exist_ok=True)
            if case.uploads:
                make_small_files(uploads, int(case.uploads * scale))
            lines += _rows(case, case.what.format(count), server, bin_dir, uploads, output, rounds)
    return lines


def _rows(
    case: Case, what: str, server: PrivateServer, bin_dir: Path, uploads: Path, output: Path, rounds: int
) -> list[str]:
    def clear() -> None:
        shutil.rmtree(output, ignore_errors=True)
        output.mkdir()

    dump = f"{shlex.quote(str(bin_dir / 'pg_dump'))} -Fc -Z 1 -f {output}/db.dump '{server.url('bench')}'"
    tar = f"tar -cf {output}/backup.tar -C {output} db.dump -C {uploads.parent} {uploads.name}; rm {output}/db.dump"
    settings = environment(server, bin_dir, "bench", uploads, output, "gzip:1")
    backups = [
        Contender("`pg_dump -Z1; tar -cf; sync`", ["sh", "-c", f"set -e; {dump}; {tar}; sync"], os.environ, clear),
        Contender("Safe Harbor, `backup`", [*COMMAND, "backup", "--quiet", "--no-prune"], settings, clear),
    ]
    interleave(backups, rounds)
    clear()
    archives = output.parent / "archives"
    archives.mkdir(exist_ok=True)
    archive = archives / "whole.tar"
    take = [*COMMAND, "backup", "--quiet", "--no-prune", "--output", str(archive)]
    Contender("backup", take, settings, lambda: None).run()
    restores, clear_restores = restore_contenders(server, bin_dir, archive, output)
    interleave(restores, rounds)
    clear_restores()
    shutil.rmtree(archives)
    found = []
    for (by_hand, ours), aim in zip((backups, restores), case.aims, strict=True):
        found.append(f"| {what} | {by_hand.name} | {by_hand.wall:.1f} | 1.00 | | {mib(by_hand.tree_bytes)} |")
        ratio = ours.wall / by_hand.wall
        found.append(f"| | {ours.name} | {ours.wall:.1f} | {ratio:.2f} | {aim or ''} | {mib(ours.tree_bytes)} |")
    return found
