"""The data set that is measured: a database of about 1 GB and uploads of 2 GB, made once and kept in .cache/."""

from __future__ import annotations

import os
import random
from pathlib import Path

import psycopg

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


def _write(path: Path, noise: bytes, size: int, chance: random.Random) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    start = chance.randrange(len(noise) - size)
    path.write_bytes(chance.randbytes(16) + noise[start : start + size - 16])
