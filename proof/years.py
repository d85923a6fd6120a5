"""Years: the scheduler, retention, guards, status and alerts by a clock that somebody sets; and one of real nights."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, ClassVar

from proof.campaign import Campaign
from proof.real_year import NIGHTS, RealYear
from proof.years_world import Plan, Year
from safeharbor_backup.actions.catalog.entries import CatalogEntry
from safeharbor_backup.actions.catalog.retention import judge_archives, tiers_of
from safeharbor_backup.actions.prune import PrunePlan, plan_prune
from safeharbor_backup.settings.model import Settings
from support.needs import memory_filesystem

YEARS = 1_000
_REAL = YEARS  # the number of the case that is a real year, ten minutes of it


def _without_guards(settings: Settings, *, archives: Sequence[CatalogEntry], **_others: object) -> PrunePlan:
    verdicts = judge_archives([entry.candidate for entry in archives], tiers_of(settings))
    return PrunePlan(tuple(verdicts), ())


class Cases(Campaign):
    promise: ClassVar[str] = (
        "Each night is run once, retention keeps what the contract and its guards say, alerts come."
    )
    attack: ClassVar[str] = (
        "simulated years: nights missed, clocks set, summer time, full disks, lost rows and files, damaged archives, "
        "lost times, new hosts; against an independent model. One year more has real commands and a faked clock"
    )
    in_ci: ClassVar[int] = 6

    @property
    def count(self) -> int:
        return YEARS + 1

    def is_for_ci(self, number: int) -> bool:
        return number != _REAL

    def run(self, number: int, chance: Random) -> Mapping[str, int]:
        return self._live_really(chance) if number == _REAL else self._live(chance, plan_prune)

    def control(self) -> None:
        """Retention without its guards."""
        for number in range(20):
            self._live(Random(f"control {number}"), _without_guards)

    @classmethod
    def page(cls, figures: Mapping[str, Any]) -> str:
        tallies = figures["tallies"]
        if not tallies.get("real nights"):
            return ""
        return (
            f"Of the year with the real commands, {tallies['real nights']} nights had a backup, of which "
            f"{tallies['real nights that share']} shared blocks with the one before. {tallies['real drills']} drills "
            f"restored an archive. {tallies['archives read']:,} times an archive was read whole, and each time exactly "
            "those verified that had to be there.\n"
        )

    def _live_really(self, chance: Random) -> Mapping[str, int]:
        with RealYear(self.servers, chance) as year:
            year.nights(NIGHTS)
            year.settle()
            return year.tallies

    def _live(self, chance: Random, plan: Plan) -> Mapping[str, int]:
        place = Path(tempfile.mkdtemp(prefix="year-", dir=memory_filesystem() or self.place))
        try:
            year = Year(place, chance, plan)
            year.live()
        finally:
            shutil.rmtree(place)
        return year.tallies
