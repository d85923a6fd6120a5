"""The parts of a drill that need no server."""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from safeharbor_backup.actions.drill.app_check import address_of
from safeharbor_backup.actions.drill.compare import Comparison
from safeharbor_backup.actions.drill.server import place_for_server
from safeharbor_backup.actions.drill.uploads_check import read_back
from safeharbor_backup.archive.checksums import parse_sums
from safeharbor_backup.archive.layout import sums_line
from safeharbor_backup.archive.reader import read_front
from safeharbor_backup.archive.source import opened_archive
from safeharbor_backup.errors import LockHeld
from safeharbor_backup.postgres.entry_selection import without_subscriptions
from safeharbor_backup.postgres.scratch_database import is_id_of_drill, scratch_name
from safeharbor_backup.postgres.side_names import new_id
from safeharbor_backup.postgres.structure import Structure
from safeharbor_backup.postgres.toc_entries import TocEntry
from safeharbor_backup.progress import NoProgress
from safeharbor_backup.settings.address_parsing import parse_database_url
from safeharbor_backup.state.directory import drill_lock
from safeharbor_backup.system.process import app_environment
from safeharbor_backup.uploads.drill_directory import find_left_directories, remove_left_directory, scratch_directory
from support.archives import TAKEN_AT, Facts, put_archive
from support.manifests import with_facts
from support.settings import settings_of

if TYPE_CHECKING:
    from safeharbor_backup.archive.manifest import Manifest

STRUCTURE = Structure({"public.a": 5}, 3, 4)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def manifest_in(directory: Path) -> Manifest:
    """The manifest of an archive that was taken before there was anything to compare but rows."""
    path = put_archive(directory, TAKEN_AT, facts=Facts(tables={"public.entry": 3}))
    with opened_archive(path) as source:
        return read_front(source).manifest


class TestComparison:
    def test_what_an_archive_does_not_record_is_named(self, tmp_path: Path) -> None:
        comparison = Comparison()

        comparison.judge_structure(STRUCTURE, manifest_in(tmp_path), same_major=True)

        assert comparison.not_recorded == ["sequences", "materialized views", "constraints", "indexes"]
        assert (comparison.differences, comparison.cautions, comparison.compared) == ([], [], {})

    def test_a_table_that_is_missing_or_has_other_rows_differs(self, tmp_path: Path) -> None:
        comparison = Comparison()

        rows = comparison.judge_rows({"public.other": 7}, manifest_in(tmp_path))

        assert rows == 7
        assert comparison.differences == ["public.entry has 0 rows instead of 3"]

    def test_numbers_of_another_major_version_are_a_caution(self, tmp_path: Path) -> None:
        manifest = with_facts(manifest_in(tmp_path), constraints=3, indexes=5)
        same, other = Comparison(), Comparison()

        same.judge_structure(STRUCTURE, manifest, same_major=True)
        other.judge_structure(STRUCTURE, manifest, same_major=False)

        assert (same.differences, same.cautions) == (["indexes: 4 instead of 5"], [])
        assert (other.differences, other.cautions) == ([], ["indexes: 4 instead of 5"])

    @pytest.mark.parametrize(
        ("recorded", "found", "is_equal"),
        [(5, 5, True), (5, 6, True), (5, 4, False), (5, None, False), (None, None, True), (None, 7, True)],
    )
    def test_a_sequence_may_be_further_and_never_behind(
        self, tmp_path: Path, recorded: int | None, found: int | None, *, is_equal: bool
    ) -> None:
        up, down = Comparison(), Comparison()
        manifest = manifest_in(tmp_path)
        backwards = -found if found is not None else None

        up.judge_structure(
            Structure({"a": found}, 0, 0), with_facts(manifest, sequences={"a": recorded}), same_major=True
        )
        down.judge_structure(
            Structure({"a": backwards}, 0, 0, descending=frozenset("a")),
            with_facts(manifest, sequences={"a": -recorded if recorded is not None else None}),
            same_major=True,
        )

        assert (not up.differences, not down.differences) == (is_equal, is_equal)

    def test_a_sequence_that_cycles_has_no_order_but_must_be_there(self, tmp_path: Path) -> None:
        manifest = with_facts(manifest_in(tmp_path), sequences={"a": 5, "b": 1})
        comparison = Comparison()

        comparison.judge_structure(Structure({"a": 1}, 0, 0, cycling=frozenset("a")), manifest, same_major=True)

        assert comparison.differences == ["the sequence b is missing"]


class TestUploads:
    NAMES = (b"uploads/a.jpg", b"uploads/new\nline", b"uploads/back\\slash", b"uploads/\xff")

    def test_lines_of_sums_are_read_as_they_were_written(self) -> None:
        lines = b"".join(sums_line(name, sha256(name)) for name in self.NAMES) + bytes(300)

        for size in (1, 7, 64, 10_000):
            chunks = [lines[at : at + size] for at in range(0, len(lines), size)]
            assert list(parse_sums(chunks)) == [(name, sha256(name)) for name in self.NAMES]

    def test_what_is_on_the_disk_is_compared(self, tmp_path: Path) -> None:
        for name in self.NAMES:
            path = os.path.join(os.fsencode(tmp_path), name.removeprefix(b"uploads/"))
            with open(path, "wb") as file:
                file.write(name)
        sums = [(name, sha256(name)) for name in self.NAMES]

        good = read_back(tmp_path, [(b"db.dump", "x"), *sums], NoProgress())
        (tmp_path / "a.jpg").write_bytes(b"rotten")
        (tmp_path / "new\nline").unlink()
        bad = read_back(tmp_path, sums, NoProgress())

        assert (good.files, good.different.count) == (4, 0)
        assert bad.different.count == 2
        assert bad.different.names[0] == f"a.jpg: {sha256(b'rotten')} instead of {sha256(b'uploads/a.jpg')}"

    def test_a_link_in_the_place_of_a_file_is_not_followed(self, tmp_path: Path) -> None:
        (tmp_path / "secret").write_bytes(b"x")
        (tmp_path / "a.jpg").symlink_to(tmp_path / "secret")

        assert read_back(tmp_path, [(b"uploads/a.jpg", sha256(b"x"))], NoProgress()).different.count == 1


