"""The exchange of two states, step by step: what is live, what the journal says, what can be done after a failure."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from safeharbor_backup.actions.restore.swap import Swap, finish_removal
from safeharbor_backup.actions.restore.swap_errors import interrupted, translated
from safeharbor_backup.actions.restore.upload_stages import UploadStages, opened_stages
from safeharbor_backup.errors import CannotRestore, RestorePending, StorageUnavailable
from safeharbor_backup.postgres.target import Target, target_connected
from safeharbor_backup.settings.address_parsing import parse_database_url
from safeharbor_backup.state.journal import JOURNAL_NAME, Journal
from safeharbor_backup.state.restore_parts import DatabasePart, Mark, Side, SwapPhase, UploadsPart
from safeharbor_backup.state.restore_record import Phase, RestoreRecord
from safeharbor_backup.uploads.collect import make_filter
from safeharbor_backup.uploads.own_stage import create_stage
from safeharbor_backup.uploads.stage_marker import new_secret
from safeharbor_backup.uploads.staging import StageReplaced, stage_path
from support.postgres import Database, execute, make_beside

ID = "0123456789ab"
AT_REST = {side: Mark(side, SwapPhase.AT_REST) for side in Side}


class Rig:
    """An app with an old state, live, and a new one, staged: a database each, and a file each."""

    def __init__(self, root: Path, database: Database, until_end: ExitStack) -> None:
        self.database = database
        self._until_end = until_end
        self.uploads = root / "uploads"
        self.uploads.mkdir()
        (self.uploads / "old.txt").write_text("old")
        self.stage = create_stage(self.uploads, ID, new_secret())
        until_end.callback(self.stage.close)
        new = os.open("new.txt", os.O_WRONLY | os.O_CREAT, dir_fd=self.stage.side(Side.NEW))
        os.close(new)
        self.stage.write_first_marker()
        self.stages = {str(self.uploads): self.stage}
        url = parse_database_url(database.url)
        self.target = until_end.enter_context(target_connected(url, database.name))
        self.journal = Journal(root)
        record = RestoreRecord(
            *(ID, "2026-11-23T00:00:00Z", "/backups/x.tar", Phase.STAGING),
            database=database.name,
            server=self.target.system_identifier(),
            uploads=(UploadsPart(str(self.uploads), stage=self.stage.identity),),
        )
        execute(database.server.url(), f'CREATE DATABASE "{record.staged_database}" OWNER {database.owner}')
        self.record = self.journal.write(record)
        self.numbers = {Side.OLD: self.number(database.name), Side.NEW: self.number(record.staged_database)}
        self.steps: list[str] = []

    def swap(self, record: RestoreRecord | None = None, *, parts: str = "both") -> Swap:
        record = record or self.record
        target: Target | None = self.target
        stages = UploadStages(self.stages)
        if parts == "uploads":
            record, target = record.without_database(), None
        if parts == "database":
            record, stages = record.without_uploads([str(self.uploads)]), UploadStages()
        return Swap(self.journal, record, target, stages)

    def add_uploads(self) -> UploadsPart:
        """A second directory of uploads, with nothing in it and in its stage."""
        path = self.uploads.parent / "more"
        path.mkdir()
        stage = create_stage(path, ID, new_secret())
        self._until_end.callback(stage.close)
        self.stages[str(path)] = stage
        part = UploadsPart(str(path), "more", stage=stage.identity)
        self.record = self.journal.write(replace(self.record, uploads=(*self.record.uploads, part)))
        return part

    def add_database(self, *, had_database: bool = True) -> DatabasePart:
        """A second database, and a new one staged for it."""
        other = make_beside(self.database)
        part = DatabasePart(other.name, "stats", had_database)
        create = f'CREATE DATABASE "{self.record.beside(part, Side.NEW)}" OWNER {self.database.owner}'
        execute(self.database.server.url(), create)
        if not had_database:
            execute(self.database.server.url(), f'DROP DATABASE "{other.name}"')
        self.record = self.journal.write(replace(self.record, others=(part,)))
        return part

    def number(self, name: str) -> int:
        rows = execute(self.database.server.url(), f"SELECT oid::bigint FROM pg_database WHERE datname = '{name}'")
        return int(rows[0][0]) if rows else 0

    @property
    def live(self) -> tuple[Side | None, Side | None]:
        """Which database is live, and which uploads are."""
        number = self.number(self.database.name)
        sides = [side for side in Side if self.numbers[side] == number]
        files = [side for side in Side if (self.uploads / f"{side}.txt").exists()]
        return (sides[0] if sides else None), (files[0] if len(files) == 1 else None)

    def is_open(self, name: str = "") -> bool:
        query = f"SELECT datallowconn FROM pg_database WHERE datname = '{name or self.database.name}'"
        return execute(self.database.server.url(), query) == [(True,)]

    @property
    def written(self) -> RestoreRecord:
        found = self.journal.find(ID)
        assert found is not None
        return found

    def done(self, towards: Side = Side.NEW, swap: Swap | None = None) -> Swap:
        """Through all of it."""
        swap = swap or self.swap()
        swap.begin(towards, by_undo=towards is Side.OLD)
        swap.require_both()
        swap.go(self.steps.append)
        swap.settle()
        return swap


def with_part(record: RestoreRecord, **changes: Any) -> RestoreRecord:
    """The record with something else of its one directory of uploads."""
    return record.with_parts(lambda part: replace(part, **changes))


def part_of(record: RestoreRecord) -> UploadsPart:
    """Its one directory of uploads."""
    (part,) = record.uploads
    return part


def live_of(swap: Swap) -> Side:
    return swap.live_database


@pytest.fixture
def rig(tmp_path: Path, database: Database) -> Iterator[Rig]:
    with ExitStack() as until_end:
        yield Rig(tmp_path, database, until_end)


def test_there_and_back(rig: Rig) -> None:
    swap = rig.done()

    assert rig.live == (Side.NEW, Side.NEW)
    assert rig.is_open()
    assert rig.steps == ["closed", "uploads swapped", "committed"]
    assert rig.written == swap.record == replace(
        with_part(rig.record, mark=AT_REST[Side.NEW], new_entries=1, old_entries=1),
        phase=Phase.KEPT, live=Side.NEW, towards=Side.NEW, has_been_live=True,
        old_oid=rig.numbers[Side.OLD], new_oid=rig.numbers[Side.NEW],
    )  # fmt: skip
    assert rig.number(rig.record.previous_database) == rig.numbers[Side.OLD]
    assert (swap.changes, swap.left, swap.is_gone) == ((), (), False)

    (rig.uploads / "of the app.txt").touch()
    rig.done(Side.OLD, swap)

    assert rig.live == (Side.OLD, Side.OLD)
    assert (rig.written.live, rig.written.towards, rig.written.by_undo) == (Side.OLD, Side.OLD, False)
    assert (rig.written.has_been_live, part_of(rig.written).mark) == (True, AT_REST[Side.OLD])
    assert part_of(rig.written).new_entries == 2
    assert rig.number(rig.record.staged_database) == rig.numbers[Side.NEW]
    assert rig.steps[3:] == ["closed", "uploads swapped", "committed"]


@pytest.mark.parametrize("had_database", [True, False])
def test_databases_beside_the_main_one_go_with_it(rig: Rig, had_database: bool) -> None:
    part = rig.add_database(had_database=had_database)
    staged, previous = (rig.record.beside(part, side) for side in (Side.NEW, Side.OLD))
    old, new = rig.number(part.database), rig.number(staged)

    swap = rig.done()

    assert rig.live == (Side.NEW, Side.NEW)
    assert (rig.number(part.database), rig.number(previous), rig.number(staged)) == (new, old, 0)
    assert rig.is_open(part.database)
    assert rig.steps.count("closed") == 1 + had_database

    rig.done(Side.OLD, swap)

    assert rig.live == (Side.OLD, Side.OLD)
    assert (rig.number(part.database), rig.number(previous), rig.number(staged)) == (old, 0, new)
    assert rig.is_open(part.database) is had_database
    assert rig.steps.count("closed") == 3 + had_database


def test_a_stage_that_was_made_is_held_and_in_the_journal(rig: Rig) -> None:
    record = rig.journal.write(with_part(rig.record, stage=None))
    swap = Swap(rig.journal, record, rig.target, UploadStages())

    swap.hold(part_of(record), rig.stage)

    assert swap.stages == rig.stages
    assert swap.record == rig.written == rig.record


def test_what_begins_is_written_down_with_the_direction(rig: Rig) -> None:
    swap = rig.swap()
    swap.begin(Side.NEW, by_undo=False)
    assert (rig.written.phase, rig.written.towards, rig.written.by_undo) == (Phase.SWAPPING, Side.NEW, False)
    assert (rig.written.old_oid, rig.written.new_oid, part_of(rig.written).new_entries) == (
        rig.numbers[Side.OLD], rig.numbers[Side.NEW], 1,
    )  # fmt: skip

    os.close(os.open("late.txt", os.O_WRONLY | os.O_CREAT, dir_fd=rig.stage.side(Side.NEW)))
    swap.begin(Side.OLD, by_undo=True)

    assert (rig.written.towards, rig.written.by_undo) == (Side.OLD, True)
    assert part_of(rig.written).new_entries == 1


def test_a_swap_that_was_begun_counts_nothing_anew_and_says_what_was_changed_in_the_stage(rig: Rig) -> None:
    swap = rig.swap()
    swap.begin(Side.NEW, by_undo=False)
    os.close(os.open("late.txt", os.O_WRONLY | os.O_CREAT, dir_fd=rig.stage.side(Side.NEW)))

    swap.require_both()

    assert len(swap.changes) == 1
    assert "had 1 entry when it was put there, and has 2 now" in swap.changes[0]


@pytest.mark.parametrize("parts", ["uploads", "database"])
def test_half_a_restore_is_exchanged_alone(rig: Rig, parts: str) -> None:
    swap = rig.done(swap=rig.swap(parts=parts))

    expected = {"uploads": (Side.OLD, Side.NEW), "database": (Side.NEW, Side.OLD)}
    assert rig.live == expected[parts]
    assert rig.steps == (["uploads swapped"] if parts == "uploads" else ["closed", "committed"])
    assert live_of(swap) is Side.NEW
    assert [part.mark for part in rig.written.uploads] == ([AT_REST[Side.NEW]] if parts == "uploads" else [])


def test_a_second_time_everything_is_as_it_was(rig: Rig) -> None:
    swap = rig.done()
    superuser = rig.database.server.url()
    execute(superuser, f'ALTER DATABASE "{rig.database.name}" ALLOW_CONNECTIONS false')

    swap.go(rig.steps.append)

    assert rig.live == (Side.NEW, Side.NEW)
    assert rig.steps[3:] == ["uploads swapped"]
    assert rig.is_open()


@pytest.mark.parametrize("fails_at", ["closed", "uploads swapped"])
def test_what_fails_before_the_commit_is_put_back(rig: Rig, fails_at: str) -> None:
    def step(name: str) -> None:
        if name == fails_at:
            raise KeyError(name)

    swap = rig.swap()
    swap.begin(Side.NEW, by_undo=False)
    with pytest.raises(KeyError):
        swap.go_or_return(step)
    swap.rest(rig.record)

    assert rig.live == (Side.OLD, Side.OLD)
    assert rig.is_open()
    assert rig.written == with_part(rig.record, mark=AT_REST[Side.OLD])


@pytest.mark.parametrize(("parts", "fails_at"), [("uploads", "uploads swapped"), ("database", "closed")])
def test_half_a_restore_that_fails_is_put_back(rig: Rig, parts: str, fails_at: str) -> None:
    def step(name: str) -> None:
        if name == fails_at:
            raise KeyError(name)

    swap = rig.swap(parts=parts)
    swap.begin(Side.NEW, by_undo=False)
    with pytest.raises(KeyError):
        swap.go_or_return(step)

    assert rig.live == (Side.OLD, Side.OLD)
    assert rig.is_open()


def test_a_stage_that_is_lost_during_the_exchange_does_not_keep_the_database_closed(rig: Rig) -> None:
    swap = rig.swap(with_part(rig.record, mark=Mark(Side.NEW, SwapPhase.OUT)))
    swap.begin(Side.NEW, by_undo=False)
    del swap.stages[str(rig.uploads)]

    with pytest.raises(CannotRestore, match=f"The stage of restore {ID} in .* is gone"):
        swap.go_or_return(rig.steps.append)

    assert rig.steps == ["closed"]
    assert rig.live == (Side.OLD, Side.OLD)
    assert rig.is_open()


def test_what_fails_after_the_commit_is_done(rig: Rig) -> None:
    def step(name: str) -> None:
        if name == "committed":
            raise psycopg.OperationalError("the answer was lost")

    swap = rig.swap()
    swap.begin(Side.NEW, by_undo=False)
    swap.go_or_return(step)
    swap.settle()

    assert rig.live == (Side.NEW, Side.NEW)
    assert rig.written.phase is Phase.KEPT


def test_what_can_neither_be_done_nor_put_back_waits_for_a_command(rig: Rig) -> None:
    def step(name: str) -> None:
        if name == "uploads swapped":
            rig.target.session.close()

    swap = rig.swap()
    swap.begin(Side.NEW, by_undo=False)
    with pytest.raises(RestorePending, match=r"The swap failed .*, and could not be taken back at once "
    ) as error:  # fmt: skip
        swap.go_or_return(step)

    assert "restore --resume" in error.value.hint
    assert "restore --undo" in error.value.hint
    assert (rig.written.phase, part_of(rig.written).mark) == (Phase.SWAPPING, AT_REST[Side.NEW])
    assert isinstance(error.value.__cause__, CannotRestore)
    assert "failed (The databases cannot be exchanged: the connection is closed)" in error.value.message
    assert "at once (the connection is closed)" in error.value.message


def test_without_a_database_before_there_is_none_to_close_or_keep(rig: Rig) -> None:
    execute(rig.database.server.url(), f'DROP DATABASE "{rig.database.name}"')
    record = replace(rig.record, had_database=False)
    swap = rig.swap(record)
    assert live_of(swap) is Side.OLD

    rig.done(swap=swap)

    assert rig.live == (Side.NEW, Side.NEW)
    assert rig.steps == ["uploads swapped", "committed"]
    assert live_of(swap) is Side.NEW
    assert rig.number(record.previous_database) == 0


def test_a_database_that_somebody_created_where_there_was_none_is_not_renamed(rig: Rig) -> None:
    swap = rig.swap(replace(rig.record, had_database=False))
    swap.begin(Side.NEW, by_undo=False)

    with pytest.raises(CannotRestore, match=f'cannot be exchanged: .*"{rig.database.name}" already exists'):
        swap.go_or_return(rig.steps.append)

    assert rig.live == (Side.OLD, Side.OLD)
    assert rig.steps == ["uploads swapped"]
    assert rig.number(rig.record.staged_database) == rig.numbers[Side.NEW]


def test_which_database_is_live_is_told_by_its_number_and_without_one_by_names(rig: Rig) -> None:
    swap = rig.swap()
    assert live_of(swap) is Side.OLD
    swap.begin(Side.NEW, by_undo=False)
    assert live_of(swap) is Side.OLD
    swap.go(rig.steps.append)
    assert live_of(swap) is Side.NEW

    unnumbered = rig.swap(replace(swap.record, old_oid=0, new_oid=0))
    assert live_of(unnumbered) is Side.NEW

    execute(rig.database.server.url(), f'DROP DATABASE "{rig.record.previous_database}"')
    assert live_of(swap) is Side.NEW
    assert live_of(unnumbered) is Side.OLD


def test_of_uploads_alone_the_mark_says_what_is_live(rig: Rig) -> None:
    record = replace(rig.record.without_database(), towards=Side.NEW)
    for mark, live in (
        (AT_REST[Side.NEW], Side.NEW),
        (AT_REST[Side.OLD], Side.OLD),
        (Mark(Side.NEW, SwapPhase.IN), Side.OLD),
    ):
        for target in (rig.target, None):
            assert live_of(Swap(rig.journal, with_part(record, mark=mark), target, UploadStages())) is live
    nothing = record.without_uploads([str(rig.uploads)])
    assert live_of(rig.swap(nothing, parts="uploads")) is Side.OLD


def test_a_database_that_is_gone_stops_it_before_anything_changes(rig: Rig) -> None:
    swap = rig.swap()
    swap.begin(Side.NEW, by_undo=False)
    execute(rig.database.server.url(), f'DROP DATABASE "{rig.record.staged_database}"')

    with pytest.raises(CannotRestore, match="only the rest would become live") as error:
        swap.require_both()

    assert rig.record.staged_database in error.value.message
    assert f"restore {ID}" in error.value.message
    assert "restore --undo` instead; live will be: the data from before the restore" in error.value.hint
    assert error.value.intact == "Nothing was changed."
    assert rig.live == (Side.OLD, Side.OLD)


def test_where_both_databases_are_gone_the_way_around_leaves_them(rig: Rig) -> None:
    swap = rig.swap()
    swap.begin(Side.NEW, by_undo=False)
    for name in (rig.record.staged_database, rig.database.name):
        execute(rig.database.server.url(), f'DROP DATABASE "{name}"')

    with pytest.raises(CannotRestore, match=rig.record.staged_database) as error:
        swap.require_both()

    assert "--abandon-database` leaves the databases as they are; only the uploads become live" in error.value.hint


def test_uploads_that_are_gone_stop_it_before_anything_changes(rig: Rig) -> None:
    swap = Swap(rig.journal, rig.record, rig.target, UploadStages())
    swap.begin(Side.NEW, by_undo=False)

    with pytest.raises(CannotRestore, match="only the rest would become live") as error:
        swap.require_both()
    assert str(stage_path(rig.uploads, ID)) in error.value.message
    assert "First see that the filesystem of the uploads is mounted" in error.value.hint
    with pytest.raises(CannotRestore, match=f"The stage of restore {ID} in .*uploads is gone"):
        swap.bring_in_uploads(Side.NEW)

    execute(rig.database.server.url(), f'DROP DATABASE "{rig.record.staged_database}"')
    with pytest.raises(CannotRestore, match=f"{rig.record.staged_database}.* and .*{ID} is gone"):
        swap.require_both()


def test_uploads_that_are_in_already_are_not_missed(rig: Rig) -> None:
    swap = rig.done()
    again = Swap(rig.journal, replace(swap.record, phase=Phase.SWAPPING), rig.target, UploadStages())

    again.require_both()
    again.bring_in_uploads(Side.NEW)

    assert rig.live == (Side.NEW, Side.NEW)


def test_a_swap_that_was_committed_and_not_written_down_misses_nothing(rig: Rig) -> None:
    swap = rig.swap()
    swap.begin(Side.NEW, by_undo=False)
    swap.go(rig.steps.append)

    swap.require_both()

    assert (rig.written.phase, rig.written.live) == (Phase.SWAPPING, Side.OLD)


def test_at_rest_the_journal_says_which_database_is_missed(rig: Rig) -> None:
    swap = rig.done()
    for name in (rig.record.previous_database, rig.database.name):
        execute(rig.database.server.url(), f'DROP DATABASE "{name}"')
    execute(rig.database.server.url(), f'CREATE DATABASE "{rig.database.name}" OWNER {rig.database.owner}')
    kept = rig.swap(replace(swap.record, towards=Side.OLD))

    with pytest.raises(CannotRestore, match=rig.record.previous_database) as error:
        kept.require_both()

    assert "Restore an archive" in error.value.hint


def test_a_journal_that_cannot_be_written_at_the_end_is_said_and_the_new_state_is_live(rig: Rig) -> None:
    swap = rig.swap()
    swap.begin(Side.NEW, by_undo=False)
    swap.go(rig.steps.append)
    os.unlink(rig.journal.path)
    rig.journal.path.mkdir()

    with pytest.raises(RestorePending, match=r"The swap is done\. Now live: the restored data") as error:
        swap.settle()

    assert str(rig.journal.path) in error.value.message
    assert "restore --resume" in error.value.hint
    assert "Free some space" in error.value.hint
    assert rig.live == (Side.NEW, Side.NEW)
    assert swap.record.phase is Phase.SWAPPING


def test_a_journal_that_says_it_all_the_same_is_enough(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    swap = rig.swap()
    swap.begin(Side.NEW, by_undo=False)
    swap.go(rig.steps.append)
    real = os.fsync

    def fails_for_the_directory(descriptor: int) -> None:
        if os.path.samefile(f"/proc/self/fd/{descriptor}", rig.journal.path.parent):
            raise OSError(5, "Input/output error")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fails_for_the_directory)
    swap.settle()

    assert rig.written == swap.record
    assert swap.record.phase is Phase.KEPT


def test_a_stage_that_was_never_live_is_removed_with_its_database(rig: Rig) -> None:
    swap = rig.swap()

    swap.remove_stage()

    assert swap.is_gone
    assert rig.journal.read() == ()
    assert os.listdir(rig.uploads) == ["old.txt"]
    assert rig.number(rig.record.staged_database) == 0
    assert rig.live == (Side.OLD, Side.OLD)
    assert swap.record.phase is Phase.REMOVING


def test_of_uploads_alone_the_stage_is_removed_and_no_database(rig: Rig) -> None:
    swap = rig.swap(parts="uploads")

    swap.remove_stage()

    assert swap.is_gone
    assert os.listdir(rig.uploads) == ["old.txt"]
    assert rig.number(rig.record.staged_database) == rig.numbers[Side.NEW]


def test_a_stage_that_may_hold_what_was_live_is_not_removed(rig: Rig) -> None:
    for mark in (AT_REST[Side.NEW], Mark(Side.NEW, SwapPhase.OUT)):
        swap = rig.swap(with_part(rig.record, mark=mark))
        with pytest.raises(RestorePending, match=f"The stage of restore {ID} holds uploads that were live before it"):
            swap.remove_stage()
    assert rig.number(rig.record.staged_database) == rig.numbers[Side.NEW]
    assert rig.written == rig.record


def test_what_is_discarded_is_gone_and_what_is_live_stays(rig: Rig) -> None:
    swap = rig.done()
    swap.discard()

    assert swap.record.phase is Phase.DISCARDING
    assert rig.journal.read() == ()
    assert os.listdir(rig.uploads) == ["new.txt"]
    assert rig.number(rig.record.previous_database) == 0
    assert rig.live == (Side.NEW, Side.NEW)


def test_a_database_that_is_not_ours_to_drop_stays_and_can_be_brought_back(rig: Rig) -> None:
    swap = rig.done()
    execute(rig.database.server.url(), f'ALTER DATABASE "{rig.record.previous_database}" OWNER TO postgres')

    with pytest.raises((CannotRestore, psycopg.Error)):
        swap.discard()
    phase = rig.written.phase
    execute(rig.database.server.url(), f'ALTER DATABASE "{rig.record.previous_database}" OWNER TO {rig.database.owner}')

    assert phase is Phase.KEPT
    rig.done(Side.OLD, rig.swap(rig.written))
    assert rig.live == (Side.OLD, Side.OLD)


@pytest.mark.parametrize("is_first", [True, False])
def test_what_is_kept_can_be_brought_back_only_while_all_its_databases_are_there(rig: Rig, is_first: bool) -> None:
    part = rig.add_database()
    swap = rig.done()
    main, other = rig.record.previous_database, rig.record.beside(part, Side.OLD)
    stays = main if is_first else other
    execute(rig.database.server.url(), f'ALTER DATABASE "{stays}" OWNER TO postgres')

    with pytest.raises(CannotRestore, match=f'The database "{stays}" cannot be dropped'):
        swap.discard()
    execute(rig.database.server.url(), f'ALTER DATABASE "{stays}" OWNER TO {rig.database.owner}')

    assert rig.written.phase is (Phase.KEPT if is_first else Phase.DISCARDING)
    assert bool(rig.number(main)) is is_first
    assert rig.number(other) != 0


def test_what_lacks_a_database_cannot_be_brought_back_after_a_failed_deletion_either(rig: Rig) -> None:
    part = rig.add_database()
    swap = rig.done()
    main, other = rig.record.previous_database, rig.record.beside(part, Side.OLD)
    execute(rig.database.server.url(), f'DROP DATABASE "{other}"')
    execute(rig.database.server.url(), f'ALTER DATABASE "{main}" OWNER TO postgres')

    with pytest.raises(CannotRestore, match=f'The database "{main}" cannot be dropped'):
        swap.discard()
    execute(rig.database.server.url(), f'ALTER DATABASE "{main}" OWNER TO {rig.database.owner}')

    assert rig.written.phase is Phase.DISCARDING


def test_a_database_that_was_never_live_and_is_not_ours_to_drop_can_not_be_brought_back(rig: Rig) -> None:
    staged = rig.record.staged_database
    record = rig.journal.write(replace(rig.record, phase=Phase.REMOVING))
    execute(rig.database.server.url(), f'ALTER DATABASE "{staged}" OWNER TO postgres')

    with pytest.raises(CannotRestore, match=f'The database "{staged}" cannot be dropped'):
        finish_removal(rig.journal, record, rig.target)
    execute(rig.database.server.url(), f'ALTER DATABASE "{staged}" OWNER TO {rig.database.owner}')

    assert rig.written == record


def unmounted(rig: Rig, record: RestoreRecord) -> Swap:
    """As if the filesystem of the uploads were not mounted: their place is there, with another device's number."""
    part = record.uploads[0]
    assert part.stage is not None
    stage_path(rig.uploads, ID).rename(rig.uploads.parent / "elsewhere")
    part = replace(part, stage=replace(part.stage, device=part.stage.device + 1))
    stages = UploadStages({path: stage for path, stage in rig.stages.items() if path != part.path})
    return Swap(rig.journal, rig.journal.write(record.with_part(part)), rig.target, stages)


