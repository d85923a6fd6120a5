from __future__ import annotations

import os
import stat
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec
import pytest

from safeharbor_backup.actions.catalog.entries import look_at
from safeharbor_backup.actions.catalog.guards import (
    find_elsewhere,
    find_shortfall,
    find_shortfalls,
    identities_of,
    judge_identity,
    judge_shortfall,
    judge_size,
)
from safeharbor_backup.archive.manifest_sections import Folder, OtherDatabase, Place, Source
from safeharbor_backup.state.adopted import Adopted, read_adopted, write_adopted
from support.archives import TAKEN_AT, put_archive
from support.manifests import with_facts
from support.needs import need_root

if TYPE_CHECKING:
    from pathlib import Path

    from safeharbor_backup.actions.catalog.entries import CatalogEntry
    from safeharbor_backup.archive.manifest import Manifest


@pytest.fixture
def usual(tmp_path: Path) -> Manifest:
    """The manifest of an archive with 100 uploads of 1,000 bytes and 200 rows."""
    entry = look_at(put_archive(tmp_path, TAKEN_AT), TAKEN_AT)
    assert entry is not None
    manifest = entry.manifest
    assert manifest is not None
    return with_facts(manifest, upload_files=100, upload_bytes=100_000, tables={"public.a": 150, "public.b": 50})


def test_two_archives_alike_give_no_reason(usual: Manifest) -> None:
    assert judge_shortfall(usual, usual) == ""
    assert judge_shortfall(usual, None) == ""
    assert judge_identity(usual, usual, Adopted()) == ""
    assert judge_identity(usual, None, Adopted()) == ""


@pytest.mark.parametrize(
    ("files", "is_short"), [(0, True), (1, True), (49, True), (50, True), (51, False), (99, False), (1000, False)]
)
def test_uploads_gone_or_halved_are_a_reason(usual: Manifest, files: int, is_short: bool) -> None:
    assert bool(judge_shortfall(with_facts(usual, upload_files=files), usual)) is is_short


@pytest.mark.parametrize(("size", "is_short"), [(0, True), (50_000, True), (50_001, False), (10**12, False)])
def test_bytes_of_uploads_gone_or_halved_are_a_reason(usual: Manifest, size: int, is_short: bool) -> None:
    assert bool(judge_shortfall(with_facts(usual, upload_bytes=size), usual)) is is_short


@pytest.mark.parametrize(("rows", "is_short"), [(0, True), (100, True), (101, False), (199, False), (10**9, False)])
def test_rows_gone_or_halved_are_a_reason(usual: Manifest, rows: int, is_short: bool) -> None:
    assert bool(judge_shortfall(with_facts(usual, tables={"public.a": rows}), usual)) is is_short


@pytest.mark.parametrize(
    ("now", "is_short"), [({"media": 99, "docs": 0}, True), ({"media": 99}, True), ({"media": 99, "docs": 1}, False)]
)
def test_one_of_several_directories_that_is_empty_now_is_a_reason(
    usual: Manifest, now: dict[str, int], is_short: bool
) -> None:
    def with_files(files: dict[str, int], *names: str) -> Manifest:
        folders = tuple(Folder(name=name, files=count, bytes=count) for name, count in files.items())
        return with_facts(usual, folders=folders, directories=tuple(Place(name=name) for name in names))

    earlier = with_files({"media": 98, "docs": 2}, "docs", "media")

    found = judge_shortfall(with_files(now, "docs", "media"), earlier)

    assert found == ("the archive has no files of docs, an earlier one had 2" if is_short else "")
    assert judge_shortfall(with_files(now, "media"), earlier) == ""  # it was taken out of the settings
    assert judge_shortfall(with_files(now), earlier) == ""  # folders of one tree come and go
    assert judge_shortfall(with_files(now, "media", "new"), earlier) == ""  # it had none before


