"""Which entries with privileges a role can replay: each is judged by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safeharbor.postgres.contents import number_of
from safeharbor.postgres.grants import read_grants

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from safeharbor.postgres.toc import TocEntry

_PRIVILEGES = ("ACL", "DEFAULT ACL")
_OPEN = "so it is open to all roles, which it was not"


def choose_privileges(
    entries: Iterable[str], toc: Mapping[int, TocEntry], role: str | None, missing: Collection[str]
) -> tuple[list[str], list[str]]:
    """The entries without the privileges that cannot be replayed, and those in words.

    `role` owns what is restored; None for a superuser, who may act for everybody. `missing` are roles of the dump that
    the server does not have.
    """
    entries = list(entries)
    made = {n for n in map(number_of, entries) if n in toc and toc[n].kind not in ("EXTENSION", *_PRIVILEGES)}
    kept: list[str] = []
    left_out: list[str] = []
    for entry in entries:
        found = toc.get(number_of(entry))
        why = _refusal(found, made, role, missing) if found is not None and found.kind in _PRIVILEGES else ""
        if found is not None and why:
            closes = found.kind == "ACL" and any(each.takes_from == "PUBLIC" for each in read_grants(found.definition))
            left_out.append(
                f"{found.schema}{'.' if found.schema else ''}{found.name} ({why}{f', {_OPEN}' if closes else ''})"
            )
        else:
            kept.append(entry)
    return kept, left_out


def _refusal(entry: TocEntry, made: Collection[int], role: str | None, missing: Collection[str]) -> str:
    grants = read_grants(entry.definition)
    absent = sorted({name for each in grants for name in each.roles if name in missing})
    if absent:
        return f"the server has no role {', '.join(absent)}"
    if role is None:
        return ""
    others = sorted({each.grantor for each in grants} - {"", role})
    is_ours = entry.owner in (role, "pg_database_owner") or (
        entry.kind == "ACL" and any(n in made for n in entry.needs)
    )
    if not is_ours:
        others.insert(0, entry.owner)
    return f"only a superuser may grant for {', '.join(others)}" if others else ""
