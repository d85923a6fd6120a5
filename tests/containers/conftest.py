"""Fixtures for tests with containers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.engine import Engine, Images
from support.needs import need_root
from support.stack import Stack, photo


@pytest.fixture(scope="module")
def stack(engine: Engine, images: Images, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack that runs, with two entries in its logbook and three photos."""
    need_root()  # archives belong to the sidecar's user, and have mode 0600
    made = Stack(engine, images, tmp_path_factory.mktemp("stack") / "harbor")
    made.set()
    try:
        made.up()
        made.browser.write_entry("Petrel", [photo(1), photo(2)])
        made.browser.write_entry("Nordstjernen", [photo(3)])
        yield made
    finally:
        made.down()