@pytest.mark.parametrize(("rows", "is_short"), [(None, True), (0, True), (5, True), (6, False), (90, False)])
def test_rows_beside_the_main_database_gone_or_halved_are_a_reason(
    usual: Manifest, rows: int | None, is_short: bool
) -> None:
    def with_stats(count: int | None) -> Manifest:
        tables = {"public.visit": count or 0}
        stats = OtherDatabase(
            name="stats",
            source=Source(system_identifier="1", database="numbers"),
            dump_bytes=1,
            database=msgspec.structs.replace(usual.about_database, tables=tables),
        )
        return msgspec.structs.replace(usual, others=msgspec.UNSET if count is None else (stats,))

    found = judge_shortfall(with_stats(rows), with_stats(10))

    assert ("stats" in found) is is_short
    assert judge_shortfall(with_stats(10), with_stats(None)) == ""
    assert judge_shortfall(with_stats(None), with_stats(0)) == judge_shortfall(with_stats(0), with_stats(0)) == ""
    assert judge_shortfall(with_stats(0), with_stats(1))
    renamed = tuple(msgspec.structs.replace(each, name="numbers") for each in with_stats(rows).databases)
    assert bool(judge_shortfall(msgspec.structs.replace(usual, others=renamed), with_stats(10))) is is_short


def test_a_database_beside_the_main_one_is_measured_by_its_name_wherever_it_is_and_its_loss_is_said(
    usual: Manifest,
) -> None:
    def with_stats(system: str, **tables: int) -> Manifest:
        source = Source(system_identifier=system, database="numbers")
        database = msgspec.structs.replace(usual.about_database, tables=dict(tables))
        return msgspec.structs.replace(
            usual, others=(OtherDatabase(name="stats", source=source, dump_bytes=1, database=database),)
        )

    earlier = with_stats("1", visit=2000, page=1)

    assert judge_shortfall(with_stats("2", visit=2000, page=1), earlier) == ""
    assert judge_shortfall(with_stats("2", visit=1, page=0), earlier) == (
        "the archive has 1 row in stats, an earlier one had 2,001; visit has 1 of 2,000"
    )
    assert judge_shortfall(with_stats("1", visit=0, page=3), earlier) == (
        "the archive has 3 rows in stats, an earlier one had 2,001; visit has 0 of 2,000"
    )
    assert judge_shortfall(usual, earlier) == "the archive has no database stats, an earlier one had 2,001 rows in it"
    alone = with_stats("1", page=1)
    assert judge_shortfall(usual, alone) == "the archive has no database stats, an earlier one had 1 row in it"


def test_an_app_that_never_had_uploads_gives_no_reason(usual: Manifest) -> None:
    empty = with_facts(usual, upload_files=0, upload_bytes=0, tables={})

    assert judge_shortfall(empty, empty) == ""
    assert judge_shortfall(usual, empty) == ""


@pytest.mark.parametrize(
    ("read", "unreadable", "is_short"),
    [(100, 0, False), (99, 1, False), (100, 1, False), (98, 2, True), (0, 1, True), (9900, 100, False), (0, 0, False)],
)
def test_more_than_one_in_a_hundred_unreadable_is_a_reason_even_for_the_first(
    usual: Manifest, read: int, unreadable: int, is_short: bool
) -> None:
    newest = with_facts(usual, upload_files=read, unreadable=unreadable)

    assert bool(judge_shortfall(newest, None)) is is_short


def test_a_directory_that_could_not_be_read_is_a_reason(usual: Manifest) -> None:
    assert judge_shortfall(with_facts(usual, unreadable_directories=1), usual)


@pytest.mark.parametrize(("system", "database"), [("8", "reef"), ("7000000000000000001", "other"), ("8", "other")])
def test_another_database_is_a_reason_until_both_are_adopted(usual: Manifest, system: str, database: str) -> None:
    newest = with_facts(usual, system_identifier=system, database=database)

    assert "another database" in judge_identity(newest, usual, Adopted())
    assert judge_identity(newest, usual, Adopted(frozenset({newest.identity})))
    assert judge_identity(newest, usual, Adopted(frozenset({newest.identity, usual.identity}))) == ""


