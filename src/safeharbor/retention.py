"""Which archives stay: decided as data, with a reason for each, before anything is deleted.

The contract: newest first by modification time, keep the DAILY newest and the newest of each ISO week (UTC) for up
to WEEKLY weeks. Guards can only make it keep more.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from safeharbor.archive.layout import time_in_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_DAY_NS = 86400 * 10**9
# what a calendar can hold; a file's time can lie outside
_FIRST_SECOND = int(datetime(2, 1, 1, tzinfo=UTC).timestamp())
_LAST_SECOND = int(datetime(9998, 1, 1, tzinfo=UTC).timestamp())
_DAILY = "daily "
_WEEK = "week "


@dataclass(frozen=True, slots=True)
class Candidate:
    """An archive as retention sees it: its name, and its modification time in nanoseconds since the epoch."""

    name: str
    mtime_ns: int

    @property
    def modified_at(self) -> datetime:
        """The modification time, to the microsecond."""
        seconds = min(max(self.mtime_ns // 10**9, _FIRST_SECOND), _LAST_SECOND)
        return datetime.fromtimestamp(seconds, UTC) + timedelta(microseconds=self.mtime_ns % 10**9 // 1000)

    @property
    def named_at(self) -> datetime:
        """The time that its name states. Raises ValueError if the name is not an archive's."""
        moment = time_in_name(self.name)
        if moment is None:
            raise ValueError(self.name)
        return moment


@dataclass(frozen=True, slots=True)
class Verdict:
    """What retention says of one archive, and why."""

    name: str
    keep: bool
    reasons: tuple[str, ...]

    @property
    def is_daily(self) -> bool:
        """Whether it stays because it is one of the newest."""
        return any(reason.startswith(_DAILY) for reason in self.reasons)

    @property
    def is_weekly(self) -> bool:
        """Whether it stays because it is the newest of a week."""
        return any(reason.startswith(_WEEK) for reason in self.reasons)


def judge_archives(
    candidates: Sequence[Candidate],
    daily: int,
    weekly: int,
    *,
    protected: Mapping[str, str] | None = None,
    hold: str = "",
) -> list[Verdict]:
    """A verdict for each archive, newest modification first.

    `protected` maps names that stay in any case to the reason; `hold` is a reason for which nothing is deleted.
    """
    reasons = judge_by_contract(candidates, daily, weekly, _by_modification)
    if orders_disagree(candidates):
        for name, why in judge_by_contract(candidates, daily, weekly, _by_name).items():
            if name not in reasons:
                reasons[name] = [f"{why[0]} by its name, which its modification time contradicts"]
    for name, reason in (protected or {}).items():
        if name not in reasons:
            reasons[name] = [reason]
    verdicts = []
    for candidate in _newest_first(candidates, _by_modification):
        kept_for = reasons.get(candidate.name, [])
        if kept_for:
            verdicts.append(Verdict(candidate.name, True, tuple(kept_for)))
        elif hold:
            verdicts.append(Verdict(candidate.name, True, (hold,)))
        else:
            verdicts.append(Verdict(candidate.name, False, ("neither among the newest nor the newest of a kept week",)))
    return verdicts


def judge_by_contract(
    candidates: Sequence[Candidate], daily: int, weekly: int, time_of: Callable[[Candidate], datetime]
) -> dict[str, list[str]]:
    """The reasons to keep, by name, of the contract alone, with time told by `time_of`."""
    reasons: dict[str, list[str]] = {}
    weeks: set[tuple[int, int]] = set()
    for position, candidate in enumerate(_newest_first(candidates, time_of), start=1):
        kept_for = []
        if position <= daily:
            kept_for.append(f"{_DAILY}{position} of {daily}")
        year, week, _ = time_of(candidate).isocalendar()
        if (year, week) not in weeks and len(weeks) < weekly:
            weeks.add((year, week))
            kept_for.append(f"{_WEEK}{year}-W{week:02} ({len(weeks)} of {weekly})")
        if kept_for:
            reasons[candidate.name] = kept_for
    return reasons


def orders_disagree(candidates: Sequence[Candidate]) -> bool:
    """Whether two archives more than a day apart stand in one order by name and in the other by modification time.

    So it is after a copy that did not keep the times; then neither order alone may delete anything.
    """
    times = [(int(candidate.named_at.timestamp()) * 10**9, candidate.mtime_ns) for candidate in candidates]
    return _is_contradicted(times) or _is_contradicted([(second, first) for first, second in times])


def _is_contradicted(times: list[tuple[int, int]]) -> bool:
    """Whether some pair is more than a day apart in the first time and not in the same order in the second."""
    ordered = sorted(times)
    latest_before: int | None = None
    behind = 0
    for first, second in ordered:
        while ordered[behind][0] < first - _DAY_NS:
            latest_before = ordered[behind][1] if latest_before is None else max(latest_before, ordered[behind][1])
            behind += 1
        if latest_before is not None and second <= latest_before:
            return True
    return False


def _newest_first(candidates: Sequence[Candidate], time_of: Callable[[Candidate], datetime]) -> list[Candidate]:
    if time_of is _by_modification:
        return sorted(candidates, key=lambda each: (each.mtime_ns, each.name), reverse=True)
    return sorted(candidates, key=lambda each: (time_of(each), each.name), reverse=True)


def _by_modification(candidate: Candidate) -> datetime:
    return candidate.modified_at


def _by_name(candidate: Candidate) -> datetime:
    return candidate.named_at
