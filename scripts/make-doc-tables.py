"""Writes the tables of settings and of doctor's checks in docs/ from the program's own; `--check` only compares."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from safeharbor_backup.actions.doctor.run import CHECKS
from safeharbor_backup.settings.table import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Iterable

DOCS = Path(__file__).resolve().parent.parent / "docs"
END = "<!-- end -->\n"


def main() -> None:
    settings = ((f"`{each.name}`", shown(each.shown_default), each.meaning) for each in SETTINGS)
    checks = ((f"`{each.name}`", each.meaning) for each in CHECKS)
    renew("reference/settings.md", "settings/table.py", ("setting", "default", "meaning"), settings)
    renew("doctor.md", "actions/doctor/", ("line", "checks"), checks)


def renew(name: str, source: str, head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    """The table between the lines that say where it comes from."""
    begin = (
        "<!-- begin: made by scripts/make-doc-tables.py from "
        f"src/safeharbor_backup/{source}; `make format` renews it -->\n"
    )
    page = (DOCS / name).read_text()
    before, found, rest = page.partition(begin)
    _, end, after = rest.partition(END)
    if not (found and end):
        sys.exit(f"docs/{name} lacks the lines between which its table stands: {begin.strip()} {END}")
    first, *others = (f"| {' | '.join(cells)} |\n" for cells in (head, *rows))
    renewed = f"{before}{begin}\n{first}{'|---' * len(head)}|\n{''.join(others)}\n{END}{after}"
    if "--check" not in sys.argv[1:]:
        (DOCS / name).write_text(renewed)
    elif page != renewed:
        sys.exit(f"docs/{name} is not up to date: `make format` writes it anew")


def shown(default: str) -> str:
    """Values in code, explanations as they are."""
    if not default:
        return "none"
    if " " in default and not default[0].isdigit():
        return default.replace("<", "&lt;")  # in Markdown a bare <major> is a tag, and does not show
    return f"`{default}`"


if __name__ == "__main__":
    main()
