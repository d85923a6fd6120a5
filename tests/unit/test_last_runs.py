from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from safeharbor_backup.actions.catalog.entries import CatalogEntry, State
from safeharbor_backup.actions.catalog.last_runs import find_proofs, judge_runs, tells_of_archives
from safeharbor_backup.archive.layout import archive_name
from safeharbor_backup.state.history import Outcome

NIGHT = datetime(2026, 11, 24, 3, tzinfo=UTC)


def ended(command: str, hours: float, status: int, archive: str | None = None, **details: object) -> Outcome:
    """A run that began so many hours after that night's."""
    return Outcome(command, NIGHT + timedelta(hours=hours), 1, status, archive=archive, details=details)


def entry(taken_at: datetime, touched_at: datetime) -> CatalogEntry:
    at = int(touched_at.timestamp()) * 10**9
    return CatalogEntry(Path("/backups") / archive_name(taken_at), 1, at, at, taken_at, State.COMPLETE, "", None)


def test_nothing_is_known_without_a_history() -> None:
    runs = judge_runs([], entry(NIGHT, NIGHT))

    assert (runs.backup, runs.verify, runs.drill, runs.failures) == (None, None, None, ())


def test_the_last_run_of_each_kind_is_told_however_it_ended() -> None:
    history = [ended("backup", 0, 0), ended("drill", 1, 8), ended("backup", 2, 6), ended("prune", 3, 1)]

    runs = judge_runs(history, None)

    assert (runs.backup, runs.verify, runs.drill) == (history[2], None, history[1])
    assert runs.failures == (history[2], history[1])


@pytest.mark.parametrize("status", [0, 3])
@pytest.mark.parametrize("command", ["backup", "verify", "drill"])
def test_a_later_success_of_the_same_command_makes_good(command: str, status: int) -> None:
    others = {"backup", "verify", "drill"} - {command}

    assert judge_runs([ended(command, 0, 1), ended(command, 1, status)], None).failures == ()
    for other in others:
        assert len(judge_runs([ended(command, 0, 1), ended(other, 1, 0)], None).failures) == 1


def test_a_run_that_found_the_lock_held_is_made_good_when_the_one_that_held_it_ends_well() -> None:
    history = [ended("backup", 0.1, 4), ended("backup", 0, 0)]  # in the order in which they ended

    assert judge_runs(history, None).failures == ()


def test_an_archive_that_is_newer_than_a_failed_backup_makes_good_without_a_word_in_the_history() -> None:
    before = NIGHT - timedelta(days=1)

    assert judge_runs([ended("backup", 0, 143)], entry(NIGHT, NIGHT)).failures == ()  # stopped while it pruned
    assert len(judge_runs([ended("backup", 0, 143)], entry(before, before)).failures) == 1
    assert len(judge_runs([ended("drill", 0, 8)], entry(NIGHT, NIGHT)).failures) == 1


def test_an_archive_of_the_same_second_by_an_earlier_run_makes_nothing_good() -> None:
    history = [ended("backup", 0, 0, archive_name(NIGHT)), ended("backup", 0, 6)]

    assert judge_runs(history, entry(NIGHT, NIGHT)).failures == (history[1],)


def test_archives_of_a_clock_that_was_ahead_make_nothing_good_after_it_was_set_back() -> None:
    days = [NIGHT + timedelta(days=number) for number in (9, 10)]
    history = [ended("backup", 24 * 9, 0, archive_name(days[0])), ended("backup", 240, 0, archive_name(days[1]))]
    history.append(ended("backup", 24 * 9 - 1, 6))

    assert judge_runs(history, entry(days[0], days[0])).failures == (history[2],)


def test_a_quick_verify_counts_for_nothing() -> None:
    history = [ended("verify", 0, 5), ended("verify", 1, 0, quick=True)]

    runs = judge_runs(history, None)

    assert (runs.verify, runs.failures) == (history[0], (history[0],))
    name = archive_name(NIGHT)
    quick = ended("verify", 1, 5, name, quick=True, archives=1, rejected=[name])
    assert find_proofs([quick], [entry(NIGHT, NIGHT)]).rejected == {}


class TestProofs:
    """What is known of each archive."""

    OLD, NEW = NIGHT - timedelta(days=1), NIGHT
    ARCHIVES = (entry(NEW, NEW), entry(OLD, OLD))
    NAMES = tuple(each.name for each in ARCHIVES)

    def test_one_archive_was_verified(self) -> None:
        proofs = find_proofs([ended("verify", 1, 0, self.NAMES[1], archives=1, rejected=[])], self.ARCHIVES)

        assert proofs.verified == {self.NAMES[1]: NIGHT + timedelta(hours=1)}

    def test_all_were_and_one_was_rejected(self) -> None:
        every = ended("verify", 1, 5, self.NAMES[0], archives=2, rejected=[self.NAMES[1]])

        proofs = find_proofs([every], self.ARCHIVES)

        assert set(proofs.verified) == {self.NAMES[0]}
        assert set(proofs.rejected) == {self.NAMES[1]}

    def test_the_newest_word_counts(self) -> None:
        bad = ended("verify", 1, 5, self.NAMES[0], archives=1, rejected=[self.NAMES[0]])
        good = ended("verify", 2, 0, self.NAMES[0], archives=1, rejected=[])

        assert find_proofs([bad, good], self.ARCHIVES).rejected == {}
        assert find_proofs([good, bad], self.ARCHIVES).verified == {}

    def test_an_archive_that_was_touched_since_is_not_known(self) -> None:
        touched = entry(self.NEW, self.NEW + timedelta(hours=2))
        good = ended("verify", 1, 0, touched.name, archives=1, rejected=[])
        drilled = ended("drill", 1, 0, touched.name)

        proofs = find_proofs([good, drilled], [touched])

        assert (proofs.verified, proofs.drilled) == ({}, {})

    def test_an_archive_that_came_after_all_were_verified_is_not_known(self) -> None:
        every = ended("verify", -12, 0, "safeharbor-backup-2026-11-23T03-00-00Z.tar", archives=9, rejected=[])

        assert set(find_proofs([every], self.ARCHIVES).verified) == {self.NAMES[1]}

    def test_if_very_many_were_rejected_the_others_are_not_known(self) -> None:
        rejected = [archive_name(self.OLD - timedelta(days=number)) for number in range(1, 51)]
        every = ended("verify", 1, 5, self.NAMES[0], archives=60, rejected=rejected)

        proofs = find_proofs([every], self.ARCHIVES)

        assert (proofs.verified, proofs.rejected) == ({}, {})

    def test_a_verify_that_was_broken_off_says_nothing(self) -> None:
        assert find_proofs([ended("verify", 1, 143, self.NAMES[0])], self.ARCHIVES).verified == {}

    def test_a_drill_proves_the_archive_that_it_restored_if_it_went_well(self) -> None:
        history = [ended("drill", 1, 3, self.NAMES[0]), ended("drill", 2, 8, self.NAMES[1])]

        assert set(find_proofs(history, self.ARCHIVES).drilled) == {self.NAMES[0]}


@pytest.mark.parametrize(
    ("status", "tells"), [(1, True), (5, True), (8, True), (2, False), (4, False), (6, False), (7, False), (143, False)]
)
def test_a_check_that_could_not_be_done_tells_nothing_of_the_archives(status: int, tells: bool) -> None:
    assert tells_of_archives(ended("verify", 0, status)) is tells
