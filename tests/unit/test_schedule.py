from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice

import pytest

from safeharbor.schedule import DEFAULT_SCHEDULE, UnusableSchedule, parse_schedule, upcoming_runs

NOW = datetime(2026, 5, 7, 12, 0, 0, tzinfo=UTC)


def test_the_default_is_three_at_night() -> None:
    runs = list(islice(upcoming_runs(parse_schedule(DEFAULT_SCHEDULE), NOW), 2))

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
    assert next(upcoming_runs(DEFAULT_SCHEDULE, datetime(2026, 5, 8, 3, tzinfo=UTC))).day == 9


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
