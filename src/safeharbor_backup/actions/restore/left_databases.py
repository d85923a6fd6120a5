"""The databases that an abandoned restore leaves on a server: each is named, with the SQL that deals with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from safeharbor_backup.state.restore_parts import Side

if TYPE_CHECKING:
    from collections.abc import Iterable

    from safeharbor_backup.postgres.target import Target
    from safeharbor_backup.state.restore_parts import DatabasePart
    from safeharbor_backup.state.restore_record import RestoreRecord


@dataclass(frozen=True, slots=True)
class Left:
    """A database that stays. `was_live`: it was the live one, and somebody has renamed it.

    `missing`: the live name if no database has it now. Then this one may be all that is left.
    """

    name: str
    was_live: bool = False
    missing: str = ""

    @property
    def warning(self) -> str:
        """Tells the operator how to delete it, unless it may be the only state left or was live before."""
        stays = f'the database "{self.name}" stays on the server, and the journal forgets it'
        if self.missing:
            rename = f"ALTER DATABASE {_quoted(self.name)} RENAME TO {_quoted(self.missing)}"
            return f'{stays}. There is no database "{self.missing}" now: `{rename}` makes this one the live one'
        if self.was_live:
            return f"{stays}. It was the live one before it was renamed"
        return f"{stays}. `DROP DATABASE {_quoted(self.name)}` deletes it"


def missing_live(target: Target | None, record: RestoreRecord) -> list[str]:
    """The names of live databases that no database has now. Raises psycopg.Error."""
    if target is None:
        return []
    return [part.database for part in record.exchanged if target.find(part.database) is None]


def find_left(target: Target, record: RestoreRecord, live: Side) -> tuple[Left, ...]:
    """The databases of a restore that are there beside the live ones, by their names or, if renamed, by their numbers.

    A number says something only on the server that gave it. Raises psycopg.Error.
    """
    knows_numbers = record.server != "" and target.system_identifier() == record.server
    found = [
        left
        for part in record.exchanged
        for side in Side
        for left in _find_left(target, record, part, side, was_live=side is live, knows_numbers=knows_numbers)
    ]
    named = {each.name: each for each in found}
    return tuple(each for name, each in named.items() if name not in {part.database for part in record.exchanged})


def _find_left(
    target: Target, record: RestoreRecord, part: DatabasePart, side: Side, *, was_live: bool, knows_numbers: bool
) -> list[Left]:
    beside, oid = record.beside(part, side), part.oid(side)
    missing = part.database if target.find(part.database) is None else ""
    renamed = target.name_of(oid) if oid and knows_numbers else ""
    found = [Left(beside, missing=missing)] if target.find(beside) is not None else []
    if renamed and renamed != beside:
        found.append(Left(renamed, was_live, missing))
    return found


def say_left(left: Iterable[Left]) -> tuple[str, ...]:
    """A warning for each."""
    return tuple(each.warning for each in left)


def say_elsewhere(record: RestoreRecord) -> tuple[str, ...]:
    """The same of the server that the restore went to, which is another one and was not asked."""
    names = [record.beside(part, side) for part in record.exchanged for side in Side]
    if not names:
        return ()
    drops = " ".join(f"DROP DATABASE IF EXISTS {_quoted(name)};" for name in names)
    return (
        f"restore {record.id} went to another server. If that one still exists, it may have databases of this restore. "
        f"`{drops}` deletes them on that server",
    )


def _quoted(name: str) -> str:
    doubled = name.replace('"', '""')
    return f'"{doubled}"'
