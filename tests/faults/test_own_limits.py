"""What our own process may not have (open files, processes, threads, memory) says nothing of uploads or archives."""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path

import pytest

from support.archives import write_program
from support.faults import failed
from support.postgres import Database
from support.runs import MAIN, Outcome, Site
from support.shim import Order, Shim

pytestmark = pytest.mark.timeout(120)


def limited(site: Site, limit: str, most: int, *arguments: str) -> Outcome:
    """The command under a limit of the operating system, from its first line on."""
    code = f"import resource; resource.setrlimit(resource.{limit}, ({most}, {most})); {MAIN}"
    done = site.run_code(code, *arguments)
    return Outcome(done.returncode, done.stdout.decode(), done.stderr.decode())


def refused(site: Site, call: str, error: str, when: str, *arguments: str) -> tuple[Outcome, int]:
    """The command while the kernel refuses a call of it; and how many times it did."""
    log = site.root / "trace"
    trace = ("-f", "-o", log, "-e", f"trace={call}", "-e", f"inject={call}:error={error}:when={when}")
    done = site.run_traced(trace, *arguments)
    outcome = Outcome(done.returncode, done.stdout.decode(), done.stderr.decode())
    return outcome, log.read_text().count("(INJECTED)")


def test_too_few_open_files_are_named_and_no_archive_without_uploads_is_published(site: Site) -> None:
    for number in range(40):
        (site.uploads / f"{number:02}").write_text("x")
    assert site.run("backup").status == 0
    statuses = []
    for most in range(11, 44, 3):
        before = len(site.archives)

        done = limited(site, "RLIMIT_NOFILE", most, "backup", "--full")

        statuses.append(done.status)
        assert "Traceback" not in done.output, (most, done.output)
        if done.status != 0:
            assert done.status == 1, (most, done.output)
            assert f"may have {most} open files (RLIMIT_NOFILE)" in done.output, (most, done.output)
            assert len(site.archives) == before
        assert site.leftovers == []
    assert {0, 1} == set(statuses)


@pytest.mark.parametrize("arguments", [("verify", "--latest"), ("drill",), ("restore", "--from", "latest", "--yes")])
def test_too_few_open_files_are_no_verdict_on_an_archive(site: Site, arguments: tuple[str, ...]) -> None:
    assert site.run("backup").status == 0
    statuses = []
    for most in range(6, 30, 3):
        done = limited(site, "RLIMIT_NOFILE", most, *arguments)

        statuses.append(done.status)
        assert done.status in (0, 1), (most, done.output)
        assert "Traceback" not in done.output, (most, done.output)
    assert 1 in statuses


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("error", ["EAGAIN", "ENOMEM"])
@pytest.mark.parametrize(
    "arguments", [("backup",), ("verify", "--latest"), ("drill",), ("restore", "--from", "latest", "--dry-run")]
)
def test_a_process_that_is_refused_is_our_own_trouble(
    site: Site, arguments: tuple[str, ...], error: str, number: int
) -> None:
    assert site.run("backup").status == 0
    before = len(site.archives)

    done, times = refused(site, "clone", error, str(number), *arguments)

    assert times == 1
    failed(done, 1)
    assert "RLIMIT_NPROC" in done.output or "RLIMIT_AS" in done.output
    assert len(site.archives) == before


@pytest.mark.parametrize("when", ["1", "2", "3", "1+"])
@pytest.mark.parametrize(
    "arguments", [("backup",), ("verify", "--latest"), ("drill",), ("restore", "--from", "latest", "--yes")]
)
def test_a_thread_that_is_refused_is_our_own_trouble(site: Site, arguments: tuple[str, ...], when: str) -> None:
    assert site.run("backup").status == 0
    before = len(site.archives)

    done, times = refused(site, "clone3", "EAGAIN", when, *arguments)

    assert times >= 1
    failed(done, 1, "No further thread can be started", "RLIMIT_NPROC")
    assert len(site.archives) == before
    assert [name for name in site.leftovers if "drill" not in name] == []  # a drill writes down that it gave up


def test_a_pg_restore_that_was_killed_says_nothing_of_the_archive(site: Site, tmp_path: Path) -> None:
    assert site.run("backup").status == 0
    tools = tmp_path / "tools"
    tools.mkdir()
    write_program(tools / "pg_dump", 'echo "pg_dump (PostgreSQL) 15.99"')
    write_program(tools / "pg_restore", "head -c 100 >/dev/null; kill -KILL $$")

    done = site.run("verify", "--latest", BACKUP_PG_BIN=str(tools))

    failed(done, 1, "ended by signal 9")
    assert "REJECTED" not in done.output


def test_a_client_that_does_not_tell_its_version_is_not_one_that_is_missing(site: Site, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("pg_dump", "pg_restore"):
        write_program(tools / name, "echo 'error while loading shared libraries: libpq.so.5' >&2; exit 127")

    done = site.run("backup", BACKUP_PG_BIN=str(tools), PATH="/nowhere")

    if "postgresql" not in done.output:
        failed(done, 1, f"{tools}/pg_dump --version ended with status 127", "libpq.so.5")


def test_a_file_that_may_not_grow_is_told_with_its_limit(site: Site) -> None:
    (site.uploads / "large").write_bytes(bytes(300_000))

    done = limited(site, "RLIMIT_FSIZE", 100 * 1024, "backup")

    failed(done, 7, "files of 102,400 bytes (RLIMIT_FSIZE)")
    assert site.archives == []
    assert re.search("access", done.stderr) is None


def test_memory_that_is_refused_after_the_commit_in_place_is_a_warning(
    site: Site, database: Database, tmp_path: Path
) -> None:
    assert site.run("backup").status == 0
    arguments, log = ("restore", "--from", "latest", "--in-place", "--yes"), str(tmp_path / "calls")
    with closing(Shim()) as shim:
        places = shim.places(site, Order(log), *arguments)
        assert site.run("restore", "--discard-previous", "--yes").status == 0
        analyze = next(each for each in places if each.startswith("poll") and "in_place.py" in each and "rows" in each)
        database.execute("TRUNCATE entry CASCADE")

        done = shim.disturbed(site, Order(log, place=analyze, action="fail", error="ENOMEM"), *arguments)

    assert done.has_happened
    assert done.outcome.status == 3, done.outcome.output
    assert (
        "the restore is done, but ANALYZE is still to be run: ANALYZE failed: Cannot allocate memory"
        in done.outcome.stderr
    )
    assert database.execute("SELECT count(*) FROM entry") == [(500,)]
