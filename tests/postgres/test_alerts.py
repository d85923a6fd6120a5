"""Alerts of real backups: who hears of one that is good, that warns, and that is stopped."""

from __future__ import annotations

import signal

import psycopg
import pytest

from support.faults import children_left
from support.postgres import Database
from support.receivers import http_server, mail_server
from support.runs import Site

pytestmark = pytest.mark.timeout(90)
TOKEN = "tok3n-of-mine"


def test_a_good_backup_pings_and_one_with_warnings_is_told_to_those_who_want_it(site: Site) -> None:
    (site.uploads / "away").symlink_to("/outside")
    with mail_server() as mailbox, http_server() as listener:
        site.environment["BACKUP_NOTIFY_URLS"] = mailbox.url
        site.environment["BACKUP_PING_URL"] = f"http://127.0.0.1:{listener.port}/{TOKEN}"

        assert site.run("backup").status == 3
        assert site.run("backup", BACKUP_NOTIFY_ON="warning").status == 3

    assert listener.paths == [f"/{TOKEN}/start", f"/{TOKEN}"] * 2
    text = listener.asked[1][1]
    assert ": backup done, with warnings\n" in text
    assert "- 1 upload cannot be archived" in text
    assert site.archives[0].name in text
    (mail,) = mailbox.mails
    assert mail["Subject"].endswith(": backup done, with warnings")


def test_a_backup_that_is_stopped_is_told_as_failed(site: Site, database: Database) -> None:
    with mail_server() as mailbox, http_server() as listener, psycopg.connect(database.superuser_url) as other:
        other.execute("LOCK TABLE entry IN ACCESS EXCLUSIVE MODE")  # so it lasts
        process = site.start(
            "backup", BACKUP_NOTIFY_URLS=mailbox.url, BACKUP_PING_URL=f"http://127.0.0.1:{listener.port}/{TOKEN}"
        )
        while not listener.asked:
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)

    assert process.returncode == 143, errors
    assert listener.paths == [f"/{TOKEN}/start", f"/{TOKEN}/143"]
    assert [mail["Subject"].rpartition(": ")[2] for mail in mailbox.mails] == ["backup FAILED"]
    assert children_left(site) == []


def test_a_backup_that_was_killed_is_told_once_by_the_next_command(site: Site, database: Database) -> None:
    with mail_server() as mailbox, http_server() as listener:
        site.environment["BACKUP_NOTIFY_URLS"] = mailbox.url
        site.environment["BACKUP_PING_URL"] = f"http://127.0.0.1:{listener.port}/{TOKEN}"
        with psycopg.connect(database.superuser_url) as other:
            other.execute("LOCK TABLE entry IN ACCESS EXCLUSIVE MODE")  # so it lasts
            process = site.start("backup")
            while not listener.asked:
                assert process.poll() is None
            at_work = site.run("list")
            process.kill()
            process.communicate(timeout=60)

        told = site.run("list")
        again = site.run("list")

    assert "died" not in at_work.output
    assert told.status == 0
    assert "The backup that began at 2" in told.stderr
    assert "died: it was killed" in told.stderr
    assert "died" not in again.output
    assert listener.paths == [f"/{TOKEN}/start", f"/{TOKEN}/137"]
    assert [mail["Subject"].rpartition(": ")[2] for mail in mailbox.mails] == ["backup FAILED"]
    shown = site.run("status", "--healthcheck")
    assert "the last backup failed" in shown.output
    assert site.run("backup").status == 0
    assert list((site.backups / ".safeharbor").glob("running-*")) == []


def test_a_backup_that_takes_longer_than_it_may_is_ended_and_told(site: Site, database: Database) -> None:
    with mail_server() as mailbox, psycopg.connect(database.superuser_url) as other:
        other.execute("LOCK TABLE entry IN ACCESS EXCLUSIVE MODE")
        done = site.run("backup", BACKUP_MAX_RUNTIME="1s", BACKUP_NOTIFY_URLS=mailbox.url)

    assert done.status == 1, done.output
    assert "took longer than BACKUP_MAX_RUNTIME allows" in done.stderr
    assert [mail["Subject"].rpartition(": ")[2] for mail in mailbox.mails] == ["backup FAILED"]
    assert site.archives == []
    assert site.leftovers == []
    assert children_left(site) == []
    assert site.run("backup", BACKUP_MAX_RUNTIME="1h").status == 0
    unlimited = site.run("backup", BACKUP_MAX_RUNTIME="9999999999999d")
    assert unlimited.status == 0, unlimited.output
    assert "BACKUP_MAX_RUNTIME='9999999999999d': expected a duration" in unlimited.stderr
    assert "Nothing limits this run" in unlimited.stderr