class TestScratch:
    def test_names_stay_within_63_bytes_and_end_with_the_id(self) -> None:
        drill_id = new_id()

        for base in ("reef", "ü" * 40, "x" * 63):
            name = scratch_name(base, drill_id)
            assert len(name.encode()) <= 63
            assert name.endswith(f"_drill_{drill_id}")

    def test_only_a_time_at_which_a_drill_can_have_been_is_an_id(self) -> None:
        assert is_id_of_drill(new_id())
        assert not is_id_of_drill("0123456789ab")
        assert not is_id_of_drill("ffffffffffff")

    def test_what_is_in_use_is_no_leftover_and_nothing_stays(self, tmp_path: Path) -> None:
        with scratch_directory(tmp_path, new_id(), pytest.fail) as uploads:
            (uploads / "shut").mkdir(mode=0o500)
            assert uploads.parent.stat().st_mode & 0o777 == 0o700
            assert find_left_directories(tmp_path) == []
            remove_left_directory(uploads.parent)
            assert uploads.is_dir()

        assert list(tmp_path.iterdir()) == []

    def test_what_nobody_holds_is_found_and_removed(self, tmp_path: Path) -> None:
        with scratch_directory(tmp_path, new_id(), pytest.fail) as uploads:
            time.sleep(0.001)  # ids are tenths of milliseconds
            left = tmp_path / f".safeharbor-drill-{new_id()}"
            left.mkdir()
            (left / "in-use").write_bytes((uploads.parent / "in-use").read_bytes())
            (left / "uploads").mkdir()
        time.sleep(0.001)  # ids are tenths of milliseconds
        empty = tmp_path / f".safeharbor-drill-{new_id()}"
        empty.mkdir()

        assert find_left_directories(tmp_path) == [left]  # the empty one may be of a drill that begins
        os.utime(empty, (time.time() - 3600,) * 2)
        assert find_left_directories(tmp_path) == [left, empty]
        for path in (left, empty):
            remove_left_directory(path)
        assert list(tmp_path.iterdir()) == []

    def test_one_drill_at_a_time(self, tmp_path: Path) -> None:
        with drill_lock(tmp_path), pytest.raises(LockHeld), drill_lock(tmp_path):
            pass
        with drill_lock(tmp_path):
            pass


def test_a_private_server_goes_where_there_is_room(tmp_path: Path) -> None:
    manifest = manifest_in(tmp_path)
    settings = settings_of(backup_dir=tmp_path)

    assert place_for_server(settings, with_facts(manifest, size_bytes=1000)) is None
    assert place_for_server(settings, with_facts(manifest, size_bytes=10**18)) == tmp_path
    assert place_for_server(settings, None) is None
    assert place_for_server(replace(settings, tmp_dir=Path("/x")), manifest) == Path("/x")


def test_subscriptions_are_left_out() -> None:
    entries = ["3800; …", "3801; …", "220; …"]
    toc = {
        3800: TocEntry(3800, "SUBSCRIPTION", "", "upstream", "postgres", ()),
        3801: TocEntry(3801, "COMMENT", "", "SUBSCRIPTION upstream", "postgres", (3800,)),
        220: TocEntry(220, "TABLE", "public", "SUBSCRIPTION", "owner", ()),
    }

    assert without_subscriptions(entries, toc) == entries[2:]


@pytest.mark.parametrize(
    ("given", "driver", "expected"),
    [
        ("postgresql://u:p@h:5432/d", "", "postgresql://u:p%40@h:5432/d"),
        ("postgresql+psycopg://u@h:5432/d", "psycopg", "postgresql+psycopg://u:p%40@h:5432/d"),
        ("postgresql://u@/d%20d?host=/run/pg&port=5", "", "postgresql://u:p%40@/d%20d?host=%2Frun%2Fpg&port=5"),
        (
            "postgresql://u@[::1]:5432/d?sslmode=require&options=-c%20a%3Db",
            "",
            "postgresql://u:p%40@[::1]:5432/d?sslmode=require",
        ),
    ],
)
def test_an_app_gets_the_address_as_it_was_spelled_for_it(given: str, driver: str, expected: str) -> None:
    url = parse_database_url(given)

    assert url.driver == driver
    assert address_of(url, "p@", url.driver) == expected


def test_nothing_in_an_apps_environment_leads_to_the_live_state(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "BACKUP_DATABASE_URL",
        "RESTORE_DATABASE_URL",
        "PGHOST",
        "PGPASSWORD",
        "UPLOAD_FOLDER",
        "DATABASE_URL",
    ):
        monkeypatch.setenv(name, "live")
    monkeypatch.setenv("FLASK_APP", "reef")

    environment = app_environment({"DATABASE_URL": "scratch", "UPLOAD_DIR": "/scratch"})

    assert "live" not in environment.values()
    assert environment["FLASK_APP"] == "reef"
    assert environment["DATABASE_URL"] == "scratch"
