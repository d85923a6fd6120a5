"""A disk that cannot read an archive says nothing of its bytes: that is a failure (1), and no rejected archive (5)."""

from __future__ import annotations

import json

import pytest

from support.faults import failed
from support.injection import traced
from support.needs import need_program
from support.postgres import Database
from support.runs import Outcome, Site
from support.states import state_of

pytestmark = pytest.mark.timeout(180)


def reads(site: Site, *arguments: str) -> list[int]:
    """The first, the middle and the last of the reads of the oldest archive that an undisturbed run makes."""
    run = traced(site, *arguments, options=("-P", str(site.archives[0]), "-e", "trace=pread64"))
    count = run.log.count("pread64(")
    assert count >= 3, run.outcome.output
    return [1, count // 2, count]


def unreadable(site: Site, when: int, *arguments: str) -> Outcome:
    """The command, for which the disk fails from that read of the oldest archive on."""
    inject = ("-e", "trace=pread64", "-e", f"inject=pread64:error=EIO:when={when}+")
    done = traced(site, *arguments, options=("-P", str(site.archives[0]), *inject))
    assert done.count >= 1, done.log
    return done.outcome


def with_uploads(site: Site) -> None:
    for number in range(3):
        (site.uploads / f"{number}.bin").write_bytes(bytes([number]) * 1_500_000)
    assert site.run("backup").status == 0


def test_verify_names_the_disk_and_rejects_nothing(site: Site) -> None:
    with_uploads(site)
    verify = ("verify", str(site.archives[0]))
    for when in reads(site, *verify):
        done = unreadable(site, when, *verify)

        failed(done, 1, str(site.archives[0]), "Input/output error", "dmesg")
        assert "REJECTED" not in done.output


def test_the_other_archives_are_verified_all_the_same(site: Site) -> None:
    with_uploads(site)
    assert site.run("backup").status == 0
    verify = ("verify", "--all", "--json")

    done = unreadable(site, reads(site, *verify)[-1], *verify)

    failed(done, 1, str(site.archives[0]), "Input/output error", "dmesg")
    assert [each["path"] for each in json.loads(done.stdout)["archives"]] == [str(site.archives[1])]
    with open(site.archives[1], "r+b") as archive:
        archive.truncate(1_000_000)
    failed(unreadable(site, reads(site, *verify)[-1], *verify), 5, "Input/output error", "dmesg")


@pytest.mark.parametrize(
    ("call", "options"),
    [("read", ("--jobs", "2")), ("sendfile", ("--jobs", "1")), ("sendfile", ("--in-place",))],
    ids=["the tool that lists it", "what the tool is given", "what it is given in place"],
)
def test_what_a_tool_cannot_be_given_is_the_disks_fault(
    site: Site, database: Database, call: str, options: tuple[str, ...]
) -> None:
    with_uploads(site)
    before = state_of(database.url, database.server.major, site.uploads)
    inject = ("-f", "-P", str(site.archives[0]), "-e", f"trace={call}", "-e", f"inject={call}:error=EIO:when=1")

    done = traced(site, "restore", "--from", str(site.archives[0]), "--yes", *options, options=inject)

    assert done.count == 1, done.log
    failed(done.outcome, 1, str(site.archives[0]), "Input/output error", "dmesg")
    assert state_of(database.url, database.server.major, site.uploads) == before


def test_a_copy_of_the_dump_that_cannot_be_read_is_the_disks_fault(site: Site, database: Database) -> None:
    with_uploads(site)
    bin_dir = database.server.bin_dir
    tools, log = site.root / "tools", site.root / "of-the-tool.log"
    tools.mkdir()
    for each in bin_dir.iterdir():
        (tools / each.name).symlink_to(each)
    (tools / "pg_restore").unlink()
    (tools / "pg_restore").write_text(
        '#!/bin/sh\nfor copy; do :; done; copy=$(readlink "$copy"); copy=${copy% (deleted)}\n'
        'case "$*" in *--jobs=*) exec strace -f -qq -P "$copy" -e trace=read -e inject=read:error=EIO:when=1 '
        f'-o {log} {bin_dir}/pg_restore "$@";; esac\n'
        f'exec {bin_dir}/pg_restore "$@"\n'
    )
    (tools / "pg_restore").chmod(0o755)
    need_program("strace")
    before = state_of(database.url, database.server.major, site.uploads)

    done = site.run("restore", "--from", str(site.archives[0]), "--yes", "--jobs", "2", BACKUP_PG_BIN=str(tools))

    assert "(INJECTED)" in log.read_text()
    failed(done, 1, "loading the dump", "Input/output error", "dmesg")
    assert state_of(database.url, database.server.major, site.uploads) == before


@pytest.mark.parametrize("verb", ["--dry-run", "--yes"])
def test_a_restore_that_cannot_read_its_archive_fails_and_changes_nothing(
    site: Site, database: Database, verb: str
) -> None:
    with_uploads(site)
    restore = ("restore", "--from", str(site.archives[0]), verb)
    numbers = reads(site, *restore)
    before = state_of(database.url, database.server.major, site.uploads)
    for when in numbers:
        done = unreadable(site, when, *restore)

        failed(done, 1, str(site.archives[0]), "Input/output error", "dmesg")
        assert state_of(database.url, database.server.major, site.uploads) == before
