"""The databases that an abandoned restore leaves on a server: each is named, with the SQL that deletes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safeharbor_backup.state.restore_record import Side

if TYPE_CHECKING:
    from collections.abc import Iterable

    from safeharbor_backup.postgres.target import Target
    from safeharbor_backup.state.restore_record import RestoreRecord


def find_left(target: Target, record: RestoreRecord) -> tuple[str, ...]:
    """The databases of a restore that are there and not live, by their names or, if renamed, by their numbers.

    Raises psycopg.Error.
    """
    live = {part.database for part in record.exchanged}
    found = dict[str, None]()
    for part in record.exchanged:
        for side in Side:
            beside, oid = record.beside(part, side), part.oid(side)
            named = target.name_of(oid) if oid else ""
            found |= dict.fromkeys([beside] if target.find(beside) is not None else [])
            found |= dict.fromkeys([named] if named and named not in live else [])
    return tuple(found)


def say_left(names: Iterable[str]) -> tuple[str, ...]:
    """A warning for each: the journal forgets it."""
    return tuple(
        f'the database "{name}" stays on the server, and the journal forgets it. `{_drop(name)}` deletes it'
        for name in names
    )


def say_elsewhere(record: RestoreRecord) -> tuple[str, ...]:
    """The same of the server that the restore went to, which is another one and was not asked."""
    names = [record.beside(part, side) for part in record.exchanged for side in Side]
    if not names:
        return ()
    drops = " ".join(f"{_drop(name, ' IF EXISTS')};" for name in names)
    return (
        f"restore {record.id} went to another server. If that one still exists, it may have databases of this restore. "
        f"`{drops}` deletes them on that server",
    )


def _drop(name: str, condition: str = "") -> str:
    doubled = name.replace('"', '""')
    return f'DROP DATABASE{condition} "{doubled}"'
