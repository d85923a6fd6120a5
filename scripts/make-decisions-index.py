"""Writes docs/decisions/README.md, the index, from the pages beside it; `--check` only compares."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import NamedTuple

DECISIONS = Path(__file__).resolve().parent.parent / "docs" / "decisions"
INDEX = DECISIONS / "README.md"
ENTRY = re.compile(r"^## ((\d+)\. (.*))\n\n(\d{4}-\d{2}-\d{2})\b(.*(?:\n.+)*)", re.MULTILINE)
INTRODUCTION = """<!-- made by scripts/make-decisions-index.py from the pages beside it; `make format` renews it -->

# Decisions

Each dependency, and each choice that somebody may want to reverse: why it was made and what it costs. The code names
them as `decision 42` where a line would surprise. A new one gets the next number, at the end of the page of its
subject. One that replaces another says so, and so does the other one; numbers are never used again.

"""


class Decision(NamedTuple):
    """An entry of a page; `status` says whether a later one replaces it, or some of it."""

    number: int
    title: str
    date: str
    address: str
    status: str


def main() -> None:
    found = {page: read_page(page) for page in sorted(DECISIONS.glob("*.md")) if page != INDEX}
    renewed = f"{INTRODUCTION}{table_of_pages(found)}\n{table_of_decisions(found)}"
    if "--check" not in sys.argv[1:]:
        INDEX.write_text(renewed)
    elif not INDEX.exists() or INDEX.read_text() != renewed:
        sys.exit("docs/decisions/README.md is not up to date: `make format` writes it anew")


def read_page(page: Path) -> list[Decision]:
    """The decisions of a page, in its order; ends the program if a heading has no number or no date below it."""
    text = page.read_text()
    entries = ENTRY.findall(text)
    if len(entries) != len(re.findall("^## ", text, re.MULTILINE)):
        sys.exit(f'{page.name}: each "## " needs a number, as in "## 42. What was decided", and a date below it')
    return [
        Decision(int(number), title, date, f"{page.name}#{anchor_of(heading)}", status_of(remark))
        for heading, number, title, date, remark in entries
    ]


def table_of_pages(found: dict[Path, list[Decision]]) -> str:
    rows = [f"| [{title_of(page)}]({page.name}) | {len(decisions)} |\n" for page, decisions in found.items()]
    return f"| page | decisions |\n|---|---|\n{''.join(rows)}"


def table_of_decisions(found: dict[Path, list[Decision]]) -> str:
    rows = [
        f"| {each.number} | {each.date} | [{each.title}]({each.address}){each.status} | {title_of(page)} |\n"
        for each, page in sorted((each, page) for page, decisions in found.items() for each in decisions)
    ]
    return f"| | date | decision | page |\n|---|---|---|---|\n{''.join(rows)}"


def status_of(remark: str) -> str:
    if "In part superseded by" in remark:
        return ", in part superseded"
    return ", superseded" if "Superseded by" in remark else ""


def title_of(page: Path) -> str:
    return page.read_text().split("\n", 1)[0].removeprefix("# ")


def anchor_of(heading: str) -> str:
    """The anchor of a heading, as forges make it."""
    return re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-")


if __name__ == "__main__":
    main()
