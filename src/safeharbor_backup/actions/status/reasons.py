"""The reasons for the state of the backups, each with its code, from what was looked at."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from safeharbor_backup.actions.catalog.entries import State, is_from_future
from safeharbor_backup.actions.catalog.guards import judge_size
from safeharbor_backup.actions.catalog.last_runs import BACKUP, DRILL, SCHEDULER, tells_of_archives
from safeharbor_backup.actions.catalog.latest import WhyNot
from safeharbor_backup.actions.offsite import describe_old_copy
from safeharbor_backup.actions.prune_guards import Guard
from safeharbor_backup.actions.status.health import Code, Health, Reason
from safeharbor_backup.errors import ExitStatus, SafeHarborError
from safeharbor_backup.settings.model import Concern
from safeharbor_backup.state.adopted import read_adopted
from safeharbor_backup.state.journal import Journal
from safeharbor_backup.system.lock import LOCK_NAME, is_locked
from safeharbor_backup.text import ascii_safe

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from pathlib import Path

    from safeharbor_backup.actions.catalog.entries import CatalogEntry
    from safeharbor_backup.actions.status.result import Status
    from safeharbor_backup.settings.model import Settings
    from safeharbor_backup.state.restore_record import RestoreRecord


def judge_age(status: Status, directory: Path, now: datetime) -> list[Reason]:
    """Whether there is an archive, and whether it is young enough. One from the future is not young."""
    if status.newest is None or status.age_seconds is None:
        return [_judge_absence(status, directory, now)]
    if status.age_seconds > status.max_age_seconds:
        return [Reason(Code.TOO_OLD, Health.STALE, "the newest complete archive is older than the limit")]
    return []


def _judge_absence(status: Status, directory: Path, now: datetime) -> Reason:
    """Without any archive: gone, if there were some; else waiting, as long as a first one need not be there yet.

    The clock starts with the first run ever tried there (its lock file stays), otherwise with the directory.
    """
    nothing = Reason(Code.NO_ARCHIVE, Health.STALE, "there is no complete archive")
    gone = status.gone
    if gone is not None:
        many = "1 archive was" if gone.archives == 1 else f"{gone.archives:,} archives were"
        verb = "is" if gone.archives == 1 else "are"
        text = f"{many} here on {_show(gone.seen_at)}, and {verb} gone: {directory} has none"
        return Reason(Code.GONE, Health.FAILED, text)
    if status.damaged or any(is_from_future(entry, now) for entry in status.archives):
        return nothing
    try:
        since = os.stat(directory / LOCK_NAME).st_mtime
    except OSError:
        since = os.stat(directory).st_mtime
    if now.timestamp() - since <= status.max_age_seconds:
        return Reason(Code.WAITING, Health.WAITING, "no backup yet; the first one is not due yet")
    return nothing


def judge_last_runs(status: Status) -> list[Reason]:
    """What failed, with no success since.

    A failed backup is a failure. So is a check that found something wrong; of a verify only until there is a newer
    archive, which was proven when it was written. A check that could not be done says nothing about the archives, and a
    run that was refused since another one was at work says nothing at all.
    """
    found = []
    newest = status.newest.taken_at if status.newest is not None else None
    for failure in status.runs.failures:
        if failure.command != BACKUP and not status.archives:
            continue  # there was nothing to check
        is_overtaken = failure.command != DRILL and newest is not None and newest >= failure.started_at
        is_refused = failure.exit_status == ExitStatus.LOCKED
        has_failed = not is_refused and (failure.command == BACKUP or (tells_of_archives(failure) and not is_overtaken))
        said = f": {ascii_safe(failure.reason)}" if failure.reason else ""
        text = f"the last {failure.command} failed on {_show(failure.started_at)}, status {failure.exit_status}{said}"
        code = Code.RUN_REFUSED if is_refused else Code.RUN_FAILED
        found.append(Reason(code, Health.FAILED if has_failed else Health.WARNING, text, failure.command))
    waived = next((each for each in reversed(status.history) if each.command == SCHEDULER), None)
    if waived is not None and (newest is None or newest < waived.started_at):
        found.append(Reason(Code.NOT_CAUGHT_UP, Health.WARNING, ascii_safe(waived.reason)))
    return found


def judge_restores(directory: Path) -> tuple[tuple[RestoreRecord, ...], RestoreRecord | None, list[Reason]]:
    """What restores keep, the interrupted one, and the reasons that follow from it."""
    try:
        records = Journal(directory).read()
    except (SafeHarborError, OSError) as error:
        return (), None, [Reason(Code.JOURNAL, Health.WARNING, f"the journal of restores: {error}")]
    kept = tuple(record for record in records if not record.is_interrupted)
    pending = next((record for record in records if record.is_interrupted), None)
    if pending is None or is_locked(directory):  # one that is at work is not interrupted
        return kept, None, []
    text = f"{pending.pending_error().message} No backup is taken until it is settled."
    return kept, pending, [Reason(Code.INTERRUPTED, Health.INTERRUPTED, text)]


def judge_archives(status: Status, complete: Sequence[CatalogEntry], settings: Settings, now: datetime) -> list[Reason]:
    """The warnings about archives, settings and disk."""
    found = [_count_bad(status.archives, State.DAMAGED, Code.DAMAGED)]
    found.append(_count_bad(status.archives, State.UNREADABLE, Code.UNREADABLE))
    found += _judge_future(status, now)
    found += _judge_latest(status)
    newest = status.newest
    if newest is not None and newest.manifest is not None:
        found += [_warn(Code.BACKUP_WARNED, text) for text in newest.manifest.warnings]
        concerns = (Concern.DIRECTORY, Concern.RETENTION, Concern.SCHEDULE, Concern.MONITORING)
        found += [_warn(Code.SETTING, str(problem)) for problem in settings.problems_in(*concerns)]
        is_short = any(each.code is WhyNot.SHORT for each in status.latest.passed)
        if not is_short and newest.name not in read_adopted(settings.backup_dir).archives:
            earlier = [entry for entry in complete if entry.name < newest.name]
            smaller = judge_size(newest, earlier[0] if earlier else None)
            found += [_warn(Code.SMALLER, smaller)] if smaller else []
        if not settings.problems_in(Concern.RETENTION, Concern.SCHEDULE):
            # what is damaged is reported above
            notices = [each for each in status.outlook.notices if each.code not in (Guard.DAMAGED, Guard.UNREADABLE)]
            found += [_warn(Code.RETENTION, notice.text) for notice in notices]
        if status.room.fits == 0:
            takes = (
                f"{status.room.free or 0:,} bytes are free, and the next one takes {status.room.next_archive or 0:,}"
            )
            found.append(_warn(Code.ROOM, f"there is no disk space for another archive: {takes}"))
    return [each for each in found if each is not None]


def judge_copies(status: Status, now: datetime) -> list[Reason]:
    """Which copies elsewhere are too old."""
    taken = [entry.taken_at for entry in status.archives]
    return [_warn(Code.OFFSITE, text) for each in status.copies or () if (text := describe_old_copy(each, taken, now))]


def _count_bad(archives: Sequence[CatalogEntry], state: State, code: Code) -> Reason | None:
    bad = [entry for entry in archives if entry.state is state]
    if not bad:
        return None
    how = "damaged" if state is State.DAMAGED else "not readable"
    how_many = f"{len(bad)} of {len(archives)} archives {'is' if len(bad) == 1 else 'are'} {how}"
    return _warn(code, f"{how_many}: {bad[0].name}: {bad[0].problem}{', …' if len(bad) > 1 else ''}")


def _judge_future(status: Status, now: datetime) -> list[Reason]:
    ahead = [entry for entry in status.archives if is_from_future(entry, now)]
    if not ahead:
        return []
    which = ahead[0].name if len(ahead) == 1 else f"{ahead[0].name} and {len(ahead) - 1} more"
    verb = "is" if len(ahead) == 1 else "are"
    text = f"{which} {verb} from the future: the clock was wrong then, or is now. `latest` does not mean it"
    return [_warn(Code.FUTURE, text)]


def _judge_latest(status: Status) -> list[Reason]:
    """That `latest` is not the newest archive, where nothing else says so."""
    choice = status.latest
    meant = f"; the newest that can be relied on is {choice.entry.name}" if choice.entry is not None else ""
    held = any(notice.code is Guard.SHORT for notice in status.outlook.notices)  # which has the numbers
    found = []
    for each in choice.passed:
        if each.code is WhyNot.SHORT:
            why = "it is much too small" if held else each.text
            found.append(_warn(Code.LATEST, f"`latest` does not mean {each.entry.name}, because {why}{meant}"))
        elif each.code is WhyNot.OTHER_DATABASE:
            found.append(_warn(Code.LATEST, f"`latest` does not mean {each.entry.name}: {each.text}{meant}"))
    return found[:1]


def _warn(code: Code, text: str) -> Reason:
    return Reason(code, Health.WARNING, text)


def _show(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")
