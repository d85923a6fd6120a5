"""A Chromium without a window."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from support.needs import need_program

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser

ARGUMENTS = (
    "--no-sandbox",  # a container's root has no namespaces to give away; the pages are our own
    "--disable-gpu",
    "--font-render-hinting=none",  # the same pixels whatever the machine's fonts are configured for
    "--hide-scrollbars",
)


@contextmanager
def chromium(program: Path) -> Iterator[Browser]:
    """The browser while the block runs. It loads what it is told to, and asks the network for nothing else."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(ARGUMENTS))
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The browser of a module's tests, gone after them: it has children, and an event loop in this thread."""
    with chromium(need_program("chromium")) as started:
        yield started
