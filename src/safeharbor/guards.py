"""When the newest archive is a reason to delete nothing: much smaller than the one before, or another database's."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from safeharbor.publish import published_whole, write_all
from safeharbor.state_directory import STATE_DIRECTORY, make_state_directory
from safeharbor.uploads.omissions import ascii_safe

if TYPE_CHECKING:
    from pathlib import Path

    from safeharbor.archive.manifest import Manifest

_ADOPTED = "adopted.json"


def judge_shortfall(newest: Manifest, earlier: Manifest | None) -> str:
    """Why an archive looks seriously short beside an earlier one; "" if it does not."""
    asked = newest.upload_files + newest.unreadable
    if newest.unreadable_directories or newest.unreadable * 100 > asked:
        return f"{newest.unreadable} of {asked} uploads could not be read"
    if earlier is None:
        return ""
    kinds = [
        ("upload files", newest.upload_files, earlier.upload_files),
        ("bytes of uploads", newest.upload_bytes, earlier.upload_bytes),
        ("rows", newest.rows, earlier.rows),
    ]
    for what, now, before in kinds:
        if now * 2 <= before and before > 0:
            return f"there are {now:,} {what}, where an earlier archive had {before:,}"
    return ""


def judge_identity(newest: Manifest, other: Manifest | None, adopted: Adopted) -> str:
    """Why the newest archive and another one are of different databases; "" if they are not, or were adopted."""
    if other is None or newest.identity == other.identity:
        return ""
    if {newest.identity, other.identity} <= adopted.databases:
        return ""
    if not (newest.system_identifier and other.system_identifier) and newest.database == other.database:
        return ""  # a managed server that does not tell its identifier
    name = ascii_safe(other.database)
    return f'of another database ("{name}" on another server or by another name)'


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