def test_a_stage_that_cannot_be_seen_stays_in_the_journal_when_its_restore_is_taken_back(rig: Rig) -> None:
    swap = unmounted(rig, rig.record)

    swap.remove_stage()

    assert (swap.is_gone, rig.written) == (False, replace(swap.record, phase=Phase.REMOVING))
    (change,) = swap.changes
    assert str(rig.uploads) in change
    assert rig.number(rig.record.staged_database) == 0


def test_a_stage_that_cannot_be_seen_stays_in_the_journal_when_the_rest_is_discarded(rig: Rig) -> None:
    swap = unmounted(rig, rig.done().record)

    with pytest.raises(CannotRestore, match=f"{rig.uploads} cannot be seen, and was not deleted"):
        swap.discard()

    assert rig.written.phase is Phase.DISCARDING
    assert part_of(rig.written) == part_of(swap.record)
    assert rig.number(rig.record.previous_database) == 0


def test_of_several_stages_the_journal_keeps_the_one_that_cannot_be_seen_when_a_restore_is_taken_back(rig: Rig) -> None:
    more = rig.add_uploads()
    in_again = replace(more, mark=Mark(Side.OLD, SwapPhase.OUT), old_entries=1)
    swap = unmounted(rig, replace(rig.record.with_part(in_again), phase=Phase.SWAPPING, towards=Side.OLD))
    swap.require_both()
    swap.bring_in_uploads(Side.OLD)

    swap.remove_stage()

    assert os.listdir(more.path) == []
    assert [part.path for part in rig.written.uploads] == [str(rig.uploads)]
    changed, unseen = swap.changes
    assert "had 1 entry when it was put there, and has 0 now" in changed
    assert f"in {rig.uploads} cannot be seen" in unseen


