"""`make bench`: writes docs/benchmarks.md. `make bench BENCH="--scale 0.1 --rounds 1"` is a quick look."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from benchmarks.beside import beside
from benchmarks.counting import counting
from benchmarks.data import make_database, make_small_files, make_uploads
from benchmarks.foreign import foreign
from benchmarks.lookup import lookup, one_table
from benchmarks.measure import Contender, interleave, mib
from benchmarks.offsite import offsite_growth
from benchmarks.ours import COMMAND, environment
from benchmarks.restore import restores
from benchmarks.reuse import reuse
from benchmarks.sizes import CASES, sizes
from benchmarks.startup import startup
from safeharbor_backup.postgres.private_cluster import PrivateServer, find_server_bins, private_server

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "benchmarks.md"
SAFEHARBOR = [*COMMAND, "backup", "--quiet", "--no-prune"]
RESTORE_SECTION = "## Restore, verify and dry run\n"  # stays as it is on the page, down to the mark
RESTORE_MARK = "<!-- restore results -->\n"  # below each mark, up to the next heading: the results
OFFSITE_MARK = "<!-- off-site results -->\n"
REUSE_MARK = "<!-- reuse results -->\n"
LOOKUP_MARK = "<!-- lookup results -->\n"
FOREIGN_MARK = "<!-- foreign results -->\n"
COUNTING_MARK = "<!-- counting results -->\n"
SIZES_MARK = "<!-- sizes results -->\n"
STARTUP_MARK = "<!-- start-up results -->\n"
BESIDE_MARK = "<!-- beside results -->\n"
TARFILE = "import sys, tarfile\nwith tarfile.open(sys.argv[2], 'w') as tar: tar.add(sys.argv[1], 'uploads')\n"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="size of the data set")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--place", type=Path, default=ROOT / ".cache" / "bench", help="where data and output go")
    parser.add_argument("--files", type=int, default=200_000, help="how many small files to compare with")
    parser.add_argument("--most-files", type=int, default=1_000_000, help="how many to measure memory with, once")
    parser.add_argument(
        "--members", type=int, default=1_000_000, help="how many members the archives of the dry run and of diff have"
    )
    parser.add_argument(
        "--only",
        choices=[
            "backup",
            "restore",
            "offsite",
            "reuse",
            "startup",
            "lookup",
            "foreign",
            "sizes",
            "counting",
            "beside",
        ],
        help="only this part",
    )
    parser.add_argument("--case", choices=list(CASES), action="append", help="of the sizes only this one")
    parser.add_argument("--checkout", type=Path, help="of another commit, whose backups `--only beside` measures too")
    parser.add_argument("--page", type=Path, default=PAGE, help="where the results go")
    arguments = parser.parse_args()
    if (arguments.only == "beside") != (arguments.checkout is not None):
        parser.error("--only beside and --checkout belong together")
    place = arguments.place / f"scale-{arguments.scale:g}"
    output = place / "output"
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    bins = find_server_bins()
    major = 17 if 17 in bins else max(bins)  # the wheel of 17 has zstd
    machine = (
        f"on {os.cpu_count()} cores, Linux {platform.release().split('-')[0]}, Python {platform.python_version()}, "
        f"PostgreSQL {major}."
    )
    conditions = f"(scale {arguments.scale:g}, {arguments.rounds} rounds, interleaved, medians) {machine}"
    page = arguments.page.read_text()
    if arguments.only in (None, "startup"):
        page = with_results(page, STARTUP_MARK, conditions, startup(place, arguments.rounds))
    if arguments.only in (None, "lookup"):
        lines = lookup(place, int(arguments.members * min(arguments.scale, 1)), arguments.rounds)
        with private_server(bins[major]) as server:
            lines += one_table(server, bins[major], place, int(1_000_000 * arguments.scale), arguments.rounds)
        page = with_results(page, LOOKUP_MARK, conditions, lines)
    if arguments.only in (None, "foreign"):
        page = with_results(page, FOREIGN_MARK, conditions, foreign(bins[major], place, 8_000, arguments.rounds))
    if arguments.only in (None, "sizes"):
        chosen = arguments.case or list(CASES)
        lines = sizes(bins[major], place, output, arguments.scale, arguments.rounds, chosen)
        page = with_results(page, SIZES_MARK, conditions, lines)
    if arguments.only in (None, "counting"):
        with private_server(bins[major]) as server:
            lines = counting(server, bins[major], place, arguments.scale, arguments.rounds)
        page = with_results(page, COUNTING_MARK, conditions, lines)
    if arguments.only not in ("startup", "lookup", "foreign", "sizes", "counting"):
        page = beside_server(arguments, page, place, output, bins[major], conditions, machine)
    shutil.rmtree(output)
    arguments.page.write_text(page)
    print(page)


def beside_server(
    arguments: argparse.Namespace, page: str, place: Path, output: Path, bin_dir: Path, conditions: str, machine: str
) -> str:
    """The page with the results of what needs a server and the large data set."""
    files, most_files, members = (
        int(each * min(arguments.scale, 1)) for each in (arguments.files, arguments.most_files, arguments.members)
    )
    print("making the data set", flush=True)
    if arguments.only != "reuse":
        make_uploads(place / "uploads", arguments.scale)
    with private_server(bin_dir) as server:
        server.create_database("bench")
        make_database(server.url("bench"), arguments.scale)
        if arguments.only in (None, "backup"):
            for count in (files, most_files):
                make_small_files(place / f"small-{count}", count)
            lines = whole_backup(server, bin_dir, place, output, arguments.rounds)
            server.create_database("empty")
            lines += small_files(server, bin_dir, place, output, files, arguments.rounds)
            lines += many_small_files(server, bin_dir, place, output, most_files)
            page = with_backup_results(page, conditions, lines)
        if arguments.only in (None, "restore"):
            lines = restores(server, bin_dir, place, output, members, arguments.rounds)
            page = with_results(page, RESTORE_MARK, conditions, lines)
        if arguments.only == "beside":
            lines = beside(arguments.checkout.resolve(), server, bin_dir, place, arguments.scale, arguments.rounds)
            page = with_results(page, BESIDE_MARK, conditions, lines)
        if arguments.only in (None, "reuse"):
            counts = sorted({max(most_files // part, 1) for part in (100, 10, 1)})
            image = arguments.page.parent / "images" / "benchmarks-growth.png"
            lines = reuse(server, bin_dir, place, arguments.scale, counts, arguments.rounds, image)
            page = with_results(page, REUSE_MARK, conditions, lines)
        if arguments.only in (None, "offsite"):  # last: it changes rows
            lines = offsite_growth(server, bin_dir, place, output, arguments.scale)
            page = with_results(page, OFFSITE_MARK, f"(scale {arguments.scale:g}, one round) {machine}", lines)
    return page


def with_backup_results(page: str, conditions: str, lines: list[str]) -> str:
    """The page with these results above the section on restores."""
    _, section, rest = page.partition(RESTORE_SECTION)
    heading = [
        "# Benchmarks",
        "",
        f"Made by `make bench` {conditions} Seconds differ from machine to machine; trust the ratios.",
        "",
    ]
    return "\n".join([*heading, *lines]) + "\n" + section + rest


def with_results(page: str, mark: str, conditions: str, lines: list[str]) -> str:
    """The page with these results below the mark."""
    before, found, after = page.partition(mark)
    assert found, f"the page has lost its line {mark.strip()}"
    _, heading, rest = after.partition("\n## ")
    return before + mark + "\n" + "\n".join([f"Made by `make bench` {conditions}", "", *lines]) + "\n" + heading + rest


def whole_backup(server: PrivateServer, bin_dir: Path, place: Path, output: Path, rounds: int) -> list[str]:
    """Our first backup beside pg_dump, tar and sync, with the same compression and with our default."""

    def clear() -> None:
        shutil.rmtree(output)
        output.mkdir()

    def pipeline(compress: str) -> Contender:
        script = (
            f"set -e; {bin_dir}/pg_dump -Fc {compress} -f {output}/db.dump '{server.url('bench')}'; "
            f"tar -cf {output}/backup.tar -C {output} db.dump -C {place} uploads; rm {output}/db.dump; sync"
        )
        return Contender(f"`pg_dump -Fc {compress}; tar; sync`", ["sh", "-c", script], os.environ, clear)

    def ours(compression: str) -> Contender:
        return Contender(
            f"Safe Harbor, {compression}",
            SAFEHARBOR,
            environment(server, bin_dir, "bench", place / "uploads", output, compression),
            clear,
        )

    def second(compression: str) -> Contender:
        def leave_one() -> None:  # the newest of those that the contender before it left
            for path in sorted(output.glob("*.tar"))[:-1]:
                path.unlink()

        again = ours(compression)
        return replace(again, name=f"{again.name}, the second", clear=leave_one)

    gzip, zstd = pipeline("-Z gzip"), pipeline("-Z zstd:3")
    contenders = [gzip, ours("gzip"), second("gzip"), zstd, ours("auto"), second("auto")]
    print("whole backups", flush=True)
    interleave(contenders, rounds)
    aims = {"Safe Harbor, gzip": "1.0", "Safe Harbor, auto": "0.4", "Safe Harbor, gzip, the second": "1.0"}
    rows = [
        f"| {each.name} | {each.wall:.1f} | {each.wall / gzip.wall:.2f} | {aims.get(each.name, '')} "
        f"| {each.wall / zstd.wall:.2f} | {mib(each.peak_bytes)} |"
        for each in contenders
    ]
    size = sum(path.stat().st_size for path in (place / "uploads").rglob("*") if path.is_file())
    database = server.execute("SELECT pg_database_size('bench')")[0][0]
    return [
        "## A whole backup",
        "",
        f"A database of {mib(database)}, uploads of {mib(size)}. Ours also computes SHA-256 of everything, decodes "
        "the dump, forces the archive to the disk and reads it back; the pipeline does none of that. `auto` is zstd:3. "
        f"On {filesystem_of(output)}; where blocks cannot be shared, the second backup costs what the first does.",
        "",
        "| | seconds | against gzip pipeline | aim | against zstd pipeline | peak memory of the largest process |",
        "|---|--:|--:|--:|--:|--:|",
        *rows,
        "",
    ]


def filesystem_of(place: Path) -> str:
    """The type of the filesystem there."""
    done = subprocess.run(["stat", "-f", "-c", "%T", place], check=True, capture_output=True, text=True)
    return done.stdout.strip().replace("ext2/ext3", "ext4")


def many_small_files(server: PrivateServer, bin_dir: Path, place: Path, output: Path, count: int) -> list[str]:
    """One run over very many files, for its memory."""
    settings = environment(server, bin_dir, "empty", place / f"small-{count}", output, "auto")
    run = Contender("Safe Harbor", SAFEHARBOR, settings, lambda: None).run()
    return [
        f"A single run over {count:,} such files: {run.wall:.0f} s, {run.user / count * 1e6:.1f} µs of our own for a "
        f"file, {mib(run.peak_bytes)} of memory at its peak.",
        "",
    ]


def small_files(server: PrivateServer, bin_dir: Path, place: Path, output: Path, count: int, rounds: int) -> list[str]:
    """Many small files: time and memory of ours, beside tar and Python's tarfile."""
    root = place / f"small-{count}"

    def clear() -> None:
        shutil.rmtree(output)
        output.mkdir()

    contenders = [
        Contender(
            "Safe Harbor (written, checksummed, read back)",
            SAFEHARBOR,
            environment(server, bin_dir, "empty", root, output, "auto"),
            clear,
        ),
        Contender("`tar -cf`", ["tar", "-cf", str(output / "t.tar"), "-C", str(place), root.name], os.environ, clear),
        Contender(
            "Python's `tarfile`",
            [sys.executable, "-c", TARFILE, str(root), str(output / "t.tar")],
            os.environ,
            clear,
        ),
    ]
    print(f"{count} small files", flush=True)
    interleave(contenders, rounds)
    rows = [
        f"| {each.name} | {each.wall / count * 1e6:.1f} | {each.user / count * 1e6:.1f} | "
        f"{(each.cpu - each.user) / count * 1e6:.1f} | {mib(each.peak_bytes)} |"
        for each in contenders
    ]
    return [
        f"## {count:,} files of 2 KB, 10,000 to a directory",
        "",
        "Microseconds per file. The system's share is the kernel opening, reading and writing files.",
        "",
        "| | wall | own (user) | system | peak memory |",
        "|---|--:|--:|--:|--:|",
        *rows,
        "",
    ]


if __name__ == "__main__":
    main()
