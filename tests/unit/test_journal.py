"""The journal of restores: whole or not at all, readable after a crash, and not fooled by what is in its place."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from safeharbor_backup.actions.restore.lost_stage import way_around
from safeharbor_backup.errors import CannotRestore, SafeHarborError
from safeharbor_backup.postgres.side_names import new_id, side_database
from safeharbor_backup.state.journal import CURRENT_SCHEMA, JOURNAL_NAME, Journal, JournalBroken, find_interrupted
from safeharbor_backup.state.restore_parts import Mark, Side, StageIdentity, SwapPhase, UploadsPart
from safeharbor_backup.state.restore_record import Phase, RestoreRecord
from support.json_schemas import complaints

RECORD = RestoreRecord("0123456789ab", "2026-11-23T00:00:00Z", "/backups/x.tar", Phase.STAGING, database="reef")
SAMPLES = Path(__file__).parents[1] / "support" / "journals"  # journals that the programs of then have left


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    second = replace(RECORD, id="0000000000ff", phase=Phase.KEPT)
    journal.write(RECORD)
    journal.write(second)
    journal.advance(RECORD, Phase.SWAPPING)

    assert journal.read() == (replace(RECORD, phase=Phase.SWAPPING), second)
    assert journal.find("0000000000ff") == second
    assert find_interrupted(tmp_path) == replace(RECORD, phase=Phase.SWAPPING)


def test_no_way_back_is_named_where_there_was_no_database_before() -> None:
    kept = replace(RECORD, phase=Phase.KEPT, live=Side.NEW, uploads=(UploadsPart("/uploads"),))

    assert "--undo --id 0123456789ab --abandon-uploads` brings back the database alone" in way_around(kept)
    assert "--undo" not in way_around(replace(kept, had_database=False))


def test_while_a_restore_prepared_nothing_of_it_is_to_become_live() -> None:
    staging = replace(RECORD, phase=Phase.STAGING, uploads=(UploadsPart("/uploads"),))

    said = way_around(staging)

    assert "--undo --abandon-uploads` deletes the rest that it had prepared: what is live stays as it is" in said
    assert "--resume --abandon-uploads` does the same and restores again" in said
    assert "makes the database live" not in said
    assert "all that it had prepared but" in way_around(replace(staging, uploads=(*staging.uploads, UploadsPart("/b"))))


def test_the_last_record_takes_the_file_with_it(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.write(RECORD)
    journal.remove(RECORD.id)
    journal.remove(RECORD.id)

    assert journal.read() == ()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'{"restores": [1]}',
        b'{"schema": 2, "restores": [1]}',
        b'{"schema": 3, "restores": [1]}',
        b'{"schema": 4, "restores": [1]}',
        b'{"restores": [{"id": "x"}]}',
        b"\xff" * 9,
        b"[" * 100_000,
        b'{"schema": 2, "restores": [{"id": "x", "started_at": "", "archive": "", "phase": "kept"}]}',
        b'{"schema": 2, "restores": [{"id": 7, "started_at": "", "archive": "", "phase": "kept", "live": "old", '
        b'"towards": "new", "frontier": [], "stays": []}]}',
        b'{"schema": 2, "restores": [{"id": "x", "started_at": "", "archive": "", "phase": "kept", "live": "old", '
        b'"towards": "new", "uploads": "/srv", "frontier": []}]}',
        b'{"schema": 3, "restores": [{"id": "x", "started_at": "", "archive": "", "phase": "kept", "live": "old", '
        b'"towards": "new", "uploads": [{"path": "/srv", "frontier": [], "stays": []}]}]}',
    ],
)
def test_a_damaged_journal_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / JOURNAL_NAME).write_bytes(content)

    with pytest.raises(JournalBroken, match="damaged"):
        Journal(tmp_path).read()


def test_a_pipe_in_its_place_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / JOURNAL_NAME)

    with pytest.raises(JournalBroken, match="not a regular file"):
        Journal(tmp_path).read()


def test_it_is_as_its_schema_says(tmp_path: Path) -> None:
    stage = StageIdentity(1, 2, 3, 4, 5, "00")
    part = UploadsPart("/srv/uploads", "media", stage, Mark(Side.OLD, SwapPhase.OUT), stays=("not UTF-8: \udce9",))
    Journal(tmp_path).write(replace(RECORD, uploads=(part,)))
    document = json.loads((tmp_path / JOURNAL_NAME).read_text())

    assert complaints("journal", document) == []
    document["restores"][0]["live"] = "elsewhere"
    assert complaints("journal", document) != []


_SEVERAL = [("media", "/srv/reef/media"), ("static", "/mnt/static")]
_AT_REST = {side: Mark(side, SwapPhase.AT_REST) for side in Side}


@pytest.mark.parametrize(
    ("sample", "phase", "live", "mark"),
    [
        ("schema-1-staged", Phase.STAGING, Side.OLD, None),
        ("schema-1-uploads-swapped", Phase.SWAPPING, Side.OLD, None),
        ("schema-1-settled", Phase.KEPT, Side.NEW, None),
        ("schema-2-staged", Phase.STAGING, Side.OLD, _AT_REST[Side.OLD]),
        ("schema-2-swapping", Phase.SWAPPING, Side.OLD, _AT_REST[Side.OLD]),
        ("schema-2-uploads-swapped", Phase.SWAPPING, Side.OLD, _AT_REST[Side.NEW]),
        ("schema-2-settled", Phase.KEPT, Side.NEW, _AT_REST[Side.NEW]),
        ("schema-2-undone", Phase.KEPT, Side.OLD, _AT_REST[Side.OLD]),
        ("schema-3-uploads-swapped", Phase.SWAPPING, Side.OLD, _AT_REST[Side.NEW]),
        ("schema-3-settled", Phase.KEPT, Side.NEW, _AT_REST[Side.NEW]),
        ("schema-4-uploads-swapped", Phase.SWAPPING, Side.OLD, _AT_REST[Side.NEW]),
        ("schema-4-settled", Phase.KEPT, Side.NEW, _AT_REST[Side.NEW]),
    ],
)
def test_what_earlier_programs_left_is_read_and_kept_whole(
    tmp_path: Path, sample: str, phase: Phase, live: Side, mark: Mark | None
) -> None:
    shutil.copy(SAMPLES / f"{sample}.json", tmp_path / JOURNAL_NAME)
    journal = Journal(tmp_path)

    (record,) = journal.read()
    journal.write(record)

    assert (record.phase, record.live, record.uploads[0].mark) == (phase, live, mark)
    assert (record.jobs, record.keep_previous) == (2, True)
    if sample.startswith(("schema-3", "schema-4")):
        assert [(part.name, part.path) for part in record.uploads] == _SEVERAL
    else:
        assert [(part.name, part.path) for part in record.uploads] == [("", "/srv/reef/uploads")]
    beside = [("stats", True)] if sample.startswith("schema-4") else []
    assert [(part.name, bool(part.old_oid and part.new_oid)) for part in record.others] == beside
    assert record.database.startswith("app_")
    assert record.server.isdigit()
    assert journal.read() == (record,)


def test_there_is_a_sample_of_each_schema_and_none_that_is_not_tested() -> None:
    source = Path(__file__).read_text()

    names = {path.stem for path in SAMPLES.glob("*.json")}
    assert {name for name in names if f'"{name}"' not in source} == set()
    assert {int(name.split("-")[1]) for name in names} == set(range(1, CURRENT_SCHEMA + 1))


def test_fields_of_a_newer_program_are_ignored(tmp_path: Path) -> None:
    Journal(tmp_path).write(RECORD)
    document = json.loads((tmp_path / JOURNAL_NAME).read_text())
    document["restores"][0]["from_the_future"] = 1
    (tmp_path / JOURNAL_NAME).write_text(json.dumps(document))

    assert Journal(tmp_path).read() == (RECORD,)


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text('{"restores": []}')
    (tmp_path / JOURNAL_NAME).symlink_to(tmp_path / "elsewhere")

    with pytest.raises((OSError, SafeHarborError)):
        Journal(tmp_path).read()


@pytest.mark.parametrize("name", ["reef", "r" * 63, "ä" * 31, "日" * 21, 'a"b'])
def test_names_of_databases_beside_fit_and_differ(name: str) -> None:
    made = new_id()
    sides = {side_database(name, side, made) for side in ("restore", "before")}

    assert len(sides) == 2
    assert all(len(side.encode()) <= 63 and side.endswith(made) for side in sides)


def test_ids_sort_by_time() -> None:
    assert len(new_id()) == 12
    assert int(new_id(), 16) > 0


def test_what_cannot_be_read_says_where_it_is_and_what_to_type(tmp_path: Path) -> None:
    (tmp_path / JOURNAL_NAME).write_bytes(b"{")

    with pytest.raises(JournalBroken) as error:
        Journal(tmp_path).read()

    assert str(error.value) == f"{tmp_path / JOURNAL_NAME} is damaged."
    assert error.value.hint == (
        "Move it away. `safeharbor restore --undo` then lists what it finds by names, and decides nothing by itself."
    )


def test_records_stay_in_the_order_in_which_they_came_and_are_removed_one_by_one(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    others = [replace(RECORD, id=each, phase=Phase.KEPT) for each in ("2" * 12, "1" * 12)]
    for each in others:
        assert journal.write(each) == each

    assert [each.id for each in journal.read()] == ["2" * 12, "1" * 12]
    assert journal.find("3" * 12) is None
    assert find_interrupted(tmp_path) is None
    journal.remove("1" * 12)
    assert journal.read() == (others[0],)
    assert journal.advance(others[0], Phase.DISCARDING) == replace(others[0], phase=Phase.DISCARDING)
    lines = (tmp_path / JOURNAL_NAME).read_text().splitlines()
    assert '   "phase": "discarding",' in lines, "a line for each value, for who looks at it at night"
    assert oct((tmp_path / JOURNAL_NAME).stat().st_mode)[-3:] == "600"


def test_only_what_a_killed_run_left_of_it_is_swept(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.write(RECORD)
    for name in (f"{JOURNAL_NAME}.0a1b2c3d.tmp", "Xsafeharbor-restore.json.0a1b2c3d.tmp"):
        (tmp_path / name).touch()

    journal.sweep()

    assert sorted(os.listdir(tmp_path)) == [JOURNAL_NAME, "Xsafeharbor-restore.json.0a1b2c3d.tmp"]
    assert journal.read() == (RECORD,)


def test_a_restore_that_is_forgotten_does_not_come_back_after_a_power_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path)
    journal.write(RECORD)
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda number: synced.append(os.readlink(f"/proc/self/fd/{number}")))

    journal.remove(RECORD.id)

    assert synced == [str(tmp_path)]


@pytest.mark.parametrize(
    ("was_live", "is_undone", "live"), [(True, True, Side.OLD), (True, False, Side.NEW), (False, True, Side.OLD)]
)
def test_two_booleans_of_the_first_journals_are_a_side_and_a_direction(
    tmp_path: Path, was_live: bool, is_undone: bool, live: Side
) -> None:
    record = {"id": "1" * 12, "started_at": "x", "archive": "y", "phase": "swapping", "in_place": True,
              "keep_previous": False, "jobs": 3, "server": "s", "database": "d", "had_database": False,
              "transaction": "7", "uploads": "/u", "kept_database_bytes": 5, "kept_uploads_bytes": 6, "slots": 2,
              "was_live": was_live, "is_undone": is_undone}  # fmt: skip
    (tmp_path / JOURNAL_NAME).write_text(json.dumps({"restores": [record]}))

    assert Journal(tmp_path).read() == (
        RestoreRecord(
            *("1" * 12, "x", "y", Phase.SWAPPING, True, live, live.other, was_live, was_live, False),
            **{key: record[key] for key in ("jobs", "server", "database", "had_database", "transaction",
                                           "kept_database_bytes", "kept_uploads_bytes", "slots")},  # type: ignore[arg-type]
            uploads=(UploadsPart("/u", mark=None),),
        ),
    )  # fmt: skip
    (tmp_path / JOURNAL_NAME).write_text(json.dumps({"restores": [{**record, "jobs": "three"}]}))
    with pytest.raises(JournalBroken):
        Journal(tmp_path).read()


@pytest.mark.parametrize("schema", [1, 2])
def test_a_restore_of_the_database_alone_has_no_uploads_in_an_early_journal_either(tmp_path: Path, schema: int) -> None:
    sides = {"live": "new", "towards": "new", "frontier": [], "stays": []} if schema == 2 else {"is_undone": False}
    record = {"id": "1" * 12, "started_at": "x", "archive": "y", "phase": "kept", "uploads": "", **sides}
    (tmp_path / JOURNAL_NAME).write_text(json.dumps({"schema": schema, "restores": [record]}))

    (found,) = Journal(tmp_path).read()

    assert (found.uploads, found.live) == ((), Side.NEW)


def test_a_journal_of_a_newer_program_is_neither_read_nor_replaced(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.write(RECORD)
    newer = journal.path.read_text().replace(f'"schema": {CURRENT_SCHEMA}', f'"schema": {CURRENT_SCHEMA + 1}')
    journal.path.write_text(newer)

    for use in (journal.read, lambda: journal.write(RECORD), lambda: journal.remove(RECORD.id)):
        with pytest.raises(JournalBroken, match="newer Safe Harbor") as error:
            use()
        assert "Move it away" not in error.value.hint
        assert error.value.intact == "Nothing was changed."
    assert journal.path.read_text() == newer


@pytest.mark.parametrize("phase", [Phase.STAGING, Phase.KEPT])
def test_a_journal_that_could_not_be_read_again_is_not_written(tmp_path: Path, phase: Phase) -> None:
    journal = Journal(tmp_path, limit_bytes=20_000)
    record = journal.write(replace(RECORD, phase=phase))
    stays = tuple(f"cache/{number:05}.tmp" for number in range(1000))

    with pytest.raises(CannotRestore, match="too large to be read again") as error:
        journal.write(replace(record, uploads=(UploadsPart("/srv/uploads", stays=stays),)))

    assert "BACKUP_EXCLUDE" in error.value.hint
    assert "`safeharbor restore --discard-previous`" in error.value.hint
    assert error.value.intact == "The journal is as it was."
    assert journal.read() == (record,)


@pytest.mark.parametrize(("phase", "kept_free"), [(Phase.KEPT, 0), (Phase.STAGING, 64)])
def test_a_journal_may_fill_its_limit_and_while_a_restore_is_prepared_all_but_a_64th(
    tmp_path: Path, phase: Phase, kept_free: int
) -> None:
    stays = tuple(f"cache/{number:05}.tmp" for number in range(1000))
    record = replace(RECORD, phase=phase, uploads=(UploadsPart("/srv/uploads", stays=stays),))
    Journal(tmp_path).write(record)
    size = (tmp_path / JOURNAL_NAME).stat().st_size
    limit = next(each for each in range(size, 2 * size) if each - (each // kept_free if kept_free else 0) == size)
    for name in ("fits", "too large"):
        (tmp_path / name).mkdir()

    Journal(tmp_path / "fits", limit_bytes=limit).write(record)
    with pytest.raises(CannotRestore, match="too large"):
        Journal(tmp_path / "too large", limit_bytes=limit - 1).write(record)

    assert os.listdir(tmp_path / "fits") == [JOURNAL_NAME]
    assert os.listdir(tmp_path / "too large") == []


def test_what_an_exchange_adds_to_a_journal_has_room(tmp_path: Path) -> None:
    journal = Journal(tmp_path, limit_bytes=5_000)
    part = UploadsPart("/srv/uploads")
    staged = journal.write(replace(RECORD, uploads=(part,)))
    for number in range(1000):
        part = replace(part, stays=(*part.stays, f"cache/{number:05}.tmp"))
        try:
            staged = journal.write(replace(staged, uploads=(part,)))
        except CannotRestore:
            break

    journal.write(replace(staged, phase=Phase.SWAPPING, old_oid=2**32 - 1, new_oid=2**32 - 1, by_undo=True))

    assert 100 < len(staged.uploads[0].stays) < 1000
    assert journal.read()[0].phase is Phase.SWAPPING
