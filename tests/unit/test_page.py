"""The page as a function of the status document and the clock."""

from __future__ import annotations

import base64
import copy
import hashlib
import html
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import html5lib
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safeharbor_backup.web import page as page_module
from safeharbor_backup.web.page import content_security_policy, render_absence, render_page
from support import documents
from support.documents import EVERY, NOW, iso
from support.html_pages import assert_is_valid

TEMPLATES = Path(page_module.__file__).with_name("templates")
PAYLOAD = "</style></title>\"'><script>alert(1)</script><img src=x onerror=alert(1)>&\ud800\u202e\x00\ufdd0\U0001ffff"
TOLD = {
    "empty": ("waiting", "No backup yet."),
    "good": ("good", "The backups are good."),
    "warning": ("warning", "There is a backup, and 2 things to look at."),
    "stale": ("stale", "The newest backup is too old."),
    "failing": ("failed", "The last backup failed."),
    "interrupted": ("interrupted", "A restore was interrupted."),
    "many": ("good", "The backups are good."),
}


def text_of(page: str) -> str:
    """What a reader sees, in one line."""
    body = page.split("<body", 1)[1].split(">", 1)[1]
    return " ".join(re.sub(r"<[^>]*>", " ", body).split())


def verdict_of(page: str) -> tuple[str, str]:
    found = re.search(r'class="word">Backups: ([^<]*)</p>\s*<h1>([^<]*)</h1>', page)
    assert found is not None
    return found[1], found[2]


@pytest.mark.parametrize("name", EVERY)
def test_each_state_has_its_sentence_and_its_colour(name: str) -> None:
    page = render_page(EVERY[name](), NOW)

    word, sentence = TOLD[name]
    assert verdict_of(page) == (word, sentence)
    assert f'<body class="state-{word}">' in page
    assert f"<title>{word.capitalize()}: {sentence}</title>" in page


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name == "many" else []) for name in EVERY]
)
def test_a_page_is_valid_and_needs_nothing_else(name: str) -> None:
    page = render_page(EVERY[name](), NOW)

    assert_is_valid(page)
    assert not re.search(r"<(script|link|img|iframe|form|button|object)|\b(src|style|on[a-z]+)=|url\(|@import|//", page)


