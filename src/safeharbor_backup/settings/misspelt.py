"""Names in the environment that are nearly those of settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safeharbor_backup.settings.table import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Iterable


def find_misspelt(unknown: Iterable[str]) -> list[tuple[str, str]]:
    """Of names that are no settings those that look like one, each with the one that was meant."""
    from difflib import get_close_matches

    known = [*(each.name for each in SETTINGS), *(f"{each.name}_FILE" for each in SETTINGS if each.is_secret)]
    found = ((name, get_close_matches(name, known, n=1, cutoff=0.85)) for name in unknown)
    return [(name, meant[0]) for name, meant in found if meant]
