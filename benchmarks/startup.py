"""What a command costs before it does anything, what `status` costs with many archives, and our share of `flask`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import flask

from benchmarks.measure import Contender, interleave
from benchmarks.ours import COMMAND
from safeharbor_backup.actions.backup.manifest_content import DumpRecord, manifest_document
from safeharbor_backup.archive.layout import archive_name
from safeharbor_backup.archive.manifest_json import encode_manifest
from safeharbor_backup.archive.writer import ArchiveWriter
from safeharbor_backup.postgres.client_tools import ClientTools
from safeharbor_backup.postgres.snapshot import DatabaseProperties
from safeharbor_backup.progress import NoProgress
from safeharbor_backup.settings.upload_dirs import UploadDir
from safeharbor_backup.state.history import Outcome, append_outcome
from safeharbor_backup.uploads.collect import write_uploads
from safeharbor_backup.uploads.omissions import Omissions
from support.settings import settings_of

_ROUNDS = 7  # for each round of the others: these take a moment
_ARCHIVES = 500
_TABLES = {f"public.table_{number}": number * 1000 for number in range(60)}
_FOLDERS = 20
_APP = "import flask\napp = flask.Flask(__name__)\n"
_RUN_FLASK = "import sys; sys.path += {places!r}; from flask.cli import main; sys.argv = ['flask', *{words!r}]; main()"


def startup(place: Path, rounds: int) -> list[str]:
    """The lines of the page."""
    print("start-up", flush=True)
    home = place / "startup"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    _make_archives(home / "backups", home / "uploads")
    (home / "app.py").write_text(_APP)
    plain = {**{name: value for name, value in os.environ.items() if not name.startswith("BACKUP_")}}
    many = {**plain, "BACKUP_DIR": str(home / "backups")}
    packages = Path(flask.__file__).parent.parent
    whole, without = _mirror(packages, home / "whole"), _mirror(packages, home / "without", hidden="safeharbor")
    ours = str(Path(__file__).resolve().parent.parent / "src")
    routes = ["--app", str(home / "app.py"), "routes"]

    def contender(name: str, argv: list[str], environment: dict[str, str]) -> Contender:
        return Contender(name, argv, environment, lambda: None)

    def flask_with(name: str, places: list[str], words: list[str]) -> Contender:
        # -S: the packages are those of `places` and no others
        return contender(name, [sys.executable, "-S", "-c", _RUN_FLASK.format(places=places, words=words)], plain)

    for places, is_there in (([without], False), ([whole, ours], True)):
        argv = [sys.executable, "-S", "-c", _RUN_FLASK.format(places=places, words=["--help"])]
        told = subprocess.run(argv, env=plain, capture_output=True, check=True, text=True).stdout
        assert ("safeharbor" in told) is is_there, told
    bare = contender("`python -c pass`", [sys.executable, "-c", "pass"], plain)
    helped = contender("`safeharbor --help`", [*COMMAND, "--help"], plain)
    many_told = contender(f"`safeharbor status` of {_ARCHIVES} archives", [*COMMAND, "status"], many)
    page = home / "page.html"
    many_shown = contender(
        f"`safeharbor report` of {_ARCHIVES} archives", [*COMMAND, "report", "--html", str(page)], many
    )
    pairs = [
        (
            flask_with(f"`flask {shown}` without Safe Harbor", [without], words),
            flask_with(f"`flask {shown}` with it", [whole, ours], words),
        )
        for shown, words in (("--help", ["--help"]), ("--app app routes", routes))
    ]
    interleave([bare, helped, many_told, many_shown, *(each for pair in pairs for each in pair)], rounds * _ROUNDS)
    shutil.rmtree(home)
    return [
        "Milliseconds of wall time, and of the processor.",
        "",
        "| | wall | processor | aim |",
        "|---|--:|--:|--:|",
        f"| {bare.name} | {_ms(bare.wall)} | {_ms(bare.cpu)} | |",
        f"| {helped.name} | {_ms(helped.wall)} | {_ms(helped.cpu)} | 250 |",
        f"| {many_told.name} | {_ms(many_told.wall)} | {_ms(many_told.cpu)} | 300 |",
        f"| {many_shown.name} | {_ms(many_shown.wall)} | {_ms(many_shown.cpu)} | 300 |",
        *(line for before, after in pairs for line in _compared(before, after)),
    ]


def _compared(before: Contender, after: Contender) -> list[str]:
    share = f"{_ms(after.wall - before.wall)} more | {_ms(after.cpu - before.cpu)} more | 20 more"
    return [
        f"| {before.name} | {_ms(before.wall)} | {_ms(before.cpu)} | |",
        f"| {after.name} | {_ms(after.wall)} | {_ms(after.cpu)} | |",
        f"| our share of that | {share} |",
    ]


def _ms(seconds: float) -> str:
    return f"{round(seconds * 1000)}"


def _mirror(packages: Path, target: Path, hidden: str = "") -> str:
    """A directory with everything of a `site-packages`, but what is hidden."""
    target.mkdir()
    for entry in packages.iterdir():
        if not hidden or hidden not in entry.name:
            (target / entry.name).symlink_to(entry)
    return str(target)


def _make_archives(backups: Path, uploads: Path) -> None:
    """Archives of as many nights, each of a small tree, and a history of a run of each."""
    backups.mkdir()
    for number in range(_FOLDERS):
        (uploads / f"{number}").mkdir(parents=True)
        (uploads / f"{number}" / "file").write_bytes(os.urandom(100))
    newest = datetime.now(UTC).replace(microsecond=0)
    for number in reversed(range(_ARCHIVES)):
        taken_at = newest - timedelta(days=number)
        path = backups / archive_name(taken_at)
        _write_archive(path, taken_at, uploads)
        os.utime(path, (taken_at.timestamp(), taken_at.timestamp()))
        seconds = dict.fromkeys(("rows", "dump", "uploads", "sync", "verify", "prune"), 1.5)
        details = {"size_bytes": path.stat().st_size, "seconds": seconds}
        append_outcome(backups, Outcome("backup", taken_at, 9.0, 0, archive=path.name, details=details))


def _write_archive(path: Path, taken_at: datetime, uploads: Path) -> None:
    with open(path, "xb") as file:
        writer = ArchiveWriter(file.fileno(), path.parent, int(taken_at.timestamp()))
        try:
            size, digest = writer.write_dump([os.urandom(1000)])
            omissions: Omissions = write_uploads(writer, (UploadDir(uploads),), None, NoProgress()).omissions
            properties = DatabaseProperties("reef", "7000000000000000001", "17.5", 17, 8_000_000)
            dump = DumpRecord(size, digest, "none", ClientTools(path.parent, 17, "17.5"), properties, _TABLES, [])

            def manifest_for(sums_sha256: str, list_sha256: str, sums_offset: int) -> bytes:
                digests = (sums_sha256, list_sha256, sums_offset)
                return encode_manifest(
                    manifest_document(
                        taken_at, settings_of(), dump, writer.tally, omissions, [], block_size=4096, digests=digests
                    )
                )

            writer.finish(manifest_for)
        finally:
            writer.close()
