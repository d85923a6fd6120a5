"""What should happen in a simulated year, said another way than by the product: from the contract and the pages.

Nothing here imports what it is to judge. Times are seconds since the epoch, as the host's clock shows them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

DAY = 86400.0
_FUTURE_SECONDS = 60
_REPAIR_SECONDS = 3 * 3600


@dataclass
class Archive:
    """One that is there. `sizes` are upload files, bytes of uploads, rows."""

    name: str
    taken: float
    modified: float
    host: str
    sizes: tuple[int, int, int]
    is_sound: bool = True
    is_kept: bool = False


@dataclass
class Directory:
    """The archives, and what the operator has accepted."""

    archives: list[Archive] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)
    accepted: str = ""

    def adopt(self) -> None:
        """As `prune --adopt` is documented."""
        self.hosts |= {each.host for each in self.archives if each.is_sound}
        self.accepted = max((each.name for each in self.archives), default="")

    def are_one(self, one: str, other: str) -> bool:
        """Whether archives of these servers belong together."""
        return one == other or {one, other} <= self.hosts

    def is_short(self, archive: Archive, among: list[Archive], *, across: bool) -> bool:
        """Whether it has half or less of what the last one had that had not."""
        if archive.name == self.accepted:
            return False
        usual: Archive | None = None
        for each in sorted(among, key=lambda each: each.name):
            alike = across or self.are_one(each.host, archive.host)
            if each is archive or not each.is_sound or each.name < self.accepted or not alike:
                continue
            if usual is None or each.name == self.accepted or not _halved(each, usual):
                usual = each
        return usual is not None and _halved(archive, usual)


def _halved(now: Archive, before: Archive) -> bool:
    return any(then > 0 and left <= then / 2 for left, then in zip(now.sizes, before.sizes, strict=True))


@dataclass(frozen=True)
class Counts:
    """What the operator has set."""

    daily: int
    weekly: int
    hourly: int = 0
    monthly: int = 0
    yearly: int = 0


def staying(archives: list[Archive], counts: Counts, when: Callable[[Archive], float]) -> set[str]:
    """The contract and nothing else, with time told by `when`."""
    newest_first = sorted(archives, key=lambda each: (when(each), each.name), reverse=True)
    by_days = counts.hourly or counts.monthly or counts.yearly
    stay = set() if by_days else {each.name for each in newest_first[: counts.daily]}
    periods = [
        ("%G %V", counts.weekly),
        ("%Y %m %d %H", counts.hourly),
        ("%Y %m", counts.monthly),
        ("%Y", counts.yearly),
    ]
    if by_days:
        periods.append(("%Y %m %d", counts.daily))
    for form, count in periods:
        firsts: dict[str, str] = {}
        for each in newest_first:
            firsts.setdefault(datetime.fromtimestamp(when(each), UTC).strftime(form), each.name)
        stay |= set(list(firsts.values())[:count])
    return stay


def _named(archive: Archive) -> float:
    return archive.taken


def _modified(archive: Archive) -> float:
    return archive.modified


def _by_both(archives: list[Archive], counts: Counts) -> set[str]:
    stay = staying(archives, counts, _modified)
    for one, other in itertools.combinations(archives, 2):
        first, second = (one, other) if one.taken < other.taken else (other, one)
        early, late = (one, other) if one.modified < other.modified else (other, one)
        is_odd = second.taken - first.taken > DAY and second.modified <= first.modified
        if is_odd or (late.modified - early.modified > DAY and late.taken <= early.taken):
            return stay | staying(archives, counts, _named)
    return stay


def what_stays(directory: Directory, counts: Counts, now: float, just_written: str) -> set[str]:
    """The names that a prune at this moment leaves."""
    everything = {each.name for each in directory.archives}
    order = sorted(
        directory.archives,
        key=lambda each: (each.name == just_written, each.taken - now <= _FUTURE_SECONDS, each.name),
        reverse=True,
    )
    if not order:
        return everything
    newest = order[0]
    earlier = next((each for each in order[1:] if each.is_sound), None)
    if not newest.is_sound or (earlier is not None and not directory.are_one(newest.host, earlier.host)):
        return everything
    if directory.is_short(newest, directory.archives, across=False):
        return everything
    sound = [each for each in directory.archives if each.is_sound]
    stay = _by_both(sound, counts)
    damaged = everything - {each.name for each in sound}
    if damaged:
        stay |= damaged & _by_both(directory.archives, counts)
    stay |= {each.name for each in sound if not directory.are_one(newest.host, each.host)}
    return stay | {each.name for each in directory.archives if each.is_kept} | {just_written} - {""}


def what_latest_means(directory: Directory, now: float) -> str:
    """The name of the archive that a restore of `latest` takes; "" if there is none to rely on."""
    newest_first = sorted(directory.archives, key=lambda each: each.name, reverse=True)
    for position, each in enumerate(newest_first):
        if each.taken - now > _FUTURE_SECONDS or not each.is_sound:
            continue
        if not directory.is_short(each, newest_first[position:], across=True):
            return each.name
    return ""


def newest_good(directory: Directory, now: float) -> Archive | None:
    """The newest that is whole and not from the future."""
    good = [each for each in directory.archives if each.is_sound and each.taken - now <= _FUTURE_SECONDS]
    return max(good, key=lambda each: each.name, default=None)


class Nights:
    """When a job is due that comes at one time of each day, by the clocks of a place."""

    def __init__(self, zone: str, hour: int, minute: int) -> None:
        self._zone = ZoneInfo(zone)
        self._time = time(hour, minute)
        self._known: dict[date, float] = {}
        self.done = 0.0

    def first_after(self, moment: float) -> float:
        """The first one strictly after this moment."""
        day = datetime.fromtimestamp(moment, self._zone).date() - timedelta(days=1)
        while True:
            if day not in self._known:
                self._known[day] = self._moment(day)
            if self._known[day] > moment:
                return self._known[day]
            day += timedelta(days=1)

    def is_due(self, now: float) -> bool:
        """Whether one has come that is not done. A clock that is hours back was wrong before."""
        if self.done - now > _REPAIR_SECONDS:
            self.done = now
        return self.first_after(self.done) <= now

    def was_run(self, ended: float) -> None:
        """What came meanwhile is done too."""
        self.done = max(self.first_after(self.done), ended)

    def _moment(self, day: date) -> float:
        """A look at the wall every minute of two days: the first at which it shows this time, or a later one of it."""
        wanted = datetime.combine(day, self._time)
        plain = wanted.replace(tzinfo=UTC)
        for offset in {
            self._zone.utcoffset(wanted - timedelta(days=1)),
            self._zone.utcoffset(wanted + timedelta(days=1)),
        }:
            found = plain - (offset or timedelta())
            is_only = all(
                (found + timedelta(hours=hours)).astimezone(self._zone).utcoffset() == offset for hours in range(-5, 6)
            )
            if is_only:  # no change of the clocks near it
                return found.timestamp()
        moment = plain - timedelta(hours=20)
        while moment.astimezone(self._zone).replace(tzinfo=None, fold=0) < wanted:
            moment += timedelta(minutes=1)
        return moment.timestamp()
