from __future__ import annotations

import itertools
import os
import random
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from safeharbor_backup.actions.catalog.retention import (
    Candidate,
    Condition,
    Reason,
    Tiers,
    Why,
    judge_archives,
    orders_disagree,
    tiers_of,
)
from safeharbor_backup.archive.layout import archive_name
from support.settings import settings_of

DAY = 86400
CASES = int(os.environ.get("SAFE_HARBOR_DIRECTORIES", "20_000"))


def kept_by_contract(times: dict[str, float], daily: int, weekly: int) -> set[str]:
    """The contract, word by word, from the product's specification and not from our code.

    Sorts by modification time, newest first, and keeps the union of (a) the DAILY most recent and (b) the first one
    encountered for each ISO week (of the modification time, in UTC), up to WEEKLY weeks.
    """
    newest_first = sorted(times, key=lambda name: (times[name], name), reverse=True)
    most_recent = set(newest_first[:daily])
    first_of_week: dict[str, str] = {}
    for name in newest_first:
        day = date(1970, 1, 1) + timedelta(days=int(times[name] // DAY))
        week = day.strftime("%G-%V")
        if week in first_of_week:
            continue
        if len(first_of_week) == weekly:
            break
        first_of_week[week] = name
    return most_recent | set(first_of_week.values())


def is_contradicted(named: dict[str, float], modified: dict[str, float]) -> bool:
    """The order guard: some pair more than a day apart by one of the times is not in that order by the other."""
    times = [(named[name], modified[name]) for name in named]
    return any(
        (by_name - other_by_name > DAY and by_time <= other_by_time)
        or (by_time - other_by_time > DAY and by_name <= other_by_name)
        for (by_name, by_time), (other_by_name, other_by_time) in itertools.permutations(times, 2)
    )


def kept(candidates: list[Candidate], daily: int, weekly: int, **guards: object) -> set[str]:
    verdicts = judge_archives(candidates, Tiers(daily, weekly), **guards)  # type: ignore[arg-type]
    assert sorted(verdict.name for verdict in verdicts) == sorted(each.name for each in candidates)
    assert all(verdict.reasons for verdict in verdicts)
    return {verdict.name for verdict in verdicts if verdict.keep}


def taken(moment: float, shift: float = 0.0) -> Candidate:
    return Candidate(archive_name(datetime.fromtimestamp(moment, UTC)), int((moment + shift) * 10**9))


def random_moments(source: random.Random) -> list[int]:
    count = source.choice([0, 1, 2, 3, 5, 8, 12])
    span = source.choice([1, 30, 200, 1500]) * DAY
    start = source.randrange(0, 4_000_000_000)
    return sorted({start + source.randrange(span) for _ in range(count)})


@pytest.mark.slow
def test_random_directories_are_judged_as_the_contract_and_its_guards_say() -> None:
    source = random.Random(20260507)
    guarded = 0
    for number in range(CASES):
        moments = random_moments(source)
        daily, weekly = source.choice([0, 1, 2, 3, 7]), source.choice([0, 1, 2, 4, 8])
        how = number % 5
        if how < 2:  # all shifted alike: written by one machine, whatever its clock
            shift = source.choice([0, 90, 3600, -3600, 10 * 365 * DAY, -2 * DAY])
            candidates = [taken(moment, shift) for moment in moments]
        elif how == 2:  # written at slightly different speeds
            candidates = [taken(moment, source.uniform(0, 7200)) for moment in moments]
        elif how == 3:  # a part was copied and lost its times
            now = moments[-1] + DAY if moments else 0
            candidates = [taken(m, now - m + source.random() if source.random() < 0.4 else 0.0) for m in moments]
        else:  # anything
            candidates = [taken(moment, source.uniform(-400, 400) * DAY) for moment in moments]
        modified = {each.name: each.mtime_ns / 10**9 for each in candidates}
        named = {each.name: each.named_at.timestamp() for each in candidates}
        expected = kept_by_contract(modified, daily, weekly)
        contradicted = is_contradicted(named, modified)
        if contradicted:
            guarded += 1
            expected |= kept_by_contract(named, daily, weekly)
        if how < 2:
            assert not contradicted

        assert kept(candidates, daily, weekly) == expected, (candidates, daily, weekly)
        assert orders_disagree(candidates) is contradicted
    assert CASES // 20 < guarded < CASES // 2


def kept_by_tiers(times: dict[str, float], tiers: Tiers) -> set[str]:
    """The tiers, word by word: the newest archive of each hour, day, week, month and year, up to so many of each."""
    newest_first = sorted(times, key=lambda name: (times[name], name), reverse=True)
    stay: set[str] = set()
    for period, count in (
        ("%Y-%m-%d %H", tiers.hourly), ("%Y-%m-%d", tiers.daily), ("%G-%V", tiers.weekly), ("%Y-%m", tiers.monthly),
        ("%Y", tiers.yearly),
    ):  # fmt: skip
        first: dict[str, str] = {}
        for name in newest_first:
            first.setdefault(datetime.fromtimestamp(times[name], UTC).strftime(period), name)
        stay |= set(list(first.values())[:count])
    return stay


@pytest.mark.slow
def test_random_directories_are_judged_by_five_tiers_and_with_zeros_by_the_contract() -> None:
    source = random.Random(20261128)
    for _ in range(2_000):
        step = source.choice([600, 3600, DAY, 20 * DAY])
        start = source.randrange(10**9, 4 * 10**9)
        moments = sorted({start + source.randrange(step * 12) for _ in range(source.choice([0, 1, 3, 8, 14]))})
        candidates = [taken(moment) for moment in moments]
        tiers = Tiers(*(source.choice([0, 0, 1, 2, 5]) for _ in range(5)))
        times = {each.name: each.mtime_ns / 10**9 for each in candidates}
        zeros = not (tiers.hourly or tiers.monthly or tiers.yearly)
        expected = kept_by_contract(times, tiers.daily, tiers.weekly) if zeros else kept_by_tiers(times, tiers)

        verdicts = judge_archives(candidates, tiers)

        assert {each.name for each in verdicts if each.keep} == expected, (candidates, tiers)


def test_reasons_name_the_tier() -> None:
    first = datetime(2026, 12, 31, 22, tzinfo=UTC).timestamp()
    verdicts = judge_archives([taken(first + 1800 * number) for number in range(6)], Tiers(2, 1, 3, 1, 2))

    assert [each.reasons for each in verdicts] == [
        ("hour 2027-01-01T00 (1 of 3)", "day 2027-01-01 (1 of 2)", "week 2026-W53 (1 of 1)", "month 2027-01 (1 of 1)",
         "year 2027 (1 of 2)"),
        ("in no tier",),
        ("hour 2026-12-31T23 (2 of 3)", "day 2026-12-31 (2 of 2)", "year 2026 (2 of 2)"),
        ("in no tier",),
        ("hour 2026-12-31T22 (3 of 3)",),
        ("in no tier",),
    ]  # fmt: skip
    assert [reason.code for reason in verdicts[0].because] == [
        Why.HOURLY, Why.DAILY, Why.WEEKLY, Why.MONTHLY, Why.YEARLY,
    ]  # fmt: skip


@pytest.mark.slow
def test_damaged_and_unreadable_archives_never_cost_a_sound_one_its_place() -> None:
    source = random.Random(20261128)
    hurt = 0
    for _ in range(20_000):
        daily, weekly = source.choice([0, 1, 2, 3, 7]), source.choice([0, 1, 2, 4, 8])
        chances = source.choice([(1, 0, 0), (4, 1, 0), (2, 1, 1), (1, 4, 1)])
        candidates = [
            Candidate(each.name, each.mtime_ns, source.choices(list(Condition), chances)[0])
            for each in (taken(moment) for moment in random_moments(source))
        ]
        times = {each.name: each.mtime_ns / 10**9 for each in candidates}
        by = {how: {each.name for each in candidates if each.condition is how} for how in Condition}
        good = {name: times[name] for name in by[Condition.SOUND]}
        hurt += len(good) < len(times)

        expected = kept_by_contract(good, daily, weekly)
        expected |= kept_by_contract(times, daily, weekly) & by[Condition.DAMAGED]
        expected |= by[Condition.UNREADABLE]

        assert kept(candidates, daily, weekly) == expected, (candidates, daily, weekly)
        assert kept_by_contract(times, daily, weekly) <= expected
    assert hurt > 5_000


@pytest.mark.parametrize("seed", range(20))
def test_hundreds_of_archives_are_judged_alike(seed: int) -> None:
    source = random.Random(seed)
    candidates = [taken(1_700_000_000 + number * source.choice([DAY, 3600])) for number in range(400)]
    candidates = list({each.name: each for each in candidates}.values())
    source.shuffle(candidates)
    modified = {each.name: each.mtime_ns / 10**9 for each in candidates}

    assert kept(candidates, 14, 52) == kept_by_contract(modified, 14, 52)


def nightly(nights: int) -> list[Candidate]:
    """One archive each night at three, from Friday 1 May 2026 on."""
    first = datetime(2026, 5, 1, 3, tzinfo=UTC).timestamp()
    return [taken(first + night * DAY) for night in range(nights)]


def days(names: set[str]) -> list[str]:
    return sorted(name[len("safeharbor-backup-2026-") :][:5] for name in names)


def test_after_fourteen_nights_seven_days_and_the_sunday_before_are_left() -> None:
    # ISO weeks: 18 ends on Sunday 3 May, 19 on Sunday 10 May; the 14th is in week 20
    assert days(kept(nightly(14), 7, 4)) == ["05-03", "05-08", "05-09", "05-10", "05-11", "05-12", "05-13", "05-14"]


def test_each_night_with_pruning_in_between_the_weeks_fill_up_to_four() -> None:
    standing: list[Candidate] = []
    for candidate in nightly(40):
        standing.append(candidate)
        names = kept(standing, 7, 4)
        standing = [each for each in standing if each.name in names]

    # 9 June is a Tuesday: the week's newest, and the Sundays of the three weeks before
    assert days({each.name for each in standing}) == [
        "05-24", "05-31", "06-03", "06-04", "06-05", "06-06", "06-07", "06-08", "06-09",
    ]  # fmt: skip


def test_archives_copied_back_from_a_nas_without_their_times_are_not_judged_by_the_copy() -> None:
    copied_at = datetime(2026, 6, 20, 12, tzinfo=UTC).timestamp()
    nights = nightly(30)
    # a copy in reverse order of names: by modification time the oldest is the newest
    copied = [Candidate(each.name, int((copied_at - number) * 10**9)) for number, each in enumerate(nights)]

    left = kept(copied, 7, 4)

    assert kept(nights, 7, 4) <= left
    assert days(left - kept(nights, 7, 4)) == [f"05-0{day}" for day in range(1, 8)]


@pytest.mark.parametrize("shift", [0, 3600, -3600, 36_500 * DAY, -3650 * DAY])
def test_a_clock_that_was_wrong_alike_for_all_changes_nothing(shift: int) -> None:
    nights = nightly(14)
    shifted = [Candidate(each.name, each.mtime_ns + shift * 10**9) for each in nights]

    assert not orders_disagree(shifted)
    assert len(kept(shifted, 7, 0)) == 7


def test_within_a_day_the_order_may_differ() -> None:
    first, second = nightly(1)[0], taken(datetime(2026, 5, 1, 20, tzinfo=UTC).timestamp())
    swapped = [Candidate(first.name, second.mtime_ns), Candidate(second.name, first.mtime_ns)]

    assert not orders_disagree(swapped)


def test_the_archive_just_written_stays_whatever_its_time_says() -> None:
    old = taken(datetime(1999, 1, 1, tzinfo=UTC).timestamp())

    left = kept([*nightly(14), old], 1, 1, protected={old.name: Reason(Why.JUST_WRITTEN, "just written")})

    assert old.name in left
    assert len(left) == 2


def test_a_hold_keeps_everything_and_says_why() -> None:
    verdicts = judge_archives(nightly(14), Tiers(1, 0), hold=Reason(Why.HELD, "uploads are gone"))

    assert all(verdict.keep for verdict in verdicts)
    assert [verdict.reasons for verdict in verdicts] == [("daily 1 of 1",), *[("uploads are gone",)] * 13]


def test_each_verdict_has_its_reason() -> None:
    verdicts = judge_archives(nightly(10), Tiers(2, 2))

    assert [(verdict.keep, verdict.reasons) for verdict in verdicts[:3]] == [
        (True, ("daily 1 of 2", "week 2026-W19 (1 of 2)")),
        (True, ("daily 2 of 2",)),
        (False, ("neither among the newest nor the newest of a kept week",)),
    ]


def test_the_turn_of_the_year_belongs_to_the_iso_week() -> None:
    # 31 December 2025 and 1 January 2026 are both in 2026-W01; 28 December 2025 is in 2025-W52
    moments = [datetime(2025, 12, 28, tzinfo=UTC), datetime(2025, 12, 31, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)]
    candidates = [taken(moment.timestamp()) for moment in moments]

    assert kept(candidates, 0, 2) == {candidates[0].name, candidates[2].name}


@pytest.mark.parametrize("mtime_ns", [-(2**62), -1, 0, 1, 2**62])
def test_a_time_that_no_calendar_holds_is_judged_all_the_same(mtime_ns: int) -> None:
    odd = Candidate(nightly(1)[0].name, mtime_ns)

    assert kept([odd], 1, 1) == {odd.name}


def test_the_same_modification_time_is_decided_by_the_name() -> None:
    one, other = nightly(2)
    same = [Candidate(one.name, 10**18), Candidate(other.name, 10**18)]

    assert other.name in kept(same, 1, 0)


@pytest.mark.parametrize("batch", range(4))
def test_a_few_directories_with_damage_are_judged_as_the_contract_and_its_guards_say(batch: int) -> None:
    source = random.Random(f"few {batch}")
    for _ in range(60):
        daily, weekly = source.choice([0, 1, 2, 7]), source.choice([0, 1, 4])
        span = source.choice([30, 200]) * DAY
        moments = sorted({10**9 + source.randrange(span) for _ in range(8)})
        skew = 300 * DAY if source.random() < 0.3 else 0
        candidates = [
            replace(taken(each, source.uniform(-skew, skew)), condition=source.choice([*Condition, Condition.SOUND]))
            for each in moments
        ]
        modified = {each.name: each.mtime_ns / 10**9 for each in candidates}
        named = {each.name: each.named_at.timestamp() for each in candidates}

        def by_both(names: set[str], daily: int = daily, weekly: int = weekly) -> set[str]:
            first = {name: modified[name] for name in names}  # noqa: B023 - called before they change
            second = {name: named[name] for name in names}  # noqa: B023 - called before they change
            stay = kept_by_contract(first, daily, weekly)
            return stay | (kept_by_contract(second, daily, weekly) if is_contradicted(second, first) else set())

        by = {how: {each.name for each in candidates if each.condition is how} for how in Condition}
        expected = by_both(by[Condition.SOUND]) | by[Condition.UNREADABLE]
        expected |= by_both(set(named)) & by[Condition.DAMAGED]

        assert kept(candidates, daily, weekly) == expected, (candidates, daily, weekly)


def test_each_guard_says_so_in_its_reason() -> None:
    sound = nightly(6)
    damaged = replace(sound[5], condition=Condition.DAMAGED)
    gone = replace(sound[0], condition=Condition.DAMAGED)
    unreadable = replace(sound[1], condition=Condition.UNREADABLE)
    marked = Reason(Why.KEPT, "kept: the audit")

    verdicts = {
        each.name: each
        for each in judge_archives(
            [gone, unreadable, *sound[2:5], damaged],
            Tiers(1, 0),
            protected={sound[2].name: marked, sound[4].name: marked, sound[3].name: Reason(Why.JUST_WRITTEN, "new")},
        )
    }

    codes = {name[26:28]: [each.code for each in verdict.because] for name, verdict in verdicts.items()}
    assert codes == {
        "06": [Why.DAMAGED], "05": [Why.KEPT, Why.DAILY], "04": [Why.JUST_WRITTEN], "03": [Why.KEPT],
        "02": [Why.UNREADABLE], "01": [Why.GIVEN_UP],
    }  # fmt: skip
    assert verdicts[gone.name].reasons == ("damaged, and neither among the newest nor the newest of a kept week",)
    assert verdicts[damaged.name].reasons == (
        "damaged; it does not count, and is deleted when a good one of its age would be",
    )
    assert verdicts[unreadable.name].reasons == ("it cannot be read, so it is not known what it holds",)
    assert (verdicts[sound[4].name].is_daily, verdicts[sound[3].name].is_daily) == (True, False)
    assert judge_archives([gone], Tiers(0, 0, 1))[0].because[0].code is Why.DAMAGED
    assert judge_archives([gone, sound[1]], Tiers(0, 0, 1))[1].reasons == ("damaged, and in no tier",)


def test_where_the_orders_differ_the_reason_says_by_what_it_stays() -> None:
    one, other = nightly(1)[0], taken(datetime(2026, 5, 20, 3, tzinfo=UTC).timestamp())
    crossed = [replace(one, mtime_ns=other.mtime_ns), replace(other, mtime_ns=one.mtime_ns)]

    first, second = judge_archives(crossed, Tiers(1, 0))

    assert (first.name, first.reasons) == (one.name, ("daily 1 of 1",))
    assert second.reasons == ("daily 1 of 1 by its name, which its modification time contradicts",)
    assert [each.code for each in second.because] == [Why.BY_NAME]


def test_the_tiers_are_those_of_the_settings_and_say_how_many_they_are() -> None:
    given = settings_of(
        retention_daily=1, retention_weekly=2, retention_hourly=3, retention_monthly=4, retention_yearly=5
    )

    assert tiers_of(given) == Tiers(1, 2, 3, 4, 5)
    assert str(tiers_of(given)) == "1 daily, 2 weekly, 3 hourly, 4 monthly, 5 yearly"
    assert str(Tiers(7, 0)) == "7 daily, 0 weekly"
    assert [Tiers(1, 1, *more).counts_days for more in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1))] == [
        False, True, True, True,
    ]  # fmt: skip


