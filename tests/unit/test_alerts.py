from __future__ import annotations

import json
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from safeharbor_backup.actions.alerts.deliveries import find_telling_problems
from safeharbor_backup.actions.alerts.messages import Guidance, compose_message, is_worth_telling, newest_like
from safeharbor_backup.actions.alerts.notify import Kind, Message
from safeharbor_backup.settings.address_parsing import parse_database_url
from safeharbor_backup.settings.alerts import NotifyOn
from safeharbor_backup.settings.model import Settings
from safeharbor_backup.state.history import Outcome, read_history
from safeharbor_backup.system.lock import directory_lock
from support.archives import put_archive
from support.commands import run_inside
from support.receivers import Listener, Mailbox, free_port, http_server, mail_server
from support.settings import settings_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from click.testing import Result

NOW = datetime(2026, 11, 25, 3, 0, tzinfo=UTC)
GOOD = Outcome("backup", NOW, 12.5, 0, archive="a.tar")
WARNED = replace(GOOD, exit_status=3, warnings=("1 upload cannot be read",))
FAILED = replace(GOOD, exit_status=6, reason="the server is gone", archive=None)
PASSWORD, TOKEN = "s3cr3t", "tok3n-of-mine"


@pytest.mark.parametrize(
    ("outcome", "before", "on_failure", "on_warning", "always"),
    [
        (GOOD, None, False, False, True),
        (GOOD, GOOD, False, False, True),
        (WARNED, GOOD, False, True, True),
        (FAILED, GOOD, True, True, True),
        (FAILED, FAILED, True, True, True),
        (GOOD, FAILED, True, True, True),
        (WARNED, FAILED, True, True, True),
        (GOOD, WARNED, False, True, True),
        (replace(FAILED, command="prune"), None, True, True, True),
        (replace(GOOD, command="prune"), replace(FAILED, command="prune"), False, False, False),
        (replace(FAILED, command="drill"), None, True, True, True),
        (replace(FAILED, command="restore"), None, False, False, False),
    ],
)
def test_what_is_worth_a_message(
    outcome: Outcome, before: Outcome | None, on_failure: bool, on_warning: bool, always: bool
) -> None:
    assert is_worth_telling(outcome, before, NotifyOn.FAILURE) is on_failure
    assert is_worth_telling(outcome, before, NotifyOn.WARNING) is on_warning
    assert is_worth_telling(outcome, before, NotifyOn.ALWAYS) is always


def test_a_quick_verify_does_not_end_what_a_full_one_found() -> None:
    full = Outcome("verify", NOW, 1.0, 5, details={"quick": False})
    quick = Outcome("verify", NOW, 1.0, 0, details={"quick": True})

    assert newest_like(replace(full, exit_status=0), [full, quick, GOOD]) is full
    assert newest_like(quick, [full, GOOD]) is None


def composed(settings: Settings, outcome: Outcome, advice: Guidance, before: Outcome | None = None) -> Message:
    return compose_message(outcome, advice, settings.database, settings.backup_dir, before)


def test_a_failure_is_told_with_what_is_intact_and_what_to_do(settings: Settings) -> None:
    put_archive(settings.backup_dir, datetime.now(UTC).replace(microsecond=0) - timedelta(hours=50))
    ours = replace(settings, database=parse_database_url(f"postgresql://app:{PASSWORD}@db.internal:5433/reef"))

    message = composed(ours, FAILED, Guidance("No archive was written.", "Start the server."))

    parts = message.body.split("\n\n")
    assert message.subject == "reef on db.internal: backup FAILED"
    assert message.kind is Kind.FAILURE
    assert parts[:2] == ["The server is gone.", "No archive was written."]
    assert parts[2].startswith("Newest complete archive: safeharbor-backup-")
    assert ", 2 d old (taken " in parts[2]
    assert parts[3] == "Next step: Start the server."
    assert parts[4].startswith("Started 2026-11-25 03:00:00 UTC, took 12.5 s, ended with 6.\nHost ")
    assert PASSWORD not in message.body


