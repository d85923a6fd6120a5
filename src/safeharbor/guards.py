"""When the newest archive is a reason to delete nothing: much smaller than the one before, or another database's."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from safeharbor.publish import published_whole, write_all
from safeharbor.uploads.omissions import ascii_safe

if TYPE_CHECKING:
    from pathlib import Path

    from safeharbor.archive.manifest import Manifest

_STATE_DIRECTORY = ".safeharbor"
_ADOPTED = "adopted.json"


def judge_shortfall(newest: Manifest, earlier: Manifest | None) -> str:
    """Why the newest archive looks seriously short; "" if it does not."""
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
            return f"there are {now:,} {what}, where the archive before had {before:,}"
    return ""


def judge_identity(newest: Manifest, earlier: Manifest | None, adopted: set[tuple[str, str]]) -> str:
    """Why the newest archive and the one before are of different databases; "" if they are not, or were adopted."""
    if earlier is None or newest.identity == earlier.identity:
        return ""
    if {newest.identity, earlier.identity} <= adopted:
        return ""
    if not (newest.system_identifier and earlier.system_identifier) and newest.database == earlier.database:
        return ""  # a managed server that does not tell its identifier
    name = ascii_safe(earlier.database)
    return f'the archive before is of another database ("{name}" on another server or by another name)'


def read_adopted(directory: Path) -> set[tuple[str, str]]:
    """The databases whose archives the operator has declared to belong together here."""
    try:
        with open(directory / _STATE_DIRECTORY / _ADOPTED, "rb") as file:
            document = json.loads(file.read(1024 * 1024))
        return {(str(system), str(database)) for system, database in document["databases"]}
    except (OSError, ValueError, KeyError, TypeError):
        return set()  # derived data, safe to delete: without it the guard asks again


def write_adopted(directory: Path, databases: set[tuple[str, str]]) -> None:
    """Remember them. Raises OSError, StorageUnavailable."""
    state = directory / _STATE_DIRECTORY
    os.makedirs(state, mode=0o700, exist_ok=True)
    if os.geteuid() == 0:
        owner = os.stat(directory)
        os.chown(state, owner.st_uid, owner.st_gid)
    with published_whole(state / _ADOPTED, replace=True) as draft:
        write_all(draft.descriptor, json.dumps({"databases": sorted(databases)}).encode() + b"\n")