@pytest.mark.parametrize(
    ("system", "database", "is_another", "is_elsewhere"),
    [
        ("7", "stats", False, False),
        ("", "stats", False, False),
        ("8", "stats", True, True),
        ("7", "other", True, False),
    ],
)
def test_another_database_beside_the_main_one_is_a_reason_until_both_are_adopted(
    usual: Manifest, *, system: str, database: str, is_another: bool, is_elsewhere: bool
) -> None:
    def with_stats(system: str, database: str, name: str = "stats") -> Manifest:
        source = Source(system_identifier=system, database=database)
        stats = OtherDatabase(name=name, source=source, dump_bytes=1, database=usual.about_database)
        return msgspec.structs.replace(usual, others=(stats,))

    newest, earlier = with_stats(system, database), with_stats("7", "stats")

    found = judge_identity(newest, earlier, Adopted())

    assert found == ('of another database as stats ("stats" on another server or by another name)' * is_another)
    assert find_elsewhere(newest, earlier, Adopted()) == ["stats"] * is_elsewhere
    databases, others = identities_of([newest, earlier])
    assert judge_identity(newest, earlier, Adopted(frozenset(databases), others=frozenset(others))) == ""
    half = Adopted(frozenset({(system, database), ("7", "stats")}), others=frozenset({("stats", "7", "stats")}))
    assert judge_identity(newest, earlier, half) == found
    assert judge_identity(with_stats(system, database, "logs"), earlier, Adopted()) == ""
    assert judge_identity(usual, earlier, Adopted()) == judge_identity(newest, usual, Adopted()) == ""


def test_what_an_earlier_version_adopted_holds_for_the_databases_beside_the_main_one_too(
    tmp_path: Path, usual: Manifest
) -> None:
    def on(system: str, stats: str = "") -> Manifest:
        source = Source(system_identifier=stats or system, database="stats")
        other = OtherDatabase(name="stats", source=source, dump_bytes=1, database=usual.about_database)
        return msgspec.structs.replace(with_facts(usual, system_identifier=system), others=(other,))

    def adopted(more: str = "") -> Adopted:
        write_adopted(tmp_path, Adopted())
        document = f'{{"databases": [["7", "reef"], ["8", "reef"]], "archives": []{more}}}'
        (tmp_path / ".safeharbor" / "adopted.json").write_text(document)
        return read_adopted(tmp_path)

    assert judge_identity(on("8"), on("7"), adopted()) == ""
    assert "another database as stats" in judge_identity(on("8"), on("7"), adopted(', "others": []'))
    assert "another database as stats" in judge_identity(on("8", "9"), on("8"), adopted()), "only stats is another one"
    assert "another database" in judge_identity(on("9"), on("8"), adopted())
    assert "another database as stats" in judge_identity(on("", "8"), on("7"), adopted()), "nobody adopted this"


def test_a_databases_name_cannot_command_the_terminal(usual: Manifest) -> None:
    reason = judge_identity(usual, with_facts(usual, database="\x1b[2J\ud800"), Adopted())

    assert reason.isprintable()


def test_a_server_that_does_not_tell_its_identifier_is_known_by_the_databases_name(usual: Manifest) -> None:
    silent = with_facts(usual, system_identifier="")

    assert judge_identity(silent, usual, Adopted()) == ""
    assert judge_identity(usual, silent, Adopted()) == ""
    assert judge_identity(with_facts(silent, database="other"), usual, Adopted())


def test_what_was_adopted_is_remembered(tmp_path: Path) -> None:
    archives = frozenset({"safeharbor-backup-x.tar"})
    adopted = Adopted(frozenset({("7", "reef"), ("8", 'od"d\n')}), archives, frozenset({("stats", "7", "stats")}))

    write_adopted(tmp_path, adopted)

    assert read_adopted(tmp_path) == adopted
    assert stat.S_IMODE(os.lstat(tmp_path / ".safeharbor").st_mode) == 0o700


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"databases": 1}', b'{"databases": [["a"]]}', b"\xff", b'{"databases": [1]}']
)
def test_a_memory_that_is_damaged_is_no_memory(tmp_path: Path, content: bytes) -> None:
    (tmp_path / ".safeharbor").mkdir()
    (tmp_path / ".safeharbor" / "adopted.json").write_bytes(content)

    assert read_adopted(tmp_path) == Adopted()


def test_what_root_remembers_belongs_to_the_directorys_owner(tmp_path: Path) -> None:
    need_root()
    os.chown(tmp_path, 12345, 23456)

    write_adopted(tmp_path, Adopted(frozenset({("7", "reef")})))

    for path in (tmp_path / ".safeharbor", tmp_path / ".safeharbor" / "adopted.json"):
        assert (os.lstat(path).st_uid, os.lstat(path).st_gid) == (12345, 23456)


