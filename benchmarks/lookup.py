"""What questions about archives cost: what changed, which has a file, one file back. Nothing is unpacked."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks.measure import Contender, interleave, mib
from benchmarks.ours import COMMAND
from safeharbor_backup.archive.layout import DIRECTORY, FILE, Member, archive_name
from safeharbor_backup.archive.manifest import encode_manifest
from safeharbor_backup.archive.writer import ArchiveWriter
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
    large = home / "large"
    large.mkdir()
    write_many(large, _FIRST, files // 200, changed=0, size=2_000_000)  # 10 GB at full scale
    out = home / "out"
    last = f"uploads/{(files // 200 - 1) // _PER_FOLDER:04}/{files // 200 - 1:08}.jpg"
    contenders.append(
        Contender(
            f"`extract` of the last of {files // 200:,} files of 2 MB",
            [*COMMAND, "extract", "latest", last, "--to", str(out)],
            {**settings, "BACKUP_DIR": str(large)},
            lambda: shutil.rmtree(out, ignore_errors=True),
        )
    )
    interleave(contenders, rounds)
    shutil.rmtree(home)
    return [
        "| question | seconds | peak memory |",
        "|---|--:|--:|",
        *(f"| {each.name} | {each.wall:.2f} | {mib(each.peak_bytes)} |" for each in contenders),
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