def test_an_archive_is_weekly_or_daily_by_its_reasons() -> None:
    verdicts = judge_archives(nightly(10), Tiers(1, 2))

    assert [(each.is_daily, each.is_weekly) for each in verdicts[:2]] == [(True, True), (False, False)]
    assert verdicts[7].is_weekly


def test_times_are_told_to_the_microsecond_within_the_calendar() -> None:
    name = nightly(1)[0].name

    assert Candidate(name, 1_700_000_007_123_456_789).modified_at == datetime(
        2023, 11, 14, 22, 13, 27, 123456, tzinfo=UTC
    )
    assert Candidate(name, -(10**21)).modified_at.year == 2
    assert Candidate(name, 10**21).modified_at.replace(microsecond=0) == datetime(9998, 1, 1, tzinfo=UTC)
    assert Candidate(name, 0).named_at == datetime(2026, 5, 1, 3, tzinfo=UTC)
    with pytest.raises(ValueError, match="notes"):
        Candidate("notes.txt", 0).named_at  # noqa: B018 - it raises


@pytest.mark.parametrize(("apart", "disagree"), [(DAY - 1, False), (DAY, False), (DAY + 1, True)])
def test_more_than_a_day_apart_is_where_the_orders_may_not_differ(apart: int, disagree: bool) -> None:
    first, second = taken(10**9), taken(10**9 + apart)
    same = [first, replace(second, mtime_ns=first.mtime_ns)]
    swapped = [replace(first, mtime_ns=first.mtime_ns + apart * 10**9), replace(second, mtime_ns=first.mtime_ns)]

    assert orders_disagree(same) is disagree
    assert orders_disagree(swapped[::-1]) is disagree
    between = taken(10**9 + apart // 2)
    assert orders_disagree([*same, between]) is disagree


def test_an_archive_is_compared_with_all_that_are_more_than_a_day_older_not_with_the_last_of_them_alone() -> None:
    hours = {0: 20, 10: 10, 48: 15}  # by name, and by modification time
    candidates = [replace(taken(10**9 + name * 3600), mtime_ns=time * 3600 * 10**9) for name, time in hours.items()]
    by_the_other = [replace(taken(10**9 + time * 3600), mtime_ns=name * 3600 * 10**9) for name, time in hours.items()]

    assert orders_disagree(candidates)
    assert orders_disagree(by_the_other)
    assert not orders_disagree(candidates[1:])
