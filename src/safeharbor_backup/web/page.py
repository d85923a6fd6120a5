"""The page that shows how the backups are, as one HTML document that needs nothing else: no script, no image, no font.

It is a pure function of the status document and the clock, so the report, the page inside an app, the screenshots
and the tests all show the same thing.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from safeharbor_backup.web.archives import show_archives
from safeharbor_backup.web.calendar import draw_calendar
from safeharbor_backup.web.charts import draw_charts
from safeharbor_backup.web.document import Document, read_document
from safeharbor_backup.web.format import time_of
from safeharbor_backup.web.markup import Html, element, joined, verbatim
from safeharbor_backup.web.sections import (
    show_facts,
    show_failure,
    show_interrupted,
    show_kept,
    show_restore,
    show_retention,
    show_runs,
    show_verdict,
)
from safeharbor_backup.web.untrusted_json import readable
from safeharbor_backup.web.verdict import State, Verdict, judge_document

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


def render_page(document: Mapping[str, object], now: datetime, *, unknown_after_seconds: float | None = None) -> str:
    """The page for a status document, as it is at `now` (aware).

    Whatever the document holds, this never fails and nothing in it becomes markup. If the document tells when it was
    published, and that is longer ago than `unknown_after_seconds` (default: its `max_age_seconds`), the page says
    that the state is not known.
    """
    told = read_document(document)
    return _page(judge_document(told, now, unknown_after_seconds), told, now)


def render_absence(sentence: str, explanation: str, now: datetime, *, is_expected: bool = False) -> str:
    """The page if there is no document; `is_expected` if that is no alarm."""
    verdict = Verdict(State.WAITING if is_expected else State.UNKNOWN, sentence, readable(explanation))
    return _page(verdict, Document(), now)


@cache
def content_security_policy() -> str:
    """What the page may do: nothing but look as its own style says."""
    digest = base64.b64encode(hashlib.sha256(_style().encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


@cache
def _style() -> str:
    return Path(__file__).with_name("page.css").read_text(encoding="utf-8")


def _page(verdict: Verdict, document: Document, now: datetime) -> str:
    body = element(
        "body",
        element("a", "To the archives", href="#archives", class_="skip") if document.contents else None,
        element("header", element("span", "Safe Harbor"), element("span", _subject(document)), class_="brand"),
        element("main", show_verdict(verdict), *_parts(document, now)),
        _foot(document, now),
        class_=f"state-{verdict.state.name.lower()}",
    )
    return f"<!doctype html>\n{element('html', _head(verdict), body, lang='en')}\n"


def _head(verdict: Verdict) -> Html:
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=content_security_policy()),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="robots", content="noindex, nofollow"),
        element("meta", name="referrer", content="no-referrer"),
        element("title", f"{verdict.state.value.capitalize()}: {verdict.sentence}"),
        element("style", verbatim(_style())),
    )


def _parts(document: Document, now: datetime) -> list[Html]:
    if document == Document():
        return []
    parts = [
        (None, show_facts(document, now)),
        ("Settle the restore", show_interrupted(document)),
        ("Last failure", show_failure(document, now)),
        ("Archives by day", _calendar(document, now)),
        ("Over time", joined((draw_charts(document.contents, document.history), show_runs(document)))),
        ("Get it back", show_restore(document)),
        ("Kept by restores", show_kept(document, now)),
        ("Archives", show_archives(document, now) if document.contents else None),
    ]
    return [_section(title, content) for title, content in parts if content]


def _calendar(document: Document, now: datetime) -> Html | None:
    if not document.contents and not document.history:
        return None
    return joined((draw_calendar(document.contents, document.history, now), show_retention(document)))


def _section(title: str | None, content: Html) -> Html:
    if title is None:
        return element("section", content, aria_label="In short")
    identity = title.lower().replace(" ", "-")
    heading = element("h2", title, id=identity)
    return element("section", heading, content, aria_labelledby=identity)


def _subject(document: Document) -> str | None:
    names = {archive.database for archive in document.contents if archive.database}
    return names.pop() if len(names) == 1 else None


def _foot(document: Document, now: datetime) -> Html:
    version = f" {document.version}" if document.version else ""
    published = ("state of ", time_of(document.published_at), ", ") if document.published_at else ()
    return element("footer", element("p", f"Safe Harbor{version}: ", *published, "shown ", time_of(now), "."))
