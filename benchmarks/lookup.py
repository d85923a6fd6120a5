"""What questions about archives cost: what changed, which has a file, one file back. Nothing is unpacked."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg

from benchmarks.measure import Contender, interleave, mib
from benchmarks.ours import COMMAND, environment
from safeharbor_backup.archive.layout import DIRECTORY, FILE, Member, archive_name
from safeharbor_backup.archive.manifest_json import encode_manifest
from safeharbor_backup.archive.writer import ArchiveWriter
from safeharbor_backup.postgres.private_cluster import PrivateServer
from support.archives import DUMP, Facts, manifest_of

_FIRST = datetime(2026, 1, 1, 3, tzinfo=UTC)
_PER_FOLDER = 10_000
_NIGHTS = 100
_READ = "read.txt"


def lookup(place: Path, files: int, rounds: int) -> list[str]:
    """The lines of the page. Each question's archives are gone before the next one's are made: all would be 23 GB."""
    print(f"questions, {files:,} files", flush=True)
    home = place / "lookup"
    settings = {name: value for name, value in os.environ.items() if not name.startswith("BACKUP_")}
    settings["BACKUP_DIR"] = str(home)
    contenders = []
    share = ""
    for prepare in (_compare_two, _find_in_many, _extract_last):
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        contender = prepare(home, files, settings)
        interleave([contender], rounds)
        contenders.append(contender)
        if (counted := home / _READ).exists():
            read_bytes = int(dict(line.split(": ") for line in counted.read_text().splitlines())["rchar"])
            whole = sum(path.stat().st_size for path in home.glob("*.tar"))
            share = (
                f"That `extract` read {mib(read_bytes)} of {mib(whole)}, the program's own files among them: "
                f"{read_bytes / whole:.2%} of the archive."
            )
    shutil.rmtree(home)
    return [
        "| question | seconds | peak memory |",
        "|---|--:|--:|",
        *(f"| {each.name} | {each.wall:.2f} | {mib(each.peak_bytes)} |" for each in contenders),
        "",
        share,
        "",
    ]


def _compare_two(home: Path, files: int, settings: Mapping[str, str]) -> Contender:
    for night in range(2):
        write_many(home, _FIRST + timedelta(days=night), files, changed=night)
    name = f"`diff` of two archives of {files:,} files"
    return Contender(name, [*COMMAND, "diff", "latest~1"], settings, lambda: None)


def _find_in_many(home: Path, files: int, settings: Mapping[str, str]) -> Contender:
    each = files // 10
    for night in range(_NIGHTS):
        write_many(home, _FIRST + timedelta(days=night), each, changed=night)
    name = f"`find` in {_NIGHTS} archives of {each:,} files"
    return Contender(name, [*COMMAND, "find", f"{each // 2:08}.jpg"], settings, lambda: None)


def _extract_last(home: Path, files: int, settings: Mapping[str, str]) -> Contender:
    """The last file of 10 GB at full scale. What it and its shell have read is in a file afterwards."""
    count, out = files // 200, home / "out"
    write_many(home, _FIRST, count, changed=0, size=2_000_000)
    last = f"uploads/{(count - 1) // _PER_FOLDER:04}/{count - 1:08}.jpg"
    extract = shlex.join([*COMMAND, "extract", "latest", last, "--to", str(out)])
    return Contender(
        f"`extract` of the last of {count:,} files of 2 MB",
        ["sh", "-c", f"{extract} && cat /proc/$$/io > {shlex.quote(str(home / _READ))}"],
        settings,
        lambda: shutil.rmtree(out, ignore_errors=True),
    )


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