def test_the_policy_allows_exactly_the_pages_own_style() -> None:
    page = render_page(documents.good(), NOW)

    style = page.split("<style>", 1)[1].split("</style>", 1)[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert content_security_policy().startswith(f"default-src 'none'; style-src 'sha256-{digest}';")
    assert html5lib.parse(page, namespaceHTMLElements=False).find(".//meta[@http-equiv]").get("content") == (
        content_security_policy()
    )


def test_it_tells_the_last_checks_the_next_run_and_the_room() -> None:
    told = text_of(render_page(documents.good(), NOW))

    assert "Newest archive 13 hours ago 25 Nov 2026, 03:00 UTC" in told
    assert "Next backup in 10 hours 26 Nov 2026, 03:00 UTC" in told
    assert "Last verify Passed 3 days ago 22 Nov 2026, 05:00 UTC , in 41 s" in told
    assert "Last drill Passed 3 days ago 22 Nov 2026, 04:00 UTC , in 3 min 8 s" in told
    assert "Free space 68.1 GiB for 58 more archives of 1.2 GiB" in told


def test_it_tells_what_is_in_each_archive_and_what_retention_does_with_it() -> None:
    document = documents.with_warnings()
    page = render_page(document, NOW)

    told = text_of(page)
    assert page.count("<details") == len(document["contents"]) + 1  # and the table of runs
    assert "1.1 GiB 109,456 rows 12,480 uploads daily 1 of 7 week 2026-W48 (1 of 4) 2 warnings" in told
    assert "logbook on PostgreSQL 18.4" in told
    assert "public.photo 84,211 public.entry 12,304" in told
    assert "2026 5,491 481.6 MiB" in told
    assert "table voyage has 1,204 rows" in told
    assert f"The next backup deletes {document['contents'][-1]['name']}" in told


def test_the_calendar_and_the_charts_are_told_in_words() -> None:
    page = render_page(documents.failing(), NOW)

    assert "5 days: kept (daily)." in page
    assert "1 day: will be deleted after the next backup." in page
    assert "1 day: failed, no backup taken." in page
    assert re.search(r"Wed, 25 Nov 2026\. failed, no backup taken", page)
    assert "days: taken, deleted since." in page
    assert re.search(r"120 values from 29 Jul 2026 to 25 Nov 2026: .*, 1 failed run\.", page)


def test_a_failure_is_told_once_with_its_reason() -> None:
    told = text_of(render_page(documents.failing(), NOW))

    assert told.count("no space left in /backups") == 2  # as the last failure, and in the table of runs
    assert "The last backup failed 13 hours ago with exit status 7, after 0.4 s." in told
    assert "the next one needs 1.2 GiB" in told


def test_the_restore_is_typed_for_the_newest_archive_the_look_first() -> None:
    document = documents.good()
    path = document["newest"]["path"]
    page = render_page(document, NOW)

    codes = re.findall(r"<pre><code>([^<]*)</code><code>([^<]*)</code></pre>", page)
    assert codes[0] == (f"safeharbor restore --from {path} --dry-run", f"safeharbor restore --from {path}")
    in_compose = "docker compose exec backups "
    assert codes[1] == (in_compose + codes[0][0], in_compose + codes[0][1])
    assert any(document["contents"][1]["name"] in code for code, _ in codes[2:])


def test_a_name_that_would_be_more_than_one_word_of_a_shell_is_quoted() -> None:
    document = documents.good()
    document["newest"] |= {"name": "x; rm -rf ~", "path": "/back ups/x; rm -rf ~"}

    assert "restore --from '/back ups/x; rm -rf ~' --dry-run" in html.unescape(render_page(document, NOW))


def test_where_it_is_known_how_commands_are_typed_there_is_no_choice() -> None:
    page = render_page({**documents.good(), "typed_as": "flask --app 'a & b' safeharbor"}, NOW)

    (code, *_) = re.findall(r"<pre><code>([^<]*)</code>", page)
    assert code.startswith("flask --app &#39;a &amp; b&#39; safeharbor restore --from /")
    assert "On the host" not in page


def test_an_interrupted_restore_has_its_two_commands_and_a_kept_state_its_id() -> None:
    told = text_of(render_page(documents.interrupted(), NOW))

    assert "safeharbor restore --resume" in told
    assert "docker compose exec backups safeharbor restore --undo" in told
    assert "restore --undo --id 6b04d99cab1e" in told
    assert "restore --discard-previous --id 6b04d99cab1e" in told
    assert "1 logical slot in it hold back WAL" in told
    assert told.count("was interrupted") == 1


def test_an_interrupted_restore_of_which_nothing_is_known_has_its_commands_too() -> None:
    page = render_page(documents.good() | {"health": "interrupted"}, NOW)

    assert verdict_of(page)[0] == "interrupted"
    assert "safeharbor restore --resume" in page


def test_archives_that_are_damaged_or_of_another_program_are_told_apart() -> None:
    document = documents.good()
    unknown = dict.fromkeys(("rows", "tables", "upload_files", "upload_bytes", "server_version", "database", "folders"))
    document["contents"][0] |= {"state": "damaged", "problem": "the file is cut", "largest_tables": [], **unknown}
    document["contents"][1] |= {"state": "no manifest", "largest_tables": [], **unknown}
    document["newest"] = None

    page = render_page(document, NOW)

    assert_is_valid(page)
    told = text_of(page)
    assert verdict_of(page) == ("stale", "There is no backup.")
    assert "1.1 GiB daily 1 of 7 week 2026-W48 (1 of 4) damaged" in told
    assert "the file is cut" in told
    assert "1.1 GiB daily 2 of 7 no manifest" in told
    assert "1 day: cannot be restored." in told
    assert f"restore --from {document['contents'][0]['name']}" not in told
    assert f"restore --from {document['contents'][1]['name']}" in told


@pytest.mark.parametrize(
    ("hours", "word"),
    [(0, "good"), (12, "good"), (13, "stale"), (12.9, "stale")],
)
def test_the_age_goes_by_the_readers_clock(hours: float, word: str) -> None:
    later = NOW + timedelta(hours=hours)
    document = documents.good() | {"published_at": iso(later)}

    assert verdict_of(render_page(document, later))[0] == word


@pytest.mark.parametrize(("minutes", "word"), [(9, "good"), (11, "not known")])
def test_what_nobody_has_renewed_for_too_long_is_not_known(minutes: int, word: str) -> None:
    page = render_page(documents.good(), NOW + timedelta(minutes=minutes), unknown_after_seconds=600)

    assert verdict_of(page)[0] == word


def test_without_a_limit_it_is_not_known_after_an_archives_greatest_age() -> None:
    page = render_page(documents.good(), NOW + timedelta(hours=27))

    assert verdict_of(page) == ("not known", "The state of the backups is not known.")
    assert "No run has reported for 27 hours. The newest known archive is 40 hours old." in page


@pytest.mark.parametrize("document", [{}, {"schema": 2}, {"schema": "1"}, documents.good() | {"schema": 99}])
def test_of_another_schema_nothing_is_guessed(document: dict[str, Any]) -> None:
    assert verdict_of(render_page(document, NOW))[0] == "not known"


def test_an_archive_from_the_future_is_something_to_look_at() -> None:
    page = render_page(documents.good(), NOW - timedelta(days=1))

    assert verdict_of(page)[0] == "warning"
    assert "from the future" in page


@pytest.mark.slow
def test_no_text_of_the_document_becomes_markup() -> None:
    document = replace_leaves(documents.interrupted() | documents.failing(), str, f"{PAYLOAD}")
    for key in ("schema", "published_at"):
        document[key] = documents.good()[key]
    for archive in document["contents"]:
        archive["state"] = "complete"

    for part in (document, document | {"newest": documents.good()["newest"], "health": PAYLOAD}):
        page = render_page(part, NOW)
        assert_is_valid(page)
        assert "<script" not in page
        assert "<img" not in page
        assert "\u202e" not in page
        page.encode()


def test_no_template_takes_a_text_for_markup() -> None:
    templates = sorted(TEMPLATES.glob("*.html"))

    assert len(templates) > 5
    # the only ways past autoescaping, and attributes in which a browser would not take a text for a text
    loophole = re.compile(r"\|\s*safe\b|\bautoescape\b|\b(href|src|style|on[a-z]+)=\W*\{\{|=\{\{")
    # nothing of the document, and a path of the same site only; queries of the same page
    proven = re.compile(r'href="(\{\{ back \}\}"|\?\{\{ )')
    assert [path.name for path in templates if loophole.search(proven.sub("", path.read_text()))] == []


def test_a_path_that_is_no_text_can_be_told() -> None:
    page = render_absence("Nothing.", "There is no /state/\udcff.json yet.", NOW)

    page.encode()
    assert_is_valid(page)


GARBAGE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from([PAYLOAD, "2026-11-25T03:00:04Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59Z", 10**400]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=50, deadline=None)
@given(data=st.data())
@pytest.mark.fuzz
def test_whatever_the_document_holds_there_is_a_page(data: st.DataObject) -> None:
    document = documents.interrupted() | {"last_failure": documents.failing()["last_failure"]}
    document["contents"] = document["contents"][:3]
    document["history"] = document["history"][-5:]
    for _ in range(data.draw(st.integers(1, 6))):
        place: Any = document
        for _ in range(data.draw(st.integers(0, 3))):
            inner = [
                each
                for each in (place.values() if isinstance(place, dict) else place)
                if each and isinstance(each, dict | list)
            ]
            if inner:
                place = data.draw(st.sampled_from(inner))
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if keys:
            place[data.draw(st.sampled_from(keys))] = data.draw(GARBAGE)

    page = render_page(document, NOW)

    assert_is_valid(page)
    page.encode()


@pytest.mark.parametrize("document", [None, [], "text", 7, {"contents": {}, "history": 5, "schema": 1}])
def test_what_is_no_document_makes_a_page_that_says_so(document: Any) -> None:
    assert_is_valid(render_page(document, NOW))


@pytest.mark.slow
def test_a_page_is_bounded_however_much_the_document_holds() -> None:
    document = documents.many()
    document["contents"] = document["contents"] * 20
    document["reasons"] = ["x" * 100_000] * 10_000
    document["contents"][0]["largest_tables"] = [["t", 1]] * 100_000

    assert len(render_page(document, NOW)) < 4_000_000


def replace_leaves(document: Any, kind: type, value: object) -> Any:
    """A copy of it with this value in the place of each leaf of a kind, moments aside."""
    if isinstance(document, dict):
        return {key: replace_leaves(each, kind, value) for key, each in document.items()}
    if isinstance(document, list):
        return [replace_leaves(each, kind, value) for each in document]
    is_moment = isinstance(document, str) and re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:]+Z", document)
    return value if isinstance(document, kind) and not is_moment else copy.copy(document)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (
            "empty",
            "It is due on 26 Nov 2026, 03:00 UTC. Or take one now: On the host safeharbor doctor safeharbor backup",
        ),
        ("stale", "Find out what keeps backups from running, then take one: On the host safeharbor doctor"),
        ("failing", "Free some space, or point BACKUP_DIR at a larger filesystem. Find out what stopped it"),
        ("warning", "This check shows what to type for each of these: On the host safeharbor doctor"),
        ("good", ""),
    ],
)
def test_each_state_that_wants_something_says_what_to_do_now(name: str, says: str) -> None:
    page = text_of(render_page(EVERY[name](), NOW))

    assert ("What to do now" in page) is bool(says)
    assert says in page


