"""Which privileges of a dump a role can replay: each statement is judged by itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from safeharbor_backup.postgres.contents import number_of
from safeharbor_backup.postgres.grants import read_grants

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from safeharbor_backup.postgres.grants import Grant
    from safeharbor_backup.postgres.lost_rights import Grantors
    from safeharbor_backup.postgres.toc_entries import TocEntry

_PRIVILEGES = ("ACL", "DEFAULT ACL")


@dataclass(slots=True)
class Privileges:
    """What becomes of the privileges of a dump.

    `entries` are all entries but those that cannot be replayed as a whole; `statements` is the rest of these;
    `left_out` and `opened` are what is in neither, in words: `opened` closed something to all roles. `vain` are those
    that a grantor cannot give again: where each is from and why not, and its SQL.
    """

    entries: list[str] = field(default_factory=list)
    statements: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    opened: list[str] = field(default_factory=list)
    vain: list[tuple[str, str]] = field(default_factory=list)


def choose_privileges(
    entries: Iterable[str],
    toc: Mapping[int, TocEntry],
    role: str | None,
    missing: Collection[str],
    *,
    grantors: Grantors,
    others_stay: bool = False,
) -> Privileges:
    """What can be replayed.

    `role` owns what is restored; None for a superuser, who may act for everybody. `missing` are roles of the dump that
    the server does not have. `others_stay`: what other roles own is not made again, and so stays closed if it is.
    """
    entries = list(entries)
    made = {n for n in map(number_of, entries) if n in toc and toc[n].kind not in ("EXTENSION", *_PRIVILEGES)}
    chosen = Privileges()
    for entry in entries:
        found = toc.get(number_of(entry))
        if found is None or found.kind not in _PRIVILEGES:
            chosen.entries.append(entry)
            continue
        others = "" if role is None or _is_ours(found, made, role) else found.owner
        refused = [
            (grant, why)
            for grant in read_grants(found.definition)
            if (why := _refusal(grant, role, missing, others, grantors))
        ]
        if not refused:
            chosen.entries.append(entry)
            continue
        refusals = {grant for grant, _ in refused}
        chosen.statements += [_alone(grant) for grant in read_grants(found.definition) if grant not in refusals]
        reasons = "; ".join(dict.fromkeys(why for _, why in refused))
        where = f"{found.schema}{'.' if found.schema else ''}{found.name}"
        chosen.left_out.append(f"{where} ({reasons})")
        chosen.vain += [(f"{where}: {why}", _alone(grant)) for grant, why in refused if why == grantors.refusal(grant)]
        if not others_stay:  # whatever is granted to a role that is missing is granted by nobody
            chosen.opened += [
                grant.sql for grant, _ in refused if grant.takes_from == "PUBLIC" and grant.roles.isdisjoint(missing)
            ]
    return chosen


def _is_ours(entry: TocEntry, made: Collection[int], role: str) -> bool:
    return entry.owner in (role, "pg_database_owner") or (
        entry.kind == "ACL" and any(need in made for need in entry.needs)
    )


def _refusal(grant: Grant, role: str | None, missing: Collection[str], others: str, grantors: Grantors) -> str:
    absent = sorted(name for name in {*grant.roles, grant.grantor} if name in missing)
    if absent:
        return f"the server has no role {', '.join(absent)}"
    if role is None:
        return grantors.refusal(grant)
    if others or grant.grantor not in ("", role):
        return f"only a superuser may grant for {others or grant.grantor}"
    return ""


def _alone(grant: Grant) -> str:
    """The statement, as the role that the dump has it given by."""
    if not grant.grantor:
        return f"{grant.sql};"
    quoted = grant.grantor.replace('"', '""')
    return f'SET SESSION AUTHORIZATION "{quoted}"; {grant.sql}; RESET SESSION AUTHORIZATION;'
