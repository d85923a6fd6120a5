"""What the databases of an archive beside its main one look like in documents and for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from safeharbor_backup.system.documents import Count
from safeharbor_backup.text import ascii_safe, plural, show_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safeharbor_backup.archive.manifest_sections import OtherDatabase


class DatabaseBeside(Struct, frozen=True, kw_only=True):
    """A database in an archive beside the main one; `name` is its name there, `snapshot_at` when it was read."""

    name: str
    database: str
    tables: Count
    rows: Count
    dump_bytes: Count
    snapshot_at: str


def describe_databases(found: Sequence[OtherDatabase]) -> tuple[DatabaseBeside, ...]:
    """The databases of an archive beside its main one."""
    return tuple(
        DatabaseBeside(
            name=each.name,
            database=each.source.database,
            tables=len(each.database.tables),
            rows=each.rows,
            dump_bytes=each.dump_bytes,
            snapshot_at=each.snapshot_at,
        )
        for each in found
    )


def database_lines(found: Sequence[OtherDatabase]) -> list[str]:
    """The same for a person: a line each."""
    return [
        f"  {each.name} (database {ascii_safe(each.source.database)}): "
        f"{plural(len(each.database.tables), 'table')}, {plural(each.rows, 'row')}, {show_bytes(each.dump_bytes)}"
        for each in found
    ]
