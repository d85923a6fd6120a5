"""What questions about archives cost: what changed, which has a file, one file back. Nothing is unpacked."""

from __future__ import annotations

import os
import shlex
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg

from benchmarks.measure import Contender, interleave, mib
from benchmarks.ours import COMMAND, environment
from safeharbor_backup.archive.layout import DIRECTORY, FILE, Member, archive_name
from safeharbor_backup.archive.manifest import encode_manifest
from safeharbor_backup.archive.writer import ArchiveWriter
from safeharbor_backup.postgres.private_cluster import PrivateServer
from support.archives import DUMP, Facts, manifest_of

_FIRST = datetime(2026, 1, 1, 3, tzinfo=UTC)
_PER_FOLDER = 10_000
_NIGHTS = 100


def lookup(place: Path, files: int, rounds: int) -> list[str]:
    """The lines of the page."""
    print(f"questions, {files:,} files", flush=True)
    home = place / "lookup"
    shutil.rmtree(home, ignore_errors=True)
    (home / "nights").mkdir(parents=True)
    for night in range(2):
        write_many(home, _FIRST + timedelta(days=night), files, changed=night)
    settings = {name: value for name, value in os.environ.items() if not name.startswith("BACKUP_")}
    environment = {**settings, "BACKUP_DIR": str(home)}
    for night in range(_NIGHTS):
        write_many(home / "nights", _FIRST + timedelta(days=night), files // 10, changed=night)
    many = {**settings, "BACKUP_DIR": str(home / "nights")}
    contenders = [
        Contender(
            f"`find` in {_NIGHTS} archives of {files // 10:,} files",
            [*COMMAND, "find", f"{files // 20:08}.jpg"],
            many,
            lambda: None,
        ),
        Contender(
            f"`diff` of two archives of {files:,} files", [*COMMAND, "diff", "latest~1"], environment, lambda: None
        ),
    ]
    large, out, read = home / "large", home / "out", home / "read"
    large.mkdir()
    archive = write_many(large, _FIRST, files // 200, changed=0, size=2_000_000)  # 10 GB at full scale
    last = f"uploads/{(files // 200 - 1) // _PER_FOLDER:04}/{files // 200 - 1:08}.jpg"
    extract = shlex.join([*COMMAND, "extract", "latest", last, "--to", str(out)])
    contenders.append(
        Contender(
            f"`extract` of the last of {files // 200:,} files of 2 MB",
            ["sh", "-c", f"{extract} && cat /proc/$$/io > {shlex.quote(str(read))}"],
            {**settings, "BACKUP_DIR": str(large)},
            lambda: shutil.rmtree(out, ignore_errors=True),
        )
    )
    interleave(contenders, rounds)
    read_bytes = int(dict(line.split(": ") for line in read.read_text().splitlines())["rchar"])
    share = read_bytes / archive.stat().st_size
    shutil.rmtree(home)
    return [
        "| question | seconds | peak memory |",
        "|---|--:|--:|",
        *(f"| {each.name} | {each.wall:.2f} | {mib(each.peak_bytes)} |" for each in contenders),
        "",
        f"That `extract` read {mib(read_bytes)}, the program's own files among them: {share:.2%} of the archive.",
        "",
    ]


def one_table(server: PrivateServer, bin_dir: Path, place: Path, rows: int, rounds: int) -> list[str]:
    """One table of an archive into a table beside the live one, beside the tools by hand. More lines of the page."""
    print(f"one table of {rows:,} rows", flush=True)
    home = place / "one-table"
    shutil.rmtree(home, ignore_errors=True)
    for name in ("uploads", "backups"):
        (home / name).mkdir(parents=True)
    server.create_database("one")
    server.create_database("two")
    with psycopg.connect(server.url("one"), autocommit=True) as session:
        session.execute("CREATE TABLE entry (id bigint PRIMARY KEY, at timestamptz DEFAULT now(), body text)")
        session.execute("CREATE TABLE other (LIKE entry INCLUDING ALL)")
        for table in ("entry", "other"):
            fill = "SELECT g, '2026-01-01', repeat(md5(g::text), 6) FROM generate_series(1, %s::int) g"
            session.execute(f"INSERT INTO {table} {fill}".encode(), (rows,))
        session.execute("ANALYZE")
    settings = environment(server, bin_dir, "one", home / "uploads", home / "backups", "auto")
    archive = home / "backups" / archive_name(_FIRST)
    take = [*COMMAND, "backup", "--quiet", "--no-prune", "--output", str(archive)]
    Contender("backup", take, settings, lambda: None).run()

    def clear() -> None:
        server.execute("DROP TABLE IF EXISTS entry", "two")
        (home / "db.dump").unlink(missing_ok=True)
        for (name,) in server.execute("SELECT tablename FROM pg_tables WHERE tablename LIKE 'entry\\_%'", "one"):
            server.execute(f"DROP TABLE {name}", "one")

    restore = shlex.join([str(bin_dir / "pg_restore"), "-t", "entry", "-d", server.url("two"), str(home / "db.dump")])
    by_hand = f"set -e; tar -xf {shlex.quote(str(archive))} -C {shlex.quote(str(home))} db.dump; {restore}"
    ours = [*COMMAND, "extract", str(archive), "--table", "public.entry"]
    contenders = [
        Contender("`tar -xf; pg_restore -t` into another database", ["sh", "-c", by_hand], os.environ, clear),
        Contender("`extract --table` into a table beside the live one", ours, settings, clear),
    ]
    interleave(contenders, rounds)
    clear()
    shutil.rmtree(home)
    first = contenders[0].wall
    return [
        f"One of two tables of {rows:,} rows each:",
        "",
        "| | seconds | ratio |",
        "|---|--:|--:|",
        *(f"| {each.name} | {each.wall:.1f} | {each.wall / first:.2f} |" for each in contenders),
        "",
    ]


def write_many(directory: Path, taken_at: datetime, files: int, *, changed: int, size: int = 0) -> Path:
    """An archive of so many files of this size in bytes, one in a thousand of them with other content by `changed`."""
    path = directory / archive_name(taken_at)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    writer = ArchiveWriter(descriptor, directory, int(taken_at.timestamp()))
    try:
        dumped = writer.write_dump([DUMP])
        writer.write_member(Member(b"uploads/", DIRECTORY, 0o755, 0, 0, 0, 0))
        for number in range(files):
            folder = b"uploads/%04d/" % (number // _PER_FOLDER)
            if number % _PER_FOLDER == 0:
                writer.write_member(Member(folder, DIRECTORY, 0o755, 0, 0, 0, 0))
            data = (b"%d %d" % (number, changed if number % 1000 == 0 else 0)).ljust(size, b"\0")
            writer.write_file(Member(folder + b"%08d.jpg" % number, FILE, 0o644, 0, 0, 0, len(data)), data)
        facts = Facts(taken_at=taken_at)
        writer.finish(lambda *digests: encode_manifest(manifest_of(facts, writer.tally, dumped, digests)))
    finally:
        writer.close()
        os.close(descriptor)
    return path
