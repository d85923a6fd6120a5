"""The page of one archive inside an app: what is in it, and the commands that take it out."""

from __future__ import annotations

import gzip
import html
import json
import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from flask import Flask, redirect

from safeharbor_backup.web import backups_page
from safeharbor_backup.web.page import render_page
from support import documents
from support.documents import NOW, archive_list
from support.html_pages import assert_is_valid

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from werkzeug.test import TestResponse

NAME = "safeharbor-backup-2026-11-25T03-00-04Z.tar"
ADDRESS = f"/backups/archives/{NAME}"
HOSTILE = [
    "plain.jpg",
    "two words; rm -rf ~ $(id) `id` 'quoted' \"twice\".jpg",
    "-rf",
    "uploads/in uploads",
    "line\nbreak\r\ttab.jpg",
    "\x1b[2J\x1b]0;title\x07.jpg",
    "no UTF-8 \udcff\udc80 9.jpg",
    "\u202egpj.exe",
    "it's \\ \x01234'.jpg",
    "</details><script>alert(1)</script>&amp;<img src=x onerror=alert(1)>.jpg",
    "\u30d5\u30a9\u30eb\u30c0\u30fc/\u00e4\u00f6\U0001f600.jpg",
    "x" * 250 + "/" + "y" * 250,
    "{{ 7 * 7 }}{% raw %}",
]  # fmt: skip


def yes() -> bool:
    return True


@pytest.fixture
def status_file(tmp_path: Path) -> Path:
    """A status document, and the list of one archive."""
    path = tmp_path / "status.json"
    path.write_text(json.dumps({**documents.good(), "typed_as": "docker compose exec backups safeharbor"}))
    (tmp_path / "status-archives").mkdir()
    put_list(path, archive_list())
    return path


def put_list(status_file: Path, packed: bytes) -> None:
    (status_file.parent / "status-archives" / NAME.replace(".tar", ".jsonl.gz")).write_bytes(packed)


def visit(status_file: Path, address: str = ADDRESS, access: Callable[[], object] = yes) -> TestResponse:
    app = Flask(__name__)
    app.register_blueprint(backups_page(access=access, status_file=status_file), url_prefix="/backups")
    return app.test_client().get(address)


def commands_on(page: str) -> list[str]:
    return [html.unescape(each) for each in re.findall(r"<pre><code>([^<]*)</code></pre>", page)]


def names_on(page: str, part: str = "files") -> list[str]:
    section = page.split(f'<h2 id="{part}">')[1].split("</section>")[0]
    return [html.unescape(each) for each in re.findall(r'<span class="when"><b>([^<]*)</b>', section)]


def words_of(command: str) -> list[bytes]:
    """What a shell makes of a command's arguments."""
    program = f"exec() {{ printf '%s\\0' \"$@\"; }}; {command.replace('docker compose exec', 'exec', 1)}"
    done = subprocess.run(["bash", "-c", program], capture_output=True, check=True)
    assert done.stderr == b""
    return done.stdout.split(b"\0")[:-1]


def test_it_has_every_table_and_a_page_of_files_with_a_command_for_each(status_file: Path) -> None:
    response = visit(status_file)

    assert response.status_code == 200
    page = response.text
    assert_is_valid(page)
    assert "<h1>Archive of 25 Nov 2026, 03:00 UTC</h1>" in page
    assert f'<p class="file">{NAME}</p>' in page
    assert names_on(page, "tables") == sorted(f"public.{name}" for name in documents.TABLES)
    assert re.search(r'<b>public.photo</b></span>\s*<span class="n">84,211 rows</span>', page)
    assert len(names_on(page)) == 100
    assert names_on(page)[0] == "2026/01/dive-00000.jpg"
    assert "1,240 files, page 1 of 13" in page
    commands = commands_on(page)
    typed = "docker compose exec backups safeharbor extract"
    assert len(commands) == 9 + 100
    assert commands[0] == f"{typed} {NAME} --table public.alembic_version --csv /backups/rows.csv"
    assert commands[9] == f"{typed} {NAME} uploads/2026/01/dive-00000.jpg --to /backups/extracted"


def test_a_name_of_any_kind_is_shown_on_one_line_and_is_one_word_of_its_command(status_file: Path) -> None:
    put_list(status_file, archive_list(files=[[name, 5, "0" * 12] for name in HOSTILE]))

    page = visit(status_file).text

    assert_is_valid(page)
    assert "<script" not in page
    assert "\u202e" not in page
    assert "\x1b" not in page
    shown = names_on(page)
    assert len(shown) == len(HOSTILE)
    assert all(each.isprintable() for each in shown)
    assert shown[4] == "line\\nbreak\\r\\ttab.jpg"
    commands = commands_on(page)[9:]
    assert all(each.isprintable() for each in commands)
    for name, command in zip(HOSTILE, commands, strict=True):
        raw = b"uploads/" + name.encode("utf-8", "surrogateescape")
        assert words_of(command) == [
            b"backups",
            b"safeharbor",
            b"extract",
            NAME.encode(),
            raw,
            b"--to",
            b"/backups/extracted",
        ]


