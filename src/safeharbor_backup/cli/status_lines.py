"""The state of the backups as lines for a person: the verdict, what is wrong, then a short block of facts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safeharbor_backup.actions.catalog.latest import WhyNot
from safeharbor_backup.actions.catalog.retention import tiers_of
from safeharbor_backup.actions.status.free_space import MOST_COUNTED
from safeharbor_backup.actions.status.health import Code, Health
from safeharbor_backup.actions.status.schedule_seen import Seen
from safeharbor_backup.archive.layout import time_in_name
from safeharbor_backup.settings.schedule import find_zone
from safeharbor_backup.text import plural, show_bytes, show_duration, show_slot, show_time, typed

if TYPE_CHECKING:
    from datetime import datetime, tzinfo

    from safeharbor_backup.actions.status.result import Status
    from safeharbor_backup.settings.model import Settings
    from safeharbor_backup.state.history import Outcome
    from safeharbor_backup.state.offsite import OffsiteCopy
    from safeharbor_backup.state.restore_record import RestoreRecord

_SEEN = {
    Seen.SCHEDULER: "by the scheduler",
    Seen.RUNS: "at the same times as before",
    Seen.NOT_YET: "no run seen yet",
}
_DOUBTS = {WhyNot.SHORT: "much too small", WhyNot.OTHER_DATABASE: "of another database"}
_DONE = {"backup": "done", "verify": "OK", "drill": "restored"}


def tell_status(status: Status, settings: Settings, now: datetime) -> list[str]:
    """The lines; the first is the verdict."""
    verdict, reasons = _verdict(status)
    runs, at = status.runs, status.next_backup
    facts = [
        ("newest" if _doubt(status) else "newest good", _newest(status) if status.health is Health.FAILED else ""),
        ("last backup", _run(runs.backup, now)),
        ("", "; ".join(runs.backup.notes) if runs.backup is not None else ""),
        ("last verify", _run(runs.verify, now)),
        ("last drill", _run(runs.drill, now)),
        ("next backup", _coming(at, status.seen, find_zone(settings.timezone), now)),
        ("off-site", _offsite(status, now)),
        ("space", _room(status)),
        ("retention", _retention(status, settings)),
    ]
    block = [f"{name:<11}  {text}" for name, text in facts if text]
    return [verdict, *(f"  {line}" for line in [*reasons, *block, *map(_kept, status.kept)])]


def _verdict(status: Status) -> tuple[str, tuple[str, ...]]:
    """The first line, and the reasons that are not in it."""
    newest = _newest(status)
    if status.health is Health.WAITING:
        return status.reasons[0], status.reasons[1:]
    if newest and status.health is not Health.FAILED:
        return f"{status.health.value.upper()}: {newest}", status.reasons
    return f"{status.health.value.upper()}: {status.reasons[0]}", status.reasons[1:]


def _newest(status: Status) -> str:
    newest = status.newest
    if newest is None or status.age_seconds is None or newest.manifest is None:
        return ""
    manifest = newest.manifest
    taken = f"{show_duration(status.age_seconds)} old ({show_time(newest.taken_at)})"
    inside = f"{show_bytes(newest.size)}, {plural(manifest.rows, 'row')}, {plural(manifest.upload_files, 'upload')}"
    doubt = _doubt(status)
    name = f"{newest.name} ({doubt})" if doubt else newest.name
    return f"{name}, {taken}, {inside}; {plural(len(status.archives), 'archive')} in all"


def _doubt(status: Status) -> str:
    """Why the newest complete archive is not simply called good; "" if it is. The reasons have the numbers."""
    passed = [each.code for each in status.latest.passed if status.newest and each.entry.name == status.newest.name]
    if passed:
        return _DOUBTS.get(passed[0], "")
    return "half the size of the previous one" if any(each.code is Code.SMALLER for each in status.findings) else ""


def _run(outcome: Outcome | None, now: datetime) -> str:
    if outcome is None:
        return "none recorded"
    ago = _ago(outcome.started_at, now)
    of = _what_it_was_of(outcome)
    if not outcome.is_success:
        return f"{ago}{of}: failed with status {outcome.exit_status}"
    warned = f", with {plural(len(outcome.warnings), 'warning')}" if outcome.warnings else ""
    took = f"{outcome.seconds:.1f} s" if outcome.seconds < 10 else show_duration(outcome.seconds)
    return f"{ago}{of}: {_DONE[outcome.command]}, in {took}{warned}"


def _what_it_was_of(outcome: Outcome) -> str:
    count = outcome.details.get("archives")
    if isinstance(count, int) and count > 1:
        return f", {plural(count, 'archive')}"
    taken_at = time_in_name(outcome.archive or "")
    return f", archive of {show_time(taken_at)}" if taken_at is not None and outcome.command != "backup" else ""


def _coming(at: datetime | None, seen: Seen | None, zone: tzinfo, now: datetime) -> str:
    if at is None or seen is None:
        return "not known: the schedule cannot be used"
    if seen is Seen.NOTHING:
        return "not known: nothing has run at the last times of BACKUP_SCHEDULE"
    left = show_duration(max((at - now).total_seconds(), 0))
    return f"in {left}: {show_slot(at, zone)}, {_SEEN[seen]}"


def _offsite(status: Status, now: datetime) -> str:
    """When each copy elsewhere was made, and drilled."""
    if status.copies is None:
        return ""
    if not status.copies:
        return f"none known; `{typed('offsite-done -h')}`, or BACKUP_OFFSITE=none"
    return "; ".join(_copy(each, now) for each in status.copies)


def _copy(copy: OffsiteCopy, now: datetime) -> str:
    taken_at = time_in_name(copy.archive or "")
    of = f", archive of {show_time(taken_at)}" if taken_at is not None else ""
    made = f"{_ago(copy.copied_at, now)}{of}" if copy.copied_at is not None else "no copy seen yet"
    return f"{copy.name} {made}" + (f", drilled {_ago(copy.drilled_at, now)}" if copy.drilled_at is not None else "")


def _ago(moment: datetime, now: datetime) -> str:
    return f"{show_duration(max((now - moment).total_seconds(), 0))} ago"


def _room(status: Status) -> str:
    room = status.room
    if room.free is None:
        return "not known: the filesystem does not report it"
    free = f"{show_bytes(room.free)} free"
    if room.fits is None or room.next_archive is None:
        return free
    many = f"{room.fits:,} or more" if room.fits == MOST_COUNTED else f"{room.fits:,} more"
    return f"{free}; the next archive takes {show_bytes(room.next_archive)}, {many} fit"


def _retention(status: Status, settings: Settings) -> str:
    outlook = status.outlook
    if not outlook.verdicts:
        return ""
    to_delete = outlook.next_deleted
    if not to_delete:
        goes = "the next backup deletes none"
    else:
        oldest = time_in_name(to_delete[0])
        of = f" of {show_time(oldest)}" if oldest is not None else ""
        goes = (
            f"the next backup deletes the one{of}"
            if len(to_delete) == 1
            else f"the next backup deletes {len(to_delete):,}, the oldest{of}"
        )
    return f"{tiers_of(settings)}; {goes}"


def _kept(record: RestoreRecord) -> str:
    if record.is_being_deleted:
        return (
            f"partly deleted: what the restore of {record.started_at} kept; to go on: "
            f"{typed(f'restore --discard-previous --id {record.id}')}"
        )
    what = "restored state, taken back by --undo" if record.is_undone else "state before the restore"
    slots = f", with {plural(record.slots, 'logical slot')} holding WAL" if record.slots else ""
    return (
        f"kept: the {what} of {record.started_at}, {show_bytes(record.kept_database_bytes + record.kept_uploads_bytes)}"
        f"{slots}; to free it: {typed(f'restore --discard-previous --id {record.id}')}"
    )
