"""Every archive, newest first, each with what is in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from safeharbor_backup.text import plural, show_bytes
from safeharbor_backup.web.commands import extract_files, extract_rows, name_to_restore, restore_commands
from safeharbor_backup.web.format import UNKNOWN, absolute, ago, counted, number, size

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from safeharbor_backup.actions.status.schema import Contents, StatusDocument

_IN_FULL = 60  # so many have all their tables; a page with more of them would not be read
_ROWS, _ROWS_OF_OLDER = 30, 5
_COMMANDS = 10
_ROOT = "in no folder"


@dataclass(frozen=True, slots=True)
class Item:
    """An archive of the list: facts as name and text, rows of its tables and folders.

    `commands` restore it, `parts` take a part of it out. `address` is that of the page of all that is in it, below
    archives/, "" where there is none.
    """

    archive: Contents
    facts: list[tuple[str, str]]
    tables: list[tuple[str, ...]]
    more_tables: str
    folders: list[tuple[str, ...]]
    more_folders: str
    commands: tuple[str, ...]
    parts: tuple[str, ...]
    address: str


def items_of(document: StatusDocument, now: datetime, addresses: Mapping[str, str]) -> list[Item]:
    """The list; `addresses` are of pages of archives, by their names."""
    return [_item(archive, index, document, now, addresses) for index, archive in enumerate(document.contents)]


def _item(archive: Contents, index: int, document: StatusDocument, now: datetime, addresses: Mapping[str, str]) -> Item:
    limit = _ROWS if index < _IN_FULL else _ROWS_OF_OLDER
    tables, folders = archive.largest_tables[:limit], (archive.folders or ())[:limit]
    # the commands of the one that `latest` means stand above the list
    has_commands = archive.name != name_to_restore(document) and index < _COMMANDS and archive.is_usable
    return Item(
        archive,
        _facts(archive, now),
        [(name, number(rows)) for name, rows in tables],
        _rest((archive.tables or 0) - len(tables), "smaller table"),
        [(_ROOT if name == "." else name, number(files), show_bytes(total)) for name, files, total in folders],
        _rest(len(archive.folders or ()) - len(folders), "more folder"),
        restore_commands(archive.name, document) if has_commands else (),
        _parts(archive, document) if index < _COMMANDS and archive.is_usable else (),
        addresses.get(archive.name, ""),
    )


def _parts(archive: Contents, document: StatusDocument) -> tuple[str, ...]:
    """Commands that take a part of it out: its largest folder, and the rows of its largest table."""
    folder = next((name for name, _, _ in archive.folders or () if name != "."), None)
    table = archive.largest_tables[0][0] if archive.largest_tables else None
    parts = [extract_files(archive.name, folder, document)] if folder is not None else []
    return tuple(parts + ([extract_rows(archive.name, table, document)] if table is not None else []))


def _facts(archive: Contents, now: datetime) -> list[tuple[str, str]]:
    new = archive.new_bytes
    is_shared = new is not None and archive.size_bytes is not None and new < archive.size_bytes
    shared = f", of which {size(new)} were written" if is_shared else ""
    facts = [
        ("Taken", UNKNOWN if archive.taken_at is None else absolute(archive.taken_at)),
        ("Size", f"{size(archive.size_bytes)}{shared}"),
        ("Uploads", f"{counted(archive.upload_files, 'file')}, {size(archive.upload_bytes)}"),
        ("Database", " on PostgreSQL ".join(filter(None, (archive.database, archive.server_version)))),
        *(
            (f"Database {name}", f"{plural(tables, 'table')}, {plural(rows, 'row')}")
            for name, tables, rows in archive.databases
        ),
        ("Verified", _when(archive.verified_at, now, "once, when it was written")),
        ("Drilled", _when(archive.drilled_at, now, "never")),
    ]
    return facts if archive.rows is not None else facts[:2]  # damaged, or another program's


def _when(moment: datetime | None, now: datetime, otherwise: str) -> str:
    return otherwise if moment is None else f"{absolute(moment)}, {ago(moment, now)}"


def _rest(count: int, noun: str) -> str:
    return f"and {plural(count, noun)}" if count > 0 else ""
