"""Paths in settings, where `~` is the home directory of whoever runs this and `~name` that of another user."""

from __future__ import annotations

from pathlib import Path

from safeharbor_backup.errors import Unusable


def expand_home(text: str) -> Path:
    """The path with its home directory written out. Raises Unusable if nobody has that one."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise Unusable(f"a path; {Path(text).parts[0]!r} is not a home directory here") from None
