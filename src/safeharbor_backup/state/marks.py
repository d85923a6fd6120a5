"""Marks on archives that are to stay for ever: a small file beside each, `NAME.keep`, with the reason.

They are not in the state directory: without that one everything still works, and a mark must not be lost with it. That
the file is there is what counts; what is in it is only for people.
"""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from msgspec import Struct

from safeharbor_backup.system.atomic_file import sweep_drafts
from safeharbor_backup.system.documents import dump_document, read_document
from safeharbor_backup.system.small_file import DRAFT_LASTS_SECONDS, read_small_file, replace_small_file

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

MARK_SUFFIX = ".keep"  # decision 93
LONGEST_REASON = 200
_LIMIT_BYTES = 64 * 1024


class Mark(Struct, frozen=True, kw_only=True):
    """What is in the file."""

    because: str
    since: datetime | None = None


def is_kept(archive: Path) -> bool:
    """Whether it is marked, as far as is known: an error while looking is a yes."""
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
    mark = Mark(because=reason, since=datetime.now(UTC).replace(microsecond=0))
    replace_small_file(archive.with_name(archive.name + MARK_SUFFIX), dump_document(mark).encode() + b"\n")


def remove_mark(archive: Path) -> bool:
    """Take the mark away; False if there was none. Raises OSError."""
    try:
        os.unlink(archive.with_name(archive.name + MARK_SUFFIX))
    except FileNotFoundError:
        return False
    return True


def sweep_marks(directory: Path, archives: re.Pattern[str]) -> list[str]:
    """Remove what killed runs left of marks, unless it is young: no lock is needed to mark. The names removed."""
    names = re.compile(archives.pattern + re.escape(MARK_SUFFIX), archives.flags)
    return sweep_drafts(directory, names, older_than_seconds=DRAFT_LASTS_SECONDS)


def _reason(mark: Path) -> str:
    try:
        return read_document(read_small_file(mark, _LIMIT_BYTES), Mark).because[:LONGEST_REASON]
    except (OSError, ValueError):
        return "its mark cannot be read"
