"""What the operator has accepted with `prune --adopt`, as a file in the state directory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from safeharbor_backup.state.directory import STATE_DIRECTORY, make_state_directory
from safeharbor_backup.system.documents import dump_document, read_exactly
from safeharbor_backup.system.small_file import read_small_file, replace_small_file

if TYPE_CHECKING:
    from pathlib import Path

_ADOPTED = "adopted.json"
_LIMIT_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Adopted:
    """What the operator has declared: databases whose archives belong together here, and archives that are right as
    small as they are. A database is a system identifier and a name; `others`, those beside the main one, have their
    names in archives before that, and are null in a file of a version that did not compare them.
    """

    databases: frozenset[tuple[str, str]] = frozenset()
    archives: frozenset[str] = frozenset()
    others: frozenset[tuple[str, str, str]] | None = None


def read_adopted(directory: Path) -> Adopted:
    """What has been adopted in a backup directory; nothing if the file is missing or broken."""
    try:
        return read_exactly(read_small_file(directory / STATE_DIRECTORY / _ADOPTED, _LIMIT_BYTES), Adopted)
    except (OSError, ValueError):
        return Adopted()  # derived data, safe to delete: without it the guards ask again


def write_adopted(directory: Path, adopted: Adopted) -> None:
    """Remember it. Raises OSError, StorageUnavailable."""
    state = make_state_directory(directory)
    replace_small_file(state / _ADOPTED, dump_document(adopted, sorts=True).encode() + b"\n")
