"""Which archives stay: decided as data, with a reason for each, before anything is deleted.

The contract: newest first by modification time, keep the DAILY newest and the newest of each ISO week (UTC) for up
to WEEKLY weeks. With HOURLY, MONTHLY or YEARLY set, DAILY counts days, and the newest of each hour, day, month and year
stays likewise. Guards can only make it keep more.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from safeharbor_backup.archive.layout import time_in_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from safeharbor_backup.settings.model import Settings

_DAY_NS = 86400 * 10**9
# what a calendar can hold; a file's time can lie outside
_FIRST_SECOND = int(datetime(2, 1, 1, tzinfo=UTC).timestamp())
_LAST_SECOND = int(datetime(9998, 1, 1, tzinfo=UTC).timestamp())


class Why(StrEnum):
    """What makes an archive stay or go."""

    HOURLY = "hourly"
    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"
    YEARLY = "yearly"
    BY_NAME = "by name"
    KEPT = "kept"
    DAMAGED = "damaged"
    UNREADABLE = "unreadable"
    JUST_WRITTEN = "just written"
    OTHER_DATABASE = "other database"
    HELD = "held"
    IN_USE = "in use"
    REFUSED = "refused"
    GIVEN_UP = "given up"


@dataclass(frozen=True, slots=True)
class Reason:
    """A reason: its code, and its text for people."""

    code: Why
    text: str


class Condition(StrEnum):
    """What a quick look at an archive shows retention; SOUND also if there is nothing to judge it by."""

    SOUND = "sound"
    DAMAGED = "damaged"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Candidate:
    """An archive as retention sees it: its name, its modification time (nanoseconds since the epoch), its condition."""

    name: str
    mtime_ns: int
    condition: Condition = Condition.SOUND

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
    because: tuple[Reason, ...]

    @property
    def reasons(self) -> tuple[str, ...]:
        """The reasons in words."""
        return tuple(reason.text for reason in self.because)

    @property
    def is_daily(self) -> bool:
        """Whether it stays because it is one of the newest."""
        return any(reason.code is Why.DAILY for reason in self.because)

    @property
    def is_weekly(self) -> bool:
        """Whether it stays because it is the newest of a week."""
        return any(reason.code is Why.WEEKLY for reason in self.because)


@dataclass(frozen=True, slots=True)
class Tiers:
    """How many archives of each kind stay. With only `daily` and `weekly` set, `daily` counts archives, not days."""

    daily: int
    weekly: int
    hourly: int = 0
    monthly: int = 0
    yearly: int = 0

    @property
    def counts_days(self) -> bool:
        """Whether days are counted, not archives."""
        return bool(self.hourly or self.monthly or self.yearly)  # decision 94

    def __str__(self) -> str:
        more = {"hourly": self.hourly, "monthly": self.monthly, "yearly": self.yearly}
        counts = {"daily": self.daily, "weekly": self.weekly, **{name: count for name, count in more.items() if count}}
        return ", ".join(f"{count} {name}" for name, count in counts.items())


def tiers_of(settings: Settings) -> Tiers:
    """The retention that the settings ask for."""
    return Tiers(
        settings.retention_daily,
        settings.retention_weekly,
        settings.retention_hourly,
        settings.retention_monthly,
        settings.retention_yearly,
    )


def judge_archives(
    candidates: Sequence[Candidate],
    tiers: Tiers,
    *,
    protected: Mapping[str, Reason] | None = None,
    hold: Reason | None = None,
) -> list[Verdict]:
    """A verdict for each archive, newest modification first.

    A damaged archive takes no place from a sound one: the contract is kept for the sound ones alone. It stays while the
    contract would keep it if it were sound, and one that cannot be read stays until it can. `protected` maps names that
    stay in any case to the reason; `hold` is a reason for which nothing is deleted.
    """
    sound = [each for each in candidates if each.condition is Condition.SOUND]
    reasons = _judge_by_both_orders(sound, tiers)
    if len(sound) < len(candidates):
        damaged = {each.name for each in candidates if each.condition is Condition.DAMAGED}
        for name in damaged & _judge_by_both_orders(candidates, tiers).keys():
            reasons[name] = [_STILL_YOUNG]
    for candidate in candidates:
        if candidate.condition is Condition.UNREADABLE:
            reasons[candidate.name] = [Reason(Why.UNREADABLE, "it cannot be read, so it is not known what it holds")]
    for name, reason in (protected or {}).items():
        if reason.code is Why.KEPT:
            reasons[name] = [reason, *reasons.get(name, [])]
        else:
            reasons.setdefault(name, [reason])
    verdicts = []
    for candidate in _newest_first(candidates, _by_modification):
        kept_for = reasons.get(candidate.name) or ([hold] if hold is not None else [])
        verdicts.append(Verdict(candidate.name, bool(kept_for), tuple(kept_for) or (_given_up(candidate, tiers),)))
    return verdicts


_STILL_YOUNG = Reason(Why.DAMAGED, "damaged; it does not count, and is deleted when a good one of its age would be")


def _given_up(candidate: Candidate, tiers: Tiers) -> Reason:
    damaged = "damaged, and " if candidate.condition is Condition.DAMAGED else ""
    why = "neither among the newest nor the newest of a kept week"
    return Reason(Why.GIVEN_UP, f"{damaged}{'in no tier' if tiers.counts_days else why}")


def _judge_by_both_orders(candidates: Sequence[Candidate], tiers: Tiers) -> dict[str, list[Reason]]:
    """The reasons to keep by the contract and, where names and modification times contradict each other, by name."""
    reasons = apply_retention(candidates, tiers, _by_modification)
    if orders_disagree(candidates):
        for name, why in apply_retention(candidates, tiers, _by_name).items():
            words = f"{why[0].text} by its name, which its modification time contradicts"
            reasons.setdefault(name, [Reason(Why.BY_NAME, words)])
    return reasons


def apply_retention(
    candidates: Sequence[Candidate], tiers: Tiers, time_of: Callable[[Candidate], datetime]
) -> dict[str, list[Reason]]:
    """The reasons to keep, by name, of the contract alone, with the times that `time_of` gives."""
    newest_first = _newest_first(candidates, time_of)
    reasons: dict[str, list[Reason]] = {}
    if not tiers.counts_days:
        for position, candidate in enumerate(newest_first[: tiers.daily], start=1):
            reasons[candidate.name] = [Reason(Why.DAILY, f"daily {position} of {tiers.daily}")]
    for why, count, name_of in _periods(tiers):
        seen: set[str] = set()
        for candidate in newest_first if count else ():
            period = name_of(time_of(candidate))
            if period not in seen and len(seen) < count:
                seen.add(period)
                reason = Reason(why, f"{period} ({len(seen)} of {count})")
                reasons.setdefault(candidate.name, []).append(reason)
    return reasons


def _periods(tiers: Tiers) -> list[tuple[Why, int, Callable[[datetime], str]]]:
    """Of which periods the newest stays, for how many of them, and what each is called."""
    return [
        (Why.HOURLY, tiers.hourly, "hour {0:%Y-%m-%dT%H}".format),
        (Why.DAILY, tiers.daily if tiers.counts_days else 0, "day {0:%Y-%m-%d}".format),
        (Why.WEEKLY, tiers.weekly, _week),
        (Why.MONTHLY, tiers.monthly, "month {0:%Y-%m}".format),
        (Why.YEARLY, tiers.yearly, "year {0:%Y}".format),
    ]


def _week(moment: datetime) -> str:
    year, week, _ = moment.isocalendar()
    return f"week {year}-W{week:02}"


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
