#!/usr/bin/env python3
"""Takes the documentation's pictures of the page anew, from the example documents of the tests."""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal

from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from safeharbor_backup.web.archive_page import Asked, render_archive
from safeharbor_backup.web.page import render_page
from support.browser import chromium
from support.documents import EVERY, NOW, archive_list

if TYPE_CHECKING:
    from playwright.sync_api import Browser

IMAGES = ROOT / "docs" / "images"
COLOURS = 128  # flat areas and text: nobody sees the difference, and the files are a third
Scheme = Literal["light", "dark"]
# name: example, scheme, width and height of the window, where the picture begins
PICTURES: dict[str, tuple[str, Scheme, int, int, str]] = {
    "report-good": ("good", "light", 1200, 1180, "header"),
    "report-failed": ("failing", "dark", 1200, 720, "header"),
    "report-interrupted": ("interrupted", "light", 1200, 720, "header"),
    "report-archives": ("good", "light", 1200, 848, "section[aria-labelledby=archives]"),
    "report-phone": ("warning", "dark", 360, 900, "header"),
    "archive-files": ("files of an archive", "light", 1200, 800, "header"),
}


def html_of(example: str) -> str:
    """The page of an example."""
    if example in EVERY:
        return render_page(EVERY[example](), NOW)
    told = {**EVERY["good"](), "typed_as": "docker compose exec backups safeharbor"}
    return render_archive(archive_list(), told, Asked("dive-00123"), NOW)


def take(browser: Browser, folder: Path, name: str) -> bytes:
    """One picture."""
    example, scheme, width, height, begin = PICTURES[name]
    page_file = folder / f"{example}.html"
    page_file.write_text(html_of(example))
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    page = context.new_page()
    page.goto(f"file://{page_file}")
    top = page.evaluate(f"document.querySelector('{begin}').getBoundingClientRect().top") - 24
    clip = {"x": 0, "y": max(top, 0), "width": width, "height": height}
    picture = page.screenshot(full_page=True, clip=clip)  # type: ignore[arg-type] # a plain dict is what it takes
    context.close()
    return picture


def smaller(picture: bytes) -> bytes:
    """The same picture with few colours."""
    file = io.BytesIO()
    Image.open(io.BytesIO(picture)).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(
        file, "PNG", optimize=True
    )
    return file.getvalue()


def main() -> None:
    program = shutil.which("chromium")
    if program is None:
        sys.exit("screenshots: chromium is missing. Type: sudo apt-get install chromium fonts-inter")
    IMAGES.mkdir(exist_ok=True)
    with TemporaryDirectory() as folder, chromium(Path(program)) as browser:
        for name in PICTURES:
            data = smaller(take(browser, Path(folder), name))
            (IMAGES / f"{name}.png").write_bytes(data)
            print(f"docs/images/{name}.png: {len(data):,} bytes")


if __name__ == "__main__":
    main()
