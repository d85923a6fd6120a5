"""What other tools for backups have left behind: which of it is taken, and what is said of the rest."""

from __future__ import annotations

import subprocess
import tarfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from safeharbor_backup.postgres.private_cluster import find_server_bins

if TYPE_CHECKING:
    from support.postgres import Database
    from support.runs import Site

PAGE = Path(__file__).parents[2] / "docs" / "recipes" / "instead-of-a-script.md"


def test_old_backups_are_restored_or_named_for_what_they_are(site: Site, database: Database) -> None:
    bins, root = find_server_bins()[database.server.major], site.root
    for form, name in (("custom", "app.dump"), ("plain", "dump.sql")):
        dump = [str(bins / "pg_dump"), f"--format={form}", "--file", str(root / name), database.url]
        subprocess.run(dump, check=True)
    with tarfile.open(root / "hand.tar", "w") as tar:
        tar.add(root / "app.dump", "db.dump")
        tar.add(site.uploads, "uploads")
    with tarfile.open(root / "offen.tar.gz", "w:gz") as tar:
        tar.add(root / "app.dump", "backup/dumps/app.dump")
        tar.add(site.uploads, "backup/uploads")
    with zipfile.ZipFile(root / "laravel.zip", "w") as zipped:
        zipped.write(root / "dump.sql", "db-dumps/postgresql-app.sql")
        zipped.write(site.uploads / "2026" / "1.jpg", "storage/app/1.jpg")
    with zipfile.ZipFile(root / "pgbackweb.zip", "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.write(root / "dump.sql", "dump.sql")
    with tarfile.open(root / "laravel.tar", "w") as tar:
        tar.add(root / "dump.sql", "db-dumps/postgresql-app.sql")
    with tarfile.open(root / "sql.tar", "w") as tar:
        tar.add(root / "dump.sql", "db.dump")
        tar.add(site.uploads, "uploads")
    (root / "ours.tar.age").write_bytes(b"age-encryption.org/v1\n" + bytes(2000))
    database.execute("DROP TABLE photo")
    (site.uploads / "2026" / "1.jpg").unlink()

    said = {
        "offen.tar.gz": "compressed by gzip",
        "laravel.zip": "a zip",
        "pgbackweb.zip": "a zip",
        "app.dump": "a dump by pg_dump alone",
        "dump.sql": "a dump in SQL",
        "ours.tar.age": "encrypted by age",
        "laravel.tar": "neither db.dump nor below uploads/",
        "sql.tar": "db.dump does not decode",
    }
    for name, words in said.items():
        verified = site.run("verify", name)
        restored = site.run("restore", "--from", name, "--yes")
        assert (verified.status, restored.status) == (5, 5), (name, verified.output, restored.output)
        assert words in verified.stdout, name
        assert words.removesuffix(" does not decode") in restored.stderr, name
    page = PAGE.read_text()
    assert all(words in page for words in list(said.values())[:6])
    assert not (site.uploads / "2026" / "1.jpg").exists()  # a file that was refused has changed nothing
    assert site.run("verify", "hand.tar").status == 3
    assert site.run("restore", "--from", "hand.tar", "--yes").status == 3
    assert database.execute("SELECT count(*) FROM photo") == [(10,)]
    assert (site.uploads / "2026" / "1.jpg").exists()
