from __future__ import annotations

import io
import json
import logging
import os
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from safeharbor_backup.actions.alerts.notify import (
    MISSING,
    Kind,
    Message,
    NotifyProblem,
    find_notify_problems,
    redact,
    send_message,
)
from safeharbor_backup.actions.doctor.alert_checks import check_alerts, check_metrics_file
from safeharbor_backup.actions.doctor.findings import Level
from safeharbor_backup.cli.main import cli
from safeharbor_backup.settings.alerts import split_notify_urls
from safeharbor_backup.settings.load import load_settings
from safeharbor_backup.state.history import Outcome, append_outcome, read_history
from support.commands import cli_runner
from support.patience import patient
from support.receivers import free_port, http_server, mail_server

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

MESSAGE = Message(
    "reef on db.internal: backup FAILED", "The disk is full.\n\nNext step: <free> some & more.", Kind.FAILURE
)
TOKEN = "tok3n-of-mine"


def run(*arguments: str) -> Result:
    result = cli_runner().invoke(cli, list(arguments), prog_name="safeharbor")
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A backup directory that the environment names."""
    for name in list(os.environ):
        if name.startswith("BACKUP_") or name in ("DATABASE_URL", "UPLOAD_DIR", "SECRET_KEY"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("BACKUP_DIR", str(tmp_path))
    return tmp_path


def test_a_mail_arrives_with_its_lines_as_they_are() -> None:
    with mail_server() as mailbox:
        (delivery,) = send_message(MESSAGE, [mailbox.url])

    assert delivery.problem == ""
    assert delivery.way == "number 1 (mailto)"
    (mail,) = mailbox.mails
    assert mail["Subject"] == MESSAGE.subject
    body = mail.get_body(("plain",))
    assert body is not None
    assert "The disk is full.\n\nNext step: <free> some & more." in body.get_content().replace("\r\n", "\n")


def test_a_web_hook_gets_subject_body_and_kind() -> None:
    with http_server() as listener:
        (delivery,) = send_message(MESSAGE, [f"json://127.0.0.1:{listener.port}/{TOKEN}"])

    assert delivery.problem == ""
    ((path, body),) = listener.asked
    document = json.loads(body)
    assert path == f"/{TOKEN}"
    assert (document["title"], document["message"], document["type"]) == (MESSAGE.subject, MESSAGE.body, "failure")


def test_each_way_is_told_and_one_that_fails_does_not_hinder_the_others() -> None:
    with mail_server() as mailbox, http_server() as listener:
        listener.statuses = [500]
        deliveries = send_message(
            MESSAGE,
            [
                f"json://127.0.0.1:{listener.port}/{TOKEN}",
                "nosuch://x",
                f"json://127.0.0.1:{free_port()}/",
                mailbox.url,
            ],
        )

    assert [bool(delivery.problem) for delivery in deliveries] == [True, True, True, False]
    assert "500" in deliveries[0].problem
    assert deliveries[1].problem == "no address that Apprise understands"
    assert deliveries[2].problem.endswith("Connection refused")
    assert len(mailbox.mails) == 1


def test_a_mail_that_is_refused_is_told_without_an_address() -> None:
    with mail_server() as mailbox:
        mailbox.refuses = True
        (delivery,) = send_message(MESSAGE, [mailbox.url])

    assert delivery.problem
    assert "reef.example" not in delivery.problem


def test_a_server_that_hangs_costs_no_more_than_the_time_given() -> None:
    with http_server() as listener:
        listener.hangs = True
        started = time.monotonic()

        (delivery,) = send_message(MESSAGE, [f"json://127.0.0.1:{listener.port}/?rto=60"], seconds=0.3)

        assert time.monotonic() - started < patient(3)
    assert delivery.problem.startswith("no answer within")


def test_nothing_of_an_address_reaches_a_log_of_the_app() -> None:
    log = io.StringIO()
    handler = logging.StreamHandler(log)
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        with http_server() as listener:
            listener.statuses = [403]
            send_message(MESSAGE, [f"json://127.0.0.1:{listener.port}/{TOKEN}", f"json://user:{TOKEN}@127.0.0.1:1/"])
    finally:
        root.setLevel(before)
        root.removeHandler(handler)

    assert TOKEN not in log.getvalue()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("mailto://me:p%40ss@mail.example:25?to=a@b.example", ["me", "p@ss", "p%40ss", "mail.example", "b.example"]),
        ("slack://T1/A2/abcDEF/#general", ["T1", "A2", "abcDEF", "general"]),
        ("json://u:pw@host/path?+X-Key=secret%2Fkey", ["pw", "host", "path", "secret/key", "secret%2Fkey"]),
    ],
)
def test_every_word_of_an_address_is_taken_out_of_what_is_told(url: str, words: list[str]) -> None:
    told = redact(f"Failed: {', '.join(words)}; and {url}", url)

    assert [word for word in words if f" {word}," in f"{told}," or f"/{word}" in told] == []
    assert told.startswith("Failed: ***, ")


def test_addresses_are_separated_by_blanks_lines_or_commas_and_may_hold_commas() -> None:
    text = "mailto://a@b.c?to=x@y.z,v@w.z, json://host/\n  slack://T/A/B"

    assert split_notify_urls(text) == ("mailto://a@b.c?to=x@y.z,v@w.z", "json://host/", "slack://T/A/B")


def test_what_would_hinder_messages_can_be_asked() -> None:
    (problem,) = find_notify_problems(["json://host/", "mailto://"])
    assert problem.text == "number 2 (mailto): no address that Apprise understands"
    assert problem.remedy == "Correct BACKUP_NOTIFY_URLS."
    assert find_notify_problems([]) == ()


def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)

    assert find_notify_problems(["json://host/", "json://host/"]) == (NotifyProblem(MISSING, "pip install apprise"),)
    assert [delivery.problem for delivery in send_message(MESSAGE, ["json://host/"])] == [MISSING]
    assert "pip install apprise" in MISSING


def test_the_command_tells_of_each_way_how_it_went(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with mail_server() as mailbox, http_server() as listener:
        monkeypatch.setenv("BACKUP_NOTIFY_URLS", f"{mailbox.url} json://127.0.0.1:{free_port()}/{TOKEN}")
        monkeypatch.setenv("BACKUP_PING_URL", f"http://127.0.0.1:{listener.port}/{TOKEN}")
        monkeypatch.setenv("BACKUP_DATABASE_URL", "postgresql://app:s3cr3t@db.internal/reef")

        result = run("notify", "--test")

    lines = result.stdout.splitlines()
    assert result.exit_code == 1
    assert lines[0].startswith("number 1 (mailto): delivered in ")
    assert lines[1].startswith("number 2 (json): FAILED: ")
    assert lines[2].startswith("ping: delivered in ")
    assert listener.paths == [f"/{TOKEN}/log"]
    assert mailbox.mails[0]["Subject"] == "reef on db.internal: a test"
    assert TOKEN not in result.output
    assert "s3cr3t" not in str(mailbox.mails[0])
    history = (directory / ".safeharbor" / "history.jsonl").read_text()
    assert TOKEN not in history
    assert [one.exit_status for one in read_history(directory) if one.command == "notify"] == [1]


def test_a_test_that_works_clears_what_failed_before(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with http_server() as listener:
        listener.statuses = [500]
        monkeypatch.setenv("BACKUP_NOTIFY_URLS", f"json://127.0.0.1:{listener.port}/")

        assert [run("notify", "--test").exit_code for _ in range(3)] == [1, 0, 0]

    assert [one.exit_status for one in read_history(directory)] == [1, 0]


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({}, "expected an address in one of them"),
        ({"BACKUP_NOTIFY_URLS": f"json://x/ {TOKEN}"}, "number 1 (json) is not one"),
        ({"BACKUP_NOTIFY_URLS": TOKEN}, "number 1 (no scheme) is not one"),
        ({"BACKUP_PING_URL": f"ftp://host/{TOKEN}"}, "BACKUP_PING_URL: expected an http or https URL"),
        ({"BACKUP_PING_URL": f"http://u:{TOKEN}@host/"}, "without user"),
        ({"BACKUP_PING_URL": f"http://[::1/{TOKEN}"}, "expected an http or https URL"),
        ({"BACKUP_NOTIFY_ON": "never", "BACKUP_NOTIFY_URLS": "json://x/"}, "one of failure, warning, always"),
    ],
)
def test_settings_that_cannot_be_used_are_named_and_not_shown(
    directory: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], told: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    result = run("notify", "--test")

    assert result.exit_code == 2
    assert told in result.stderr
    assert TOKEN not in result.output


@pytest.mark.parametrize(
    ("variables", "level", "told"),
    [
        ({}, Level.NOTE, "nobody learns of a failed run"),
        ({"BACKUP_NOTIFY_URLS": f"json://x/{TOKEN}"}, Level.OK, "alerts go to 1 receiver in BACKUP_NOTIFY_URLS;"),
        ({"BACKUP_PING_URL": f"http://x/{TOKEN}"}, Level.OK, "alerts go to the check of BACKUP_PING_URL;"),
        ({"BACKUP_NOTIFY_URLS": f"nosuch://{TOKEN}"}, Level.WARNING, "number 1 (nosuch): no address"),
    ],
)
def test_doctor_tells_whether_somebody_is_told(
    directory: Path, variables: dict[str, str], level: Level, told: str
) -> None:
    (found,) = check_alerts(load_settings({"BACKUP_DIR": str(directory), **variables}), datetime.now(UTC))

    assert found.level is level
    assert told in found.text
    assert TOKEN not in found.text + found.remedy


def test_doctor_tells_what_was_not_delivered_and_which_extra_is_missing(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append_outcome(directory, Outcome("notify", datetime.now(UTC), 1.0, 1, "number 1 (json): no"))
    settings = load_settings({"BACKUP_DIR": str(directory), "BACKUP_NOTIFY_URLS": "json://x/"})
    assert [each.remedy for each in check_alerts(settings, datetime.now(UTC))] == ["safeharbor notify --test"]

    monkeypatch.setitem(sys.modules, "apprise", None)
    monkeypatch.setattr("safeharbor_backup.actions.doctor.alert_checks.find_spec", lambda _name: None)
    assert check_alerts(settings, datetime.now(UTC))[0].remedy == "pip install apprise"
    (metrics,) = check_metrics_file(directory / "x.prom")
    assert (metrics.level, metrics.remedy) == (Level.WARNING, "pip install prometheus-client")
