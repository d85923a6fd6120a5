"""`help`: a page of the documentation, from the files that were installed."""

from __future__ import annotations

import sys
from difflib import get_close_matches
from typing import TYPE_CHECKING

import click

from safeharbor_backup.cli.command import always, safeharbor_command
from safeharbor_backup.errors import ExitStatus
from safeharbor_backup.system.shipped import place_of_shipped

if TYPE_CHECKING:
    from pathlib import Path

    from safeharbor_backup.cli.run import Run

# what no reader looks up at a prompt
_NOT_PAGES = ("decisions", "proof")


@safeharbor_command(
    "Print a page of the installed documentation, as in `help restore`. Without a name it lists all pages. "
    "`COMMAND --help` is shorter: options and exit statuses.",
    ExitStatus.DONE,
    ExitStatus.USAGE,
    only_prints=always,
)
@click.argument("page", required=False)
def command(run: Run, page: str | None) -> None:
    """Print a page, or the list of pages."""
    pages = _find_pages()
    if page is None:
        for name, path in pages.items():
            run.output.result(f"{name:<22}{_title(path)}")
        return
    if page not in pages:
        near = get_close_matches(page, pages, cutoff=0.5)
        more = f"; did you mean {' or '.join(near)}?" if near else "; without a name, all pages are listed"
        raise click.BadParameter(f"there is no page {page!r}{more}", param_hint="PAGE")
    text = pages[page].read_text(encoding="utf-8")
    if sys.stdout is not None and sys.stdout.isatty():
        click.echo_via_pager(text)
    else:
        run.output.result(text.rstrip("\n"))


def _find_pages() -> dict[str, Path]:
    """Each page by the name of its file, those at the top first."""
    top = place_of_shipped("docs")
    found = sorted(top.rglob("*.md"), key=lambda path: (len(path.parts), path.stem))
    pages: dict[str, Path] = {}
    for path in found:
        if not set(path.relative_to(top).parts) & set(_NOT_PAGES):
            pages.setdefault(path.stem, path)
    return pages


def _title(path: Path) -> str:
    with open(path, encoding="utf-8") as file:
        return file.readline().lstrip("# ").strip()
