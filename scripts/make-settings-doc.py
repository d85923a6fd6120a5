"""Writes docs/reference/settings.md from the table that the program itself uses; `--check` only compares."""

from __future__ import annotations

import sys
from pathlib import Path

from safeharbor.variables import VARIABLES

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "settings.md"

HEADING = """\
# Settings

<!-- Made by scripts/make-settings-doc.py from src/safeharbor/variables.py; `make format` writes it anew. -->

Settings come from the environment. Inside a Flask app, whatever the environment leaves open is looked up in the app's
configuration under the same name. An empty variable is an unset one. All problems of a run are reported together.
Durations are written `45s`, `90m`, `26h`, `2d` or `1d 12h`; a bare number is seconds.

| setting | default | meaning |
|---|---|---|
"""


def main() -> None:
    page = HEADING + "".join(f"| `{each.name}` | {shown(each.default)} | {each.meaning} |\n" for each in VARIABLES)
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(page)
    elif not PAGE.exists() or PAGE.read_text() != page:
        sys.exit("docs/reference/settings.md is not up to date: `make format` writes it anew")


def shown(default: str) -> str:
    """Values in code, explanations as they are."""
    if not default:
        return "none"
    return default if " " in default and not default[0].isdigit() else f"`{default}`"


if __name__ == "__main__":
    main()
