"""Every archive, newest first, each with what is in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safeharbor_backup.text import plural, show_bytes
from safeharbor_backup.web.commands import name_to_restore, restore_commands, show_commands
from safeharbor_backup.web.format import UNKNOWN, absolute, ago, day, number, size, time_of, weekday
from safeharbor_backup.web.markup import Html, element, joined, row

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from safeharbor_backup.web.document import Archive, Document

_IN_FULL = 60  # so many have all their tables; a page with more of them would not be read
_ROWS, _ROWS_OF_OLDER = 30, 5
_COMMANDS = 10
_ROOT = "in no folder"


def show_archives(document: Document, now: datetime) -> Html:
    """The list."""
    rows = [_archive(archive, index, document, now) for index, archive in enumerate(document.contents)]
    return element("div", *rows, class_="archives")


def _archive(archive: Archive, index: int, document: Document, now: datetime) -> Html:
    shown = name_to_restore(document)  # its commands stand above the list
    rows = _ROWS if index < _IN_FULL else _ROWS_OF_OLDER
    body = [
        element("p", archive.problem, class_="problem") if archive.problem else None,
        element("p", archive.name, class_="file"),
        _facts(archive, now),
        element("div", _tables(archive, rows), _folders(archive, rows), class_="inside"),
        _warnings(archive.warnings),
    ]
    if archive.name != shown and index < _COMMANDS and archive.is_usable:
        body.append(show_commands(*restore_commands(archive.name, document)))
    return element(
        "details",
        element("summary", _heading(archive, now)),
        element("div", *body, class_="content"),
        open=index == 0,
        class_=None if archive.is_usable else "damaged",
    )


def _heading(archive: Archive, now: datetime) -> Html:
    moment = archive.taken_at
    when = (
        element("b", archive.name)
        if moment is None
        else joined(
            (element("b", time_of(moment, f"{weekday(moment)} {day(moment)}, {moment:%H:%M}")), ago(moment, now)), " "
        )
    )
    numbers = [size(archive.size_bytes)]
    if archive.rows is not None:
        numbers += [f"{number(archive.rows)} rows", f"{number(archive.upload_files)} uploads"]
    cells = joined(element("span", told, class_="n") for told in numbers)
    return element("span", element("span", when, class_="when"), cells, _badges(archive), class_="row")


def _badges(archive: Archive) -> Html:
    badges = [element("span", reason, class_="badge") for reason in archive.kept_as[:4]]
    if archive.goes_next:
        badges.append(element("span", "goes next", class_="badge next"))
    if archive.state != "complete":
        badges.append(
            element("span", archive.state or UNKNOWN, class_="badge warn" if archive.is_usable else "badge bad")
        )
    if archive.warnings:
        badges.append(element("span", plural(len(archive.warnings), "warning"), class_="badge warn"))
    if archive.drilled_at is not None:
        badges.append(element("span", "drilled", class_="badge ok"))
    elif archive.verified_at is not None:
        badges.append(element("span", "verified", class_="badge ok"))
    return element("span", *badges, class_="badges")


def _facts(archive: Archive, now: datetime) -> Html:
    new = archive.new_bytes
    is_shared = new is not None and archive.size_bytes is not None and new < archive.size_bytes
    shared = f", of which {size(new)} were written anew" if is_shared else ""
    facts = [
        ("Taken", UNKNOWN if archive.taken_at is None else absolute(archive.taken_at)),
        ("Size", f"{size(archive.size_bytes)}{shared}"),
        ("Uploads", f"{number(archive.upload_files)} files, {size(archive.upload_bytes)}"),
        ("Database", " on PostgreSQL ".join(filter(None, (archive.database, archive.server_version)))),
        ("Verified", _when(archive.verified_at, now, "not since it was written")),
        ("Drilled", _when(archive.drilled_at, now, "never")),
    ]
    if archive.rows is None:  # damaged, or another program's
        facts = facts[:2]
    return element(
        "dl", *(element("div", element("dt", name), element("dd", told)) for name, told in facts), class_="facts small"
    )


def _when(moment: datetime | None, now: datetime, otherwise: str) -> str:
    return otherwise if moment is None else f"{absolute(moment)}, {ago(moment, now)}"


def _tables(archive: Archive, limit: int) -> Html | None:
    if not archive.largest_tables:
        return None
    shown = archive.largest_tables[:limit]
    rest = (archive.tables or len(shown)) - len(shown)
    rows = [(name, f"{count:,}") for name, count in shown]
    return _table(("Table", "Rows"), rows, f"and {plural(rest, 'smaller table')}" if rest > 0 else "")


def _folders(archive: Archive, limit: int) -> Html | None:
    if not archive.folders:
        return None
    shown = archive.folders[:limit]
    rest = len(archive.folders) - len(shown)
    rows = [(_ROOT if name == "." else name, f"{files:,}", show_bytes(total)) for name, files, total in shown]
    return _table(("Upload folder", "Files", "Size"), rows, f"and {plural(rest, 'more folder')}" if rest > 0 else "")


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], rest: str) -> Html:
    head = element("tr", *(element("th", name, scope="col") for name in heads))
    body = (row(first, others) for first, *others in rows)
    return element(
        "div",
        element("table", element("thead", head), element("tbody", *body)),
        element("p", rest, class_="rest") if rest else None,
    )


def _warnings(warnings: Sequence[str]) -> Html | None:
    if not warnings:
        return None
    return element("ul", *(element("li", warning) for warning in warnings), class_="warnings")
