"""The real scheduler while somebody sets the clock."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from support.needs import missing, need_program
from support.runs import Site
from support.schedules import scheduling

pytestmark = pytest.mark.timeout(90)


class WallClock:
    """The time of day that a program sees; `set` changes it while the program runs. Other clocks stay as they are."""

    def __init__(self, file: Path) -> None:
        need_program("faketime")
        libraries = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
        if not libraries:
            missing("libfaketime is not installed; `scripts/test-needs` installs it")
        self._file = file
        # libfaketime 0.9.10 takes the monotonic deadline of `time.sleep` for a time of day: EINVAL
        (file.parent / "sitecustomize.py").write_text(
            "import select, time\ntime.sleep = lambda seconds: select.select([], [], [], seconds)\n"
        )
        self.environment = {
            "PYTHONPATH": str(file.parent),
            "LD_PRELOAD": str(libraries[0]),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, moment: datetime) -> None:
        ahead = (moment - datetime.now(UTC)).total_seconds()
        beside = self._file.with_name("next")
        beside.write_text(f"{ahead:+.3f}\n")
        os.replace(beside, self._file)


def test_a_clock_that_is_set_while_it_waits_repeats_nothing_loses_nothing_and_stops_nothing(
    site: Site, tmp_path: Path
) -> None:
    clock = WallClock(tmp_path / "faketime")
    clock.set(datetime(2026, 5, 8, 2, 0, 0, tzinfo=UTC))
    with scheduling(site, "0 0 3 * * *", **clock.environment) as running:
        running.read_until("next backup: 2026-05-08 03:00:00 UTC")
        clock.set(datetime(2026, 5, 8, 2, 59, 58, tzinfo=UTC))
        running.read_until("2026-05-08T03:00:00Z backup: starts")
        running.read_until("next backup: 2026-05-09 03:00:00 UTC")

        clock.set(datetime(2026, 5, 8, 2, 59, 59, tzinfo=UTC))  # 3:00 comes once more
        assert running.is_quiet_for(2.5)
        assert len(site.archives) == 1

        clock.set(datetime(2026, 6, 8, 12, 0, 0, tzinfo=UTC))  # a month of slots has passed
        running.read_until("2026-06-08T12:00:0")
        running.read_until("backup: done: ")
        running.read_until("next backup: 2026-06-09 03:00:00 UTC")
        assert len(site.archives) == 2

        clock.set(datetime(2016, 5, 8, 2, 59, 58, tzinfo=UTC))  # it was ten years ahead
        running.read_until("the clock was set back to 2016-05-08 02:59:5")
        running.read_until("2016-05-08T03:00:00Z backup: starts")
        running.read_until("next backup: 2016-05-09 03:00:00 UTC")
        assert running.stop() == 0