def test_of_several_stages_the_journal_keeps_the_one_that_cannot_be_seen_when_the_rest_is_discarded(rig: Rig) -> None:
    more = rig.add_uploads()
    swap = unmounted(rig, rig.done().record)

    with pytest.raises(CannotRestore, match=f"in {rig.uploads} cannot be seen"):
        swap.discard()

    assert os.listdir(more.path) == []
    assert [part.path for part in rig.written.uploads] == [str(rig.uploads)]


def test_a_deletion_forgets_what_cannot_be_seen_only_where_the_operator_gives_it_up(rig: Rig) -> None:
    record = rig.journal.write(replace(unmounted(rig, rig.done().record).record, phase=Phase.DISCARDING))

    with pytest.raises(CannotRestore, match=f"in {rig.uploads} cannot be seen"):
        finish_removal(rig.journal, record, rig.target)
    assert rig.written == record
    finish_removal(rig.journal, record, rig.target, abandons=True)

    assert rig.journal.read() == ()
    assert (rig.uploads.parent / "elsewhere" / "old" / "old.txt").exists()


def test_a_deletion_goes_on_beside_a_mount_that_answers_no_more_only_where_the_operator_gives_it_up(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = rig.journal.write(replace(rig.record, phase=Phase.REMOVING))
    rig.uploads.rename(rig.uploads.parent / "elsewhere")
    real = os.open

    def answers_no_more(path: Any, *arguments: Any, **others: Any) -> int:
        if path == rig.uploads:
            raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")
        return real(path, *arguments, **others)

    monkeypatch.setattr(os, "open", answers_no_more)
    with pytest.raises(OSError, match="not connected"):
        finish_removal(rig.journal, record, rig.target)
    assert rig.written == record
    assert rig.number(rig.record.staged_database) == rig.numbers[Side.NEW]
    finish_removal(rig.journal, record, rig.target, abandons=True)

    assert rig.journal.read() == ()
    assert rig.number(rig.record.staged_database) == 0


def test_a_database_that_somebody_renamed_stays_where_the_operator_gives_it_up(rig: Rig) -> None:
    swap = rig.done()
    execute(rig.database.server.url(), f'ALTER DATABASE "{rig.record.previous_database}" RENAME TO "other_{ID}"')

    swap.discard(leaves_renamed=True)

    assert rig.journal.read() == ()
    assert os.listdir(rig.uploads) == ["new.txt"]
    assert rig.number(f"other_{ID}") == rig.numbers[Side.OLD]


def test_a_database_that_somebody_renamed_is_not_forgotten(rig: Rig) -> None:
    swap = rig.done()
    execute(rig.database.server.url(), f'ALTER DATABASE "{rig.record.previous_database}" RENAME TO "other_{ID}"')

    with pytest.raises(CannotRestore, match=f"other_{ID}"):
        swap.discard()

    assert rig.written.phase is Phase.KEPT
    execute(rig.database.server.url(), f'DROP DATABASE "other_{ID}"')


def test_a_removal_that_was_interrupted_goes_on(rig: Rig) -> None:
    record = rig.journal.write(replace(rig.record, phase=Phase.REMOVING))

    finish_removal(rig.journal, record, rig.target)

    assert rig.journal.read() == ()
    assert os.listdir(rig.uploads) == ["old.txt"]
    assert rig.number(rig.record.staged_database) == 0


def test_a_removal_that_was_interrupted_goes_on_where_there_was_no_database(rig: Rig) -> None:
    execute(rig.database.server.url(), f'DROP DATABASE "{rig.database.name}"')
    record = rig.journal.write(replace(rig.record, phase=Phase.REMOVING, had_database=False))

    finish_removal(rig.journal, record, rig.target)

    assert rig.journal.read() == ()
    assert rig.number(rig.record.staged_database) == 0


@pytest.mark.parametrize("content", ["", "theirs"])
def test_what_is_in_the_place_of_a_stage_is_left_there_and_the_rest_goes(rig: Rig, content: str) -> None:
    path = stage_path(rig.uploads, ID)
    path.rename(rig.uploads.parent / "moved")
    path.mkdir()
    if content:
        (path / content).touch()
    record = rig.journal.write(replace(rig.record, phase=Phase.REMOVING))

    if content:
        with pytest.raises(StageReplaced):
            finish_removal(rig.journal, record, rig.target)
    else:
        finish_removal(rig.journal, record, rig.target)

    assert path.exists() is bool(content)
    assert rig.journal.read() == ()
    assert rig.number(rig.record.staged_database) == 0


def test_what_is_in_the_place_of_a_stage_is_reported_when_the_rest_goes_only_later(rig: Rig) -> None:
    path = stage_path(rig.uploads, ID)
    path.rename(rig.uploads.parent / "moved")
    path.mkdir()
    (path / "theirs").touch()
    staged = rig.record.staged_database
    execute(rig.database.server.url(), f'ALTER DATABASE "{staged}" OWNER TO postgres')
    record = rig.journal.write(replace(rig.record, phase=Phase.DISCARDING))

    with pytest.raises((CannotRestore, psycopg.Error)) as first:
        finish_removal(rig.journal, record, rig.target)
    assert not isinstance(first.value, StageReplaced)
    execute(rig.database.server.url(), f'ALTER DATABASE "{staged}" OWNER TO {rig.database.owner}')

    with pytest.raises(StageReplaced):
        finish_removal(rig.journal, replace(rig.written, phase=Phase.DISCARDING), rig.target)

    assert (path / "theirs").exists()
    assert rig.journal.read() == ()


def test_a_stage_that_is_moved_away_while_it_is_deleted_is_reported_and_the_rest_goes(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = rig.journal.write(replace(rig.record, phase=Phase.REMOVING))
    path, aside = stage_path(rig.uploads, ID), rig.uploads.parent / "aside"
    real = os.open

    def then_moved(opened: Any, *arguments: Any, **others: Any) -> int:
        descriptor = real(opened, *arguments, **others)
        if opened == Side.OLD and path.exists():
            path.rename(aside)
        return descriptor

    monkeypatch.setattr(os, "open", then_moved)
    with pytest.raises(StageReplaced, match=f"{path} was replaced while this ran"):
        finish_removal(rig.journal, record, rig.target)

    assert rig.journal.read() == ()
    assert rig.number(rig.record.staged_database) == 0
    assert (aside / "new" / "new.txt").exists()


def test_a_stage_without_an_identity_is_removed_while_it_is_empty(rig: Rig) -> None:
    rig.done(swap=rig.swap(parts="uploads"))
    record = rig.journal.write(replace(with_part(rig.record.without_database(), stage=None), phase=Phase.REMOVING))
    path = stage_path(rig.uploads, ID)
    for name in ("new", "old"):
        for each in (path / name).iterdir():
            each.unlink()

    finish_removal(rig.journal, record, None)

    assert not path.exists()
    assert rig.journal.read() == ()


def test_a_stage_is_open_while_it_is_used_and_not_longer(rig: Rig) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with opened_stages(rig.record) as stages:
        assert {path: stage.identity for path, stage in stages.items()} == {str(rig.uploads): part_of(rig.record).stage}
        assert len(os.listdir("/proc/self/fd")) > before
    assert len(os.listdir("/proc/self/fd")) == before
    for record in (
        rig.record.without_uploads([str(rig.uploads)]),
        with_part(rig.record, stage=None),
        with_part(rig.record, path=str(rig.uploads / "gone")),
    ):
        with opened_stages(record) as stages:
            assert stages == {}
    with opened_stages(with_part(rig.record, stage=None, mark=None)) as stages:
        assert list(stages) == [str(rig.uploads)]


def test_the_first_journals_let_the_stage_say_how_far_it_is(rig: Rig) -> None:
    record = replace(rig.record.without_database(), towards=Side.NEW)
    swap = rig.swap(with_part(record, mark=None), parts="uploads")
    assert live_of(swap) is Side.OLD

    (stage_path(rig.uploads, ID) / ".safeharbor-staging").write_text("nonsense")
    with pytest.raises(RestorePending, match=f"The marker in {stage_path(rig.uploads, ID)} cannot be read"):
        swap.live_database  # noqa: B018 - it raises
    assert live_of(Swap(rig.journal, swap.record, None, UploadStages())) is Side.OLD


def test_from_the_first_journals_on_todays_says_how_far_the_stage_is_once_the_swap_is_done(rig: Rig) -> None:
    rig.done(swap=rig.swap(parts="uploads"))
    first = with_part(replace(rig.record.without_database(), phase=Phase.SWAPPING, towards=Side.NEW), mark=None)
    swap = rig.swap(first, parts="uploads")

    swap.go(rig.steps.append)
    swap.settle()

    assert part_of(rig.written).mark == AT_REST[Side.NEW]


def test_what_was_put_back_is_remembered_with_what_was_found_since(rig: Rig) -> None:
    lost = rig.add_uploads()
    (rig.uploads / "d").mkdir()
    (rig.uploads / "d" / "cache").write_text("left out")
    known = rig.record.uploads[0]
    first = rig.record.without_database().with_part(replace(known, stage=None, mark=None))
    swap = rig.swap(first.without_uploads([lost.path]).with_part(known), parts="uploads")
    swap.find_what_stays(make_filter(("d/cache",)))
    swap.begin(Side.NEW, by_undo=False)

    swap.rest(first)

    found = replace(known, mark=AT_REST[Side.OLD], frontier=("d",), stays=("d/cache",))
    assert rig.written == swap.record == replace(first, uploads=(found, lost))


def test_what_is_left_out_and_in_the_archive_comes_in(rig: Rig) -> None:
    (rig.uploads / "cache").write_text("left out")
    os.close(os.open("cache", os.O_WRONLY | os.O_CREAT, dir_fd=rig.stage.side(Side.NEW)))
    swap = rig.swap(parts="uploads")

    swap.find_what_stays(make_filter(("cache",)))

    assert part_of(swap.record).stays == ()


def test_what_stays_is_written_down_once(rig: Rig) -> None:
    for name in ("d", "e"):
        (rig.uploads / name).mkdir()
        (rig.uploads / name / "cache").write_text("left out")
    swap = rig.swap(parts="uploads")
    swap.begin(Side.NEW, by_undo=False)

    swap.find_what_stays(make_filter(("d/cache",)))
    assert (part_of(rig.written).frontier, part_of(rig.written).stays) == (("d",), ("d/cache",))
    before = os.stat(rig.journal.path).st_ino
    swap.find_what_stays(make_filter(("d/cache",)))
    assert os.stat(rig.journal.path).st_ino == before

    swap.find_what_stays(make_filter(("e/cache",)))
    assert (part_of(rig.written).frontier, part_of(rig.written).stays) == (("d", "e"), ("d/cache", "e/cache"))
    swap.bring_in_uploads(Side.NEW)
    assert [(rig.uploads / name / "cache").read_text() for name in ("d", "e")] == ["left out"] * 2
    Swap(rig.journal, rig.record, None, UploadStages()).find_what_stays(make_filter(("x",)))


def test_a_restore_in_place_notes_its_transaction_in_both_places(rig: Rig) -> None:
    swap = rig.swap(replace(rig.record, in_place=True, towards=Side.OLD))

    swap.begin_in_place("4711")

    assert (rig.written.transaction, rig.written.phase, rig.written.towards) == ("4711", Phase.SWAPPING, Side.NEW)
    assert rig.stage.read_marker()[1] == "4711"
    rig.swap(rig.record, parts="database").begin_in_place("4712")
    assert rig.written.transaction == "4712"


def test_errors_are_told_in_the_words_of_a_restore(rig: Rig) -> None:
    full = translated(OSError(28, "No space left on device"), "moving files")
    lost = translated(psycopg.OperationalError("gone\nfor good"), "moving files")
    other = KeyError()

    assert isinstance(full, StorageUnavailable)
    assert "moving files" in str(full)
    assert isinstance(lost, CannotRestore)
    assert str(lost) == "The swap failed and was taken back: gone for good"
    assert translated(other, "x") is other
    pending = interrupted(KeyError("one"), KeyError("two"), rig.record)
    assert isinstance(pending, RestorePending)
    assert "one" in pending.message
    assert "two" in pending.message
    assert pending.hint == rig.record.pending_error().hint
    assert rig.journal.path.name == JOURNAL_NAME
