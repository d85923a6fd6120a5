"""What retention and `latest` owe the operator, said again in a few lines, from the documentation alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

DAILY, WEEKLY = 3, 2
_DAY = 86400
_CLOCKS_DIFFER = 60


@dataclass(frozen=True)
class State:
    """What an application has: its rows and its files."""

    rows: tuple[tuple[int, int], ...] = ()
    files: tuple[tuple[str, str], ...] = ()

    @property
    def sizes(self) -> tuple[int, int, int]:
        """What a shortfall is seen by: rows, files, bytes of files."""
        return len(self.rows), len(self.files), sum(len(content) for _, content in self.files)


@dataclass
class Archive:
    """An archive that is there. `taken` is the time in its name and `modified` that of its file, in seconds."""

    name: str
    state: State
    taken: float
    modified: float
    sha256: str
    is_marked: bool = False
    is_damaged: bool = False


def is_future(archive: Archive, now: float) -> bool:
    """Whether the clock was wrong then, or is now."""
    return archive.taken - now > _CLOCKS_DIFFER


def is_short(archives: Iterable[Archive], newest: Archive, adopted: str) -> bool:
    """Whether it has at most half of what the last one had that was not short itself; counted from what was adopted."""
    if newest.name == adopted:
        return False
    usual: Archive | None = None
    for each in sorted(archives, key=lambda archive: archive.name):
        if each.is_damaged or each.name < adopted or each.name == newest.name:
            continue
        if each.name == adopted or not _halved(each, usual):
            usual = each
    return _halved(newest, usual)


def _halved(newest: Archive, usual: Archive | None) -> bool:
    if usual is None:
        return False
    return any(now * 2 <= then and then > 0 for now, then in zip(newest.state.sizes, usual.state.sizes, strict=True))


def is_held(archives: list[Archive], now: float, adopted: str, written: str = "") -> bool:
    """Whether nothing may be deleted: the newest archive is damaged or seriously short."""
    if not archives:
        return False
    newest = max(archives, key=lambda each: (each.name == written, not is_future(each, now), each.name))
    return newest.is_damaged or is_short(archives, newest, adopted)


def may_go(archives: list[Archive], now: float, adopted: str, written: str = "") -> set[str]:
    """The names that a prune deletes."""
    if is_held(archives, now, adopted, written):
        return set()
    sound = [each for each in archives if not each.is_damaged]
    kept = _by_both_orders(sound) | {each.name for each in archives if each.is_marked} | {written}
    kept |= _by_both_orders(archives) & {each.name for each in archives if each.is_damaged}
    return {each.name for each in archives} - kept


def _by_both_orders(archives: list[Archive]) -> set[str]:
    kept = _by(archives, lambda each: each.modified)
    return kept | _by(archives, lambda each: each.taken) if _disagree(archives) else kept


def _by(archives: list[Archive], time_of: Callable[[Archive], float]) -> set[str]:
    newest_first = sorted(archives, key=lambda each: (time_of(each), each.name), reverse=True)
    weeks: dict[tuple[int, int], str] = {}
    for each in newest_first:
        year, week, _ = datetime.fromtimestamp(time_of(each), UTC).isocalendar()
        weeks.setdefault((year, week), each.name)
    return {each.name for each in newest_first[:DAILY]} | set(list(weeks.values())[:WEEKLY])


def _disagree(archives: list[Archive]) -> bool:
    """Whether two more than a day apart by one time are not in the same order by the other."""
    times = [(each.taken, each.modified) for each in archives]
    both = times + [(modified, taken) for taken, modified in times]
    half = len(times)
    return any(
        later[0] - earlier[0] > _DAY and later[1] <= earlier[1]
        for group in (both[:half], both[half:])
        for earlier in group
        for later in group
    )


def latest(archives: list[Archive], now: float, adopted: str) -> tuple[Archive | None, bool]:
    """What `latest` means, and whether that is simply the newest."""
    newest_first = sorted(archives, key=lambda each: each.name, reverse=True)
    for number, each in enumerate(newest_first):
        if not (is_future(each, now) or each.is_damaged or is_short(newest_first[number:], each, adopted)):
            return each, number == 0
    return None, False
