"""Marks on archives that are to stay for ever: a small file beside each, `NAME.keep`, with the reason.

They are not in the state directory: without that one everything still works, and a mark must not be lost with it. That
the file is there is what counts; what is in it is only for people.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from safeharbor_backup.system.atomic_file import published_whole, write_all
from safeharbor_backup.system.lock import give_to_owner_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

MARK_SUFFIX = ".keep"
LONGEST_REASON = 200
_LIMIT_BYTES = 64 * 1024


def is_kept(archive: Path) -> bool:
    """Whether it is marked, as far as can be told: an error while looking is a yes."""
    try:
        os.lstat(archive.with_name(archive.name + MARK_SUFFIX))
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return True


def read_marks(directory: Path, names: Iterable[str]) -> dict[str, str]:
    """Of those archives that are marked, why."""
    return {name: _reason(directory / f"{name}{MARK_SUFFIX}") for name in names if is_kept(directory / name)}


def write_mark(archive: Path, reason: str) -> None:
    """Mark it, or give its mark another reason. Raises OSError, StorageUnavailable."""
    document = {"because": reason, "since": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}
    with published_whole(archive.with_name(archive.name + MARK_SUFFIX), replace=True) as draft:
        give_to_owner_of(archive.parent, draft.descriptor)
        write_all(draft.descriptor, json.dumps(document).encode() + b"\n")


def remove_mark(archive: Path) -> bool:
    """Take the mark away; False if there was none. Raises OSError."""
    try:
        os.unlink(archive.with_name(archive.name + MARK_SUFFIX))
    except FileNotFoundError:
        return False
    return True


def _reason(mark: Path) -> str:
    try:
        descriptor = os.open(mark, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            document = json.loads(os.read(descriptor, _LIMIT_BYTES))
        finally:
            os.close(descriptor)
        return str(document["because"])[:LONGEST_REASON]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return "its mark cannot be read"