def test_without_an_archive_that_is_told(settings: Settings) -> None:
    message = composed(settings, FAILED, Guidance())
    elsewhere = composed(replace(settings, backup_dir=settings.backup_dir / "missing"), FAILED, Guidance())

    assert f"There is no complete archive in {settings.backup_dir}." in message.body
    assert "/missing cannot be read." in elsewhere.body


@pytest.mark.parametrize(
    ("outcome", "before", "subject", "kind"),
    [
        (GOOD, None, "backup done", Kind.SUCCESS),
        (GOOD, WARNED, "backup done", Kind.SUCCESS),
        (GOOD, FAILED, "backup good again", Kind.SUCCESS),
        (WARNED, None, "backup done, with warnings", Kind.WARNING),
        (WARNED, FAILED, "backup good again, with warnings", Kind.WARNING),
    ],
)
def test_the_subject_tells_it_in_a_word(
    settings: Settings, outcome: Outcome, before: Outcome | None, subject: str, kind: Kind
) -> None:
    message = composed(settings, outcome, Guidance(), before)

    assert message.subject == f"{settings.backup_dir}: {subject}"
    assert message.kind is kind


def test_many_warnings_are_cut_short(settings: Settings) -> None:
    message = composed(settings, replace(WARNED, warnings=("w",) * 13), Guidance())

    assert message.body.count("- w\n") == 10
    assert "- and 3 warnings more" in message.body


def test_what_was_not_delivered_is_a_problem_until_it_is_again() -> None:
    settings = settings_of(notify_urls=("json://x/",), ping_url="http://x/")
    history = [Outcome("notify", NOW, 1.0, 1, "number 1 (json): no"), Outcome("ping", NOW, 1.0, 1, "ping: 500"), GOOD]

    problems = find_telling_problems(history, settings.notify_urls, settings.ping_url)

    assert [problem.partition(" (2026-11-25 03:00:00 UTC)")[0] for problem in problems] == [
        "the last message was not delivered",
        "the last ping was not delivered",
    ]
    assert find_telling_problems(history, (), None) == ()
    assert (
        len(find_telling_problems([*history, Outcome("notify", NOW, 1.0, 0)], settings.notify_urls, settings.ping_url))
        == 1
    )


def test_no_address_is_in_what_settings_show_of_themselves() -> None:
    settings = settings_of(notify_urls=(f"json://x/{TOKEN}",), ping_url=f"http://x/{TOKEN}")

    assert TOKEN not in repr(settings)


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with mail_server() as mailbox:
        yield mailbox


@pytest.fixture
def listener() -> Iterator[Listener]:
    with http_server() as listener:
        yield listener