def test_a_table_of_any_name_is_one_word_of_its_command(status_file: Path) -> None:
    names = ['public."two words; id"', 'public."line\nbreak"', 'public."\udcff"', 'public."</b><script>"']
    put_list(status_file, archive_list(tables=[[name, 1] for name in names]))

    page = visit(status_file).text

    assert_is_valid(page)
    assert "<script" not in page
    for name, command in zip(names, commands_on(page), strict=False):
        assert words_of(command)[4:6] == [b"--table", name.encode("utf-8", "surrogateescape")]


def test_pages_lead_to_one_another_until_the_last(status_file: Path) -> None:
    seen: list[str] = []
    address, pages = "", 0
    while True:
        page = visit(status_file, ADDRESS + address).text
        pages += 1
        seen += names_on(page)
        following = re.search(r'<a href="([^"]*)#files" rel="next">', page)
        if following is None:
            break
        address = html.unescape(following[1])

    assert pages == 13
    assert len(set(seen)) == len(seen) == 1240
    before = re.search(r'<a href="([^"]*)#files" rel="prev">', page)
    assert before is not None
    assert html.unescape(before[1]) == "?page=12"


def test_tables_have_pages_of_their_own(status_file: Path) -> None:
    put_list(status_file, archive_list(tables=[[f"public.t{number:03}", number] for number in range(101)]))

    page = visit(status_file, f"{ADDRESS}?tables=2&page=3").text

    assert names_on(page, "tables") == ["public.t100"]
    assert "101 tables, page 2 of 2" in page
    assert '<a href="?page=3#tables" rel="prev">' in page
    assert '<a href="?page=4&amp;tables=2#files" rel="next">' in page


@pytest.mark.parametrize(
    "number", ["0", "-1", "14", "x", "", "1.0", "1e1", "+1", " 1", "01", "\u0663", "9" * 6, "9" * 5000, "1;", "1%00"]
)
@pytest.mark.parametrize("part", ["page", "tables"])
def test_a_page_that_is_not_there_is_not_found(status_file: Path, part: str, number: str) -> None:
    assert visit(status_file, f"{ADDRESS}?{part}={number.replace('+', '%2B')}").status_code == 404


def test_names_are_found_by_a_part_of_them(status_file: Path) -> None:
    page = visit(status_file, f"{ADDRESS}?q=DIVE-0012").text

    assert sorted(names_on(page)) == [
        f"2026/{number % 12 + 1:02}/dive-{number:05}.jpg" for number in sorted(range(120, 130), key=lambda n: n % 12)
    ]
    assert "10 files with a name like that" in page
    assert "No table has a name like that." in page
    assert 'value="DIVE-0012"' in page
    only = visit(status_file, f"{ADDRESS}?q=dive-00123").text
    assert "1 file with a name like that" in only
    assert only.count("<details open>") == 1
    none = visit(status_file, f"{ADDRESS}?q=nothing")
    assert (none.status_code, "No file has a name like that." in none.text) == (200, True)
    assert visit(status_file, f"{ADDRESS}?q=nothing&page=2").status_code == 404


def test_what_is_looked_for_goes_on_to_the_next_page_and_becomes_no_markup(status_file: Path) -> None:
    page = visit(status_file, f"{ADDRESS}?q=jpg&back=/admin").text

    assert '<a href="?q=jpg&amp;page=2&amp;back=%2Fadmin#files" rel="next">' in page
    assert '<a href="../?back=%2Fadmin">← All backups</a>' in page
    assert '<a href="?back=%2Fadmin">Show all</a>' in page
    assert '<input type="hidden" name="back" value="/admin">' in page
    for bad in ('"><script>alert(1)</script>', "\x00\u202e\ud800", "a" * 5000, "&lt;", "//evil"):
        page = visit(
            status_file, f"{ADDRESS}?q={bad.encode('utf-8', 'surrogatepass').decode('latin-1')}&back=//evil.example"
        ).text
        assert_is_valid(page)
        assert "<script" not in page
        assert "evil.example" not in page


@pytest.mark.parametrize("answer", [False, None, 1, "admin"])
def test_only_who_may_see_the_page_sees_what_is_in_archives_or_whether_there_is_one(
    status_file: Path, answer: object
) -> None:
    for address in (ADDRESS, f"{ADDRESS}?page=x", "/backups/archives/safeharbor-backup-2020-01-01T00-00-00Z.tar"):
        response = visit(status_file, address, lambda: answer)
        assert response.status_code == 403
        assert response.headers["Cache-Control"] == "no-store"
        assert "dive" not in response.text


def test_a_response_of_the_check_is_sent_instead(status_file: Path) -> None:
    response = visit(status_file, access=lambda: redirect("/login"))

    assert (response.status_code, response.location) == (302, "/login")


