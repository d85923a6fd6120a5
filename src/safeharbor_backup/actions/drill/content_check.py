"""Whether each table of a drill's copy has the very rows of the dump, as far as there is time for it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psycopg

from safeharbor_backup.errors import SafeHarborError, one_line
from safeharbor_backup.postgres.row_hashes import has_rows, hash_dump, hash_large_objects, print_as
from safeharbor_backup.postgres.rows import list_tables
from safeharbor_backup.postgres.views import hash_views
from safeharbor_backup.text import ascii_safe

if TYPE_CHECKING:
    from collections.abc import Mapping

    from safeharbor_backup.archive.manifest import Manifest
    from safeharbor_backup.postgres.client_tools import ClientTools
    from safeharbor_backup.postgres.copied_rows import TableName
    from safeharbor_backup.postgres.dump_input import DumpInput
    from safeharbor_backup.postgres.row_hashes import DumpedTable, LargeObjects
    from safeharbor_backup.postgres.rows import Table

_LISTED = 100


@dataclass(slots=True)
class Content:
    """Names of tables with the same rows, with other rows, and those not looked at with the reason."""

    equal: list[str] = field(default_factory=list)
    different: list[str] = field(default_factory=list)
    not_hashed: list[str] = field(default_factory=list)
    views: list[str] = field(default_factory=list)  # sentences about materialized views with other rows
    objects: LargeObjects | None = None  # in the dump, as far as is known
    objects_are: str = ""  # "equal", "different", or why that is not known
    seconds: float = 0.0

    def document(self) -> dict[str, Any]:
        """For the evidence."""
        return {
            "recorded": len(self.equal) + len(self.different) + len(self.not_hashed),
            "equal": len(self.equal),
            "different": self.different[:_LISTED],
            "not_hashed": self.not_hashed[:_LISTED],
            "seconds": self.seconds,
        }

    def document_of_objects(self) -> dict[str, Any] | None:
        """The same of large objects; None if the dump has none, or did not report it."""
        if self.objects is None or not self.objects.number:
            return None
        number, is_known = self.objects.number, self.objects_are in ("equal", "different")
        return {
            "recorded": number,
            "equal": number if self.objects_are == "equal" else 0,
            "different": ["content"] if self.objects_are == "different" else [],
            "not_hashed": [] if is_known else [self.objects_are],
        }


def compare_content(
    session: psycopg.Connection, dump: DumpInput, tools: ClientTools, manifest: Manifest, seconds: float
) -> Content:
    """Compare the tables in the session's database with the dump for so long: the small ones first.

    The dump is decoded for half of the time at most. Raises psycopg.Error if the session is lost.
    """
    begun = time.monotonic()
    found = Content()
    tables = [table for table in list_tables(session) if table.quoted in manifest.tables]
    refusal = "the time limit was reached"
    dumped: dict[TableName, DumpedTable] = {}
    try:
        print_as(session, manifest.about_database.printing or {}, manifest.about_database.encoding)
        content = hash_dump(dump, tools, begun + seconds / 2)
        dumped, found.objects = content.tables, content.large_objects
    except (psycopg.Error, SafeHarborError, OSError) as error:
        if session.broken or session.closed:
            raise
        refusal = one_line(error)
    for table in sorted(tables, key=lambda each: dumped[each.raw].size if each.raw in dumped else 0):
        name = ascii_safe(table.quoted)
        try:
            if table.parts:
                found.not_hashed.append(f"{name}: a restore moves rows between its partitions")
            elif table.raw not in dumped:
                found.not_hashed.append(f"{name}: {refusal}")
            elif _is_equal(session, table, dumped[table.raw], begun + seconds - time.monotonic()):
                found.equal.append(name)
            else:
                found.different.append(name)
        except TimeoutError:
            found.not_hashed.append(f"{name}: the time limit was reached")
        except psycopg.Error as error:
            if session.broken or session.closed:
                raise
            found.not_hashed.append(f"{name}: {one_line(error)}")
    found.objects_are = _compare_objects(session, found.objects, begun + seconds) or refusal
    found.seconds = round(time.monotonic() - begun, 3)
    return found


def compare_views(
    session: psycopg.Connection, manifest: Manifest, present: Mapping[str, int | None], seconds: float
) -> list[str]:
    """Sentences about the materialized views that have as many rows as recorded, and others. Raises psycopg.Error."""
    recorded = manifest.about_database.materialized_view_hashes or {}
    if not recorded or seconds <= 0:
        return []
    rows, found = manifest.about_database.materialized_views or {}, hash_views(session, seconds)
    return [
        f"the materialized view {ascii_safe(name)} has other rows than it had"
        for name, hashed in recorded.items()
        if name in found and found[name] != hashed and present.get(name) == rows.get(name)
    ]


def _compare_objects(session: psycopg.Connection, dumped: LargeObjects | None, until: float) -> str:
    """What `objects_are`; "" if the dump did not report it. Raises psycopg.Error if the session is lost."""
    if dumped is None:
        return ""
    try:
        session.execute("SET statement_timeout = 0")
        return "equal" if hash_large_objects(session, until) == dumped else "different"
    except TimeoutError:
        return "the time limit was reached"
    except psycopg.Error as error:
        if session.broken or session.closed:
            raise
        return one_line(error)


def _is_equal(session: psycopg.Connection, table: Table, dumped: DumpedTable, seconds: float) -> bool:
    """Raises TimeoutError, psycopg.Error."""
    if seconds <= 0:
        raise TimeoutError
    try:
        return has_rows(session, table.raw, dumped, seconds)
    except psycopg.errors.QueryCanceled:
        raise TimeoutError from None
