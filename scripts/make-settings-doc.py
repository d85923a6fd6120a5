"""Writes the table in docs/reference/settings.md from the one that the program itself uses; `--check` only compares."""

from __future__ import annotations

import sys
from pathlib import Path

from safeharbor_backup.settings.table import SETTINGS

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "settings.md"
BEGIN = (
    "<!-- begin: made by scripts/make-settings-doc.py from "
    "src/safeharbor_backup/settings/table.py; `make format` renews it -->\n"
)
END = "<!-- end -->\n"


def main() -> None:
    page = PAGE.read_text()
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        sys.exit(f"docs/reference/settings.md lacks the lines between which its table stands: {BEGIN.strip()} {END}")
    rows = "".join(f"| `{each.name}` | {shown(each.shown_default)} | {each.meaning} |\n" for each in SETTINGS)
    renewed = f"{before}{BEGIN}\n| setting | default | meaning |\n|---|---|---|\n{rows}\n{END}{after}"
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(renewed)
    elif page != renewed:
        sys.exit("docs/reference/settings.md is not up to date: `make format` writes it anew")


def shown(default: str) -> str:
    """Values in code, explanations as they are."""
    if not default:
        return "none"
    if " " in default and not default[0].isdigit():
        return default.replace("<", "&lt;")  # in Markdown a bare <major> is a tag, and does not show
    return f"`{default}`"


if __name__ == "__main__":
    main()