def nights(tmp_path: Path, *rows: int | None) -> list[CatalogEntry]:
    """One archive each night with so many rows, the newest first; None: damaged."""
    found = []
    for night, count in enumerate(rows):
        taken_at = TAKEN_AT + timedelta(days=night)
        entry = look_at(put_archive(tmp_path, taken_at), taken_at)
        assert entry is not None
        assert entry.manifest is not None
        manifest = None if count is None else with_facts(entry.manifest, tables={"public.t": count})
        found.append(replace(entry, manifest=manifest))
    return found[::-1]


def is_anything(_manifest: Manifest) -> bool:
    return True


@pytest.mark.parametrize(
    ("rows", "usual"),
    [
        ((100, 100), None),
        ((100, 50), 0),
        ((100, 40, 41), 0),  # the second short night is measured by the last that was not
        ((100, 40, 60), None),
        ((100, 60, 31), None),
        ((100, 60, 30), 1),
        ((100, None, 50), 0),
        ((None, 50), None),
        ((50,), None),
    ],
)
def test_the_newest_is_measured_by_the_last_that_was_not_short(
    tmp_path: Path, rows: tuple[int | None, ...], usual: int | None
) -> None:
    archives = nights(tmp_path, *rows)

    found = find_shortfall(archives, archives[0], Adopted(), is_anything)

    assert (found.usual if found is not None else None) == (None if usual is None else archives[::-1][usual])
    if found is not None:
        assert found.text.startswith(f"the archive has {rows[-1]} rows, an earlier one had ")
    assert find_shortfall(archives[::-1], archives[0], Adopted(), is_anything) == found  # in whatever order they come


def test_what_was_adopted_is_where_counting_begins_anew(tmp_path: Path) -> None:
    archives = nights(tmp_path, 100, 40, 39, 19)
    oldest_first = archives[::-1]
    adopted = Adopted(archives=frozenset({oldest_first[1].name}))

    assert find_shortfall(archives, oldest_first[1], adopted, is_anything) is None
    assert find_shortfall(archives[1:], oldest_first[2], adopted, is_anything) is None
    short = find_shortfall(archives, oldest_first[3], adopted, is_anything)
    assert short is not None
    assert short.usual == oldest_first[2]
    without = [each for each in archives if each.name not in adopted.archives]  # it was pruned meanwhile
    assert find_shortfall(without, oldest_first[2], adopted, is_anything) is None


def test_what_was_adopted_is_not_short_by_itself_either(tmp_path: Path) -> None:
    (archive,) = nights(tmp_path, 100)
    assert archive.manifest is not None
    holed = replace(archive, manifest=with_facts(archive.manifest, unreadable_directories=1))

    assert find_shortfall([holed], holed, Adopted(), is_anything) is not None
    assert find_shortfall([holed], holed, Adopted(archives=frozenset({holed.name})), is_anything) is None
    assert find_shortfalls([holed], Adopted(archives=frozenset({holed.name}))) == {}


@pytest.mark.parametrize("rows", [(100, 40, 39, 19), (100, None, 50, 60, 20), (100, 100, 30, 90), (None, 50)])
@pytest.mark.parametrize("accepted", [None, 0, 1, 2])
def test_all_in_one_go_are_measured_as_each_was_when_it_was_the_newest(
    tmp_path: Path, rows: tuple[int | None, ...], accepted: int | None
) -> None:
    archives = nights(tmp_path, *rows)
    names = sorted(each.name for each in archives)
    adopted = Adopted(archives=frozenset(names[accepted : accepted + 1] if accepted is not None else []))

    alone = {
        each.name: find_shortfall([one for one in archives if one.name <= each.name], each, adopted, is_anything)
        for each in archives
    }

    assert find_shortfalls(archives, adopted) == {name: short for name, short in alone.items() if short is not None}


def test_databases_of_other_names_are_measured_apart(tmp_path: Path) -> None:
    newest, before, oldest = nights(tmp_path, 100, 40, 45)
    assert before.manifest is not None
    other = replace(before, manifest=with_facts(before.manifest, database="other"))

    assert list(find_shortfalls([newest, other, oldest], Adopted())) == [newest.name]