def test_a_failed_drill_and_archives_that_are_gone_have_commands_of_their_own() -> None:
    document = documents.failing()
    document["last_failure"] |= {"command": "drill", "advice": ""}
    gone = documents.empty() | {"health": "failed", "gone": {"archives": 3, "seen_at": iso(NOW)}}

    assert "then run it again: On the host safeharbor doctor safeharbor drill" in text_of(render_page(document, NOW))
    assert "is mounted, before anything writes there: On the host safeharbor doctor" in text_of(render_page(gone, NOW))
    assert "safeharbor status" in text_of(render_absence("The state of the backups is not known.", "x", NOW))


def test_nights_on_which_nothing_ran_are_marked_where_each_day_has_one() -> None:
    document = documents.stale()

    assert "2 days: missed: nothing ran." in render_page(document, NOW)  # today is not over
    assert "missed" not in text_of(render_page(document | {"schedule": "0 0 3 * * 1"}, NOW))
    assert "missed" not in text_of(render_page(documents.good(), NOW))


def test_the_facts_have_difference_copies_objectives_and_who_is_told() -> None:
    page = text_of(render_page(documents.good(), NOW))
    silent = text_of(render_page(documents.good() | {"told": [], "drill_max_seconds": None}, NOW))

    assert "Since the previous archive +79 rows +13 uploads, no change in tables" in page
    assert "Off-site copy 11 hours ago 25 Nov 2026, 04:37 UTC , restic, drilled 3 days ago" in page
    assert "Objectives At most 26 hours old a restore at most 15 min; the last one took 2 min" in page
    assert "Alerts go to 2 receivers of messages a check that expects a ping" in page
    assert "Time that a restore takes, at most 15 min wanted" in page
    assert "Alerts go to nobody no alert is set up" in silent
    assert "no objective for a restore" in silent


def test_a_part_of_an_archive_has_a_command_that_can_be_pasted() -> None:
    document = documents.good()
    document["contents"][0]["folders"][0][0] = "it's; rm -rf"
    document["contents"][0]["largest_tables"][0][0] = 'public."a b"'
    name = document["contents"][0]["name"]

    page = html.unescape(render_page(document, NOW))

    assert f"""extract {name} 'uploads/it'"'"'s; rm -rf' --to /backups/extracted""" in page
    assert f"""extract {name} --table 'public."a b"' --csv /backups/rows.csv""" in page
