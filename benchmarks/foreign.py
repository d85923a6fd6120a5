"""An archive by another program: `tar -xf`, verify, the dry run and the restore of many empty files."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from benchmarks.measure import Contender, interleave, mib
from benchmarks.ours import COMMAND, environment
from safeharbor_backup.postgres.private_cluster import private_server

_DATABASE = "foreign"


def foreign(bin_dir: Path, place: Path, files: int, rounds: int) -> list[str]:
    """The table; nothing that is made here stays."""
    home = place / "foreign"
    shutil.rmtree(home, ignore_errors=True)
    live, backups, out = home / "live", home / "backups", home / "out"
    for each in (home / "uploads", live, backups, out):
        each.mkdir(parents=True)
    for number in range(files):
        (home / "uploads" / f"{number:06}.jpg").touch()

    def emptied() -> None:
        shutil.rmtree(out)
        out.mkdir()

    def discarded() -> None:
        subprocess.run([*COMMAND, "restore", "--discard-previous", "--yes"], env=settings, check=True)

    with private_server(bin_dir) as server:
        server.create_database(_DATABASE)
        dump = [str(bin_dir / "pg_dump"), "-Fc", "-f", str(home / "db.dump"), server.url(_DATABASE)]
        subprocess.run(dump, check=True)
        archive = home / "theirs.tar"
        subprocess.run(["tar", "-cf", archive, "-C", home, "db.dump", "uploads"], check=True)
        settings = environment(server, bin_dir, _DATABASE, live, backups, "auto")
        restore = [*COMMAND, "restore", "--quiet", "--from", str(archive)]
        of_ours = (
            ("verify", [*COMMAND, "verify", "--quiet", str(archive)]),
            ("restore --dry-run", [*restore, "--dry-run"]),
            ("restore", [*restore, "--yes"]),
        )
        contenders = [
            Contender("`tar -xf`", ["tar", "-xf", str(archive), "-C", str(out)], os.environ, emptied),
            *(
                Contender(f"Safe Harbor, `{name}`", ["sh", "-c", '"$@"; test $? = 3', "sh", *argv], settings, discarded)
                for name, argv in of_ours  # 3: that it has no checksums is a warning
            ),
        ]
        print(f"an archive by another program, {files:,} files", flush=True)
        interleave(contenders, rounds)
    shutil.rmtree(home)
    verify = contenders[1]
    return [
        f"{files:,} empty files and the dump of an empty database, as GNU tar writes them.",
        "",
        "| | seconds | against `verify` | processor seconds | against `verify` | peak memory |",
        "|---|--:|--:|--:|--:|--:|",
        *(
            f"| {each.name} | {each.wall:.2f} | {each.wall / verify.wall:.2f} "
            f"| {each.cpu:.2f} | {each.cpu / verify.cpu:.2f} | {mib(each.peak_bytes)} |"
            for each in contenders
        ),
    ]
