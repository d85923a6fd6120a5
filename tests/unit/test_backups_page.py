"""The page inside a Flask app, as its visitors and its developer meet it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from flask import Flask, redirect

from safeharbor_backup.web import backups_page
from support import documents
from support.documents import iso

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from werkzeug.test import TestResponse

NOT_KNOWN = "The state of the backups is not known."


@pytest.fixture
def status_file(tmp_path: Path) -> Path:
    """A document that says good, as of now."""
    now = datetime.now(UTC)
    document = documents.good()
    document["newest"]["taken_at"] = iso(now - timedelta(hours=13))
    document["published_at"] = iso(now)
    path = tmp_path / "status.json"
    path.write_text(json.dumps(document))
    return path


def yes() -> bool:
    return True


def app_with(access: Callable[[], object] = yes, config: dict[str, Any] | None = None, **options: Any) -> Flask:
    app = Flask(__name__)
    app.config.update(config or {})
    app.register_blueprint(backups_page(access=access, **options), url_prefix="/backups")
    return app


def visit(app: Flask, path: str = "/backups/", method: str = "GET") -> TestResponse:
    return app.test_client().open(path, method=method)


def test_whom_it_is_for_sees_how_the_backups_are(status_file: Path) -> None:
    response = visit(app_with(status_file=status_file))

    assert response.status_code == 200
    assert response.content_type == "text/html; charset=utf-8"
    assert "The backups are good." in response.text
    assert "13 hours ago" in response.text


def test_a_browser_may_do_nothing_with_it_but_show_it(status_file: Path) -> None:
    headers = visit(app_with(status_file=status_file)).headers

    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] == "no-store"
    assert "Set-Cookie" not in headers


@pytest.mark.parametrize("answer", [False, None, 0, "", 1, "admin", object(), [True], {"is_admin": True}])
def test_anything_but_a_plain_yes_is_refused(status_file: Path, answer: object) -> None:
    response = visit(app_with(lambda: answer, status_file=status_file))

    assert response.status_code == 403
    assert response.headers["Cache-Control"] == "no-store"
    assert "backup" not in response.text.lower()


def test_a_response_of_the_check_is_sent_instead(status_file: Path) -> None:
    response = visit(app_with(lambda: redirect("/login"), status_file=status_file))

    assert (response.status_code, response.location) == (302, "/login")


def test_the_check_is_asked_at_each_request(status_file: Path) -> None:
    answers = [True, False, True]
    client = app_with(lambda: answers.pop(0), status_file=status_file).test_client()

    assert [client.get("/backups/").status_code for _ in range(3)] == [200, 403, 200]


def test_it_cannot_be_made_without_a_check() -> None:
    with pytest.raises(TypeError, match="access"):
        backups_page()  # type: ignore[call-arg]


async def later() -> bool:
    return True


@pytest.mark.parametrize("access", [None, True, "admin", later, bool.__and__, partial(pow, 2)])
def test_it_cannot_be_made_with_a_check_that_would_check_nothing(access: Any) -> None:
    with pytest.raises(TypeError, match=r"backups_page\(access=\.\.\.\) needs a function without arguments"):
        backups_page(access=access)


@pytest.mark.parametrize("limit", [timedelta(0), timedelta(hours=-1)])
def test_a_limit_must_be_longer_than_nothing(limit: timedelta) -> None:
    with pytest.raises(ValueError, match="unknown_after"):
        backups_page(access=yes, unknown_after=limit)


@pytest.mark.parametrize(
    "path",
    [
        "/backups/../",
        "/backups/../status.json",
        "/backups/%2e%2e/%2e%2e/etc/passwd",
        "/backups/..%2fstatus.json",
        "/backups/status.json",
        "/backups/index.html",
        "/backups//etc/passwd",
    ],
)
def test_there_is_one_page_and_nothing_beside_it(status_file: Path, path: str) -> None:
    assert visit(app_with(status_file=status_file), path).status_code == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_nothing_can_be_done_to_it(status_file: Path, method: str) -> None:
    assert visit(app_with(status_file=status_file), method=method).status_code == 405


def test_before_the_first_run_it_says_so(tmp_path: Path) -> None:
    response = visit(app_with(status_file=tmp_path / "status.json"))

    assert response.status_code == 200
    assert "Nothing has run yet." in response.text


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "it is no JSON document"),
        (b'{"schema": 1', "it is no JSON document"),
        (b"\xff\xfe\x00garbage", "it is no JSON document"),
        (b"[" * 100_000, "it is no JSON document"),
        (b"[1]", "it holds something else than an object"),
        (b" " * ((16 << 20) + 1), "it is larger than 16 MiB"),
    ],
    ids=["empty", "cut", "binary", "deep", "list", "huge"],
)
def test_a_file_that_is_no_document_is_a_state_that_is_not_known(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "status.json"
    path.write_bytes(content)

    response = visit(app_with(status_file=path))

    assert response.status_code == 200
    assert NOT_KNOWN in response.text
    assert why in response.text


@pytest.mark.parametrize(
    "make", [os.mkdir, os.mkfifo, lambda path: os.symlink(path, path)], ids=["dir", "fifo", "loop"]
)
def test_what_is_no_file_is_a_state_that_is_not_known(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "status.json")

    assert NOT_KNOWN in visit(app_with(status_file=tmp_path / "status.json")).text


def test_a_file_that_nobody_renews_is_a_state_that_is_not_known(status_file: Path) -> None:
    document = json.loads(status_file.read_text())
    document["published_at"] = iso(datetime.now(UTC) - timedelta(minutes=11))
    status_file.write_text(json.dumps(document))

    assert "The backups are good." in visit(app_with(status_file=status_file)).text
    assert NOT_KNOWN in visit(app_with(status_file=status_file, unknown_after=timedelta(minutes=10))).text


def test_the_file_is_the_one_of_the_setting(status_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BACKUP_STATUS_FILE", raising=False)
    assert "BACKUP_STATUS_FILE is not set here" in visit(app_with()).text
    assert "The backups are good." in visit(app_with(config={"BACKUP_STATUS_FILE": str(status_file)})).text

    monkeypatch.setenv("BACKUP_STATUS_FILE", str(status_file))
    assert "The backups are good." in visit(app_with()).text


def test_an_app_that_mounts_it_loads_no_database_driver_and_no_command() -> None:
    program = (
        "import sys; from safeharbor_backup.web import backups_page; backups_page(access=lambda: True);"
        "print(chr(10).join(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)

    loaded = set(done.stdout.split())
    assert "safeharbor_backup.web.blueprint" in loaded
    assert not loaded & {
        "psycopg",
        "rich",
        "cronsim",
        "pathspec",
        "safeharbor_backup.cli.command",
        "safeharbor_backup.actions.status.run",
    }


def test_a_report_needs_no_flask() -> None:
    program = (
        "import sys; from datetime import UTC, datetime; from safeharbor_backup.web.page import render_page;"
        "render_page({'schema': 1}, datetime.now(UTC)); print(chr(10).join(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)

    loaded = set(done.stdout.split())
    assert "jinja2" in loaded
    assert not loaded & {"flask", "werkzeug"}


def test_a_link_leads_back_to_a_path_of_the_same_site_only(status_file: Path) -> None:
    app = app_with(status_file=status_file, back="/admin")

    assert '<a href="/admin">← Back</a>' in visit(app).text
    assert '<a href="/shop?page=2">← Back</a>' in visit(app, "/backups/?back=/shop%3Fpage%3D2").text
    for bad in ("//evil.example", "/%5Cevil.example", "/%09/evil.example", "https://evil.example", "javascript:x", "x"):
        page = visit(app, f"/backups/?back={bad}").text
        assert '<a href="/admin">← Back</a>' in page
        assert "evil" not in page
    assert "← Back" not in visit(app_with(status_file=status_file)).text
    assert "← Back" not in visit(app_with(status_file=status_file), "/backups/?back=//x").text
    with pytest.raises(ValueError, match="must be a path of this site"):
        backups_page(access=yes, back="https://evil.example/")
