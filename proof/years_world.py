"""A simulated year of one host: its clock, its disk, its app, and what befalls them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

from proof.years_model import (
    DAY,
    Archive,
    Counts,
    Directory,
    Nights,
    newest_good,
    what_latest_means,
    what_stays,
)
from safeharbor_backup.actions.alerts.messages import is_worth_telling
from safeharbor_backup.actions.catalog.entries import CatalogEntry, look_at
from safeharbor_backup.actions.catalog.latest import choose_latest
from safeharbor_backup.actions.prune import PrunePlan, adopt_all
from safeharbor_backup.actions.scheduler.jobs import Job
from safeharbor_backup.actions.scheduler.run import run_scheduler
from safeharbor_backup.actions.status.health import Health
from safeharbor_backup.actions.status.run import read_status
from safeharbor_backup.archive.layout import archive_name
from safeharbor_backup.settings.alerts import NotifyOn
from safeharbor_backup.settings.model import Settings
from safeharbor_backup.state.adopted import read_adopted, write_adopted
from safeharbor_backup.state.history import Outcome, append_outcome
from safeharbor_backup.state.marks import write_mark
from safeharbor_backup.system.lock import LOCK_NAME
from support.archives import Facts, Lies, assemble, uploads_root
from support.settings import settings_of

_ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "America/Sao_Paulo"]
_EVENTS = {  # how often in a year
    "stop": 10, "set": 8, "full": 3, "fail": 6, "loss": 2, "adopt": 2,
    "rot": 3, "copy": 1, "move": 1, "keep": 2, "prune": 6,
}  # fmt: skip
Plan = Callable[..., PrunePlan]


class _Stopped(Exception):
    """The host goes down, or the year is over."""


@dataclass
class _App:
    """What there is to back up."""

    host: str
    files: int
    size: int
    rows: int

    def grow(self, chance: Random) -> None:
        self.files += chance.randrange(5)
        self.size += chance.randrange(100_000)
        self.rows += chance.randrange(50)

    def lose(self, chance: Random) -> None:
        which = chance.choice(["files", "size", "rows"])
        setattr(self, which, int(getattr(self, which) * chance.choice([0, 0.3, 0.5, 0.51, 0.9])))


class Year:
    """One year of one host. It is the clock of the scheduler, and its front end."""

    def __init__(self, place: Path, chance: Random, plan: Plan) -> None:
        self._chance, self._plan = chance, plan
        tiers = [chance.choice([0, 0, 1, 3]) if chance.random() < 0.3 else 0 for _ in range(3)]
        self._counts = Counts(chance.randrange(1, 9), chance.randrange(6), *tiers)
        hour, minute, zone = chance.randrange(24), chance.choice([0, 15, 30, 59]), chance.choice(_ZONES)
        self._settings: Settings = settings_of(
            backup_dir=place,
            retention_daily=self._counts.daily,
            retention_weekly=self._counts.weekly,
            retention_hourly=self._counts.hourly,
            retention_monthly=self._counts.monthly,
            retention_yearly=self._counts.yearly,
            schedule=f"0 {minute} {hour} * * *",
            timezone=zone,
            verify_schedule=None,
            drill_schedule=None,
        )
        self._nights = Nights(zone, hour, minute)
        self._true = datetime(chance.randrange(1976, 2024), chance.randrange(1, 13), 1, tzinfo=UTC).timestamp()
        self._end = self._true + 365 * DAY
        self._ahead = 0.0  # what the host's clock shows too much
        self._app = _App("7", chance.randrange(3000), chance.randrange(10**9), chance.randrange(10**6))
        self._directory = Directory()
        self._entries: dict[str, CatalogEntry] = {}
        self._history: list[Outcome] = []
        self._failing = ""
        self._up_at = 0.0
        self._slot = 0.0
        self.tallies = {"nights": 0, "archives": 0, "pruned": 0, "events": 0}
        self._events = sorted(
            (self._true + chance.random() * 365 * DAY, name) for name, often in _EVENTS.items() for _ in range(often)
            if chance.random() < 0.6
        )  # fmt: skip

    def live(self) -> None:
        """From its first day to its last. Raises AssertionError where the product and the model differ."""
        while self._true < self._end:
            self._begin()
            try:
                run_scheduler(self._settings, self, self)
            except _Stopped:
                self._true = max(self._true, self._up_at)

    # -- what the scheduler knows of time ------------------------------------------------------------------------------

    def now(self) -> datetime:
        return datetime.fromtimestamp(self._true + self._ahead, UTC)

    def sleep(self, seconds: float) -> None:
        """Nobody looks until something happens, or is due."""
        shown = self.now().timestamp()
        assert not self._nights.is_due(shown), f"a night is due, and not run: {self._slot} at {self.now()}"
        event = self._events[0][0] if self._events else self._end
        step = min(max(self._slot - shown, 0.001), max(event - self._true, 0.001), 30 * DAY)
        self._true += max(step, min(seconds, 0.001))
        if self._true >= self._end:
            raise _Stopped
        while self._events and self._events[0][0] <= self._true:
            self._happens(self._events.pop(0)[1])

    # -- what the scheduler tells --------------------------------------------------------------------------------------

    def planned(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            self._slot = job.slot.timestamp()

    def missed(self, job: Job, newest: datetime | None) -> None:
        assert newest is None or newest < job.slot

    def waived(self, job: Job, why: str) -> None:
        raise AssertionError(why)

    def passed_over(self, job: Job, slot: datetime) -> None:
        assert slot > job.slot

    def set_back(self, job: Job, now: datetime) -> None:
        self._slot = job.slot.timestamp()

    def run(self, job: Job) -> None:
        """A night: a backup with its prune, or a failure."""
        begun = self.now()
        assert self._nights.is_due(begun.timestamp()), f"nothing is due, and {job.name} runs at {begun}"
        assert job.slot.timestamp() == self._nights.first_after(self._nights.done)
        self.tallies["nights"] += 1
        (self._settings.backup_dir / LOCK_NAME).touch()
        if self._failing:
            self._true += self._chance.randrange(60)
            self._end_run(Outcome("backup", begun, 1.0, 7 if self._failing == "full" else 6, self._failing))
        else:
            name = self._take(begun)
            self._prune(name)
            self._end_run(Outcome("backup", begun, 1.0, 0, archive=name))
            assert name in self._entries
        self._nights.was_run(self.now().timestamp())
        if self._chance.random() < 0.02:  # an hour later somebody sets the clock
            self._later("set", 1 / 24)

    # -- what is done --------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        """The scheduler starts: what was missed is caught up once."""
        now = self.now().timestamp()
        good = [each.taken for each in self._directory.archives if each.is_sound and each.taken - now <= 60]
        is_new = not (self._settings.backup_dir / LOCK_NAME).exists()
        self._nights.done = min(max(good), now) if good else now if is_new else now - 3660 * DAY
        self._slot = self._nights.first_after(max(self._nights.done, now))

    def _take(self, begun: datetime) -> str:
        app = self._app
        app.grow(self._chance)
        while archive_name(begun) in self._entries:
            begun += timedelta(seconds=1)
        counts = {"dump_bytes": 773, "upload_files": app.files, "upload_directories": 0, "upload_links": 0}
        document = {"counts": {**counts, "upload_bytes": app.size}}
        facts = Facts(taken_at=begun, system_identifier=app.host, tables={"public.t": app.rows})
        path = self._settings.backup_dir / archive_name(begun)
        path.write_bytes(assemble([uploads_root()], facts=facts, lies=Lies(document=document)))
        self._true += self._chance.choice([1, 5, 100, 5000])
        taken = begun.replace(microsecond=0).timestamp()
        sizes = (app.files, app.size, app.rows)
        self._directory.archives.append(Archive(path.name, taken, 0.0, app.host, sizes))
        self._touch(path.name, self.now().timestamp())
        self.tallies["archives"] += 1
        return path.name

    def _touch(self, name: str, modified: float) -> None:
        path = self._settings.backup_dir / name
        os.utime(path, (modified, modified))
        archive = self._archive(name)
        archive.modified = os.stat(path).st_mtime_ns / 1e9
        entry = look_at(path, datetime.fromtimestamp(archive.taken, UTC))
        assert entry is not None
        assert entry.is_complete is archive.is_sound, entry
        self._entries[name] = entry

    def _archive(self, name: str) -> Archive:
        return next(each for each in self._directory.archives if each.name == name)

    def _in_order(self) -> list[CatalogEntry]:
        return sorted(self._entries.values(), key=lambda each: each.name, reverse=True)

    def _prune(self, just_written: str = "") -> None:
        now = self.now()
        plan = self._plan(self._settings, just_written=just_written, archives=self._in_order(), now=now)
        stays = what_stays(self._directory, self._counts, now.timestamp(), just_written)
        to_delete = set(self._entries) - stays
        assert set(plan.to_delete) == to_delete, (now, plan.to_delete, to_delete, plan.warnings)
        for name in to_delete:
            os.unlink(self._settings.backup_dir / name)
            del self._entries[name]
        self._directory.archives = [each for each in self._directory.archives if each.name in stays]
        self.tallies["pruned"] += len(to_delete)
        choice = choose_latest(self._in_order(), read_adopted(self._settings.backup_dir), now, "reef")
        meant = what_latest_means(self._directory, now.timestamp())
        assert (choice.entry.name if choice.entry is not None else "") == meant, (now, choice, meant)

    def _end_run(self, outcome: Outcome) -> None:
        before = self._history[-1] if self._history else None
        for notify_on in NotifyOn:
            is_first_good = outcome.exit_status == 0 and before is not None and before.exit_status != 0
            expected = outcome.exit_status != 0 or is_first_good or notify_on is NotifyOn.ALWAYS
            assert is_worth_telling(outcome, before, notify_on) is expected
        self._history.append(outcome)
        append_outcome(self._settings.backup_dir, outcome)
        if outcome.exit_status or self._chance.random() < 0.05:
            self._look()

    def _look(self) -> None:
        """What `status` says, and the healthcheck."""
        now = self.now()
        status = read_status(self._settings, now=now)
        newest = newest_good(self._directory, now.timestamp())
        assert (status.newest.name if status.newest is not None else None) == (newest.name if newest else None)
        if newest is None:
            return
        is_old = now.timestamp() - newest.taken > self._settings.max_age_seconds
        assert status.is_healthy is not is_old, (now, newest, status.reasons)
        last = self._history[-1] if self._history else None
        is_bad = last is not None and last.exit_status != 0
        if is_old:
            assert status.health is Health.STALE, status.reasons
        elif is_bad:
            assert status.health is Health.FAILED, status.reasons
        else:
            assert status.health in (Health.GOOD, Health.WARNING), (now, status.reasons)
        stays = what_stays(self._directory, self._counts, now.timestamp(), "")
        kept = {name for name, verdict in status.outlook.verdicts.items() if verdict.keep}
        assert kept == stays, (now, kept ^ stays)

    # -- what happens --------------------------------------------------------------------------------------------------

    def _happens(self, event: str) -> None:
        chance, names = self._chance, sorted(self._entries)
        self.tallies["events"] += 1
        if event == "stop":
            self._up_at = self._true + chance.choice([60, 3600, DAY, 3 * DAY, 12 * DAY])
            raise _Stopped
        if event == "set":
            self._ahead = chance.choice(
                [0, 0, 0, *(sign * each for sign in (1, -1) for each in (600, 3500, 7200, 4 * 3600, DAY, 9 * DAY))]
            )
        elif event in ("full", "fail"):
            self._failing = event
            self._later("well", chance.choice([0.5, 1, 3, 12]))
        elif event == "well":
            self._failing = ""
        elif event == "loss":
            self._app.lose(chance)
            self._later("adopt", chance.choice([1, 5, 20, 60]))
        elif event == "adopt":
            self._directory.adopt()
            write_adopted(self._settings.backup_dir, adopt_all(self._settings.backup_dir, self._in_order()))
            self._prune()
        elif event == "move":
            self._app.host += "1"
            self._later("adopt", chance.choice([1, 5, 20, 60]))
        elif event == "prune":
            self._prune()
        elif event == "copy":
            chance.shuffle(names)
            for number, name in enumerate(names):
                self._touch(name, int(self.now().timestamp()) + number)
        elif names:
            self._to_one(event, chance.choice(names))

    def _later(self, event: str, days: float) -> None:
        self._events = sorted([*self._events, (self._true + days * DAY, event)])

    def _to_one(self, event: str, name: str) -> None:
        path = self._settings.backup_dir / name
        archive = self._archive(name)
        if event == "keep":
            write_mark(path, "the audit")
            archive.is_kept = True
        else:
            with open(path, "r+b") as file:
                file.seek(700)
                file.write(b"\xff")
            archive.is_sound = False
            self._touch(name, archive.modified)
