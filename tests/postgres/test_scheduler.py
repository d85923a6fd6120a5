"""The scheduler as its user runs it: a process of its own, a real server, a schedule of seconds."""

from __future__ import annotations

import json
import signal
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.request import urlopen

import pytest

from safeharbor_backup.system.lock import directory_lock
from support.archives import Facts, put_archive
from support.faults import children_left
from support.patience import patient
from support.postgres import Database, Servers, drop_database, make_database
from support.runs import Site, make_site
from support.schedules import scheduling

pytestmark = pytest.mark.timeout(90)


def test_backups_and_checks_run_one_at_a_time_until_it_is_told_to_stop(site: Site) -> None:
    state = site.root / "status.json"
    assert site.run("backup").status == 0  # a check before the first one would fail
    with scheduling(
        site, "*/2 * * * * *", BACKUP_VERIFY_SCHEDULE="*/3 * * * * *", BACKUP_STATUS_FILE=str(state)
    ) as running:
        first = running.read_until("Backing up database")
        running.read_until("next verify: ")
        running.read_until("backup: done: ")
        running.read_until("next backup: ")
        running.read_until("verify: done: ")
        running.read_until("backup: done: ")
        running.read_until("next backup: ")

        assert running.stop() == 0

    assert str(site.uploads) in first
    assert running.log[-1].endswith(" stopped: interrupted by SIGTERM")
    events = [line.split(" ", 1)[1] for line in running.log]
    work = [event for event in events if event.startswith(("backup: ", "verify: "))]
    # what the filesystem of the archives cannot do is told in between
    begun = [event for event in work if "skipped" not in event and "share blocks" not in event]
    for start, end in zip(begun[::2], begun[1::2], strict=False):  # nothing between a start and its end
        assert start.endswith(": starts")
        name = start.removesuffix("starts")
        assert end.startswith((f"{name}done: ", f"{name}stopped, "))
    assert len(site.archives) >= 3
    assert site.run("verify", "--all").status == 0
    assert site.leftovers == []
    published = json.loads(state.read_text())
    assert published["newest"]["name"] in {archive.name for archive in site.archives}


def test_it_goes_on_after_runs_that_fail(site: Site, database: Database) -> None:
    with scheduling(site, "* * * * * *") as running:
        with directory_lock(site.backups):
            running.read_until("backup: FAILED (status 4): Another Safe Harbor run is at work")
        running.read_until("backup: done: ")
        database.execute(f"ALTER ROLE {database.owner} CONNECTION LIMIT 0", superuser=True)
        running.read_until("backup: FAILED (status 6): ")
        running.read_until("backup: hint: ")
        database.execute(f"ALTER ROLE {database.owner} CONNECTION LIMIT -1", superuser=True)
        running.read_until("backup: done: ")

        assert running.stop(signal.SIGINT) == 0

    assert running.log[-1].endswith("interrupted by SIGINT")


def test_warnings_are_told_with_their_status(site: Site) -> None:
    (site.uploads / "away").symlink_to("/etc/hostname")
    with scheduling(site, "* * * * * *") as running:
        running.read_until("backup: warning: 1 upload cannot be archived")
        running.read_until("backup: done, with warnings (status 3): ")

        assert running.stop() == 0


def test_a_missed_backup_is_taken_at_the_start_and_only_once(site: Site) -> None:
    assert site.run("backup").status == 0
    slot = datetime.now(UTC) + timedelta(seconds=1)
    time.sleep(2)
    with scheduling(site, f"{slot.second} {slot.minute} {slot.hour} * * *") as running:
        missed = running.read_until("missed backup: the newest is from ")
        running.read_until("backup: done: ")
        following = running.read_until("next backup: ")

        time.sleep(0.5)
        assert running.stop() == 0

    assert f"one was due at {slot:%Y-%m-%d %H:%M:%S} UTC: it runs now" in missed
    assert f"next backup: {slot + timedelta(days=1):%Y-%m-%d %H:%M:%S} UTC" in following
    assert len(site.archives) == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda each: each.name)
def test_while_it_waits_it_answers_and_stops_at_once(site: Site, number: signal.Signals) -> None:
    with scheduling(site, "0 0 3 1 1 *", "--listen", "0") as running:
        address = running.read_until("metrics on ").split()[3].rstrip(",")
        running.read_until("next backup: ")
        time.sleep(0.2)
        with urlopen(f"http://{address}/metrics", timeout=30) as answer:
            assert b"safeharbor_healthy{" in answer.read()
        started = time.monotonic()

        assert running.stop(number) == 0

        assert time.monotonic() - started < patient(5)  # at once, and Python's own end on a busy machine
    assert running.log[-1].endswith(f"stopped: interrupted by {number.name}")


def test_during_a_run_it_ends_the_run_in_order_and_stops(site: Site) -> None:
    (site.uploads / "large.bin").write_bytes(b"\xff" * 150_000_000)
    with scheduling(site, "* * * * * *") as running:
        running.read_until("backup: starts")
        deadline = time.monotonic() + 20
        while not site.leftovers and time.monotonic() < deadline:
            time.sleep(0.005)

        assert running.stop() == 0

    assert any("backup: stopped, and nothing unfinished is left behind" in line for line in running.log)
    assert running.log[-1].endswith("stopped: interrupted by SIGTERM")
    assert site.archives == []
    assert site.leftovers == []
    assert not children_left(site)


@pytest.mark.parametrize("kind", ["empty", "another server"])
def test_on_a_new_host_a_missed_backup_is_not_caught_up(tmp_path: Path, servers: Servers, kind: str) -> None:
    new = make_database(servers[18])
    try:
        site = make_site(tmp_path, new)
        tables = {"public.entry": 5000}
        facts = Facts(taken_at=datetime.now(UTC) - timedelta(days=2), database=new.name, tables=tables)
        copied = put_archive(site.backups, facts.taken_at, facts=facts)
        if kind == "empty":
            new.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public; CREATE TABLE entry (id int)")
        with scheduling(site, "0 0 3 * * *") as running:
            told = running.read_until("is not taken: ")
            running.read_until("next backup: ")
            assert running.stop() == 0

        words = "the database has no rows, and" if kind == "empty" else "the database is on another server than"
        assert words in told
        assert site.archives == [copied]
        status = site.run("status")
        assert words in status.stdout
        codes = [each["code"] for each in site.run("status", "--json").document["findings"]]
        assert "not caught up" in codes
    finally:
        drop_database(new)
