from __future__ import annotations

import random
import sys
import zoneinfo
from datetime import UTC, date, datetime, timedelta
from itertools import islice

import pytest

from safeharbor_backup.settings.schedule import (
    UnusableSchedule,
    UnusableZone,
    find_zone,
    next_slot,
    parse_schedule,
    upcoming_runs,
)
from support.almanac import PLANS, ZONES, days_around_changes, due_moments, looks, zone_named

NOW = datetime(2026, 5, 7, 12, 0, 0, tzinfo=UTC)


def test_the_default_is_three_at_night() -> None:
    runs = list(islice(upcoming_runs(parse_schedule("0 0 3 * * *"), NOW), 2))

    assert runs == [datetime(2026, 5, 8, 3, tzinfo=UTC), datetime(2026, 5, 9, 3, tzinfo=UTC)]


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("0 0 3 * * *", datetime(2026, 5, 8, 3, tzinfo=UTC)),
        ("  0   0 3 * *\t* ", datetime(2026, 5, 8, 3, tzinfo=UTC)),
        ("30 15 */6 * * *", datetime(2026, 5, 7, 12, 15, 30, tzinfo=UTC)),
        ("0 0 4 * * SUN", datetime(2026, 5, 10, 4, tzinfo=UTC)),
        ("0 0 4 * * 0", datetime(2026, 5, 10, 4, tzinfo=UTC)),
        ("0 0 4 * * mon-fri", datetime(2026, 5, 8, 4, tzinfo=UTC)),
        ("0 0 4 1 JAN ?", datetime(2027, 1, 1, 4, tzinfo=UTC)),
        ("0 0 4 ? * 6", datetime(2026, 5, 9, 4, tzinfo=UTC)),
        ("0 0 1,13 * * *", datetime(2026, 5, 7, 13, tzinfo=UTC)),
        ("0 0 0 29 2 *", datetime(2028, 2, 29, tzinfo=UTC)),
        ("@daily", datetime(2026, 5, 8, tzinfo=UTC)),
        ("@midnight", datetime(2026, 5, 8, tzinfo=UTC)),
        ("@HOURLY", datetime(2026, 5, 7, 13, tzinfo=UTC)),
        ("@weekly", datetime(2026, 5, 10, tzinfo=UTC)),
        ("@monthly", datetime(2026, 6, 1, tzinfo=UTC)),
        ("@yearly", datetime(2027, 1, 1, tzinfo=UTC)),
        ("@annually", datetime(2027, 1, 1, tzinfo=UTC)),
    ],
)
def test_a_schedule_is_due_when_the_container_scheduler_would_run_it(text: str, first: datetime) -> None:
    assert next(upcoming_runs(parse_schedule(text), NOW)) == first


def test_runs_are_strictly_later() -> None:
    assert next(upcoming_runs("0 0 3 * * *", datetime(2026, 5, 8, 3, tzinfo=UTC))).day == 9


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0 3 * * *", '"0 0 3 * * *"'),
        ("", "six fields"),
        ("3", "six fields"),
        ("0 0 3 * * * *", "six fields"),
        ("60 0 3 * * *", "six fields"),
        ("0 0 24 * * *", "six fields"),
        ("0 0 3 32 * *", "six fields"),
        ("0 0 3 * 13 *", "six fields"),
        ("0 0 3 * * FUN", "something else"),
        ("0 0 3 L * *", "something else"),
        ("0 0 3 LW * *", "something else"),
        ("0 0 3 * * 5L", "something else"),
        ("0 0 3 * * 5#2", "something else"),
        ("0 0 3 * * *;", "something else"),
        ("*/0 0 3 * * *", "six fields"),
        ("0 0 3 31 2 *", "mean a time"),
        ("@reboot", "@daily"),
        ("@every 1h", "@daily"),
        ("tonight", "six fields"),
        ("0 0 3 * * *\n0", "six fields"),
    ],
)
def test_what_is_no_schedule_is_refused_with_what_was_expected(text: str, expected: str) -> None:
    with pytest.raises(UnusableSchedule) as caught:
        parse_schedule(text)

    assert expected in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("name", ZONES)
