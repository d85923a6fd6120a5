"""`make demo`: the main job end to end, on a real PostgreSQL that exists only for these few seconds."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

from safeharbor_backup.errors import Interrupted
from safeharbor_backup.postgres.private_cluster import find_server_bins, private_server
from safeharbor_backup.system.signals import signals_interrupt

ROOT = Path(__file__).resolve().parent.parent
PLACE = ROOT / ".demo"


def main() -> None:
    started = time.monotonic()
    shutil.rmtree(PLACE, ignore_errors=True)
    for name in ("uploads", "backups", "extracted"):
        (PLACE / name).mkdir(parents=True)
    bins = find_server_bins()
    major = max(bins)
    say(f"Starting a private PostgreSQL {major}; it ends with this demo.")
    with private_server(bins[major]) as server:
        server.create_database("logbook")
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("BACKUP_", "PG", "FLASK_"))},
            "PYTHONPATH": str(ROOT / "examples" / "logbook"),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "DATABASE_URL": server.url("logbook"),
            "SECRET_KEY": "only-for-the-demo",
            "UPLOAD_DIR": str(PLACE / "uploads"),
            "BACKUP_DIR": str(PLACE / "backups"),
            "BACKUP_PG_BIN": str(bins[major]),
        }
        say("The sample app: a harbour logbook with its schema, some entries and real photos.")
        run("flask --app logbook db upgrade", environment, show=False)
        run("flask --app logbook seed --entries 12 --photos-per-entry 2", environment)
        say("A backup, as the app's operator takes it. Safe Harbor is only installed; the app does not know of it.")
        run("flask --app logbook safeharbor backup", environment)
        run("flask --app logbook safeharbor list", environment)
        run("flask --app logbook safeharbor verify --latest", environment)
        say("A drill restores it into a scratch database and compares everything, as one does by schedule every week.")
        run("flask --app logbook safeharbor drill", environment)
        run("flask --app logbook safeharbor status", environment)
        say("The bad night: a wrong migration drops the photos' table, and a script empties the uploads.")
        before = server.execute("SELECT count(*) FROM photo", "logbook"), count_files()
        server.execute("DROP TABLE photo CASCADE; UPDATE entry SET remark = ''", "logbook")
        for lost in (PLACE / "uploads").iterdir():
            shutil.rmtree(lost)
        run("flask --app logbook safeharbor restore --from latest --dry-run", environment)
        run("flask --app logbook safeharbor restore --from latest --yes", environment)
        if (server.execute("SELECT count(*) FROM photo", "logbook"), count_files()) != before:
            sys.exit("demo: what came back is not what was there")
        say("Everything is back. It can be undone, until what was live before is discarded:")
        run("flask --app logbook safeharbor restore --discard-previous --yes", environment)
        say("A page about it, to open in a browser:")
        run("flask --app logbook safeharbor report --html .demo/report.html", environment)
    say("The server is gone. What is left is a plain tar, which needs none of our code:")
    archive = next((PLACE / "backups").glob("safeharbor-backup-*.tar"))
    relative = archive.relative_to(ROOT)
    run(f"tar -tvf {relative}", environment, most=12)
    run(f"tar -xf {relative} -C .demo/extracted", environment)
    run("sha256sum -c SHA256SUMS", environment, most=6, cwd=PLACE / "extracted")
    run(
        f"{bins[major] / 'pg_restore'} --list .demo/extracted/db.dump",
        environment,
        most=6,
        shown="pg_restore --list db.dump",
    )
    seconds = time.monotonic() - started
    say(f"All of it took {seconds:.0f} s. The archive, what came out of it and the page are in .demo/.")


def count_files() -> int:
    """How many uploads there are."""
    files = [path for path in (PLACE / "uploads").rglob("*") if path.is_file()]
    return sum(".safeharbor-restore-" not in str(path) for path in files)  # what a restore keeps is not live


def say(text: str) -> None:
    """A heading."""
    bold, plain = ("\033[1m", "\033[0m") if sys.stdout.isatty() else ("", "")
    print(f"\n{bold}{text}{plain}", flush=True)


def run(
    command: str,
    environment: dict[str, str],
    *,
    show: bool = True,
    most: int | None = None,
    cwd: Path = ROOT,
    shown: str = "",
) -> None:
    """Show a command and what it prints, at most `most` lines of it; end the demo if it fails."""
    print(f"\n  $ {shown or command}", flush=True)
    keep = most is not None or not show
    argv = shlex.split(command)
    done = subprocess.run(
        argv, env=environment, cwd=cwd, check=False, text=True, stdout=subprocess.PIPE if keep else None,
        stderr=subprocess.STDOUT if keep else None,
    )  # fmt: skip
    lines = (done.stdout or "").splitlines()
    if done.returncode != 0:
        print("\n".join(lines))
        sys.exit(f"demo: that command ended with status {done.returncode}")
    if most is not None:
        print("\n".join(lines[:most]))
        if len(lines) > most:
            print(f"... and {len(lines) - most} more lines")


if __name__ == "__main__":
    try:
        with signals_interrupt():
            main()
    except Interrupted as interruption:
        sys.exit(interruption.exit_status)