def test_an_archive_that_cannot_be_compared_is_no_measure(tmp_path: Path) -> None:
    archives = nights(tmp_path, 100, 90, 40)
    damaged = replace(archives[0], manifest=None)

    assert find_shortfall(archives, archives[0], Adopted(), lambda each: each.rows != 90) is not None
    assert find_shortfall(archives, archives[0], Adopted(), lambda each: each.rows == 40) is None
    assert find_shortfall([damaged, *archives[1:]], damaged, Adopted(), is_anything) is None


@pytest.mark.parametrize(
    ("now", "then", "says"),
    [
        ({"a": 10}, {"a": 100}, "the archive has 10 rows, an earlier one had 100; a has 10 of 100"),
        ({}, {"a": 100}, "the archive has 0 rows, an earlier one had 100; a with 100 is gone"),
        ({"b": 40}, {"a": 60, "b": 40}, "the archive has 40 rows, an earlier one had 100; a with 60 is gone"),
        ({"a": 10, "b": 40}, {"a": 55, "b": 85}, "the archive has 50 rows, an earlier one had 140; a has 10 of 55"),
        ({"a": 1, "b": 1, "c": 1}, {"a": 9, "b": 9, "c": 9}, "the archive has 3 rows, an earlier one had 27"),
        ({"a": 1, "b": 1, "c": 1, "d": 9}, {"a": 9, "b": 9, "c": 9, "d": 1},
         "the archive has 12 rows, an earlier one had 28"),
        ({"a": 0, "b": 9}, {"a": 4000, "b": 1}, "the archive has 9 rows, an earlier one had 4,001; a has 0 of 4,000"),
        ({"a": 0, "b": 0}, {"a": 50, "b": 50}, "the archive has 0 rows, an earlier one had 100; a has 0 of 50"),
        ({"b": 10}, {"a": 10, "b": 20}, "the archive has 10 rows, an earlier one had 30; a with 10 is gone"),
        ({}, {"a": 1}, "the archive has 0 rows, an earlier one had 1; a with 1 is gone"),
    ],
)  # fmt: skip
def test_the_table_that_lost_most_is_named(
    usual: Manifest, now: dict[str, int], then: dict[str, int], says: str
) -> None:
    assert judge_shortfall(with_facts(usual, tables=now), with_facts(usual, tables=then)) == says


def test_each_kind_of_loss_says_what_and_how_much(usual: Manifest) -> None:
    fewer, smaller = with_facts(usual, upload_files=5), with_facts(usual, upload_bytes=5_000)

    assert judge_shortfall(fewer, usual) == "the archive has 5 upload files, an earlier one had 100"
    one = with_facts(usual, upload_files=1)
    assert judge_shortfall(one, usual) == "the archive has 1 upload file, an earlier one had 100"
    assert judge_shortfall(smaller, usual) == "the archive has 5,000 bytes of uploads, an earlier one had 100,000"
    unreadable = with_facts(usual, unreadable=2)
    assert judge_shortfall(unreadable, usual) == "2 of 102 uploads could not be read"


def test_an_archive_of_half_the_size_is_said_to_be(tmp_path: Path) -> None:
    after, before = nights(tmp_path, 1, 1)
    assert after.manifest is not None
    before, half = replace(before, size=10_000), replace(after, size=5_000)

    said = "the archive has 5,000 bytes, the previous one had 10,000"
    assert judge_size(half, before) == said
    assert judge_size(replace(after, size=5_001), before) == ""
    assert judge_size(half, None) == judge_size(half, replace(before, manifest=None)) == ""
    assert judge_size(replace(half, manifest=None), before) == ""
    other, packed = with_facts(after.manifest, database="other"), with_facts(after.manifest, compression="zstd:3")
    assert judge_size(replace(half, manifest=other), before) == ""
    assert judge_size(replace(half, manifest=packed), before) == ""


def test_who_another_archive_is_of_is_said_with_its_name(usual: Manifest) -> None:
    other = with_facts(usual, database="forum")

    said = judge_identity(usual, other, Adopted())
    assert said == 'of another database ("forum" on another server or by another name)'
    half = Adopted(frozenset({usual.identity}))
    assert judge_identity(usual, other, half) == said
    nameless = with_facts(usual, system_identifier="")
    assert judge_identity(usual, nameless, Adopted()) == judge_identity(nameless, usual, Adopted()) == ""
    assert judge_identity(usual, with_facts(other, system_identifier=""), Adopted()) == said
