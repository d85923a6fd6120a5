"""The journal of restores: whole or not at all, readable after a crash, and not fooled by what is in its place."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from safeharbor_backup.errors import SafeHarborError
from safeharbor_backup.postgres.side_names import new_id, side_database
from safeharbor_backup.state.journal import CURRENT_SCHEMA, JOURNAL_NAME, Journal, JournalBroken, find_interrupted
from safeharbor_backup.state.restore_record import Leg, Mark, Phase, RestoreRecord, Side, StageIdentity
from support.json_schemas import complaints

RECORD = RestoreRecord("0123456789ab", "2026-11-23T00:00:00Z", "/backups/x.tar", Phase.STAGING, database="reef")
SAMPLES = Path(__file__).parents[1] / "support" / "journals"  # journals that the programs of then have left


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    second = replace(RECORD, id="0000000000ff", phase=Phase.KEPT)
    journal.write(RECORD)
    journal.write(second)
    journal.advance(RECORD, Phase.SWAPPING)

    assert journal.read() == (second, replace(RECORD, phase=Phase.SWAPPING))
    assert journal.find("0000000000ff") == second
    assert find_interrupted(tmp_path) == replace(RECORD, phase=Phase.SWAPPING)


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
        b'{"restores": [{"id": "x"}]}',
        b"\xff" * 9,
        b"[" * 100_000,
        b'{"schema": 2, "restores": [{"id": "x", "started_at": "", "archive": "", "phase": "kept"}]}',
        b'{"schema": 2, "restores": [{"id": 7, "started_at": "", "archive": "", "phase": "kept", "live": "old", '
        b'"towards": "new", "frontier": [], "stays": []}]}',
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
    Journal(tmp_path).write(replace(RECORD, stage=stage, mark=Mark(Side.OLD, Leg.OUT), stays=("not UTF-8: \udce9",)))
    document = json.loads((tmp_path / JOURNAL_NAME).read_text())

    assert complaints("journal", document) == []
    document["restores"][0]["live"] = "elsewhere"
    assert complaints("journal", document) != []


_AT_REST = {side: Mark(side, Leg.AT_REST) for side in Side}


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
    ],
)
def test_what_earlier_programs_left_is_read_and_kept_whole(
    tmp_path: Path, sample: str, phase: Phase, live: Side, mark: Mark | None
) -> None:
    shutil.copy(SAMPLES / f"{sample}.json", tmp_path / JOURNAL_NAME)
    journal = Journal(tmp_path)

    (record,) = journal.read()
    journal.write(record)

    assert (record.phase, record.live, record.mark) == (phase, live, mark)
    assert (record.uploads, record.jobs, record.keep_previous) == ("/srv/reef/uploads", 2, True)
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
