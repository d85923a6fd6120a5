"""What a test needs of its machine: missing, it fails in CI and skips with its reason on a laptop."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

_SERVERS_TAKE = 4 << 30


def missing(reason: str) -> NoReturn:
    """End the test for want of something."""
    if os.environ.get("CI", "").lower() not in ("", "0", "false"):
        pytest.fail(f"{reason} (which CI must have)")
    pytest.skip(reason)


def need_program(name: str) -> Path:
    """The path of a program."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        missing(f"{name} is not installed; `scripts/test-needs` installs it")
    return Path(found)


def need_root() -> None:
    """Go on only as root."""
    if os.geteuid() != 0:
        missing("only root can do this")


def memory_filesystem() -> Path | None:
    """A directory in memory with room for some servers: CREATE DATABASE there takes a tenth of its time on a disk."""
    place = Path("/dev/shm")
    try:
        facts = os.statvfs(place)
    except OSError:
        return None
    return place if facts.f_bavail * facts.f_frsize >= _SERVERS_TAKE and os.access(place, os.W_OK) else None
