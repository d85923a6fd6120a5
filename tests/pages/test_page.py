"""The page as a browser shows it, in all its states, wide and narrow, light and dark."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from flask import Flask
from werkzeug.serving import make_server

from safeharbor_backup.web import backups_page
from safeharbor_backup.web.archive_page import Asked, render_archive
from safeharbor_backup.web.evidence import render_evidence
from safeharbor_backup.web.page import render_page
from support import documents
from support.documents import EVERY, NOW, iso

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

WIDE, NARROW = 1200, 360
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
OPEN_ALL = "for (const each of document.querySelectorAll('details')) each.open = true"
AXE_FINDS = {"resultTypes": ["violations"]}


@contextmanager
def shown(
    browser: Browser, address: str, *, width: int = WIDE, scheme: Literal["dark", "light"] = "light"
) -> Iterator[Page]:
    """A page in a window of this width. What the browser complains of fails the test."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    complaints: list[str] = []
    asked: list[str] = []
    page = context.new_page()
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    yield page
    assert complaints == []
    assert asked == [address]
    context.close()


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every example as a file."""
    made = tmp_path_factory.mktemp("pages")
    for name, document in EVERY.items():
        (made / f"{name}.html").write_text(render_page(document(), NOW))
    return made


@pytest.mark.parametrize(("width", "scheme"), [(WIDE, "light"), (NARROW, "dark")])
@pytest.mark.parametrize("name", [name for name in EVERY if name != "many"])
def test_everybody_can_use_it(
    browser: Browser, folder: Path, name: str, width: int, scheme: Literal["dark", "light"]
) -> None:
    with shown(browser, f"file://{folder}/{name}.html", width=width, scheme=scheme) as page:
        page.evaluate(OPEN_ALL)

        found = Axe().run(page, options=AXE_FINDS)

        assert found.violations_count == 0, found.generate_report()
        assert page.evaluate(OVERFLOW) == 0


@pytest.mark.parametrize(("width", "scheme"), [(WIDE, "light"), (NARROW, "dark")])
def test_everybody_can_use_the_page_for_an_auditor(
    browser: Browser, tmp_path: Path, width: int, scheme: Literal["dark", "light"]
) -> None:
    (tmp_path / "evidence.html").write_text(render_evidence(documents.evidence_report(), "0.2.0"))

    with shown(browser, f"file://{tmp_path}/evidence.html", width=width, scheme=scheme) as page:
        found = Axe().run(page, options=AXE_FINDS)

        assert found.violations_count == 0, found.generate_report()
        assert page.evaluate(OVERFLOW) == 0


ODD_FILES: list[list[Any]] = [
    ["x" * 200 + "/" + "y" * 200, 10**15, "0123456789ab"],
    ["two words\n\x1b[2J\udcff'.jpg", 5, "0123456789ab"],
    ["\u30d5\u30a9\u30eb\u30c0\u30fc/" * 20 + "z.jpg", None, ""],
    ["</details><script>alert(1)</script>", 5, "0123456789ab"],
]
LISTS = {
    "full": documents.archive_list(),
    "odd": documents.archive_list(
        files=ODD_FILES, problem="the header of uploads/x is not as the format prescribes", cut=True, upload_files=10**6
    ),
    "foreign": documents.archive_list(tables=None, rows=None, upload_files=None, cut=True),
    "empty": documents.archive_list(files=[], tables=[]),
}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, NARROW])
@pytest.mark.parametrize("name", LISTS)
def test_everybody_can_use_the_page_of_an_archive(
    browser: Browser, tmp_path: Path, name: str, width: int, scheme: Literal["dark", "light"]
) -> None:
    told = {"typed_as": "docker compose --project-directory /srv/reef exec backups safeharbor"}
    (tmp_path / "archive.html").write_text(render_archive(LISTS[name], told, Asked(back="/admin"), NOW))

    with shown(browser, f"file://{tmp_path}/archive.html", width=width, scheme=scheme) as page:
        page.evaluate(OPEN_ALL)

        found = Axe().run(page, options=AXE_FINDS)

        assert found.violations_count == 0, found.generate_report()
        assert page.evaluate(OVERFLOW) == 0


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_five_hundred_archives_fit(browser: Browser, folder: Path, width: int) -> None:
    with shown(browser, f"file://{folder}/many.html", width=width) as page:
        assert page.locator(".archives > details").count() == 500
        assert page.evaluate(OVERFLOW) == 0


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_names_of_any_length_fit(browser: Browser, tmp_path: Path, width: int) -> None:
    (tmp_path / "long.html").write_text(render_page(documents.long_names(), NOW))

    with shown(browser, f"file://{tmp_path}/long.html", width=width) as page:
        page.evaluate(OPEN_ALL)

        assert page.evaluate(OVERFLOW) == 0


def test_its_style_is_applied_and_follows_the_readers_choice(browser: Browser, folder: Path) -> None:
    colours = {}
    for scheme in ("light", "dark"):
        with shown(browser, f"file://{folder}/good.html", scheme=scheme) as page:
            colours[scheme] = page.evaluate("getComputedStyle(document.body).backgroundColor")

    assert colours == {"light": "rgb(246, 245, 241)", "dark": "rgb(16, 21, 27)"}


def test_each_state_has_a_colour_of_its_own_and_bad_ones_share_one(browser: Browser, folder: Path) -> None:
    accents = {}
    for name in ("empty", "good", "warning", "stale", "failing", "interrupted"):
        with shown(browser, f"file://{folder}/{name}.html") as page:
            accents[name] = page.evaluate("getComputedStyle(document.querySelector('.word')).color")

    assert accents["stale"] == accents["failing"]
    assert len(set(accents.values())) == 5


def test_it_is_used_with_the_keyboard_alone(browser: Browser, folder: Path) -> None:
    with shown(browser, f"file://{folder}/good.html") as page:
        second = page.locator(".archives > details").nth(1)
        assert second.get_attribute("open") is None

        second.locator("summary").first.focus()
        page.keyboard.press("Enter")

        assert second.get_attribute("open") is not None
        assert second.locator("table").first.is_visible()


def test_a_command_is_copied_whole_with_one_click(browser: Browser, folder: Path) -> None:
    with shown(browser, f"file://{folder}/good.html", width=NARROW) as page:
        command = page.locator("pre code").first

        command.click()

        assert page.evaluate("getSelection().toString().trim()") == command.text_content()


def test_on_paper_it_is_black_on_white(browser: Browser, folder: Path, tmp_path: Path) -> None:
    with shown(browser, f"file://{folder}/failing.html", scheme="dark") as page:
        page.emulate_media(media="print")

        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
        assert page.pdf().startswith(b"%PDF")


def test_a_script_that_came_in_all_the_same_would_not_run(browser: Browser, tmp_path: Path) -> None:
    page_with_a_hole = render_page(documents.good(), NOW).replace(
        "</main>", "<script>document.title='in'</script></main>"
    )
    (tmp_path / "hole.html").write_text(page_with_a_hole)
    context = browser.new_context()
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))

    page.goto(f"file://{tmp_path}/hole.html")

    assert page.title() == "Good: The backups are good."
    assert "Content Security Policy" in complaints[0]
    context.close()


@contextmanager
def served(status_file: Path) -> Iterator[str]:
    """The address of the page in an app."""
    app = Flask(__name__)
    app.register_blueprint(backups_page(access=lambda: True, status_file=status_file), url_prefix="/backups")
    server = make_server("127.0.0.1", 0, app)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.port}/backups/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_inside_an_app_it_looks_the_same(browser: Browser, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    document = documents.good() | {"published_at": iso(now)}
    document["newest"]["taken_at"] = iso(now - timedelta(hours=13))
    (tmp_path / "status.json").write_text(json.dumps(document))
    with served(tmp_path / "status.json") as address, shown(browser, address) as page:
        assert page.title() == "Good: The backups are good."
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(246, 245, 241)"


def test_one_gets_to_a_file_of_an_archive_with_the_keyboard_alone(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "status.json").write_text(json.dumps(documents.good()))
    (tmp_path / "status-archives").mkdir()
    list_file = tmp_path / "status-archives" / "safeharbor-backup-2026-11-25T03-00-04Z.jsonl.gz"
    list_file.write_bytes(documents.archive_list())
    complaints: list[str] = []
    with served(tmp_path / "status.json") as address:
        page = browser.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.goto(f"{address}?back=/shop")
        page.get_by_role("link", name="All files and tables of this archive").focus()
        page.keyboard.press("Enter")
        page.wait_for_url(f"{address}archives/**")
        page.get_by_role("link", name="Next").last.focus()
        page.keyboard.press("Enter")
        page.wait_for_url("**page=2**")
        assert "page 2 of 13" in page.inner_text("main")

        page.get_by_label("Names that contain").fill("DIVE-00123")
        page.keyboard.press("Enter")
        page.wait_for_url("**q=DIVE**")

        assert page.locator(".files details").count() == 1
        command = page.locator(".files pre code").first
        command.click()
        copied = "safeharbor extract safeharbor-backup-2026-11-25T03-00-04Z.tar uploads/2026/04/dive-00123.jpg"
        assert page.evaluate("getSelection().toString().trim()") == f"{copied} --to /backups/extracted"
        page.get_by_role("link", name="All backups").click()
        page.wait_for_url(f"{address}?back=%2Fshop")
        assert page.get_by_role("link", name="Back").get_attribute("href") == "/shop"
        page.close()
    assert complaints == []
