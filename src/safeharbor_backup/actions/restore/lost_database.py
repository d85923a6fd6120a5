"""A restore of which somebody dropped or renamed a database, or whose server was made again: what can still be done.

Databases keep their numbers (oid) under any name, so the journal knows them again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from safeharbor_backup.errors import CannotRestore
from safeharbor_backup.state.restore_record import Phase, Side
from safeharbor_backup.text import typed

if TYPE_CHECKING:
    from safeharbor_backup.postgres.target import Target
    from safeharbor_backup.state.restore_record import RestoreRecord


def numbers_of_both(target: Target | None, record: RestoreRecord) -> dict[str, int]:
    """The numbers of both databases of a restore that is at rest, by the journal's names. Raises psycopg.Error."""
    if target is None or not record.database or record.in_place:
        return {}
    live, kept = target.find(record.database), target.find(record.kept_database)
    numbers = [each.oid if each is not None else 0 for each in (live, kept)]
    return dict(zip(("old_oid", "new_oid") if record.is_undone else ("new_oid", "old_oid"), numbers, strict=True))


def missing_database(target: Target | None, record: RestoreRecord, to: Side, live: Side) -> str:
    """The database of the side `to`, in words, if it is not where it should be; "" if it is. Raises psycopg.Error."""
    has_one = bool(record.database) and not record.in_place and (record.had_database or to is Side.NEW)
    if target is None or not has_one:
        return ""
    kept = record.staged_database if to is Side.NEW else record.previous_database
    expected = record.database if live is to else kept
    found, oid = target.find(expected), record.oid(to)
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

    Raises psycopg.Error.
    """
    kept, oid = record.kept_database, record.oid(record.live.other)
    if target is None or not (kept and oid) or target.find(kept) is not None or not target.name_of(oid):
        return
    verb = typed(f"restore --discard-previous --id {record.id}")
    raise CannotRestore(
        f"Restore {record.id} keeps {missing_database(target, record, record.live.other, record.live)}.",
        hint=f"Rename it back and type `{verb}` again; or `{verb} --abandon-database` leaves it and deletes the rest.",
        intact="Nothing was deleted.",
    )


def way_around_database(record: RestoreRecord, to: Side, *, other: str) -> str:
    """What to type if the database of the side `to` is lost; `other` is what is lost of the other one."""
    if record.phase is Phase.KEPT:
        return f"Restore an archive. `{typed(f'restore --discard-previous --id {record.id}')}` removes the rest."
    if not other and not record.by_undo:
        verb = "undo" if to is Side.NEW else "resume"
        return f"`{typed('restore --')}{verb}` instead; live will be: {record.describe(to.other)}."
    ends = f"live will be: {record.describe(to.other)}" if not other else "only the uploads become live"
    return f"`{typed('restore --undo --abandon-database')}` leaves the databases as they are; {ends}."
