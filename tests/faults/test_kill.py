"""SIGKILL, signals and injected failures of the calls that write: never a half archive, never a lost one."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time

import pytest

from support.faults import Before, children_left, failed
from support.injection import Call, calls_of, killed_at, traced
from support.runs import Outcome, Site


@pytest.fixture
def before(site: Site) -> Before:
    """One sound archive that every fault must leave alone."""
    assert site.run("backup").status == 0
    return Before(site)


def injected(site: Site, inject: str, *options: str) -> Outcome:
    """A backup under strace, which makes a chosen call of any of its processes fail; it is seen to have done so."""
    run = traced(site, "backup", options=("-f", *options, "-e", f"inject={inject}"))
    assert run.count, f"nothing was injected: {run.outcome.output}"
    return run.outcome


def killed_everywhere(site: Site, before: Before, calls: list[Call], *options: str, may_lack: int = 0) -> None:
    """Kill a backup at each of these calls, and see each time that it was killed there and did no harm.

    So many of the last ones may not come in each run.
    """
    assert calls
    for number, call in enumerate(calls):
        run = killed_at(site, call, "backup", "--no-prune", options=options)
        is_sure = number < len(calls) - may_lack
        assert run.outcome.status == -signal.SIGKILL or not is_sure, (str(call), run.outcome.output)
        before.unharmed()
        for later in site.archives[1:]:
            later.unlink()


@pytest.mark.timeout(600)
def test_a_kill_at_every_fsync_and_rename_leaves_all_or_nothing(site: Site, before: Before) -> None:
    calls = calls_of(site, "backup", "--no-prune", names=("fsync", "rename", "renameat2"))
    assert {call.name for call in calls} >= {"fsync", "renameat2"}
    site.archives[-1].unlink()

    killed_everywhere(site, before, calls)


@pytest.mark.timeout(600)
def test_a_kill_at_any_write_leaves_all_or_nothing(site: Site, before: Before) -> None:
    calls = calls_of(site, "backup", "--no-prune", names=("write",))
    site.archives[-1].unlink()

    # lines of progress come only from a slow run
    killed_everywhere(site, before, calls, may_lack=8)


@pytest.mark.timeout(600)
def test_a_kill_as_the_dump_is_put_in_its_place_leaves_all_or_nothing(site: Site, before: Before) -> None:
    log = traced(site, "backup", "--no-prune", options=("-f", "-e", "trace=pwrite64")).log
    site.archives[-1].unlink()
    count = log.count("pwrite64(")
    if not count:  # where both are written in turn: that is plain writes
        return

    # each thread counts its own calls, so only the first is surely reached
    killed_everywhere(site, before, [Call("pwrite64", 1)], "-f")


def test_a_kill_at_the_first_pruned_archive_keeps_the_new_one(site: Site) -> None:
    for day in range(1, 6):
        name = f"safeharbor-backup-2026-03-{day:02}T03-00-00Z.tar"
        (site.backups / name).write_bytes(b"old")
        os.utime(site.backups / name, (1_772_000_000 + day * 86400,) * 2)

    site.environment.update(BACKUP_RETENTION_DAILY="1", BACKUP_RETENTION_WEEKLY="1")
    run = killed_at(site, Call("unlink", 1), "backup")
    assert run.outcome.status == -signal.SIGKILL, run.outcome.output
    assert len(site.archives) == 6  # five old ones and the new one

    assert site.run("verify", "--latest").status == 0
    assert site.run("backup", BACKUP_RETENTION_DAILY="1", BACKUP_RETENTION_WEEKLY="1").status == 0
    assert len(site.archives) == 1
    assert site.leftovers == []


def test_kills_at_random_moments_leave_all_or_nothing(site: Site, before: Before) -> None:
    chance = random.Random(7)
    for _ in range(10):
        run = site.start("backup", "--no-prune")
        time.sleep(chance.uniform(0.05, 0.7))
        run.send_signal(signal.SIGKILL)
        run.communicate()
        assert not children_left(site)

    before.unharmed()


INJECTED = {
    "no quota at fsync": ("fsync:error=EDQUOT:when=1+", 7, "quota"),
    "an I/O error at fsync": ("fsync:error=EIO:when=1", 1, "Input/output error"),
    "a rename that is not permitted": ("renameat2:error=EPERM:when=1", 7, "not permitted"),
    "a read-only filesystem at the rename": ("renameat2:error=EROFS:when=1", 7, "Read-only"),
    "an I/O error at the directory's fsync": ("fsync:error=EIO:when=2", 1, "Input/output error"),
}


@pytest.mark.parametrize(("inject", "status", "words"), INJECTED.values(), ids=INJECTED.keys())
def test_a_call_that_fails_is_told_and_leaves_nothing(
    site: Site, before: Before, inject: str, status: int, words: str
) -> None:
    count = len(site.archives)
    done = injected(site, inject)

    failed(done, status, words, "untouched")
    assert len(site.archives) == count
    assert site.leftovers == []
    before.unharmed()


def test_a_limit_on_file_sizes_is_told(site: Site, before: Before) -> None:
    done = subprocess.run(
        ["sh", "-c", 'ulimit -f 8; trap "" XFSZ; exec "$0" "$@"', *site.argv("backup")],
        env=site.full_environment(),
        capture_output=True,
        cwd=site.root,
        check=False,
    )

    failed(Outcome(done.returncode, done.stdout.decode(), done.stderr.decode()), 7, "File too large", "untouched")
    before.unharmed()


def test_a_rename_that_the_filesystem_does_not_know_is_done_the_old_way(site: Site) -> None:
    assert injected(site, "renameat2:error=EINVAL:when=1").status == 0
    assert site.run("verify", "--latest").status == 0


def test_writes_that_are_interrupted_go_on(site: Site) -> None:
    last = calls_of(site, "backup", names=("write",))[-1].when

    run = traced(site, "backup", options=("-e", "trace=write", "-e", "inject=write:error=EINTR:when=2+3"))

    assert run.outcome.status == 0, run.outcome.output
    assert run.count >= last // 3 - 1
    assert site.run("verify", "--latest").status == 0


PHASES = {
    "while it dumps": 0.0,
    "soon after": 0.25,
    "later": 0.45,
}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda each: each.name)
@pytest.mark.parametrize("phase", PHASES.values(), ids=PHASES.keys())
def test_a_signal_ends_a_run_the_orderly_way(site: Site, before: Before, number: signal.Signals, phase: float) -> None:
    photo = site.uploads / "large.bin"
    photo.write_bytes(b"\xff" * 150_000_000)
    run = site.start("backup", "--no-prune")
    deadline = time.monotonic() + 20
    while not any("tmp" in name for name in site.leftovers) and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(phase)

    run.send_signal(number)
    said = run.communicate(timeout=30)[1].decode()

    photo.unlink()
    # 0, or ended while Python was leaving: it was done before the signal came
    assert run.returncode in (128 + number, 0) or (run.returncode == -number and len(site.archives) == 2), said
    assert "Traceback" not in said
    assert site.leftovers == []
    assert not children_left(site)
    for late in site.archives[1:]:
        assert site.run("verify", str(late)).status == 0
        late.unlink()
    before.unharmed()


def test_two_signals_are_no_worse_than_one(site: Site, before: Before) -> None:
    photo = site.uploads / "large.bin"
    photo.write_bytes(b"\xff" * 150_000_000)
    run = site.start("backup", "--no-prune")
    deadline = time.monotonic() + 20
    while not any("tmp" in name for name in site.leftovers) and time.monotonic() < deadline:
        time.sleep(0.005)
    run.send_signal(signal.SIGTERM)
    run.send_signal(signal.SIGTERM)
    said = run.communicate(timeout=30)[1].decode()

    photo.unlink()
    assert run.returncode == 143, said
    assert site.leftovers == []
    before.unharmed()


def test_a_hangup_that_is_ignored_stays_ignored(site: Site) -> None:
    run = subprocess.Popen(
        ["sh", "-c", 'trap "" HUP; exec "$0" "$@"', *site.argv("backup")],
        env=site.full_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=site.root,
    )
    time.sleep(0.4)
    run.send_signal(signal.SIGHUP)
    run.communicate(timeout=60)

    assert run.returncode == 0
