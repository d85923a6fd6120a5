"""What the operator has accepted with `prune --adopt`, as a file in the state directory."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from safeharbor_backup.state.directory import STATE_DIRECTORY, make_state_directory
from safeharbor_backup.system.atomic_file import published_whole, write_all

if TYPE_CHECKING:
    from pathlib import Path

_ADOPTED = "adopted.json"


@dataclass(frozen=True, slots=True)
class Adopted:
    """What the operator has declared: databases whose archives belong together here, and archives that are right as
    small as they are.
    """

    databases: frozenset[tuple[str, str]] = frozenset()
    archives: frozenset[str] = frozenset()


def read_adopted(directory: Path) -> Adopted:
    """What has been adopted in a backup directory; nothing if the file is missing or broken."""
    try:
        with open(directory / STATE_DIRECTORY / _ADOPTED, "rb") as file:
            document = json.loads(file.read(1024 * 1024))
        databases = frozenset((str(system), str(database)) for system, database in document["databases"])
        return Adopted(databases, frozenset(map(str, document["archives"])))
    except (OSError, ValueError, KeyError, TypeError):
        return Adopted()  # derived data, safe to delete: without it the guards ask again


def write_adopted(directory: Path, adopted: Adopted) -> None:
    """Remember it. Raises OSError, StorageUnavailable."""
    state = make_state_directory(directory)
    document = {"databases": sorted(adopted.databases), "archives": sorted(adopted.archives)}
    with published_whole(state / _ADOPTED, replace=True) as draft:
        write_all(draft.descriptor, json.dumps(document).encode() + b"\n")
