"""A restore of which somebody dropped or renamed a database, or whose server was made again: what can still be done.

Databases keep their numbers (oid) under any name, so the journal knows them again.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from safeharbor_backup.actions.restore.left_databases import missing_live
from safeharbor_backup.errors import CannotRestore
from safeharbor_backup.state.restore_parts import Side
from safeharbor_backup.state.restore_record import Phase
from safeharbor_backup.text import typed

if TYPE_CHECKING:
    from safeharbor_backup.postgres.target import Target
    from safeharbor_backup.state.restore_parts import DatabasePart
    from safeharbor_backup.state.restore_record import RestoreRecord


def with_numbers(target: Target | None, record: RestoreRecord) -> RestoreRecord:
    """The same with the numbers of both sides' databases, if it is at rest, by the journal's names.

    Raises psycopg.Error.
    """
    if target is None or not record.exchanged:
        return record
    parts = []
    for part in record.exchanged:
        found = {
            record.live: target.find(part.database),
            record.live.other: target.find(record.beside(part, record.live.other)),
        }
        numbers = {side: each.oid if each is not None else 0 for side, each in found.items()}
        parts.append(replace(part, old_oid=numbers[Side.OLD], new_oid=numbers[Side.NEW]))
    return record.with_databases(parts)


def missing_database(target: Target | None, record: RestoreRecord, to: Side, live: Side) -> str:
    """The databases of the side `to`, in words, that are not where they should be; "" if all are.

    Raises psycopg.Error.
    """
    if target is None:
        return ""
    missing = (_missing(target, record, part, to, live) for part in record.exchanged)
    return " and ".join(filter(None, missing))


def _missing(target: Target, record: RestoreRecord, part: DatabasePart, to: Side, live: Side) -> str:
    if not part.had_database and to is Side.OLD:
        return ""
    expected = part.database if live is to else record.beside(part, to)
    found, oid = target.find(expected), part.oid(to)
    if found is not None and oid in (0, found.oid):
        return ""
    name = target.name_of(oid) if oid else ""
    if name:
        return (
            f'the database "{expected}" (it is named "{name}" now: '
            f'`ALTER DATABASE "{name}" RENAME TO "{expected}"` gives it its name back)'
        )
    return f'the database "{expected}"'


def require_own_name(target: Target | None, record: RestoreRecord) -> None:
    """Raises CannotRestore if somebody has renamed the database that is kept: then it is not forgotten without a word.

    Also if there is no live one: what is kept may be all that is left. Raises psycopg.Error.
    """
    verb = typed(f"restore --discard-previous --id {record.id}")
    if missing := missing_live(target, record):
        raise CannotRestore(
            f"There is no database {' and '.join(missing)} now: what restore {record.id} keeps may be all there is.",
            hint=f"`{verb} --abandon-database` leaves it on the server, and says how to make it the live one.",
            intact="Nothing was deleted.",
        )
    side = record.live.other
    renamed = [_is_renamed(target, record.beside(part, side), part.oid(side)) for part in record.exchanged]
    if not any(renamed):
        return
    raise CannotRestore(
        f"Restore {record.id} keeps {missing_database(target, record, side, record.live)}.",
        hint=f"Rename it back and type `{verb}` again; or `{verb} --abandon-database` leaves it and deletes the rest.",
        intact="Nothing was deleted.",
    )


def _is_renamed(target: Target | None, kept: str, oid: int) -> bool:
    return target is not None and bool(oid) and target.find(kept) is None and bool(target.name_of(oid))


def way_around_database(record: RestoreRecord, to: Side, *, other: str) -> str:
    """What to type if the database of the side `to` is lost; `other` is what is lost of the other one."""
    if record.phase is Phase.KEPT:
        return f"Restore an archive. `{typed(f'restore --discard-previous --id {record.id}')}` removes the rest."
    if not other and not record.by_undo:
        verb = "undo" if to is Side.NEW else "resume"
        return f"`{typed('restore --')}{verb}` instead; live will be: {record.describe(to.other)}."
    ends = f"live will be: {record.describe(to.other)}" if not other else "only the uploads become live"
    return f"`{typed('restore --undo --abandon-database')}` leaves the databases as they are; {ends}."
