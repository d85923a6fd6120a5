"""Which archive of the backup directory a person means: by its name, by the beginning of its time, or by a word.

The words are `latest`, `latest~2` (the second before it) and `before 2026-11-27T12:00`; for them the rules of `latest`
hold. Times are in UTC, as in the names, or local, as `list` shows them.
"""

from __future__ import annotations

import re
from bisect import bisect
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import TYPE_CHECKING

from safeharbor_backup.actions.catalog.entries import find_candidates
from safeharbor_backup.actions.catalog.latest import Choice, read_choice
from safeharbor_backup.archive.layout import time_in_name
from safeharbor_backup.errors import ArchiveNotFound
from safeharbor_backup.settings.model import Concern
from safeharbor_backup.settings.schedule import find_zone
from safeharbor_backup.text import ascii_safe, plural, show_time, typed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import tzinfo
    from pathlib import Path

    from safeharbor_backup.settings.model import Settings

LATEST = "latest"
_BACK = re.compile(r"latest(?:~(\d{1,6}))?", re.ASCII)
_BEFORE = re.compile(r"before[ :=]\s*(\S.*)", re.ASCII)
_TIME = re.compile(r"(?:\d{4}-?\d?|(?:\d{4}-)?\d\d(?:-[\d-]*(?:T[\d-]*)?)?)Z?", re.ASCII)
_PREFIX, _SUFFIX = "safeharbor-backup-", ".tar"
_MOST_SHOWN = 10


def local_zone(settings: Settings) -> tzinfo | None:
    """The zone in which times are shown: BACKUP_TIMEZONE if that is set, otherwise None, the system's own zone."""
    return find_zone(settings.timezone) if "BACKUP_TIMEZONE" in settings.origins else None


def is_word(text: str) -> bool:
    """Whether a text is one of the words, which can mean another archive tomorrow."""
    return bool(_BACK.fullmatch(text) or _BEFORE.fullmatch(text))


def choose_by_word(text: str, settings: Settings, now: datetime | None = None, *, takes_short: bool = False) -> Choice:
    """What a word means, with the archives that were skipped. Raises ArchiveNotFound if there are not so many, or
    the time is invalid; StorageUnavailable.
    """
    settings.require(Concern.DIRECTORY)
    back = _BACK.fullmatch(text)
    if back is not None:
        count = int(back[1] or 0)
        choice = read_choice(settings.backup_dir, settings.database_name, now, back=count, takes_short=takes_short)
        if choice.entry is None and count:
            raise ArchiveNotFound(
                f"{text}: there are not that many archives in {settings.backup_dir} that can be relied on."
            )
        return choice
    try:
        moment = datetime.fromisoformat(_BEFORE.sub(r"\1", text))
        moment = moment if moment.tzinfo is not None else _as_local(moment, local_zone(settings))
    except (ValueError, OverflowError):
        raise ArchiveNotFound(
            f"{ascii_safe(text)}: not a time. Write it like `before 2026-11-27T12:00`: local time, or UTC with a "
            "Z at its end."
        ) from None
    choice = read_choice(settings.backup_dir, settings.database_name, now, before=moment, takes_short=takes_short)
    if choice.entry is None and not choice.passed:
        raise ArchiveNotFound(f"There is no archive in {settings.backup_dir} from before {show_time(moment)}.")
    return choice


def find_by_name(text: str, settings: Settings) -> Path:
    """The archive of that name in the backup directory, or the only one whose time begins so; `.tar` may be left out.

    Raises ArchiveNotFound with the nearest names, or with all that it may mean; StorageUnavailable.
    """
    directory, zone = settings.backup_dir, local_zone(settings)
    names = sorted(each.name for each in find_candidates(directory))
    times = {name: taken_at for name in names if (taken_at := time_in_name(name)) is not None}
    bare = text.removesuffix(_SUFFIX).removeprefix(_PREFIX)
    wanted = bare.replace(" ", "T").replace(":", "-")
    if len(wanted) < 4 or not _TIME.fullmatch(wanted):
        near = get_close_matches(text, names, 3, 0.5) or names[-3:]
        raise ArchiveNotFound(f"There is no archive {ascii_safe(text)} in {directory}.", hint=_nearest(near))
    found = [name for name in names if any(_begins(each, wanted) for each in _show_times(times[name], zone))]
    if len(found) == 1:
        return directory / found[0]
    if found:
        raise ArchiveNotFound(
            f"{ascii_safe(text)} may mean {plural(len(found), 'archive')} in {directory}:\n{_list(found, times, zone)}",
            hint="Type more of its time, or its name; a time that ends with Z is in UTC.",
        )
    whole = wanted if re.match(r"\d{4}", wanted) else f"{names[-1][len(_PREFIX) :][:5] if names else ''}{wanted}"
    place = bisect(names, _PREFIX + whole)
    near = names[max(place - 2, 0) : place + 2]
    raise ArchiveNotFound(f"No archive in {directory} has a time that begins with {wanted}.", hint=_nearest(near))


def _as_local(moment: datetime, zone: tzinfo | None) -> datetime:
    return (moment.replace(tzinfo=zone) if zone is not None else moment).astimezone(UTC)


def _show_times(taken_at: datetime, zone: tzinfo | None) -> Sequence[str]:
    """The time of an archive, in UTC and local, written as in names."""
    return f"{taken_at:%Y-%m-%dT%H-%M-%S}Z", f"{taken_at.astimezone(zone):%Y-%m-%dT%H-%M-%S}"


def _begins(time: str, wanted: str) -> bool:
    """Whether a time begins so, with its year or without. Only one in UTC has a Z, behind whatever is given of it."""
    if wanted.endswith("Z"):
        if not time.endswith("Z"):
            return False
        wanted = wanted.removesuffix("Z")
    return time.startswith(wanted) or time[5:].startswith(wanted)


def _list(names: Sequence[str], times: Mapping[str, datetime], zone: tzinfo | None) -> str:
    lines = [
        f"  {name}  ({_show_times(times[name], zone)[1].replace('T', ' ')} local)" for name in names[-_MOST_SHOWN:]
    ]
    more = len(names) - len(lines)
    return "\n".join([*lines, f"  and {more:,} older"] if more else lines)


def _nearest(names: Sequence[str]) -> str:
    if not names:
        return f"There is no archive; `{typed('backup')}` takes one."
    return f"The nearest: {', '.join(names)}. `{typed('list')}` shows all."
