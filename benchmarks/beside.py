"""First and second backups of this checkout beside those of another one, interleaved: has a change made it slower?"""

from __future__ import annotations

import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path

from benchmarks.data import make_small_files, make_uploads
from benchmarks.measure import Contender, interleave
from benchmarks.ours import environment
from benchmarks.reuse import mounted
from safeharbor_backup.postgres.private_cluster import PrivateServer

AIM = 1.03
_HERE = Path(__file__).resolve().parent.parent
_SETTLED_SECONDS = 2.5  # what is younger than that at the beginning of a run is read again by the next


def beside(other: Path, server: PrivateServer, bin_dir: Path, place: Path, scale: float, rounds: int) -> list[str]:
    """A table: seconds of each backup, there and here, and the ratios. `other` is the top of that checkout."""
    server.create_database("no_rows")
    rows: list[str] = []
    for kind in ("ext4", "xfs"):
        with mounted(kind, place, int(12e9 * scale) + 2**30) as disk:
            make_uploads(disk / "large", scale)
            make_small_files(disk / "small", int(200_000 * scale))
            time.sleep(_SETTLED_SECONDS)
            for database, uploads in (("bench", "large"), ("no_rows", "small")):
                print(f"{kind}, {uploads} files", flush=True)
                settings = environment(server, bin_dir, database, disk / uploads, disk / "backups", "auto")
                pairs = [_first_and_second(checkout, settings, disk / "backups") for checkout in (other, _HERE)]
                interleave([each for pair in pairs for each in pair], rounds)
                what = f"{kind}, {'rows and large files' if uploads == 'large' else 'small files'}"
                rows += [
                    f"| {what}, the {which} | {there.wall:.2f} | {here.wall:.2f} | {here.wall / there.wall:.2f} "
                    f"| {AIM} | {here.cpu / there.cpu:.2f} |"
                    for which, there, here in zip(("first", "second"), *pairs, strict=True)
                ]
    return ["| | there | here | ratio | aim | of processor seconds |", "|---|--:|--:|--:|--:|--:|", *rows, ""]


def _first_and_second(checkout: Path, settings: dict[str, str], output: Path) -> tuple[Contender, Contender]:
    """Two backups of that checkout, to be run one after the other."""
    [program] = (checkout / "src").glob("*/cli/main.py")
    source, package = str(checkout / "src"), program.parent.parent.name
    script = f"import sys; sys.path.insert(0, {source!r}); from {package}.cli.main import main; main()"

    def clear() -> None:
        shutil.rmtree(output, ignore_errors=True)
        output.mkdir()

    def leave_one() -> None:
        for path in sorted(output.glob("*.tar"))[:-1]:
            path.unlink()

    argv = [sys.executable, "-c", script, "backup", "--quiet", "--no-prune"]
    first = Contender(f"{checkout.name}, the first", argv, settings, clear)
    return first, replace(first, name=f"{checkout.name}, the second", clear=leave_one, runs=[])
