"""What comes after a backup: restore, verify and the quick dry run, each beside the tools that do the same."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

from benchmarks.data import make_large_archive
from benchmarks.measure import Contender, interleave, mib
from benchmarks.ours import COMMAND, environment
from safeharbor_backup.postgres.private_cluster import PrivateServer
from safeharbor_backup.settings.load import load_settings

RESTORE_AIM, VERIFY_AIM, DRY_RUN_AIM_SECONDS = 1.1, 1.2, 0.5
_JOBS = 2
_RESTORED = "restored"  # the database; what a restore keeps beside it begins with the same name


def restores(server: PrivateServer, bin_dir: Path, place: Path, output: Path, members: int, rounds: int) -> list[str]:
    """One table of all three; nothing that is made here stays."""
    archives = place / "archives"
    shutil.rmtree(archives, ignore_errors=True)
    archives.mkdir()
    settings = environment(server, bin_dir, "bench", place / "uploads", archives, "auto")
    archive = archives / "whole.tar"
    print("making the archives", flush=True)
    take = [*COMMAND, "backup", "--quiet", "--no-prune", "--output", str(archive)]
    Contender("backup", take, settings, lambda: None).run()
    large = archives / "many-members.tar"
    make_large_archive(large, load_settings(settings), members)
    lines = [
        "| | seconds | ratio | aim | peak memory of the largest process |",
        "|---|--:|--:|--:|--:|",
        *_restore_rows(server, bin_dir, archive, output, rounds),
        *_verify_rows(bin_dir, archive, settings, output, rounds),
        *_dry_run_row(server, bin_dir, place, large, members, output, rounds),
    ]
    size = os.stat(archive).st_size
    shutil.rmtree(archives)
    database = server.execute("SELECT pg_database_size('bench')")[0][0]
    return [f"An archive of {mib(size)}, of a database of {mib(database)}.", "", *lines]


def _restore_rows(server: PrivateServer, bin_dir: Path, archive: Path, output: Path, rounds: int) -> list[str]:
    contenders, clear = restore_contenders(server, bin_dir, archive, output)
    print("restores", flush=True)
    interleave(contenders, rounds)
    clear()
    return _rows(contenders, RESTORE_AIM)


def restore_contenders(
    server: PrivateServer, bin_dir: Path, archive: Path, output: Path
) -> tuple[list[Contender], Callable[[], None]]:
    """Both begin with no uploads and no such database, load with two jobs, and end when all is on the disk.

    The tools by hand first; the other is what removes all that they leave.
    """
    uploads, backups = output / "uploads", output / "backups"

    def clear() -> None:
        _empty(output)
        _drop_restored(server)

    def clear_for_ours() -> None:
        clear()
        uploads.mkdir()
        backups.mkdir()
        server.create_database(_RESTORED)  # with a database to swap, which is the ordinary way

    user, url = server.execute("SELECT current_user")[0][0], server.url(_RESTORED)
    at = f"--host={server.socket_dir} --port={server.port} --username={user}"
    pipeline = (
        f"set -e; tar -xf {_sh(archive)} -C {_sh(output)}; {_sh(bin_dir / 'createdb')} {at} {_RESTORED}; "
        f"{_sh(bin_dir / 'pg_restore')} -j{_JOBS} --dbname={_sh(url)} {_sh(output / 'db.dump')}; "
        f"{_sh(bin_dir / 'vacuumdb')} {at} --quiet --analyze-only {_RESTORED}; sync"
    )
    ours = [*COMMAND, "restore", "--quiet", "--yes", "--from-another", "--jobs", str(_JOBS), "--from", str(archive)]
    contenders = [
        Contender(
            f"`tar -xf; createdb; pg_restore -j{_JOBS}; vacuumdb --analyze-only; sync`",
            ["sh", "-c", pipeline],
            os.environ,
            clear,
        ),
        Contender(
            f"Safe Harbor, `restore --jobs {_JOBS}; sync`",
            ["sh", "-c", f"set -e; {shlex.join(ours)}; sync"],
            environment(server, bin_dir, _RESTORED, uploads, backups, "auto"),
            clear_for_ours,
        ),
    ]
    return contenders, clear


def _verify_rows(bin_dir: Path, archive: Path, settings: dict[str, str], output: Path, rounds: int) -> list[str]:
    """The pipeline reads the archive once for its one digest, and its dump once more, which lies beside it."""
    _empty(output)
    dump = output / "db.dump"
    Contender("tar", ["tar", "-xf", str(archive), "-C", str(output), dump.name], os.environ, lambda: None).run()
    pipeline = f"set -e; openssl dgst -sha256 {_sh(archive)}; {_sh(bin_dir / 'pg_restore')} -f /dev/null {_sh(dump)}"
    contenders = [
        Contender("`openssl dgst -sha256; pg_restore -f /dev/null`", ["sh", "-c", pipeline], os.environ, lambda: None),
        Contender("Safe Harbor, `verify`", [*COMMAND, "verify", "--quiet", str(archive)], settings, lambda: None),
    ]
    print("proofs", flush=True)
    interleave(contenders, rounds)
    return _rows(contenders, VERIFY_AIM)


def _dry_run_row(
    server: PrivateServer, bin_dir: Path, place: Path, archive: Path, members: int, output: Path, rounds: int
) -> list[str]:
    """Against the live data set."""
    argv = [*COMMAND, "restore", "--quiet", "--dry-run", "--quick", "--from", str(archive)]
    settings = environment(server, bin_dir, "bench", place / "uploads", output, "auto")
    name = f"Safe Harbor, `restore --dry-run --quick` of {members:,} members"
    run = Contender(name, argv, settings, lambda: None)
    print(f"dry runs, {members:,} members", flush=True)
    interleave([run], rounds)
    return [f"| {name} | {run.wall:.2f} | | {DRY_RUN_AIM_SECONDS:.1f} s | {mib(run.peak_bytes)} |"]


def _rows(contenders: list[Contender], aim: float) -> list[str]:
    first = contenders[0].wall
    aims = ["", *(f"{aim:.1f}" for _ in contenders[1:])]
    return [
        f"| {each.name} | {each.wall:.1f} | {each.wall / first:.2f} | {wanted} | {mib(each.peak_bytes)} |"
        for each, wanted in zip(contenders, aims, strict=True)
    ]


def _drop_restored(server: PrivateServer) -> None:
    """The restored database and the one that a restore has kept."""
    query = f"SELECT format('%I', datname) FROM pg_database WHERE datname ~ '^{_RESTORED}'"
    for (name,) in server.execute(query):
        server.execute(f"DROP DATABASE {name} WITH (FORCE)")


def _empty(directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()


def _sh(path: Path | str) -> str:
    return shlex.quote(str(path))
