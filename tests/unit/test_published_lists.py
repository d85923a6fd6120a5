"""What is in each archive, as it is published beside the status file."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import json
import os
import stat
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from benchmarks.lookup import write_many

from safeharbor_backup.actions.catalog.entries import read_catalog
from safeharbor_backup.actions.status.list_schema import MOST_BYTES
from safeharbor_backup.actions.status.published_lists import publish_lists, read_list
from safeharbor_backup.archive.layout import archive_name
from safeharbor_backup.web.archive_page import Asked, render_archive
from support.archives import TAKEN_AT, Facts, foreign_archive, put_archive, upload
from support.commands import run_inside
from support.json_schemas import complaints

if TYPE_CHECKING:
    from pathlib import Path

    from safeharbor_backup.settings.model import Settings

ODD = b"odd\\ \n\x1b[2J\xff.jpg"


@pytest.fixture
def published(configured: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the state is to be published; the directory has one archive of an hour ago, without uploads."""
    path = tmp_path / "state" / "status.json"
    path.parent.mkdir()
    monkeypatch.setenv("BACKUP_STATUS_FILE", str(path))
    return path


@pytest.fixture
def uploads(tmp_path: Path) -> Path:
    """Two files and a link."""
    made = tmp_path / "uploads"
    (made / "a").mkdir(parents=True)
    (made / "a" / "cat.jpg").write_bytes(b"miau")
    with open(os.path.join(os.fsencode(made), ODD), "wb") as file:
        file.write(b"?" * 1000)
    (made / "b").symlink_to("a/cat.jpg")
    return made


def lists_in(published: Path) -> list[str]:
    return sorted(os.listdir(published.parent / "status-archives"))


def read(packed: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gzip.decompress(packed).splitlines()]


def test_each_run_leaves_a_list_of_what_is_in_each_archive(published: Path, settings: Settings, uploads: Path) -> None:
    facts = Facts(tables={"public.entry": 3, 'public."Odd\udcff\n"': 2})
    archive = put_archive(settings.backup_dir, TAKEN_AT, uploads=uploads, facts=facts)

    result = run_inside("status", "--healthcheck")

    assert (result.exit_code, result.stderr) == (0, "")
    assert len(lists_in(published)) == 2
    found = published.parent / "status-archives" / "safeharbor-backup-2026-05-07T03-00-00Z.jsonl.gz"
    head, *files = read(found.read_bytes())
    assert head == {
        "schema": 1,
        "archive": archive.name,
        "taken_at": "2026-05-07T03:00:00Z",
        "size_bytes": archive.stat().st_size,
        "database": "reef",
        "rows": 5,
        "table_count": 2,
        "tables": [['public."Odd\udcff\n"', 2], ["public.entry", 3]],
        "upload_files": 2,
        "upload_bytes": 1004,
        "files": 3,
        "cut": False,
        "problem": "",
    }
    assert files == [
        {"path": "a/cat.jpg", "size_bytes": 4, "sha256": hashlib.sha256(b"miau").hexdigest()[:12]},
        {"path": "b", "size_bytes": None, "sha256": ""},
        {
            "path": ODD.decode("utf-8", "surrogateescape"),
            "size_bytes": 1000,
            "sha256": hashlib.sha256(b"?" * 1000).hexdigest()[:12],
        },
    ]
    assert complaints("archive-list", head) == []
    assert [complaints("archive-list-file", file) for file in files] == [[], [], []]


def test_a_list_is_written_once_and_again_when_the_archive_is_another(published: Path, settings: Settings) -> None:
    archive = put_archive(settings.backup_dir, TAKEN_AT)
    run_inside("status", "--healthcheck")
    place = published.parent / "status-archives" / "safeharbor-backup-2026-05-07T03-00-00Z.jsonl.gz"
    first = place.stat()

    run_inside("prune")
    assert place.stat() == first  # not even read: its access time is the same

    os.utime(place, ns=(0, first.st_mtime_ns - 10 * 10**9))  # as if the archive had been touched ten seconds later
    archive.unlink()
    put_archive(settings.backup_dir, TAKEN_AT, facts=Facts(tables={"public.other": 9}))
    run_inside("prune")
    assert read(place.read_bytes())[0]["tables"] == [["public.other", 9]]


def test_the_list_of_an_archive_that_is_gone_goes_and_nothing_else(published: Path, settings: Settings) -> None:
    archive = put_archive(settings.backup_dir, TAKEN_AT)
    run_inside("prune")
    before = lists_in(published)
    others = ["notes.txt", "safeharbor-backup-2026-05-07T03-00-00Z.tar", "safeharbor-backup-x.jsonl.gz"]
    for name in others:
        (published.parent / "status-archives" / name).touch()

    archive.unlink()
    run_inside("prune")

    gone = "safeharbor-backup-2026-05-07T03-00-00Z.jsonl.gz"
    assert gone in before
    assert lists_in(published) == sorted([*(name for name in before if name != gone), *others])


def test_who_reads_the_status_file_can_read_them_whatever_the_umask(published: Path) -> None:
    before = os.umask(0o077)
    try:
        run_inside("prune")
    finally:
        os.umask(before)

    directory = published.parent / "status-archives"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o755
    assert [stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()] == [0o644]