@pytest.mark.parametrize(
    "name",
    [
        "safeharbor-backup-2026-11-25T03-00-05Z.tar",
        "safeharbor-backup-2026-11-25T03-00-04Z",
        "safeharbor-backup-2026-11-25T03-00-04Z.jsonl.gz",
        "safeharbor-backup-2026-11-25T03-00-04Z.tar.jsonl.gz",
        "safeharbor-backup-2026-13-25T03-00-04Z.tar",
        f"{NAME}%0a",
        f"{NAME}%00",
        f"../status-archives/{NAME}",
        f"..%2fstatus-archives%2f{NAME}",
        "..%2f..%2fetc%2fpasswd",
        "../status.json",
        "%2e%2e",
        "notes",
        "",
    ],
)
def test_nothing_but_the_name_of_an_archive_leads_to_a_file(status_file: Path, name: str) -> None:
    for other in ("notes", "notes.jsonl.gz", "safeharbor-backup-2026-13-25T03-00-04Z.jsonl.gz"):
        (status_file.parent / "status-archives" / other).write_bytes(archive_list())

    assert visit(status_file, f"/backups/archives/{name}").status_code == 404


def test_a_link_in_the_place_of_a_list_leads_nowhere(status_file: Path) -> None:
    place = status_file.parent / "status-archives" / NAME.replace(".tar", ".jsonl.gz")
    (status_file.parent / "secret").write_bytes(archive_list(files=[["secret.jpg", 1, ""]]))
    place.unlink()
    place.symlink_to("../secret")

    response = visit(status_file)

    assert (response.status_code, "secret.jpg" in response.text) == (200, False)
    assert "What is in this archive is not known." in response.text


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"no gzip",
        archive_list()[:-20],
        archive_list() + b"garbage",
        gzip.compress(b""),
        gzip.compress(b"[1]\n"),
        gzip.compress(b"{}\n"),
        archive_list(schema=2),
        archive_list(taken_at="0001-01-01T00:00:00Z"),
        archive_list(taken_at="2026-11-25T03:00:04"),
        archive_list(files=[[5, 5, ""]]),
        archive_list(files=[["x", -5, ""]]),
        archive_list(files=[["x" * 100_000, 5, ""]]),
        gzip.compress(gzip.decompress(archive_list()) + b"[" * 60_000 + b"\n"),
        gzip.compress(bytes(200 << 20)),
        gzip.compress(gzip.decompress(archive_list()) + b'{"path":"x","size_bytes":1}\n' * 100_001),
    ],
    ids=lambda packed: str(len(packed)),
)
def test_a_list_that_is_none_is_a_page_that_says_so(status_file: Path, packed: bytes) -> None:
    put_list(status_file, packed)

    response = visit(status_file)

    assert response.status_code == 200
    assert "What is in this archive is not known." in response.text
    assert f"The list of {NAME} cannot be read: " in response.text
    assert_is_valid(response.text)


def test_numbers_that_nobody_has_are_not_known(status_file: Path) -> None:
    many = 10**400
    put_list(
        status_file,
        archive_list(
            files=[["x", many, ""]], tables=[["t", many]], rows=many, upload_files=many, upload_bytes=many,
            size_bytes=many, table_count=many, cut=True, problem="</p><script>", database="\u202e<b>",
        ),
    )  # fmt: skip

    page = visit(status_file).text

    assert_is_valid(page)
    assert page.count("not known") >= 3
    assert "<script" not in page


def test_without_a_status_document_commands_are_typed_as_by_default(status_file: Path) -> None:
    for content in (b"{", b'{"typed_as": 5}', b"[]"):
        status_file.write_bytes(content)
        page = visit(status_file).text
        assert f"safeharbor extract {NAME} --table public.alembic_version --csv rows.csv" in commands_on(page)
    status_file.unlink()
    assert visit(status_file).status_code == 200


def test_the_page_of_all_leads_to_those_that_are_there_and_a_report_to_none(status_file: Path) -> None:
    page = visit(status_file, "/backups/?back=/admin").text
    link = f'<a href="archives/{NAME}?back=%2Fadmin">All files and tables of this archive</a>'

    assert page.count('href="archives/') == page.count(link) == 1
    assert_is_valid(page)
    assert f'<a href="archives/{NAME}">' in visit(status_file, "/backups/").text
    assert 'href="archives/' not in render_page(documents.good(), NOW)


def test_a_browser_may_send_its_form_to_the_same_site_and_nothing_else(status_file: Path) -> None:
    response = visit(status_file)
    policy = response.headers["Content-Security-Policy"]

    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "; form-action 'self'; frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert response.headers["Cache-Control"] == "no-store"
    assert (
        html.escape(policy.removesuffix("; frame-ancestors 'none'"), quote=True).replace("&#x27;", "&#39;")
        in response.text
    )
    assert "form-action 'none'" in visit(status_file, "/backups/").headers["Content-Security-Policy"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_nothing_can_be_done_to_it(status_file: Path, method: str) -> None:
    app = Flask(__name__)
    app.register_blueprint(backups_page(access=yes, status_file=status_file), url_prefix="/backups")
    client: Any = app.test_client()

    assert client.open(ADDRESS, method=method).status_code == 405