@pytest.fixture
def alerted(configured: Settings, mailbox: Mailbox, listener: Listener, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """An environment in which runs tell a mailbox and a check how they end; the uploads are missing."""
    monkeypatch.setenv("BACKUP_NOTIFY_URLS", mailbox.url)
    monkeypatch.setenv("BACKUP_PING_URL", f"http://127.0.0.1:{listener.port}/{TOKEN}")
    return configured


def run(*arguments: str) -> Result:
    result = run_inside(*arguments)
    assert TOKEN not in result.output
    assert PASSWORD not in result.output
    return result


def test_a_backup_that_fails_sends_a_mail_and_pings_its_start_and_its_status(
    alerted: Settings, mailbox: Mailbox, listener: Listener
) -> None:
    result = run("backup")

    assert result.exit_code == 2
    assert "not delivered" not in result.output
    (mail,) = mailbox.mails
    assert mail["Subject"] == "reef on db.internal: backup FAILED"
    assert listener.paths == [f"/{TOKEN}/start", f"/{TOKEN}/2"]
    ids = {path.partition("?rid=")[2] for path, _ in listener.asked}
    assert len(ids) == 1
    assert listener.asked[1][1].startswith("reef on db.internal: backup FAILED\n\n1 setting cannot be used")
    assert PASSWORD not in listener.asked[1][1] + str(mail)
    assert [one.command for one in read_history(alerted.backup_dir)] == ["backup"]


@pytest.mark.slow
def test_other_commands_are_told_to_people_and_not_to_the_check(
    alerted: Settings, mailbox: Mailbox, listener: Listener
) -> None:
    with directory_lock(alerted.backup_dir):
        run("prune")
    run("verify", "--latest")
    run("restore", "--from", "missing.tar", "--yes")

    assert [mail["Subject"] for mail in mailbox.mails] == ["reef on db.internal: prune FAILED"]
    assert listener.asked == []


@pytest.mark.slow
def test_the_first_good_run_after_a_failed_one_is_told(alerted: Settings, mailbox: Mailbox) -> None:
    (archive,) = alerted.backup_dir.glob("*.tar")
    whole = archive.read_bytes()
    archive.write_bytes(whole[:-512])
    assert run("verify", "--latest").exit_code == 5
    archive.write_bytes(whole)
    for _ in range(2):
        assert run("verify", "--latest").exit_code == 0

    assert [mail["Subject"].removeprefix("reef on db.internal: ") for mail in mailbox.mails] == [
        "verify FAILED",
        "verify good again",
    ]


def test_what_cannot_be_told_is_a_warning_and_remembered_and_costs_no_run_its_status(
    alerted: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BACKUP_NOTIFY_URLS", f"json://127.0.0.1:{free_port()}/{TOKEN}")
    monkeypatch.setenv("BACKUP_PING_URL", f"http://127.0.0.1:{free_port()}/{TOKEN}")
    monkeypatch.setattr("safeharbor_backup.actions.alerts.ping._PAUSE_SECONDS", 0.01)

    result = run("backup")

    assert result.exit_code == 2
    assert result.stderr.count("Warning: a ping was not delivered: the server cannot be reached") == 2
    assert "Warning: a message was not delivered: number 1 (json): " in result.stderr
    history = read_history(alerted.backup_dir)
    assert [one.command for one in history] == ["ping", "backup", "ping", "notify"]
    assert TOKEN not in json.dumps([one.reason for one in history])
    assert "  the last message was not delivered (" in run("status").stdout


def test_status_warns_until_something_is_delivered_again(
    alerted: Settings, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BACKUP_NOTIFY_ON", "always")
    mailbox.refuses = True
    run("verify", "--latest")
    refused = run("status")
    mailbox.refuses = False
    run("verify", "--latest")

    assert refused.exit_code == 3
    assert "the last message was not delivered (" in refused.stdout
    assert "reef.example" not in refused.stdout
    assert run("status").exit_code == 0


def test_without_the_extra_the_run_goes_on_and_a_warning_names_it(
    alerted: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:

    monkeypatch.setitem(sys.modules, "apprise", None)
    monkeypatch.setenv("BACKUP_NOTIFY_ON", "always")

    result = run("verify", "--latest")

    assert result.exit_code == 0
    assert "pip install apprise" in result.stderr


def test_an_address_that_means_nothing_is_named_by_its_number_and_the_others_are_told(
    alerted: Settings, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BACKUP_NOTIFY_URLS", f"nosuch://{TOKEN} {mailbox.url}")

    result = run("backup")

    assert "number 1 (nosuch): no address that Apprise understands" in result.stderr
    assert len(mailbox.mails) == 1


def test_who_only_looks_tells_nobody(alerted: Settings, mailbox: Mailbox, listener: Listener) -> None:
    for arguments in (["status"], ["list"], ["prune", "--dry-run"], ["status", "--healthcheck"]):
        run(*arguments)

    assert mailbox.mails == []
    assert listener.asked == []


def test_a_setting_that_cannot_be_used_is_a_warning_of_each_run(
    alerted: Settings, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BACKUP_PING_URL", f"ftp://host/{TOKEN}")
    monkeypatch.setenv("BACKUP_NOTIFY_ON", "sometimes")

    result = run("verify", "--latest")

    assert result.exit_code == 0
    assert "BACKUP_PING_URL: expected an http or https URL" in result.stderr
    assert "BACKUP_NOTIFY_ON='sometimes': expected one of failure, warning, always" in result.stderr