def test_if_they_cannot_be_written_one_warning_says_so_and_the_status_stays(published: Path) -> None:
    (published.parent / "status-archives").touch()

    result = run_inside("status", "--healthcheck")

    assert result.exit_code == 0
    assert json.loads(published.read_text())["health"] == "good"
    assert result.stderr.count("Warning: ") == result.stderr.count("\n") == 1
    assert "the lists of what is in archives were not renewed: " in result.stderr
    assert "Not a directory" in result.stderr


def test_they_are_not_written_through_a_link(published: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (published.parent / "status-archives").symlink_to(tmp_path / "elsewhere")

    result = run_inside("prune")

    assert (result.exit_code, os.listdir(tmp_path / "elsewhere")) == (0, [])
    assert "Not a directory" in result.stderr


def test_what_does_not_fit_into_some_seconds_is_listed_by_the_next_runs(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for night in range(5):
        put_archive(settings.backup_dir, TAKEN_AT + timedelta(days=night))
    archives = read_catalog(settings.backup_dir).archives
    status_file = tmp_path / "status.json"

    for there in (2, 4, 5, 5):
        ticks = itertools.count(0.0, 2.0)
        with monkeypatch.context() as patch:
            patch.setattr(time, "monotonic", lambda ticks=ticks: next(ticks))
            assert publish_lists(archives, status_file) == ()
        made = sorted(os.listdir(tmp_path / "status-archives"), reverse=True)
        assert made == [entry.name.replace(".tar", ".jsonl.gz") for entry in archives[:there]]


def test_an_archive_that_cannot_be_read_to_its_end_is_listed_as_far_as_it_can(
    published: Path, settings: Settings, uploads: Path
) -> None:
    archive = put_archive(settings.backup_dir, TAKEN_AT, uploads=uploads)
    data = bytearray(archive.read_bytes())
    at = data.index(b"uploads/odd")
    data[at + 148] ^= 1  # the header's checksum
    archive.write_bytes(data)

    run_inside("prune")

    packed = (published.parent / "status-archives" / "safeharbor-backup-2026-05-07T03-00-00Z.jsonl.gz").read_bytes()
    head, *files = read(packed)
    assert [file["path"] for file in files] == ["a/cat.jpg", "b"]
    assert "is not as the format prescribes" in head["problem"]
    page = render_archive(packed, {}, Asked(), datetime.now(UTC))
    assert "Not all of it could be read: the header of uploads/odd" in page


def test_an_archive_by_another_program_has_a_list_without_tables_and_checksums(settings: Settings) -> None:
    parts = [upload(b"b.jpg", data=b"bb"), upload(b"a.jpg", data=b"a")]
    (settings.backup_dir / archive_name(TAKEN_AT)).write_bytes(foreign_archive(parts))
    (entry,) = read_catalog(settings.backup_dir).archives

    packed = read_list(entry)

    head, *files = read(packed)
    assert (head["tables"], head["rows"], head["upload_files"], head["files"]) == (None, None, None, 2)
    assert files == [
        {"path": "b.jpg", "size_bytes": 2, "sha256": ""},
        {"path": "a.jpg", "size_bytes": 1, "sha256": ""},
    ]
    assert complaints("archive-list", head) == []
    page = render_archive(packed, {}, Asked(), datetime.now(UTC))
    assert "Another program wrote this archive: it does not say which tables it has." in page
    assert "2 files" in page


@pytest.mark.slow
def test_a_hundred_thousand_files_are_listed_and_the_page_says_that_there_are_more(settings: Settings) -> None:
    write_many(settings.backup_dir, TAKEN_AT, 100_001, changed=0)
    (entry,) = read_catalog(settings.backup_dir).archives

    packed = read_list(entry)

    head, *files = read(packed)
    assert (head["files"], head["cut"], len(files)) == (100_000, True, 100_000)
    page = render_archive(packed, {}, Asked(files=1000), datetime.now(UTC))
    assert "page 1000 of 1000" in page
    assert "The first 100,000 of 100,001 files are listed." in page
    assert "<code>safeharbor find NAME</code> looks at all of them" in page


@pytest.mark.slow
def test_names_that_are_long_on_purpose_do_not_make_it_large(settings: Settings, tmp_path: Path) -> None:
    deep = os.path.join(os.fsencode(tmp_path), b"uploads", *[b"\xff" * 250] * 14)
    os.makedirs(deep)
    for number in range(1800):  # each of 21,000 bytes of JSON
        with open(os.path.join(deep, b"%d" % number), "wb"):
            pass
    put_archive(settings.backup_dir, TAKEN_AT, uploads=tmp_path / "uploads")
    (entry,) = read_catalog(settings.backup_dir).archives

    packed = read_list(entry)

    lines = gzip.decompress(packed)
    assert MOST_BYTES < len(lines) < MOST_BYTES + 100_000
    assert read(packed)[0]["cut"] is True
    assert "are listed." in render_archive(packed, {}, Asked(), datetime.now(UTC))
