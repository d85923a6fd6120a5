"""What every page of ours must be, as HTML."""

from __future__ import annotations

import re

import html5lib


def assert_is_valid(page: str) -> None:
    """Every tag, nesting and entity is as the standard has it; raises ParseError if not."""
    html5lib.HTMLParser(strict=True).parse(page)
    identities = re.findall(r' id="([^"]*)"', page)
    assert len(identities) == len(set(identities))
    for wanted in re.findall(r' aria-labelledby="([^"]*)"', page):
        assert set(wanted.split()) <= set(identities)
