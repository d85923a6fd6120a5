"""Whether each table of a drill's copy has the very rows of the dump, as far as there is time for it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psycopg

from safeharbor_backup.errors import SafeHarborError, one_line
from safeharbor_backup.postgres.row_hashes import has_rows, hash_dump, print_as
from safeharbor_backup.postgres.rows import list_tables
from safeharbor_backup.text import ascii_safe

if TYPE_CHECKING:
    from safeharbor_backup.archive.manifest import Manifest
    from safeharbor_backup.postgres.client_tools import ClientTools
    from safeharbor_backup.postgres.contents import DumpInput
    from safeharbor_backup.postgres.row_hashes import DumpedTable
    from safeharbor_backup.postgres.rows import Table

_LISTED = 100


@dataclass(slots=True)
class Content:
    """Names of tables with the same rows, with other rows, and those not looked at with the reason."""

    equal: list[str] = field(default_factory=list)
    different: list[str] = field(default_factory=list)
    not_hashed: list[str] = field(default_factory=list)
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


def compare_content(
    session: psycopg.Connection, dump: DumpInput, tools: ClientTools, manifest: Manifest, seconds: float
) -> Content:
    """Compare the tables in the session's database with the dump for so long: the small ones first.

    The dump is decoded for half of the time at most. Raises psycopg.Error if the session is lost.
    """
    begun = time.monotonic()
    found = Content()
    tables = [table for table in list_tables(session) if table.quoted in manifest.tables]
    refusal = "time was up"
    dumped: dict[tuple[bytes, bytes], DumpedTable] = {}
    try:
        print_as(session, manifest.about_database.printing or {}, manifest.about_database.encoding)
        dumped = hash_dump(dump, tools, begun + seconds / 2)
    except (psycopg.Error, SafeHarborError, OSError) as error:
        if session.broken or session.closed:
            raise
        refusal = one_line(error)
    for table in sorted(tables, key=lambda each: dumped[each.raw].size if each.raw in dumped else 0):
        name = ascii_safe(table.quoted)
        try:
            if table.raw not in dumped:
                found.not_hashed.append(f"{name}: {refusal}")
            elif _is_equal(session, table, dumped[table.raw], begun + seconds - time.monotonic()):
                found.equal.append(name)
            else:
                found.different.append(name)
        except TimeoutError:
            found.not_hashed.append(f"{name}: time was up")
        except psycopg.Error as error:
            if session.broken or session.closed:
                raise
            found.not_hashed.append(f"{name}: {one_line(error)}")
    found.seconds = round(time.monotonic() - begun, 3)
    return found


def _is_equal(session: psycopg.Connection, table: Table, dumped: DumpedTable, seconds: float) -> bool:
    """Raises TimeoutError, psycopg.Error."""
    if seconds <= 0:
        raise TimeoutError
    try:
        return has_rows(session, table.raw, dumped, seconds)
    except psycopg.errors.QueryCanceled:
        raise TimeoutError from None
