"""What exact row counts cost: `count(*)`, or counting the rows of the dump, which is decoded in any case."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import psycopg

from benchmarks.measure import Contender, interleave, mib
from safeharbor_backup.postgres.private_cluster import PrivateServer

_ROWS = 100_000_000
_COUNT = """
import subprocess, sys
from safeharbor_backup.postgres.copied_rows import RowCounter
counter = RowCounter()
with subprocess.Popen(sys.argv[2:], stdout=subprocess.PIPE) as decoding:
    while piece := decoding.stdout.read(1 << 17):
        counter.feed(piece)
counter.finish()
assert decoding.returncode == 0 and list(counter.rows.values()) == [int(sys.argv[1])], counter.rows
"""


def counting(server: PrivateServer, bin_dir: Path, place: Path, scale: float, rounds: int) -> list[str]:
    """The lines of the page: a table of three small columns, its rows counted in the server and in its dump."""
    count = int(_ROWS * scale)
    print(f"making {count:,} rows", flush=True)
    server.create_database("counted")
    url = server.url("counted")
    with psycopg.connect(url, autocommit=True) as session:
        session.execute("CREATE UNLOGGED TABLE event (id bigint, at int, value int)")
        session.execute("INSERT INTO event SELECT g, g / 60, g %% 1000 FROM generate_series(1, %s::int) g", (count,))
        session.execute("VACUUM ANALYZE event")
    size = server.execute("SELECT pg_table_size('event')", "counted")[0][0]
    dump = place / "counted.dump"
    argv = [str(bin_dir / "pg_dump"), "-Fc", "-Z1", "-f", str(dump), url]
    dumping = Contender("`pg_dump -Fc -Z1`", argv, os.environ, lambda: None)
    interleave([dumping], 1)

    def contender(name: str, argv: list[str]) -> Contender:
        return Contender(name, argv, os.environ, lambda: None)

    def query(name: str, *before: str) -> Contender:
        words = [word for each in (*before, "SELECT count(*) FROM event") for word in ("-c", each)]
        return contender(name, [str(bin_dir / "psql"), "-X", "-q", url, *words])

    restore = str(bin_dir / "pg_restore")
    decoded = contender("`pg_restore` into nothing: decoded only", [restore, "--file=/dev/null", str(dump)])
    counted = contender(
        "decoded and counted, as `backup` does",
        [sys.executable, "-c", _COUNT, str(count), restore, "--data-only", "--file=-", str(dump)],
    )
    queries = [
        query("`count(*)`"),
        query("`count(*)` by one process", "SET max_parallel_workers_per_gather = 0"),
    ]
    contenders = [*queries, decoded, counted]
    interleave(contenders, rounds)
    dump_size = dump.stat().st_size
    dump.unlink()
    with psycopg.connect(server.url("postgres"), autocommit=True) as session:
        session.execute("DROP DATABASE counted")
    more = counted.cpu - decoded.cpu
    return [
        f"One table of {count:,} rows, {mib(size)} in the server and {mib(dump_size)} as a dump, which takes "
        f"{dumping.wall:.0f} s. Processor seconds are the client's; those of `count(*)` are the server's.",
        "",
        "| | seconds | processor |",
        "|---|--:|--:|",
        *(
            f"| {each.name} | {each.wall:.1f} | {'in the server' if each in queries else f'{each.cpu:.1f}'} |"
            for each in contenders
        ),
        "",
        f"Counting adds {more:.1f} s of the processor to the decoding.",
    ]
