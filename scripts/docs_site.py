"""Hooks for mkdocs: what its site needs beyond the Markdown that a forge shows."""

from __future__ import annotations

import posixpath
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mkdocs.structure.files import File  # type: ignore[import-not-found]  # in an environment of its own

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parent.parent
PROJECT_PAGES = ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
LINK = re.compile(r"\[([^\]]*)\]\(([^)#:]+)(#[^)]*)?\)")
TABS = re.compile(r"^<!-- tabs -->\n(.*?)^<!-- end of tabs -->\n", re.MULTILINE | re.DOTALL)
TAB = re.compile(r"^\*\*([^*\n]+)\*\*\n", re.MULTILINE)
CELL = re.compile(r"<td><code>([^<]*)</code></td>")
WORD = re.compile(r"\S+")
LONG_WORD = 30
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def on_config(config: Any) -> Any:
    """Each page says which version it is about; the pages of another one are in its own release."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    config.copyright = f"Safe Harbor {version}"
    return config


def on_files(files: Any, config: Any) -> Any:
    """Pages that lie beside docs/ are part of the site too."""
    for name in PROJECT_PAGES:
        files.append(File.generated(config, f"project/{name}", abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links out of docs/ lead to their pages or become names of files, and marked lists become tabs."""
    name = page.file.src_uri
    source = name.removeprefix("project/") if name.startswith("project/") else f"docs/{name}"
    markdown = outside_code(markdown, lambda text: LINK.sub(lambda link: relinked(link, source, name), text))
    return TABS.sub(lambda found: tabs(found[1]), markdown)


def on_page_content(html: str, page: Any, **_: Any) -> str:
    """Commands in the cells of the runbook break between words and behind an `=`, not behind an option's hyphens."""
    if page.file.src_uri != "restore.md":
        return html
    return CELL.sub(lambda cell: f"<td><code>{WORD.sub(unbroken, cell[1])}</code></td>", html)


def unbroken(word: re.Match[str]) -> str:
    """A word that stays on one line, or its parts if it is long."""
    parts = re.split(r"(?<==)", word[0]) if len(word[0]) > LONG_WORD else [word[0]]
    return "<wbr>".join(f"<span>{part}</span>" for part in parts)


def outside_code(markdown: str, change: Callable[[str], str]) -> str:
    """Changes what is not in a block of code."""
    parts, end = [], 0
    for block in FENCED.finditer(markdown):
        parts += [change(markdown[end : block.start()]), block[0]]
        end = block.end()
    return "".join([*parts, change(markdown[end:])])


def relinked(link: re.Match[str], source: str, name: str) -> str:
    """The link as the site needs it."""
    text, target, anchor = link[1], link[2], link[3] or ""
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
    if path.startswith("docs/"):
        place = path.removeprefix("docs/")
    elif path in PROJECT_PAGES:
        place = f"project/{path}"
    else:
        return f"{text} (`{path}` in the repository)"
    return f"[{text}]({posixpath.relpath(place, posixpath.dirname(name) or '.')}{anchor})"


def tabs(text: str) -> str:
    """`**Flask**` and what follows it, as a tab of that name."""
    _, *parts = TAB.split(text)
    shown = []
    for title, body in zip(parts[::2], parts[1::2], strict=True):
        indented = "".join(
            f"    {line}" if line.strip() else line for line in body.strip("\n").splitlines(keepends=True)
        )
        shown.append(f'=== "{title}"\n\n{indented}\n')
    return "\n".join(shown) + "\n"
