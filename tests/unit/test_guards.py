from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from safeharbor_backup.actions.catalog.entries import look_at
from safeharbor_backup.actions.catalog.guards import judge_identity, judge_shortfall
from safeharbor_backup.state.adopted import Adopted, read_adopted, write_adopted
from support.archives import TAKEN_AT, put_archive
from support.manifests import with_facts
from support.needs import need_root

if TYPE_CHECKING:
    from pathlib import Path

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


def test_a_databases_name_cannot_command_the_terminal(usual: Manifest) -> None:
    reason = judge_identity(usual, with_facts(usual, database="\x1b[2J\ud800"), Adopted())

    assert reason.isprintable()


def test_a_server_that_does_not_tell_its_identifier_is_known_by_the_databases_name(usual: Manifest) -> None:
    silent = with_facts(usual, system_identifier="")

    assert judge_identity(silent, usual, Adopted()) == ""
    assert judge_identity(usual, silent, Adopted()) == ""
    assert judge_identity(with_facts(silent, database="other"), usual, Adopted())


def test_what_was_adopted_is_remembered(tmp_path: Path) -> None:
    adopted = Adopted(frozenset({("7", "reef"), ("8", 'od"d\n')}), frozenset({"safeharbor-backup-x.tar"}))

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
