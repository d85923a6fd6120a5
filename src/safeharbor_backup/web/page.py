"""The page that shows the state of the backups, as one HTML document without scripts, images or fonts.

It is a pure function of the status document and the clock, so the report, the page inside an app, the screenshots
and the tests all show the same thing.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from safeharbor_backup.actions.status.schema import StatusDocument
from safeharbor_backup.text import iso_time, plural
from safeharbor_backup.web import format as words
from safeharbor_backup.web.advice import advice_of
from safeharbor_backup.web.archives import items_of
from safeharbor_backup.web.calendar import draw_calendar
from safeharbor_backup.web.charts import draw_charts
from safeharbor_backup.web.document import read_document, readable
from safeharbor_backup.web.sections import facts_of, restore_of
from safeharbor_backup.web.verdict import State, Verdict, judge_document

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

_RUNS = 40
_NONE: Mapping[str, str] = MappingProxyType({})


def render_page(
    document: object,
    now: datetime,
    *,
    unknown_after_seconds: float | None = None,
    back: str = "",
    addresses: Mapping[str, str] = _NONE,
) -> str:
    """The page for a status document, or what JSON has of one, as it is at `now` (aware).

    `back` is where a link leads back to: a path of the same site. `addresses` are of the pages that archives have,
    below archives/, by their names.

    Whatever the document holds, this never fails and nothing in it becomes markup. If the document tells when it was
    published, and that is longer ago than `unknown_after_seconds` (default: its `max_age_seconds`), the page says
    that the state is not known.
    """
    told = read_document(document)
    return _page(judge_document(told, now, unknown_after_seconds), told, now, back, addresses)


def render_absence(sentence: str, explanation: str, now: datetime, *, is_expected: bool = False, back: str = "") -> str:
    """The page if there is no document; `is_expected` if that is not an alarm."""
    verdict = Verdict(State.WAITING if is_expected else State.UNKNOWN, sentence, readable(explanation))
    return _page(verdict, StatusDocument(), now, back, _NONE)


@cache
def content_security_policy(form_action: str = "'none'") -> str:
    """What the page may do: nothing but look as its own style says, and send its form, if it has one, there."""
    digest = base64.b64encode(hashlib.sha256(_style().encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action {form_action}"


@cache
def _style() -> str:
    return templates().get_template("page.css").render()


@cache
def templates() -> Environment:
    """The templates. What they are given is escaped, whatever it is; a name that they misspell is an error."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        auto_reload=False,
    )
    filters = (
        words.absolute,
        words.ago,
        words.counted,
        words.day_and_time,
        words.number,
        words.size,
        words.took,
        iso_time,
        plural,
    )
    environment.filters.update({each.__name__: each for each in filters})
    return environment


def _page(verdict: Verdict, document: StatusDocument, now: datetime, back: str, addresses: Mapping[str, str]) -> str:
    return (
        templates()
        .get_template("page.html")
        .render(
            policy=content_security_policy(),
            what="Backups",
            verdict=verdict,
            document=document,
            now=now,
            is_known=document != StatusDocument(),
            subject=_subject(document),
            back=back,
            advice=advice_of(verdict, document),
            facts=facts_of(document, now),
            calendar=draw_calendar(document, now),
            charts=draw_charts(document),
            runs=document.history[::-1][:_RUNS],
            restore=restore_of(document),
            archives=items_of(document, now, addresses),
        )
    )


def _subject(document: StatusDocument) -> str:
    names = {archive.database for archive in document.contents if archive.database}
    return names.pop() if len(names) == 1 else ""
