"""A copy with the rows of some tables: the structure is that of all, and foreign keys hold for what comes later."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import psycopg

from safeharbor_backup.actions.restore.rows_check import compare_rows
from safeharbor_backup.actions.scratch_table import find_rows_of
from safeharbor_backup.errors import one_line
from safeharbor_backup.postgres.contents import number_of
from safeharbor_backup.postgres.rows import names_as_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from safeharbor_backup.actions.restore.database_plan import DatabasePlan
    from safeharbor_backup.archive.manifest import Manifest
    from safeharbor_backup.postgres.toc_entries import TocEntry

_ROWS = "TABLE DATA"
_OTHER_CONTENT = (_ROWS, "BLOB", "BLOBS", "BLOB METADATA", "FK CONSTRAINT")


@dataclass(frozen=True, slots=True)
class Choice:
    """Entries to load, and the foreign keys to add afterwards. `are_all`: nothing is left out."""

    entries: tuple[str, ...]
    are_all: bool = True
    foreign_keys: tuple[TocEntry, ...] = field(default=())

    def judge_rows(self, counts: Mapping[str, int], manifest: Manifest) -> int:
        """How many rows there are; those of a whole copy are the manifest's. Raises CannotRestore."""
        return compare_rows(counts, manifest) if self.are_all else sum(counts.values())

    def add_foreign_keys(self, session: psycopg.Connection) -> list[str]:
        """They hold for new rows; rows that are left out would break them. Warnings of those that cannot be so."""
        refused = []
        with names_as_bytes(session):
            for entry in self.foreign_keys:
                statement = entry.definition.rstrip().removesuffix(";") + " NOT VALID"
                try:
                    session.execute(statement.encode("utf-8", "surrogateescape"))
                except psycopg.Error as error:
                    if session.broken:
                        raise
                    refused.append(f"left out: {entry.what}: {one_line(error)}")
        return refused


def choose_tables(plan: DatabasePlan, tables: tuple[str, ...], archive: str) -> Choice:
    """What is loaded for the rows of these tables; of all tables if the list is empty. Raises ArchiveNotFound."""
    if not tables:
        return Choice(plan.entries)
    toc = plan.contents.toc
    wanted = {find_rows_of(toc, name, archive).number for name in tables}
    found = [(line, toc[number_of(line)]) for line in plan.entries]
    entries = tuple(line for line, entry in found if entry.kind not in _OTHER_CONTENT or entry.number in wanted)
    return Choice(entries, False, tuple(entry for _, entry in found if entry.kind == "FK CONSTRAINT"))
