"""The data set that is measured: a database of about 1 GB and uploads of 2 GB, made once and kept in .cache/."""

from __future__ import annotations

import os
import random
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from safeharbor_backup.actions.backup.dump_part import DumpPart, DumpSource
from safeharbor_backup.actions.backup.inventory import take_inventory
from safeharbor_backup.actions.backup.manifest_content import manifest_document
from safeharbor_backup.archive import layout
from safeharbor_backup.archive.layout import Member
from safeharbor_backup.archive.manifest_json import encode_manifest
from safeharbor_backup.archive.writer import ArchiveWriter
from safeharbor_backup.postgres.client_tools import choose_client_tools, find_client_tools
from safeharbor_backup.postgres.connection import connected
from safeharbor_backup.postgres.dump import NOTHING, choose_compression
from safeharbor_backup.postgres.snapshot import open_snapshot
from safeharbor_backup.progress import NoProgress
from safeharbor_backup.settings.model import Settings
from safeharbor_backup.uploads.omissions import Omissions

PHOTOS, PHOTO_BYTES = 500, 3_800_000
THUMBNAILS, THUMBNAIL_BYTES = 20_000, 8_000


def make_uploads(root: Path, scale: float = 1.0) -> None:
    """500 photos of about 3.8 MB and 20,000 thumbnails of 2 to 14 KB, times `scale`; incompressible, as JPEGs are."""
    if (root / ".made").exists():
        return
    chance = random.Random(1)
    noise = os.urandom(8_000_000)
    for number in range(int(PHOTOS * scale)):
        size = int(chance.uniform(0.3, 1.7) * PHOTO_BYTES)
        _write(root / "photos" / f"{number % 20:02}" / f"{number:06}.jpg", noise, size, chance)
    for number in range(int(THUMBNAILS * scale)):
        size = int(chance.uniform(0.25, 1.75) * THUMBNAIL_BYTES)
        _write(root / "thumbnails" / f"{number % 100:02}" / f"{number:06}.jpg", noise, size, chance)
    (root / ".made").touch()


def make_small_files(root: Path, count: int, size: int = 2048, per_directory: int = 10_000) -> None:
    """`count` files of `size` bytes, `per_directory` to a directory."""
    if (root / f".made-{count}").exists():
        return
    body = os.urandom(size - 8)
    for number in range(count):
        directory = root / f"{number // per_directory:05}"
        if number % per_directory == 0:
            directory.mkdir(parents=True, exist_ok=True)
        with open(directory / f"{number:08}.jpg", "wb", buffering=0) as file:
            file.write(number.to_bytes(8, "big") + body)
    (root / f".made-{count}").touch()


def make_database(url: str, scale: float = 1.0) -> None:
    """Entries with text that compresses as text does: about 1 GB of tables at scale 1."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE entry (id bigint PRIMARY KEY, author int, written timestamptz, title text, body text);"
            "CREATE TABLE visit (id bigint PRIMARY KEY, entry bigint, seen timestamptz, agent text)"
        )
        connection.execute(
            "INSERT INTO entry SELECT g, g %% 977, '2020-01-01'::timestamptz + g * interval '1 minute', md5(g::text), "
            "(SELECT string_agg(substr(md5((g * 31 + k %% 7)::text), 1, 4 + k %% 9), ' ') "
            "FROM generate_series(1, 40) k) FROM generate_series(1, %s) g",
            (int(1_300_000 * scale),),
        )
        connection.execute(
            "INSERT INTO visit SELECT g, g %% 1300000, '2020-01-01'::timestamptz + g * interval '7 seconds', "
            "'Mozilla/5.0 (' || (g %% 50) || ') ' || md5((g %% 100000)::text) FROM generate_series(1, %s) g",
            (int(3_000_000 * scale),),
        )
        connection.execute("ANALYZE")


def make_large_archive(path: Path, settings: Settings, members: int, size: int = 100) -> None:
    """An archive of the database and of `members` entries, files of `size` bytes, 1,000 to a directory.

    Written straight by the archive's writer: a tree of a million files takes longer to make than to measure.
    """
    assert settings.database is not None
    taken_at = datetime.now(UTC).replace(microsecond=0)
    at = int(taken_at.timestamp())
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    writer = ArchiveWriter(descriptor, path.parent, at)
    try:
        with (
            connected(settings.database) as session,
            open_snapshot(settings.database, settings.lock_timeout_seconds) as snapshot,
        ):
            properties = snapshot.properties()
            tools = choose_client_tools(find_client_tools(settings.pg_bin), properties.server_major)
            compression = choose_compression(settings.dump_compression, tools)
            source = DumpSource(settings.database, tools, compression, session, snapshot, properties)
            part = DumpPart(source, take_inventory(snapshot), NOTHING, settings.lock_timeout_seconds, NoProgress())
            dump = part.write(writer)
        writer.write_member(Member(layout.UPLOADS_NAME, layout.DIRECTORY, 0o755, 0, 0, at, 0))
        body = os.urandom(size - 8)
        for number in range(members):
            directory = layout.UPLOADS_NAME + b"%06d/" % (number // 1000)
            if number % 1000 == 0:
                writer.write_member(Member(directory, layout.DIRECTORY, 0o755, 0, 0, at, 0))
                continue
            name = directory + b"%08d.jpg" % number
            writer.write_file(Member(name, layout.FILE, 0o644, 0, 0, at, size), number.to_bytes(8, "big") + body)

        def manifest_for(sums_sha256: str, list_sha256: str, sums_offset: int) -> bytes:
            digests = (sums_sha256, list_sha256, sums_offset)
            return encode_manifest(
                manifest_document(
                    taken_at, settings, dump, writer.tally, Omissions(), [], block_size=4096, digests=digests
                )
            )

        writer.finish(manifest_for)
    finally:
        writer.close()
        os.close(descriptor)


def _write(path: Path, noise: bytes, size: int, chance: random.Random) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    start = chance.randrange(len(noise) - size)
    path.write_bytes(chance.randbytes(16) + noise[start : start + size - 16])
