"""What went since the previous archive: the losses that a backup and a restore report without being asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safeharbor_backup.actions.catalog.entries import find_candidates, look_at
from safeharbor_backup.actions.diff import changed_rows, compare_archives
from safeharbor_backup.archive.layout import time_in_name
from safeharbor_backup.archive.listing import Change
from safeharbor_backup.errors import SafeHarborError, translate_os_error
from safeharbor_backup.text import ascii_safe, plural

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from safeharbor_backup.actions.diff import Diff
    from safeharbor_backup.archive.manifest_sections import OtherDatabase
    from safeharbor_backup.progress import Progress

_MOST_GONE = 0.1  # of the rows, or of the uploads: more is worth a note
_MOST_NAMED = 3
_LOOKED_AT = 5  # older archives, for one that records what is in it


def find_previous(archive: Path) -> Path | None:
    """The newest older archive beside it that is complete and of the same database. Raises SafeHarborError."""
    taken_at = time_in_name(archive.name)
    newest = look_at(archive, taken_at) if taken_at is not None else None
    if newest is None or newest.manifest is None:
        return None
    older = [each for each in find_candidates(archive.parent) if each.name < archive.name]
    for each in sorted(older, key=lambda candidate: candidate.name, reverse=True)[:_LOOKED_AT]:
        entry = look_at(archive.parent / each.name, each.named_at)
        if entry is not None and entry.manifest is not None and entry.manifest.database == newest.manifest.database:
            return entry.path
    return None


def what_went(diff: Diff) -> tuple[str, ...]:
    """The losses that a backup reports without being asked: tables, and more than a tenth of the rows or uploads."""
    found = _what_went_of("", diff.before.tables or {}, diff.rows)
    now = _same_databases(diff.before.databases, diff.after.databases)
    for each in diff.before.databases:
        before, after = each.database, now[each.name].database if each.name in now else None
        if after is None:
            rows = f" ({plural(each.rows, 'row')})" if before.is_counted else ""
            found.append(f"database {each.name}{rows}")
        elif after.is_counted:
            untold = {*before.tables_without_data, *before.tables_left_out}
            untold.update(after.tables_without_data, after.tables_left_out)
            found += _what_went_of(each.name, before.tables, changed_rows(before.tables, after.tables, untold))
    files, lost = diff.before.upload_files or 0, diff.uploads.counts[Change.GONE]
    if lost > files * _MOST_GONE:
        found.append(f"{lost:,} of {plural(files, 'upload')}")
    return tuple(found)


def _same_databases(before: Sequence[OtherDatabase], after: Sequence[OtherDatabase]) -> dict[str, OtherDatabase]:
    """What each database beside the main one is in the second archive, by its name in the first one.

    One that only got another name is the same one, and one that moved to another server if it has its name still.
    """
    left, found = list(after), {}
    for by_identity, by_name in ((True, True), (True, False), (False, True)):
        for each in before:
            same = [
                other
                for other in left
                if not (by_identity and other.identity != each.identity) and not (by_name and other.name != each.name)
            ]
            if same and each.name not in found:
                found[each.name] = same[0]
                left.remove(same[0])
    return found


def _what_went_of(
    database: str, then: Mapping[str, int], changed: Mapping[str, tuple[int | None, int | None]]
) -> list[str]:
    """The same of one database; "" is the main one."""
    which, within = (f"{database}: ", f" in {database}") if database else ("", "")
    went = {name: was for name, (was, now) in changed.items() if now is None and was is not None}
    gone = sorted(went.items(), key=lambda each: -each[1])
    found = [f"table {which}{ascii_safe(name)} ({plural(rows, 'row')})" for name, rows in gone[:_MOST_NAMED]]
    if len(gone) > _MOST_NAMED:
        found.append(f"{plural(len(gone) - _MOST_NAMED, 'more table')}{within}")
    all_rows, rows_gone = sum(then.values()), sum(max((was or 0) - (now or 0), 0) for was, now in changed.values())
    if rows_gone > all_rows * _MOST_GONE:
        found.append(f"{rows_gone:,} of {plural(all_rows, 'row')}{within}")
    return found


def describe_what_went(archive: Path, said: str) -> str:
    """What went since the previous archive, behind `said`, which has a place for its name; "" if nothing did.

    Raises SafeHarborError, OSError.
    """
    previous = find_previous(archive)
    found = what_went(compare_archives(previous, archive)) if previous is not None else ()
    if previous is None or not found:
        return ""
    return f"{said.format(previous.name)} {'; '.join(found)}"


def note_what_went(archive: Path, progress: Progress) -> tuple[str, ...]:
    """The same for a backup, whose comparison may fail and cost it nothing."""
    try:
        went = describe_what_went(archive, "gone since the previous backup, {}:")
    except (SafeHarborError, OSError) as error:
        failure = translate_os_error(error, "reading it") if isinstance(error, OSError) else error
        progress.note(f"not compared with the previous backup: {failure.message}")
        return ()
    if went:
        progress.note(went)
    return (went,) if went else ()
