"""In which passes a dump is loaded: computed from its own table of contents and the dependencies in it.

pg_restore with several jobs lets what follows the data wait for the rows of its own table only. Some things need the
rows of other tables: the rows of a partitioned table are in its partitions, a domain may be used anywhere, a trigger or
a function may read any table. Whatever needs an entry that waits, a comment on it say, waits with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from safeharbor_backup.postgres.contents import number_of
from safeharbor_backup.postgres.toc_entries import DATA, POST_DATA, PRE_DATA, with_dependants

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from safeharbor_backup.postgres.toc_entries import TocEntry

_BUILDS_AN_INDEX = ("INDEX", "CONSTRAINT")


class Pass(IntEnum):
    """What is loaded together, one after the other."""

    DATA = 0  # and what comes before it, and indexes of tables that have their own rows
    RULES = 1  # constraints, triggers: they need all rows
    PRIVILEGES = 2  # a grant can need another one: for one job, in the order of the dump. And triggers of partitions
    VIEWS = 3  # rows of materialized views: they are computed with everything that is there
    EVENT_TRIGGERS = 4  # they would see our own work


@dataclass(frozen=True, slots=True)
class Order:
    """The entries by pass; what is in those of `serial` is for one job.

    `is_known`: False if the dump's own order is all there is, for one job too.
    """

    passes: Mapping[Pass, tuple[str, ...]]
    serial: frozenset[Pass] = frozenset({Pass.PRIVILEGES})
    is_known: bool = True

    def definitions(self, toc: Mapping[int, TocEntry]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The first pass in two: what comes before all rows, and the rows with what needs them."""
        first = self.passes[Pass.DATA]
        chosen = {number: toc[number] for number in map(number_of, first) if number in toc}
        rows = with_dependants(chosen, [each.number for each in chosen.values() if each.section in (DATA, POST_DATA)])
        return (
            tuple(each for each in first if number_of(each) not in rows),
            tuple(each for each in first if number_of(each) in rows),
        )


def order_entries(entries: Sequence[str], toc: Mapping[int, TocEntry]) -> Order:
    """The passes for these entries of a dump."""
    passes: dict[Pass, list[str]] = {each: [] for each in Pass}
    numbers = [number_of(entry) for entry in entries]
    if any(number not in toc for number in numbers):
        passes[Pass.DATA] = list(entries)
        return Order({each: tuple(found) for each, found in passes.items()}, is_known=False)
    chosen = {number: toc[number] for number in numbers}
    with_rows = {need for entry in chosen.values() if entry.kind == "TABLE DATA" for need in entry.needs}
    place = {number: _own_pass(entry, toc, with_rows) for number, entry in chosen.items()}
    for each in Pass:
        waiting = [number for number, own in place.items() if own == each]
        for number in with_dependants(chosen, waiting):  # decision 80
            place[number] = max(place[number], each)
    for entry, number in zip(entries, numbers, strict=True):
        passes[place[number]].append(entry)
    # several jobs would take what belongs before the data first, even if it needs a view that comes after it
    moved = {place[number] for number, entry in chosen.items() if entry.section == PRE_DATA and place[number]}
    return Order({each: tuple(found) for each, found in passes.items()}, frozenset({Pass.PRIVILEGES, *moved}))


def _own_pass(entry: TocEntry, toc: Mapping[int, TocEntry], with_rows: Collection[int]) -> Pass:
    if entry.kind == "EVENT TRIGGER":
        return Pass.EVENT_TRIGGERS
    if entry.kind in ("ACL", "DEFAULT ACL") or _is_of_a_partitions_trigger(entry):
        return Pass.PRIVILEGES
    if entry.kind == "MATERIALIZED VIEW DATA":
        return Pass.VIEWS
    if entry.section == POST_DATA and not _waits_for_its_own_rows(entry, toc, with_rows):
        return Pass.RULES
    return Pass.DATA


def _is_of_a_partitions_trigger(entry: TocEntry) -> bool:
    """`ALTER TABLE … DISABLE TRIGGER`: another entry makes it, on a table above, and pg_dump may not say so."""
    return entry.kind == "TRIGGER" and not entry.definition.lstrip().startswith("CREATE ")


def _waits_for_its_own_rows(entry: TocEntry, toc: Mapping[int, TocEntry], with_rows: Collection[int]) -> bool:
    """Whether it needs no rows but those that pg_restore lets it wait for."""
    return (
        entry.kind in _BUILDS_AN_INDEX
        and any(need in with_rows for need in entry.needs)
        and not entry.definition.rstrip().endswith(" NOT VALID;")  # NOT NULL: a CONSTRAINT without an index
        and not any(need in toc and toc[need].kind == "FUNCTION" for need in entry.needs)  # it may read other tables
    )