def test_around_each_change_of_clocks_a_schedule_is_due_when_somebody_at_a_clock_would_say_so(name: str) -> None:
    zone = zone_named(name)
    windows = days_around_changes(zone, *((2011, 2011) if name == "Pacific/Apia" else (2026, 2027)))
    chance = random.Random(name)

    assert len(windows) >= 2
    for start, end in windows:
        seen = list(looks(start, end, zone))
        for plan in PLANS:
            expected = due_moments(plan, seen)
            after, planned = start - timedelta(seconds=1), []
            while (after := next_slot(plan.fields, zone, after)) < end:
                planned.append(after)
            assert planned == expected, (plan.fields, start)
            for _ in range(3):
                moment = start + (end - start) * chance.random()
                later = next((each for each in expected if each > moment), None)
                assert later is None or next_slot(plan.fields, zone, moment) == later, (plan.fields, moment)


@pytest.mark.parametrize(
    ("fields", "after", "expected"),
    [
        ("0 30 2 * * *", (2026, 3, 28, 12), (2026, 3, 29, 1, 0)),  # never shown: when the clocks go from 2 to 3
        ("0 30 2 * * *", (2026, 3, 29, 1, 0), (2026, 3, 30, 0, 30)),
        ("0 15,45 2 * * *", (2026, 3, 29, 0, 59), (2026, 3, 29, 1, 0)),  # both at once
        ("0 15,45 2 * * *", (2026, 3, 29, 1, 0), (2026, 3, 30, 0, 15)),
        ("0 30 2 * * *", (2026, 10, 24, 12), (2026, 10, 25, 0, 30)),  # shown twice: the first time
        ("0 30 2 * * *", (2026, 10, 25, 0, 30), (2026, 10, 26, 1, 30)),
        ("0 */30 * * * *", (2026, 10, 25, 0, 30), (2026, 10, 25, 1, 0)),
        ("0 */30 * * * *", (2026, 3, 29, 0, 30), (2026, 3, 29, 1, 0)),
        ("0 0 4 29 2 *", (2096, 2, 29, 3), (2104, 2, 29, 3)),  # 2100 is no leap year
    ],
)
def test_in_berlin_it_is_so(fields: str, after: tuple[int, ...], expected: tuple[int, ...]) -> None:
    moment = next_slot(fields, zone_named("Europe/Berlin"), datetime(*after, tzinfo=UTC))  # type: ignore[misc,arg-type]

    assert moment == datetime(*expected, tzinfo=UTC)  # type: ignore[misc,arg-type]


def test_no_year_has_a_night_without_its_slot() -> None:
    zone = zone_named("Europe/Berlin")
    after, nights = datetime(2024, 1, 1, tzinfo=UTC), []
    while (after := next_slot("0 30 2 * * *", zone, after)).year < 2032:
        nights.append(after.astimezone(zone).date())

    assert nights == [date(2024, 1, 1) + timedelta(days=day) for day in range(8 * 365 + 2)]


def test_utc_is_always_known_and_other_names_only_if_they_are_right() -> None:
    assert find_zone("utc") is UTC
    assert find_zone("Europe/Berlin") == zone_named("Europe/Berlin")
    for name in ("Mars/Phobos", "Europe", "../../etc/passwd", "/etc/localtime", "CET-1CEST", "Berlin", "\0"):
        with pytest.raises(UnusableZone, match="such as Europe/Berlin"):
            find_zone(name)


def test_without_a_database_of_time_zones_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    before = zoneinfo.TZPATH
    for name in {"tzdata", *(name for name in sys.modules if name.startswith("tzdata."))}:
        monkeypatch.setitem(sys.modules, name, None)
    zoneinfo.reset_tzpath(["/nonexistent"])
    zoneinfo.ZoneInfo.clear_cache()
    try:
        with pytest.raises(UnusableZone, match="apt-get install tzdata"):
            find_zone("Europe/Berlin")
        assert find_zone("UTC") is UTC
    finally:
        zoneinfo.reset_tzpath(before)
