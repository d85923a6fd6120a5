"""An entry of a dump's table of contents, and which entries need which."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PRE_DATA, DATA, POST_DATA = 2, 3, 4  # sections


@dataclass(frozen=True, slots=True)
class TocEntry:
    """An entry. `kind` is pg_dump's word (TABLE, COMMENT, …), `name` its tag; `needs` are numbers of other entries.

    `definition` is its SQL, `start` where that begins in the dump.
    """

    number: int
    kind: str
    schema: str
    name: str
    owner: str
    needs: tuple[int, ...]
    section: int = 0
    definition: str = ""
    tablespace: str = ""
    start: int = 0

    @property
    def what(self) -> str:
        """Kind and name, for people."""
        return f"{self.kind.lower()} {f'{self.schema}.' if self.schema else ''}{self.name}"


def users_of(toc: Mapping[int, TocEntry], numbers: Iterable[int]) -> list[TocEntry]:
    """The entries that need one of these, in order, those themselves not among them."""
    wanted = set(numbers)
    return [entry for entry in toc.values() if entry.number not in wanted and not wanted.isdisjoint(entry.needs)]


def with_dependants(toc: Mapping[int, TocEntry], numbers: Iterable[int]) -> set[int]:
    """These entries and whatever needs them, directly or not."""
    users: dict[int, list[int]] = {}
    for entry in toc.values():
        for need in entry.needs:
            users.setdefault(need, []).append(entry.number)
    found: set[int] = set()
    waiting = list(numbers)
    while waiting:
        number = waiting.pop()
        if number not in found:
            found.add(number)
            waiting += users.get(number, ())
    return found
