"""Files of the repository that are installed with the program: pages of `docs/`, and what `deploy/` has."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
_INSTALLED = _PACKAGE / "shipped"  # where the wheel has them; a checkout has them at its top


def place_of_shipped(path: str) -> Path:
    """The place of a file that the repository has as `path`."""
    return (_INSTALLED if _INSTALLED.is_dir() else _PACKAGE.parents[1]) / path
