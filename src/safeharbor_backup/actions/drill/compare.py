"""What was restored, compared with what the archive's manifest says of the database."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psycopg

from safeharbor_backup.errors import one_line
from safeharbor_backup.postgres.views import compare_views
from safeharbor_backup.text import ascii_safe, plural

if TYPE_CHECKING:
    from collections.abc import Mapping

    from safeharbor_backup.actions.drill.content_check import Content
    from safeharbor_backup.archive.manifest import Manifest
    from safeharbor_backup.postgres.structure import Structure

_LISTED = 100
# a name as the manifest has it, and nothing but a name
_ALEMBIC = re.compile(r'(?:"(?:[^"]|"")+"|[a-z_][a-z0-9_$]*)\.alembic_version')


@dataclass(slots=True)
class Comparison:
    """`compared` is for the evidence: what was recorded, what was found, which differ (the first hundred).

    `differences` are those of a copy that is not what was backed up, `cautions` those that can have a reason.
    """

    compared: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    not_recorded: list[str] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)
    cautions: list[str] = field(default_factory=list)
    _miscounted: set[str] = field(default_factory=set)

    def judge_rows(self, counts: Mapping[str, int], manifest: Manifest) -> int:
        """Compare the rows of each table; how many there are."""
        self._miscounted = {ascii_safe(name) for name, rows in manifest.tables.items() if counts.get(name) != rows}
        wrong = [
            f"{name} has {plural(counts.get(name, 0), 'row')} instead of {rows:,}"
            for name, rows in manifest.tables.items()
            if counts.get(name) != rows
        ]
        self.differences += _shortened(wrong, "tables")
        if not manifest.tables and counts:
            self.not_recorded.append("tables")
        self.compared["tables"] = {
            "recorded": len(manifest.tables),
            "equal": len(manifest.tables) - len(wrong),
            "rows": sum(counts.get(name, 0) for name in manifest.tables),
            "different": wrong[:_LISTED],
        }
        return sum(counts.values())

    def judge_content(self, found: Content, *, same_major: bool) -> None:
        """Compare rows by their hashes. Another major version may print values otherwise."""
        where = self.differences if same_major else self.cautions
        wrong = [f"{name} has other rows than the dump" for name in found.different if name not in self._miscounted]
        where += _shortened(wrong, "tables")
        self.compared["content"] = found.document()
        objects = found.document_of_objects()
        if objects is not None:
            self.compared["large_objects"] = objects
            if objects["different"]:
                where.append("the large objects have other content than in the dump")
        views = self.compared.get("materialized_views")
        if views is not None and found.views:
            different = [*views["different"], *found.views]
            self.compared["materialized_views"] = {
                **views, "equal": views["equal"] - len(found.views), "different": different[:_LISTED],
            }  # fmt: skip

    def judge_structure(self, found: Structure, manifest: Manifest, *, same_major: bool) -> list[str]:
        """Compare sequences, and the numbers of constraints and indexes. The views that stay unpopulated."""
        recorded = manifest.about_database
        unpopulated: list[str] = []
        if recorded.sequences is not None:
            self._judge_sequences(found, recorded.sequences)
        else:
            self.not_recorded.append("sequences")
        views = recorded.materialized_views
        if views is None:
            self.not_recorded.append("materialized views")
        else:
            compared = compare_views(found.views, views)  # the restore itself has told of them
            stay = {name for name, rows in views.items() if rows is None}
            unpopulated = [ascii_safe(name) for name in sorted(stay) if found.views.get(name, 0) is None]
            different = compared.lost + compared.recomputed
            equal = len(views) - len(different)
            self.compared["materialized_views"] = {
                "recorded": len(views), "equal": equal, "different": different[:_LISTED],
            }  # fmt: skip
        for what, stated, number in (
            ("constraints", recorded.constraints, found.constraints),
            ("indexes", recorded.indexes, found.indexes),
        ):
            if stated is None:
                self.not_recorded.append(what)
                continue
            self.compared[what] = {"recorded": stated, "found": number}
            if stated != number:
                where = self.differences if same_major else self.cautions
                where.append(f"{what}: {number:,} instead of {stated:,}")
        return unpopulated

    def _judge_sequences(self, found: Structure, recorded: Mapping[str, int | None]) -> None:
        """None may be behind: the next number would be one that is taken. pg_dump reads them a moment later."""
        wrong = []
        for name, stated in recorded.items():
            if name not in found.sequences:
                wrong.append(f"the sequence {name} is missing")
                continue
            value = found.sequences[name]
            if stated is None or name in found.cycling:
                continue
            if value is None or (value > stated if name in found.descending else value < stated):
                wrong.append(f"the sequence {name} is at {'its start' if value is None else value}, not at {stated}")
        self.differences += _shortened(wrong, "sequences")
        self.compared["sequences"] = {
            "recorded": len(recorded),
            "equal": len(recorded) - len(wrong),
            "different": wrong[:_LISTED],
        }

    def judge_sequences_in_use(self, behind: list[str], unseen: int) -> None:
        """Of a copy that is as it was backed up they tell what is wrong with the database itself."""
        self.cautions += _shortened([ascii_safe(text) for text in behind], "sequences")
        self.compared["sequences_in_use"] = {"behind": behind[:_LISTED], "not_looked_at": unseen}

    def judge_revision(self, session: psycopg.Connection, manifest: Manifest) -> None:
        """Compare the revision of the migrations, within the session's open transaction."""
        stated = manifest.about_database.alembic_revision
        if stated is None:
            return  # the database had none
        table = next((name for name in manifest.tables if _ALEMBIC.fullmatch(name)), "alembic_version")
        try:
            with session.transaction():
                rows = session.execute(f"SELECT version_num FROM {table} ORDER BY 1".encode()).fetchall()  # noqa: S608
            revision = ",".join(str(row[0]) for row in rows)
        except psycopg.Error as error:
            if session.broken:
                raise
            revision = ""
            self.cautions.append(f"the revision of the migrations could not be read: {one_line(error)}")
        else:
            if revision != stated:
                self.differences.append(f"the migrations are at {revision or 'none'} instead of {stated}")
        self.compared["alembic_revision"] = {"recorded": stated, "found": revision or None}


def _shortened(wrong: list[str], noun: str) -> list[str]:
    more = len(wrong) - 10
    return wrong if more <= 0 else [*wrong[:10], f"and {more:,} {noun} more differ"]
