"""PostgreSQL's own regression database through the whole cycle: backup, verify, drill, damage, restore, undo, in place.

`make regression` runs it. The database holds what PostgreSQL's developers test: some 1,800 objects that nobody here
wrote. Afterwards it is compared as `pg_dump` text, by hashes of the rows of each table and materialized view, and by
the cluster's roles. It ends with 1 if anything differs. Not a part of CI: it needs a source package and a compiler.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from safeharbor_backup.postgres.private_cluster import PrivateServer, find_server_bins, private_server
from support.runs import Site
from support.states import Whole, whole_state

REGRESS = "/usr/lib/postgresql/15/lib/pgxs/src/test/regress/pg_regress"
DAMAGE = "DROP TABLE onek CASCADE; DELETE FROM tenk1 WHERE unique1 < 5000; CREATE TABLE newer (id int)"


def make_regression_database(server: PrivateServer, tests: Path, output: Path) -> str:
    """Run PostgreSQL's tests, and leave their database; the summary of how many passed."""
    (output / "results").mkdir(parents=True)
    for path in (output, output / "results"):
        path.chmod(0o777)  # the server writes there too, as another user
    argv: list[str | Path] = [REGRESS, "--inputdir", tests, "--outputdir", output, "--bindir", server.bin_dir]
    argv += ["--dlpath", ROOT / ".cache/regression/dl", "--host", server.socket_dir, "--port", str(server.port)]
    argv += ["--user", server.superuser, "--max-connections=6", "--schedule", tests / "parallel_schedule"]
    done = subprocess.run(argv, capture_output=True, text=True, cwd=output, check=False)
    match = re.search(r"^ ?(All \d+ tests passed|\d+ of \d+ tests failed)", done.stdout, re.MULTILINE)
    return match[1] if match else done.stdout[-2000:] + done.stderr


def restore_by_hand(server: PrivateServer, dump: Path) -> None:
    """The same database once more, by pg_dump and pg_restore alone: what a restore can bring back at best."""
    server.create_database("by_hand")
    settings = server.execute(
        "SELECT unnest(setconfig) FROM pg_db_role_setting s JOIN pg_database d ON d.oid = setdatabase"
    )
    for (each,) in settings:
        name, _, value = each.partition("=")
        server.execute(f"ALTER DATABASE by_hand SET {name} = '{value}'")
    subprocess.run([server.bin_dir / "pg_dump", "-Fc", "-f", dump, "-d", server.url("regression")], check=True)
    subprocess.run([server.bin_dir / "pg_restore", "-d", server.url("by_hand"), dump], check=True)


def step(site: Site, *arguments: str) -> int:
    """Run a command and print its status and time; its status."""
    started = time.monotonic()
    done = site.run(*arguments, timeout=3600)
    print(f"{' '.join(arguments):45} {done.status:3} {time.monotonic() - started:8.1f} s", flush=True)
    if done.status not in (0, 3):
        print(done.output)
    return done.status


def main() -> int:
    """The number of comparisons and commands that were not as they should be, as an exit status."""
    tests = Path(
        subprocess.run([ROOT / "scripts/regression-source"], capture_output=True, text=True, check=True).stdout.strip()
    )
    bad = 0
    options = {"max_locks_per_transaction": "512", "max_connections": "60"}
    with tempfile.TemporaryDirectory() as scratch, private_server(find_server_bins()[15], options=options) as server:
        root = Path(scratch)
        root.chmod(0o755)
        print("PostgreSQL's tests:", make_regression_database(server, tests, root / "regress"), flush=True)
        site = Site(root, server.url("regression"))
        (site.uploads / "photo.jpg").write_bytes(b"a photo")

        def state(database: str = "regression") -> Whole:
            return whole_state(server.url(database), 15, site.uploads)

        def compare(what: str, left: Whole, right: Whole) -> int:
            # in whatever order: rows lie where a load put them
            different = (Counter(left.lines) - Counter(right.lines)) + (Counter(right.lines) - Counter(left.lines))
            count = different.total()
            print(f"{what:45} {'equal' if not count else f'{count} lines differ'}", flush=True)
            (ROOT / f".cache/regression/{what.replace(' ', '-')}.txt").write_text("\n".join(left.lines))
            return int(count > 0)

        restore_by_hand(server, root / "by-hand.dump")
        before = state("by_hand")  # pg_dump itself brings inherited columns back in another order
        compare("what pg_dump and pg_restore by hand change", before, state())
        bad += step(site, "backup") not in (0, 3)
        if not site.archives:
            return 1
        bad += step(site, "verify", str(site.archives[-1])) != 0
        bad += step(site, "drill") not in (0, 3)
        server.execute(DAMAGE, "regression")
        damaged = state()
        bad += step(site, "restore", "--from", "latest", "--yes") not in (0, 3)
        bad += compare("after the restore", state(), before)
        bad += step(site, "restore", "--undo") != 0
        bad += compare("after the undo", state(), damaged)
        bad += step(site, "restore", "--from", "latest", "--in-place", "--yes") not in (0, 3)
        bad += compare("after the restore in place", state(), before)
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
