"""The page of one archive: its tables and files, a part of them at a time, each with the command that takes it out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Generic, TypeVar
from urllib.parse import urlencode

from safeharbor_backup.text import ascii_safe, plural
from safeharbor_backup.web.archive_list import ListReader
from safeharbor_backup.web.commands import extract_files, extract_rows
from safeharbor_backup.web.document import read_document, readable
from safeharbor_backup.web.format import UNKNOWN, ago, size
from safeharbor_backup.web.page import content_security_policy, templates
from safeharbor_backup.web.sections import Fact

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from safeharbor_backup.actions.status.list_schema import ArchiveList, ListedFile
    from safeharbor_backup.actions.status.schema import StatusDocument

AT_A_TIME = 100
_LARGEST = 1 << 62  # a larger number is somebody's joke
_Item = TypeVar("_Item")


class NoSuchPage(LookupError):
    """There are not so many pages."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What of the list is to be shown: names that have `text` in them, and which page of each part, from 1.

    `back` is the path that the page of all archives leads back to.
    """

    text: str = ""
    files: int = 1
    tables: int = 1
    back: str = ""

    @property
    def query(self) -> str:
        """What stands for it in an address, behind the question mark."""
        asked = {"q": self.text, "page": self.files, "tables": self.tables, "back": self.back}
        return urlencode({name: value for name, value in asked.items() if value not in ("", 1)})


@dataclass(frozen=True, slots=True)
class Row:
    """One name as a reader sees it, facts of it, and the command."""

    name: str
    facts: tuple[str, ...]
    command: str


@dataclass(frozen=True, slots=True)
class Part:
    """The rows of one page of those that match, with a sentence on how many there are.

    It is page `number` of `pages`; the queries of those beside it are None where there is none.
    """

    rows: list[Row]
    count: str
    number: int
    pages: int
    previous: str | None
    next: str | None


def render_archive(packed: bytes, status: object, asked: Asked, now: datetime) -> str:
    """The page of the archive whose list this is; the status document has how commands are typed, and where.

    Nothing in either becomes markup. Raises UnusableList, NoSuchPage.
    """
    reader, document = ListReader(packed), read_document(status)
    head = reader.head
    tables = _select(head.tables or (), asked.text, asked.tables, lambda table: table[0])
    files = _select(reader.files(), asked.text, asked.files, lambda file: file.path)
    return (
        templates()
        .get_template("archive.html")
        .render(
            policy=content_security_policy("'self'"),
            document=document,
            name=_shown(head.archive),
            taken_at=head.taken_at,
            now=now,
            facts=_facts(head, now),
            problem=readable(head.problem),
            asked=asked,
            query_up=Asked(back=asked.back).query,
            query_without_text=replace(asked, text="", files=1, tables=1).query,
            tables=_part(
                tables, "table", [_row_of_table(head.archive, table, document) for table in tables.items],
                lambda page: replace(asked, tables=page).query,
            ),
            files=_part(
                files, "file", [_row_of_file(head.archive, file, document) for file in files.items],
                lambda page: replace(asked, files=page).query,
            ),
            no_tables=_why_no_tables(head),
            cut_tables=_cut(len(head.tables or ()), head.table_count, "table") if head.tables else "",
            cut_files=_cut(head.files, head.upload_files, "file") if head.is_cut else "",
        )
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Selected(Generic[_Item]):
    """Those of one page, and how many match."""

    items: list[_Item]
    matching: int
    page: int
    is_filtered: bool

    @property
    def pages(self) -> int:
        return max(-(-self.matching // AT_A_TIME), 1)


def _select(items: Iterable[_Item], text: str, page: int, name_of: Callable[[_Item], str]) -> _Selected[_Item]:
    wanted, first = text.casefold(), (page - 1) * AT_A_TIME
    found: list[_Item] = []
    matching = 0
    for item in items:
        if not wanted or wanted in ascii_safe(name_of(item)).casefold():
            if first <= matching < first + AT_A_TIME:
                found.append(item)
            matching += 1
    selected = _Selected(found, matching, page, bool(wanted))
    if page > selected.pages:
        raise NoSuchPage
    return selected


def _part(selected: _Selected[_Item], noun: str, rows: list[Row], query_of: Callable[[int], str]) -> Part:
    page, pages = selected.page, selected.pages
    count = plural(selected.matching, noun)
    if not selected.matching:
        count = f"No {noun} has a name like that." if selected.is_filtered else f"It has no {noun}s."
    elif selected.is_filtered:
        count += " with a name like that"
    return Part(
        rows, count, page, pages, query_of(page - 1) if page > 1 else None, query_of(page + 1) if page < pages else None
    )


def _row_of_table(archive: str, table: tuple[str, int], document: StatusDocument) -> Row:
    name, rows = table
    return Row(_shown(name), (_rows(rows),), extract_rows(archive, name, document))


def _row_of_file(archive: str, file: ListedFile, document: StatusDocument) -> Row:
    is_link = file.size_bytes is None
    return Row(
        _shown(file.path),
        ("link" if is_link else size(_known(file.size_bytes)), _shown(file.sha256)),
        extract_files(archive, file.path, document),
    )


def _facts(head: ArchiveList, now: datetime) -> list[Fact]:
    files, rows = _known(head.upload_files), _known(head.rows)
    facts = [
        Fact("Taken", ago(head.taken_at, now), head.taken_at),
        Fact("Size", size(_known(head.size_bytes))),
    ]
    if rows is not None:
        facts.append(Fact("Database", readable(head.database or UNKNOWN), more=_rows(rows)))
    if files is not None:
        facts.append(Fact("Uploads", plural(files, "file"), more=size(_known(head.upload_bytes))))
    return facts


def _why_no_tables(head: ArchiveList) -> str:
    return "" if head.tables is not None else "Another program wrote this archive: it does not say which tables it has."


def _cut(listed: int, total: int | None, noun: str) -> str:
    """That there are more than the list has; "" if there are not."""
    total = _known(total)
    if total is None:
        return f"The first {plural(listed, noun)} are listed."
    return f"The first {listed:,} of {plural(total, noun)} are listed." if total > listed else ""


def _rows(rows: int) -> str:
    known = _known(rows)
    return UNKNOWN if known is None else plural(known, "row")


def _known(count: int | None) -> int | None:
    return count if count is not None and count < _LARGEST else None


def _shown(name: str) -> str:
    """A name in full, with what does not print, or would deceive, as escapes."""
    return ascii_safe(name)
